"""How the numbers of a GGUF file are kept: which type each tensor gets, and what that costs in accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kept
from gguf import LlamaFileType
from numpy.typing import NDArray

from favonius.errors import UserError

ERRORS = {Kept.F32: 0.0, Kept.F16: 1e-3, Kept.BF16: 4e-3, Kept.Q8_0: 0.03, Kept.Q4_1: 0.25, Kept.Q4_0: 0.25}
"""Most that a tensor may be off as it is kept: root mean square of the error over that of the values."""
SENSITIVE = ("attn_v.weight", "ffn_down.weight")
F16_MOST = float(np.finfo(np.float16).max)


class Bound(NamedTuple):
    """How far log-probs may be apart, in nats: on average over tokens, and at worst."""

    mean: float
    worst: float


@dataclass(frozen=True)
class Storage:
    """One type of file, and what llama.cpp may make of it. Bounds are of torch in fp32 (docs/export.md)."""

    name: str
    file_type: LlamaFileType
    matrices: Kept
    head: Kept
    """Of the output matrix, which is the embedding where the two are tied: it is the most sensitive one."""
    sensitive: Kept
    """Of values and of what leads out of a layer: in 4 bits they cost more than all others."""
    reading: Bound
    """From torch with the very weights that the file keeps: whether the file is written and read as meant. Beyond fp32
    it is what llama.cpp's kernels cost, which round activations too where weights are in 8 bits or fewer."""
    loss: Bound
    """From torch with the weights as trained. What is beyond it has been spoiled by rounding, and is refused."""

    @property
    def exact(self) -> bool:
        """Whether greedy answers must be those of torch."""
        return self.name in ("f32", "f16")

    def kept(self, name: str, shape: tuple[int, ...]) -> Kept:
        """Of llama.cpp's tensor `name`. Rows that no whole number of blocks fills are kept in f16."""
        if len(shape) == 1:
            return Kept.F32
        wanted = self.matrices
        if name in ("output.weight", "token_embd.weight"):
            wanted = self.head
        elif name.endswith(SENSITIVE):
            wanted = self.sensitive
        return wanted if shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] == 0 else Kept.F16

    def written(self, name: str, tensor: NDArray[np.float32]) -> NDArray[np.generic]:
        """`tensor` as the file keeps it. UserError where the type cannot hold its values."""
        kind = self.kept(name, tensor.shape)
        if kind == Kept.F16 and (largest := float(np.abs(tensor).max(initial=0))) > F16_MOST:
            raise UserError(f"tensor {name} holds {largest:g}, more than f16 can; export to bf16")
        return np.asarray(gguf.quants.quantize(tensor, kind))

    def rounded(self, name: str, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """The values of `tensor` as the file gives them back."""
        kind = self.kept(name, tensor.shape)
        return np.asarray(gguf.quants.dequantize(self.written(name, tensor), kind)).reshape(tensor.shape)


STORAGES = {
    one.name: one
    for one in (
        Storage("f32", LlamaFileType.ALL_F32, Kept.F32, Kept.F32, Kept.F32, Bound(0.002, 0.02), Bound(0.002, 0.02)),
        Storage("f16", LlamaFileType.MOSTLY_F16, Kept.F16, Kept.F16, Kept.F16, Bound(0.02, 0.2), Bound(0.02, 0.2)),
        Storage("bf16", LlamaFileType.MOSTLY_BF16, Kept.BF16, Kept.BF16, Kept.BF16, Bound(0.05, 0.5), Bound(0.05, 0.5)),
        Storage("q8_0", LlamaFileType.MOSTLY_Q8_0, Kept.Q8_0, Kept.Q8_0, Kept.Q8_0, Bound(0.1, 1.0), Bound(0.5, 4.0)),
        Storage("q4_1", LlamaFileType.MOSTLY_Q4_1, Kept.Q4_1, Kept.Q8_0, Kept.Q8_0, Bound(0.1, 1.0), Bound(1.5, 12.0)),
        Storage("q4_0", LlamaFileType.MOSTLY_Q4_0, Kept.Q4_0, Kept.Q8_0, Kept.Q8_0, Bound(0.1, 1.0), Bound(1.5, 12.0)),
    )
}
