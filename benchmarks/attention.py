"""Explicit products against the fused kernel for one segment on this CPU: `python -m benchmarks.attention`.

Prints milliseconds of forward and backward, the median of interleaved rounds; it is what EXPLICIT_LIMIT of
trees/attention.py was chosen by.
"""

from __future__ import annotations

import statistics
import time

import torch

from favonius.trees import attention

SHAPES = {
    "9 heads, 3 groups, 64": (9, 3, 64),
    "4 heads, 1 group, 256": (4, 1, 256),
    "32 heads, 8 groups, 128": (32, 8, 128),
}
LENGTHS = (64, 128, 256, 384, 512, 1024)
ROUNDS = 7


def milliseconds(heads: int, groups: int, size: int, length: int, dtype: torch.dtype, explicit: bool) -> float:
    attention.EXPLICIT_LIMIT = 10**9 if explicit else 0
    q = torch.randn(heads, length, size, dtype=dtype, requires_grad=True)
    k, v = (torch.randn(groups, length, size, dtype=dtype, requires_grad=True) for _ in range(2))
    started = time.perf_counter()
    attention.segment_attention(q, k, v, size**-0.5, None, None).sum().backward()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; ms, explicit / fused")
    for dtype in (torch.bfloat16, torch.float32):
        for name, (heads, groups, size) in SHAPES.items():
            cells = []
            for length in LENGTHS:
                times = {True: [], False: []}
                for _ in range(ROUNDS):
                    for explicit, taken in times.items():
                        taken.append(milliseconds(heads, groups, size, length, dtype, explicit))
                cells.append(f"{length}: {statistics.median(times[True]):.1f} / {statistics.median(times[False]):.1f}")
            print(f"{str(dtype).removeprefix('torch.')}, {name}:  " + "   ".join(cells))


if __name__ == "__main__":
    main()
