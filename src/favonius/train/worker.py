"""One process of a training: `python -m favonius.train.worker JOB`, started by torchrun's launcher (train.launch)."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path

from favonius.errors import FavoniusError, machine_failures
from favonius.files import write_json
from favonius.progress import Progress


def main(path: Path) -> int:
    """Take part in the job of the file `path`. Returns an exit code; what it means is in `rank-N.json` beside it."""
    rank = int(os.environ["RANK"])
    folder = path.parent
    log = open(folder / f"rank-{rank}.log", "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (as long as the process)
    if rank:  # rank 0 has the terminal
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    try:
        _work(path, Progress(sys.stderr if rank == 0 else log))
    except FavoniusError as error:
        write_json(folder / f"rank-{rank}.json", {"exit_code": error.exit_code, "message": str(error)})
        return error.exit_code
    except Exception:
        traceback.print_exc(file=log)
        return 1
    return 0


def _work(path: Path, progress: Progress) -> None:
    import torch

    from favonius.run import Context
    from favonius.train import stage
    from favonius.train.distributed import joined
    from favonius.train.launch import Job

    job = Job.read(path)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // job.config.processes))
    with machine_failures(job.run), joined() as world:
        stage.train(job.config, job.inputs, job.out, Context(job.run, progress), world)
        world.barrier()  # the node that waits for the step need not be rank 0's, which writes the model


def _leave_with(launcher: int) -> None:
    """End when the launcher does: killed with no time to tell, it must not leave processes that write into the run."""
    while os.getppid() == launcher:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
