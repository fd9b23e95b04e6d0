"""What the numbers were measured on, and whether something else ran beside them."""

from __future__ import annotations

import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "transformers", "trl", "accelerate")


def state() -> dict[str, object]:
    """Load, stolen time and how fast the machine multiplies just now."""
    found: dict[str, object] = {"load": round(os.getloadavg()[0], 2), "gflops": gemm()}
    if Path("/proc/stat").exists():
        found["steal_ticks"] = int(Path("/proc/stat").read_text().split("\n")[0].split()[8])
    return found


def gemm() -> int:
    """GFLOP/s of one large bf16 product of random numbers."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 8192 if device == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    (left @ right).sum().item()
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < 1:
        left @ right
        times += 1
        if device == "cuda":
            torch.cuda.synchronize()
    return round(2 * size**3 * times / (time.perf_counter() - began) / 1e9)


def name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{model[0].split(':')[1].strip() if model else platform.processor()}, {os.cpu_count()} cores"


def dated() -> str:
    """How the files of what was measured here today begin: `2026-11-21-amd-epyc-2-cores`."""
    return f"{time.strftime('%Y-%m-%d')}-{re.sub('[^a-z0-9]+', '-', name().lower())}"


def versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}
