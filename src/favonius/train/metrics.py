"""metrics.jsonl and the numbers in it, which leave the device without holding it up."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

if sys.platform != "win32":
    import resource

LINUX_STATUS, LINUX_CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Metrics:
    """The file. Lines beyond the step that a run continues from were of steps that are run again; they go."""

    def __init__(self, path: Path, through: int) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if _step_of(line) <= through]
        path.write_text("".join(line + "\n" for line in kept))
        self.kept = [json.loads(line) for line in kept]
        """What stands in it to begin with."""

    def write(self, line: Mapping[str, object]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _step_of(line: str) -> float:
    """The step of a metrics line; a torn last line belongs to no finished step."""
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return math.inf


class Copy:
    """A tensor on its way to the CPU; `read` waits for it, and for all that was launched before it."""

    def __init__(self, tensor: Tensor) -> None:
        self._event = None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._host = tensor.detach().clone()

    def read(self) -> list[float]:
        if self._event is not None:
            self._event.synchronize()
        return self._host.tolist()  # type: ignore[no-any-return]


class Mark:
    """A moment in the device's work: on a GPU when it gets there, on the CPU now."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event(enable_timing=True) if device.type == "cuda" else None
        if self._event is not None:
            self._event.record()
        self._now = time.monotonic()

    def since(self, earlier: Mark) -> float:
        """Seconds; both moments have passed."""
        if self._event is not None:
            return float(earlier._event.elapsed_time(self._event)) / 1000  # type: ignore[union-attr]
        return self._now - earlier._now


def peak_memory(device: torch.device) -> int | None:
    """Bytes: of tensors on a GPU at the highest, else of the process; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return None
    # Where there is such a line, it and not getrusage: there a process begins with the maximum of the one that started
    # it. Some sandboxes have the file without the line.
    for line in LINUX_STATUS.read_text("ascii").splitlines() if LINUX_STATUS.is_file() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak(device: torch.device) -> None:
    """Have `peak_memory` tell what is needed from now on, and not what earlier steps of the run needed; where the
    system cannot forget, it goes on telling both."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif LINUX_CLEAR.exists():
        with suppress(OSError):
            LINUX_CLEAR.write_text("5", "ascii")
