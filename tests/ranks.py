"""Several ranks on this machine, forked from a server that has imported torch once and computed nothing."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from favonius.train.distributed import World

SECONDS = 100


def run_ranks(function: Callable[..., None], folder: Path, *arguments: Any, size: int = 2) -> None:
    """`function(world, folder, *arguments)` on every rank; what a rank raises is raised here, as text."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_distributed"])
    failures = context.SimpleQueue()
    folder.mkdir(exist_ok=True)
    store = folder / "store"
    store.unlink(missing_ok=True)
    ranks = [
        context.Process(target=_rank, args=(failures, store, rank, size, function, folder, arguments))
        for rank in range(size)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(SECONDS)
        if rank.exitcode is None:
            rank.kill()
            failures.put("a rank did not end")
    assert failures.empty(), failures.get()


def _rank(
    failures: Any, store: Path, rank: int, size: int, function: Callable[..., None], folder: Path, arguments: Any
) -> None:
    os.environ["FAVONIUS_CACHE"] = str(folder / "cache")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )
    try:
        function(World(torch.device("cpu"), rank, size), folder, *arguments)
    except BaseException:
        failures.put(traceback.format_exc())
    dist.destroy_process_group()
