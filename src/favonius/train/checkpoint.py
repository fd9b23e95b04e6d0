"""The training state on disk: whole or absent, written while the next step computes.

The state is a flat mapping of names to tensors: masters, the optimizer's tensors. Data order and learning rate are
functions of the step, which is in the checkpoint's name, and nothing draws random numbers: that is all there is.

One process writes one safetensors file, `step-7.safetensors`. Several write the folder `step-7.shards`, each its own
part of it, by torch.distributed.checkpoint. Any number of processes reads either.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from favonius.errors import FavoniusError, brief
from favonius.files import replacing, synced
from favonius.train.distributed import World
from favonius.train.memory import give_back
from favonius.train.optimizer import MasterWeights
from favonius.train.state import load_state, read_file, snapshot, state_of, template, write_safetensors

NAME = re.compile(r"step-(\d+)\.(safetensors|shards)")
HELD_UP = 0.05
"""Of the training's time, what copying its state may take at most."""


class Checkpoints:
    """Keeps the newest `keep` states in `folder`. All ranks call every method together, in the same order."""

    def __init__(
        self, folder: Path, weights: MasterWeights, optimizer: torch.optim.Optimizer, world: World, keep: int = 1
    ) -> None:
        self.folder, self.weights, self.optimizer, self.world, self.keep = folder, weights, optimizer, world, keep
        self._writer: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._saved = self._held_up = 0.0
        """When the last save returned, and for how long it had held the training up."""
        if world.size > 1:
            # The writer's own: what it says to the other ranks' writers must not meet what the training says.
            self._group = dist.new_group(backend="gloo")
            self._stager = DefaultStager(StagingOptions(False, False, False, False))

    def newest(self) -> int:
        """The last step on disk; 0 where there is none."""
        return max((step for step, _ in self._found()), default=0)

    def restore(self, step: int) -> None:
        path = next(path for found, path in self._found() if found == step)
        if path.suffix == ".safetensors":
            state = read_file(path, self.weights)
        else:
            state = template(dcp.FileSystemReader(path).read_metadata(), self.weights)
            with warnings.catch_warnings():  # that one process is one process
                warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
                dcp.load(state, checkpoint_id=path, no_dist=self.world.size == 1)
        load_state(state, self.weights, self.optimizer)

    def due(self) -> bool:
        """Whether a state may be saved now, so that saving holds the training up for no more than `HELD_UP`: the last
        one is written, and its copying long enough ago."""
        writing = self._writer is not None and self._writer.is_alive()
        return not writing and time.monotonic() - self._saved >= self._held_up * (1 / HELD_UP - 1)

    def save(self, step: int) -> None:
        """Copy the state and write it in the background; waits for the write before. Raises what that one met."""
        began = time.monotonic()
        self.wait()
        state = state_of(self.weights, self.optimizer)
        if self.world.size == 1:
            give_back()  # a step's memory is free between steps: the copy takes its place, and does not come on top
            held = snapshot(state)
            self._start(lambda: self._write_file(step, held))
        else:
            staged = self._stager.stage(state)
            self._start(lambda: self._write_shards(step, staged))
        self._saved = time.monotonic()
        self._held_up = self._saved - began

    def wait(self) -> None:
        """Until the last state is on disk. FavoniusError where it could not be written: those before it are kept."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        failure, self._failure = self._failure, None
        of_disk: tuple[type[BaseException], ...] = (OSError,)
        if isinstance(failure, CheckpointException):  # what it met on each rank; any will do
            failure = next(iter(failure.failures.values()))[0]
            of_disk = (OSError, RuntimeError)  # torch's writer; elsewhere a RuntimeError is another rank's death
        if isinstance(failure, of_disk):
            raise FavoniusError(
                f"the checkpoint could not be written to {self.folder} ({brief(failure)}); make room and run again "
                f"to go on after optimizer step {self.newest()}, the last that is kept"
            ) from failure
        if failure is not None:
            raise failure

    def _start(self, write: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                write()
            except BaseException as error:  # handed to the training thread, which raises it
                self._failure = error

        self._writer = threading.Thread(target=guarded, name="checkpoint")
        self._writer.start()

    def _write_file(self, step: int, state: dict[str, Tensor]) -> None:
        with replacing(self.folder / f"step-{step}.safetensors") as temporary:
            write_safetensors(temporary, state)
        self._drop_old()

    def _write_shards(self, step: int, state: dict[str, Tensor]) -> None:
        """Every rank writes and syncs its part; rank 0 gives the folder its name when all have."""
        path = self.folder / f"step-{step}.shards"
        temporary = path.with_name(f".{path.name}.tmp")
        if self.world.is_main:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        dist.barrier(self._group)
        dcp.save(state, storage_writer=dcp.FileSystemWriter(temporary, sync_files=True), process_group=self._group)
        if self.world.is_main:
            synced(temporary)
            temporary.replace(path)
            synced(self.folder)
            self._drop_old()
        dist.barrier(self._group)

    def _drop_old(self) -> None:
        for _, path in sorted(self._found(), reverse=True)[self.keep :]:
            if path.is_dir():
                # Renamed first: what a kill leaves of it must not pass for a whole one.
                gone = path.rename(path.with_name(f".{path.name}.old.tmp"))
                shutil.rmtree(gone)
            else:
                path.unlink()

    def _found(self) -> list[tuple[int, Path]]:
        if not self.folder.exists():
            return []
        matches = ((NAME.fullmatch(path.name), path) for path in self.folder.iterdir())
        return [(int(match[1]), path) for match, path in matches if match]
