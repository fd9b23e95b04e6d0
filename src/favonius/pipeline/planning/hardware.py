"""The machine that a plan is for. No heavy imports: the command line parses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psutil

from favonius.errors import UserError

GIB = 1 << 30
KINDS = ("cpu", "cuda")


@dataclass(frozen=True)
class Hardware:
    """`memory`: bytes that one run may take. cpu: of the whole machine. cuda: of each GPU."""

    kind: Literal["cpu", "cuda"]
    memory: int
    is_here: bool = False

    @property
    def words(self) -> str:
        which = "this machine's" if self.is_here else "a"
        return f"{which} {'GPU' if self.kind == 'cuda' else 'main memory'} of {self.memory / GIB:.0f} GiB"


def stated(text: str) -> Hardware:
    """`cuda:80` or `cpu:16`: a kind and its GiB. UserError where it is neither."""
    kind, _, size = text.partition(":")
    try:
        gib = float(size)
    except ValueError:
        gib = 0.0
    if kind not in KINDS or not 0 < gib < 1e6:
        raise UserError(f"--hardware {text}: write it as cpu:GIB or cuda:GIB, such as cuda:80 for a GPU of 80 GiB")
    return Hardware("cuda" if kind == "cuda" else "cpu", int(gib * GIB))


def here() -> Hardware:
    """This machine: its GPU where torch sees one, else its main memory."""
    import torch

    if torch.cuda.is_available():
        return Hardware("cuda", int(torch.cuda.mem_get_info()[1]), is_here=True)
    return Hardware("cpu", int(psutil.virtual_memory().total), is_here=True)
