"""What llama.cpp wants to know of each family of models: names, numbers, and which tensors it keeps otherwise.

Legend: O output and I input features of a matrix, H heads, D head dimension.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from favonius.errors import UserError

Array = NDArray[np.float32]
Value = str | bool | int | float


@dataclass(frozen=True)
class Family:
    """One architecture of llama.cpp, and how transformers' tensors differ from its."""

    arch: gguf.MODEL_ARCH
    pairs_neighbours: bool = False
    """Rotary positions turn neighbouring rows of a query or key; transformers' turn rows half a head apart."""
    norms_from_one: bool = False
    """Transformers keeps what a norm's weight is more than one."""
    activation: str = "silu"


FAMILIES = {
    "llama": Family(gguf.MODEL_ARCH.LLAMA, pairs_neighbours=True),
    "mistral": Family(gguf.MODEL_ARCH.LLAMA, pairs_neighbours=True),
    "qwen2": Family(gguf.MODEL_ARCH.QWEN2),
    "qwen3": Family(gguf.MODEL_ARCH.QWEN3),
    "gemma3_text": Family(gguf.MODEL_ARCH.GEMMA3, norms_from_one=True, activation="gelu_pytorch_tanh"),
}
"""By transformers' `model_type`. SmolLM and SmolLM2 are llama."""

QUERY_OR_KEY = re.compile(r"\.(?P<which>[qk])_proj\.")
LARGEST_GEMMA = 62
"""Layers of Gemma 3 27B, the one whose attention llama.cpp scales by the model's width and not by the head's."""


