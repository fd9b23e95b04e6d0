"""Whether the activations of a pack fit into memory, what is done where they do not, and memory between steps."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import psutil
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from favonius.train.config import TrainConfig

OPTIMIZER_TENSORS = {"adamw": 2.0, "adamw8bit": 0.5, "rmsprop": 1.0}
"""Of the size of the fp32 masters."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Names of glibc's malloc.h."""


def checkpoint_layers(layers: Sequence[nn.Module]) -> None:
    """Have each layer keep its input alone and run again in the backward pass. Nothing random runs twice: no layer
    draws random numbers (`trees.attention` refuses dropout)."""
    for layer in layers:
        # `forward`, not the layer: the hooks by which FSDP gathers its weights stay outside.
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)


def asks_for_checkpoints(
    config: TrainConfig, model: PreTrainedModel, parameters: Sequence[Tensor], pack_tokens: int, dtype: torch.dtype
) -> bool:
    """Whether training packs of `pack_tokens` would need more memory than is free now, with the masters made and
    neither gradients nor the optimizer's state; of a sharded model, on this rank."""
    masters = sum(4 * _local(parameter).numel() for parameter in parameters)
    own = masters * (1 + OPTIMIZER_TENSORS[config.optimizer])
    device = _local(parameters[0]).device
    free = free_memory(device) // (1 if device.type == "cuda" else config.processes)
    return bool(own + pack_tokens * activation_bytes(model, dtype) > free)


def activation_bytes(model: PreTrainedModel, dtype: torch.dtype) -> int:
    """What one token leaves for the backward pass in all decoder layers, by the shape that Llama and its kin share.

    Per layer, in the compute dtype: the inputs and outputs of two norms and of two sums (8 times the hidden size),
    queries, keys and values before and after rotation and the attention's result, and four of the MLP's inner size;
    in fp32 what both norms compute in.
    """
    config = model.config.get_text_config()
    hidden, heads = config.hidden_size, config.num_attention_heads
    width = getattr(config, "head_dim", None) or hidden // heads
    attention = 2 * (heads + 2 * (getattr(config, "num_key_value_heads", None) or heads)) * width + heads * width
    in_dtype = 8 * hidden + attention + 4 * config.intermediate_size
    return int(config.num_hidden_layers * (in_dtype * dtype.itemsize + 2 * 4 * hidden))


def checkpoint_bytes(model: PreTrainedModel, dtype: torch.dtype) -> int:
    """What one token leaves in all decoder layers where each keeps its input alone."""
    config = model.config.get_text_config()
    return int(config.num_hidden_layers * config.hidden_size * dtype.itemsize)


def free_memory(device: torch.device) -> int:
    """Bytes that tensors on `device` could still take."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + reserved)
    return int(psutil.virtual_memory().available)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Have the C library keep what is freed. By default glibc hands a step's activations back to the system, and every
    page of the next step's is then mapped and zeroed again: 4 to 5 % of a step on a CPU. Other C libraries: nothing."""
    set_option = getattr(_c_library(), "mallopt", None)
    if set_option is None:
        yield
        return
    set_option(M_MMAP_MAX, 0)
    set_option(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        set_option(M_MMAP_MAX, 65536)  # glibc's own values
        set_option(M_TRIM_THRESHOLD, 128 * 1024)
        give_back()


def give_back() -> None:
    """Hand back to the system what the C library has kept and nothing holds. Other C libraries: nothing."""
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
