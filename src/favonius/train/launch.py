"""Starts the processes of one training, by torchrun's own launcher, and says in one sentence why they ended.

Each process is `python -m favonius.train.worker JOB`. What it cannot do it leaves in `rank-N.json` beside the job,
what it prints in `rank-N.log`; rank 0 talks to the terminal instead.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousTimeoutError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from favonius.errors import FavoniusError, StoppedError, UserError
from favonius.files import read_json, write_text
from favonius.progress import Progress
from favonius.run import WORK, Inputs
from favonius.train.config import TrainConfig

WORKER = "favonius.train.worker"
RENDEZVOUS = "FAVONIUS_RENDEZVOUS"
PORT = 29400
JOIN = "join"
"""File beside the job that holds the command of the other nodes; recipes/launch/join.sh waits for it there."""
SECONDS_TO_STOP = 3600
"""How long processes that were asked to stop may take for the step at hand and its checkpoint."""
SECONDS_TO_MEET = 3600
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True)
class Job:
    """What a process must know to take part; the arguments of the stage."""

    config: TrainConfig
    inputs: Inputs
    out: Path
    run: Path

    @property
    def folder(self) -> Path:
        return self.out / WORK / "processes"

    def write(self) -> Path:
        path = self.folder / "job.json"
        write_text(path, JOB.dump_json(self).decode())
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        return JOB.validate_json(path.read_bytes())


JOB: TypeAdapter[Job] = TypeAdapter(Job)


def launch(job: Job, progress: Progress) -> None:
    """Run `job` in `processes` processes on each of `nodes` machines, and wait for those of this one.

    With several nodes the first one's run waits an hour for the others at `$FAVONIUS_RENDEZVOUS` (host:port of the
    first node, as the others reach it; default: its own name, port 29400), and says what is to be run on them. Progress
    is shown on the node that gets rank 0.
    UserError, StoppedError or FavoniusError in the words of the rank that raised it; FavoniusError where one died.
    """
    _check(job.config)
    shutil.rmtree(job.folder, ignore_errors=True)
    path = job.write()
    config = _launch_config(job)
    if job.config.nodes > 1:
        command = _command(job, config, path)
        write_text(job.folder / JOIN, f"{command}\n")
        progress.say(f"  waits for {job.config.nodes - 1} more; on each, run: {command}")
    with _signals_kept(), _quiet():
        try:
            elastic_launch(config, sys.executable)("-m", WORKER, str(path.resolve()))
        except SignalException as asked:
            _raise_said(job)
            raise StoppedError(f"stopped by {asked.sigval.name}; run the same command again to go on") from None
        except ChildFailedError as error:
            if all(failure.exitcode >= 0 for failure in error.failures.values()):
                _raise_said(job)  # else it says no more than that another rank has gone
            raise FavoniusError(_death(job, error)) from None
        except RendezvousTimeoutError:
            raise FavoniusError(
                f"the other nodes have not come to {config.rdzv_endpoint} within {SECONDS_TO_MEET // 60} minutes; "
                "check that they reach it, and run again"
            ) from None


def _check(config: TrainConfig) -> None:
    gpus = torch.cuda.device_count()
    if gpus and config.processes > gpus:
        raise UserError(f"processes: {config.processes}, but this machine has {gpus} GPUs; one process runs on each")


def _launch_config(job: Job) -> LaunchConfig:
    nodes = job.config.nodes
    here = os.environ.get(RENDEZVOUS, f"{socket.gethostname()}:{PORT}") if nodes > 1 else "localhost:0"
    return LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=job.config.processes,
        run_id=f"favonius-{uuid.uuid4().hex[:8]}",
        rdzv_backend="c10d",
        rdzv_endpoint=here,
        rdzv_configs={"timeout": SECONDS_TO_MEET},
        local_addr="localhost" if nodes == 1 else None,
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(job.folder)),
        shutdown_timeout=SECONDS_TO_STOP,
    )


def _command(job: Job, config: LaunchConfig, path: Path) -> str:
    options = {
        "nnodes": job.config.nodes, "nproc-per-node": job.config.processes, "rdzv-backend": config.rdzv_backend,
        "rdzv-endpoint": config.rdzv_endpoint, "rdzv-id": config.run_id, "shutdown-timeout": SECONDS_TO_STOP,
    }  # fmt: skip
    words = ["torchrun", *(f"--{name}={value}" for name, value in options.items()), "-m", WORKER, str(path.resolve())]
    return shlex.join(words)


def _raise_said(job: Job) -> None:
    """Raise what a rank has left behind, the lowest rank's first; where none has, return."""
    kinds = {kind.exit_code: kind for kind in (UserError, StoppedError)}
    for path in sorted(job.folder.glob("rank-*.json")):
        said = read_json(path)
        raise kinds.get(said["exit_code"], FavoniusError)(said["message"])


def _death(job: Job, error: ChildFailedError) -> str:
    """A killed rank takes the others with it: of all that failed, the one that a signal ended is the cause."""
    failures: dict[int, ProcessFailure] = error.failures
    rank, first = min(failures.items(), key=lambda item: (item[1].exitcode >= 0, item[1].timestamp))
    how = f"was ended by {first.signal_name()}" if first.exitcode < 0 else f"failed with exit code {first.exitcode}"
    hint = " (by the system for want of memory, perhaps)" if first.exitcode == -signal.SIGKILL else ""
    return (
        f"process {rank} of {job.config.processes * job.config.nodes} {how}{hint}; its log is "
        f"{job.folder / f'rank-{rank}.log'}; run the same command again to go on from the last checkpoint"
    )


@contextmanager
def _signals_kept() -> Iterator[None]:
    """The launcher sets handlers and leaves them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """The launcher logs every failure at length; here it becomes a sentence."""
    logger = logging.getLogger("torch.distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