class Architecture:
    """A model's config as llama.cpp understands it. UserError where the model is of no family that it is told of, or
    does something that llama.cpp's family does not."""

    def __init__(self, config: Any) -> None:
        kind = str(config.model_type)
        if kind not in FAMILIES:
            raise UserError(f"models of type {kind} have no way to GGUF here; those that have: {', '.join(FAMILIES)}")
        self.config, self.family = config, FAMILIES[kind]
        self.name = gguf.MODEL_ARCH_NAMES[self.family.arch]
        self.layers = int(config.num_hidden_layers)
        self.heads = int(config.num_attention_heads)
        self.key_heads = int(getattr(config, "num_key_value_heads", None) or self.heads)
        self.head_width = int(getattr(config, "head_dim", None) or config.hidden_size // self.heads)
        self.is_gemma = self.family.arch == gguf.MODEL_ARCH.GEMMA3
        self.tied = bool(config.tie_word_embeddings)
        self._names = gguf.get_tensor_name_map(self.family.arch, self.layers)
        self._rope, self._local_rope = _ropes(config)
        self._refuse_unknown()

    @property
    def window(self) -> int | None:
        """Tokens that some layers look back at most; None where all see everything."""
        window = getattr(self.config, "sliding_window", None)
        return int(window) if window and "sliding_attention" in self._kinds() else None

    @property
    def context(self) -> int:
        """Tokens that the GGUF file is good for. llama.cpp knows windows of Gemma only: other models are offered up to
        theirs, within which every token is seen anyway."""
        longest = int(self.config.max_position_embeddings)
        return longest if self.is_gemma or self.window is None else min(longest, self.window)

    def metadata(self) -> dict[str, Value]:
        """Keys below the architecture's name."""
        found: dict[str, Value] = {
            "context_length": self.context,
            "embedding_length": int(self.config.hidden_size),
            "block_count": self.layers,
            "feed_forward_length": int(self.config.intermediate_size),
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.key_heads,
            "attention.key_length": self.head_width,
            "attention.value_length": self.head_width,
            "attention.layer_norm_rms_epsilon": float(self.config.rms_norm_eps),
            "rope.freq_base": float(self._rope["rope_theta"]),
            "rope.dimension_count": self.head_width,
            "vocab_size": int(self.config.vocab_size),
        }
        return found | self._stretching() | (self._gemma() if self.is_gemma else {})

    def name_of(self, key: str) -> str:
        """llama.cpp's name of transformers' tensor `key`. UserError where it has none."""
        name = self._names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise UserError(f"llama.cpp's {self.name} has no place for the tensor {key}")
        return str(name)

    def converted(self, key: str, tensor: Array) -> Array:
        """The values of tensor `key` as llama.cpp's kernels read them."""
        if self.family.norms_from_one and key.endswith("norm.weight"):
            return tensor + 1
        which = QUERY_OR_KEY.search(key)
        if self.family.pairs_neighbours and which is not None:
            return neighbouring(tensor, self.heads if which["which"] == "q" else self.key_heads)
        return tensor

    def rope_factors(self) -> Array | None:
        """Llama 3.1's: by what each frequency is divided; None where positions are not stretched so."""
        if self._rope.get("rope_type") != "llama3":
            return None
        old = float(self._rope["original_max_position_embeddings"])
        low, high = float(self._rope["low_freq_factor"]), float(self._rope["high_freq_factor"])
        places = np.arange(0, self.head_width, 2, dtype=np.float64)
        wavelengths = 2 * math.pi * float(self._rope["rope_theta"]) ** (places / self.head_width)
        # Long waves are stretched by the factor, short ones not at all, those between in between.
        share = np.clip((old / wavelengths - low) / (high - low), 0, 1)
        return (1 / ((1 - share) / float(self._rope["factor"]) + share)).astype(np.float32)

    def _kinds(self) -> list[str]:
        kinds = getattr(self.config, "layer_types", None)
        if kinds is not None:
            return list(kinds)
        return ["sliding_attention" if getattr(self.config, "sliding_window", None) else "full_attention"] * self.layers

    def _stretching(self) -> dict[str, Value]:
        factor, old = self._rope.get("factor", 1.0), self._rope.get("original_max_position_embeddings")
        match self._rope.get("rope_type", "default"):
            case "linear":
                return {"rope.scaling.type": "linear", "rope.scaling.factor": float(factor)}
            case "yarn":
                original = int(old or self.config.max_position_embeddings)
                return {
                    "rope.scaling.type": "yarn",
                    "rope.scaling.factor": float(factor),
                    "rope.scaling.original_context_length": original,
                }
        return {}  # of llama3 it is a tensor

    def _gemma(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        if self.window is not None:
            found["attention.sliding_window"] = self.window
            found["attention.sliding_window_pattern"] = self._period()
            found["rope.freq_base_swa"] = float(self._local_rope["rope_theta"])
        if (cap := getattr(self.config, "final_logit_softcapping", None)) is not None:
            found["final_logit_softcapping"] = float(cap)
        return found

    def _period(self) -> int:
        """Every so manieth layer sees everything."""
        kinds = self._kinds()
        period = kinds.index("full_attention") + 1 if "full_attention" in kinds else self.layers + 1
        wanted = [
            "full_attention" if (layer + 1) % period == 0 else "sliding_attention" for layer in range(self.layers)
        ]
        if kinds != wanted:
            raise UserError("its sliding and full layers do not alternate regularly, which llama.cpp does not know")
        return period

    def _refuse_unknown(self) -> None:
        config = self.config
        activation = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
        scale = float(getattr(config, "query_pre_attn_scalar", None) or self.head_width)
        known = config.hidden_size // self.heads if self.layers == LARGEST_GEMMA else self.head_width
        faults = {
            f"its activation is {activation}": activation != self.family.activation,
            "its attention scores are capped": getattr(config, "attn_logit_softcapping", None) is not None,
            f"its attention is scaled by {scale:g}": self.is_gemma and scale != known,
            "only a part of each head is rotated": float(self._rope.get("partial_rotary_factor", 1)) != 1,
            f"it stretches positions by {self._rope.get('rope_type')}": self._rope.get("rope_type", "default")
            not in ("default", "linear", "llama3", "yarn"),
            "its local layers stretch positions": self._local_rope.get("rope_type", "default") != "default",
            "it looks both ways": bool(getattr(config, "use_bidirectional_attention", False)),
        }
        for fault, found in faults.items():
            if found:
                raise UserError(f"{fault}, which llama.cpp's {self.name} does not know")


def neighbouring(tensor_OI: Array, heads: int) -> Array:
    """Rows of each head, first half and second half, become neighbours: 0, D/2, 1, D/2 + 1, …"""
    halves_H2DI = tensor_OI.reshape(heads, 2, tensor_OI.shape[0] // heads // 2, *tensor_OI.shape[1:])
    return np.ascontiguousarray(halves_H2DI.swapaxes(1, 2)).reshape(tensor_OI.shape)


def _ropes(config: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Rotary parameters of layers that see everything, and of local ones where those have their own."""
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if "full_attention" in rope:
        return rope["full_attention"], rope.get("sliding_attention") or {}
    return rope, {}
