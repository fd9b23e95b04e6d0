"""What this machine is, as far as results and their times may depend on it: no names of hosts or users."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import psutil

from favonius.types import Noun

ASKING_SECONDS = 10.0
PROCESSORS = Path("/proc/cpuinfo")


class Machine(Noun):
    """The machine that a step ran on."""

    processor: str
    """As it calls itself; its architecture where it has no name."""
    cores: int
    """That the process may use."""
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    """Names of NVIDIA's, each as often as it is there."""


def this_machine() -> Machine:
    # CUDA is not asked: a process that has woken it holds memory of each GPU and cannot fork for others any more.
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=int(psutil.virtual_memory().total),
        gpus=_gpus(),
    )


def _processor() -> str:
    lines = PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines() if PROCESSORS.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    """None where the driver's tool is not there, or does not answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASKING_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
