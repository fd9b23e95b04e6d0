"""The training state as a flat mapping of names to tensors, and as one safetensors file.

`master.<parameter>` are the fp32 weights; `optimizer.<number of the parameter>.<key>` is the optimizer's state, where
a 0-dim int64 tensor stands for a Python int.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import accumulate
from mmap import mmap
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

from favonius.train.optimizer import MasterWeights

KINDS = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8", torch.int8: "I8", torch.int64: "I64"}
ALIGNED = 64
"""Bytes: where each tensor of a snapshot begins."""


def state_of(weights: MasterWeights, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The live tensors; with shards, this rank's. An optimizer that has made no step has no state."""
    state = {f"master.{name}": master.detach() for name, master in weights.masters.items()}
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            state[f"optimizer.{index}.{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return state


def load_state(state: Mapping[str, Tensor], weights: MasterWeights, optimizer: torch.optim.Optimizer) -> None:
    """Put `state` in the place of what is there, and publish the masters."""
    with torch.no_grad():
        for name, master in weights.masters.items():
            master.copy_(state[f"master.{name}"])
    held = optimizer.state_dict()
    for name, tensor in state.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            value: Any = int(tensor) if tensor.dtype == torch.int64 and tensor.ndim == 0 else tensor
            held["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(held)
    weights.publish()


def template(metadata: Metadata, weights: MasterWeights) -> dict[str, Tensor]:
    """Empty tensors for what `metadata` lists, each laid out over the ranks like the parameter that it belongs to."""
    masters = list(weights.masters.items())
    state = {}
    for name, stored in metadata.state_dict_metadata.items():
        if not isinstance(stored, TensorStorageMetadata):
            raise ValueError(f"{name} is no tensor")
        like = _owner(name, masters)
        if like.shape == stored.size:
            state[name] = torch.empty_like(like, dtype=stored.properties.dtype).detach()
        else:
            state[name] = torch.empty(stored.size, dtype=stored.properties.dtype)
    return state


def read_file(path: Path, weights: MasterWeights) -> dict[str, Tensor]:
    """Every tensor of a file that one process wrote, laid out over the ranks like its parameter."""
    masters = list(weights.masters.items())
    with safe_open(path, "pt") as file:
        return {name: _laid_out(file.get_tensor(name), _owner(name, masters)) for name in file.keys()}  # noqa: SIM118


def _owner(name: str, masters: list[tuple[str, Tensor]]) -> Tensor:
    kind, rest = name.split(".", 1)
    return dict(masters)[rest] if kind == "master" else masters[int(rest.split(".")[0])][1]


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    # Every rank has read the whole: each cuts its own part, and nothing is sent.
    placed = tensor.to(like.device_mesh.device_type)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)


def snapshot(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that no later change reaches, in one piece of memory beside the heap.

    In the heap they would take room that the next step's activations have, which then find only holes between them.
    """
    bytes_of = {name: tensor.numel() * tensor.element_size() for name, tensor in state.items()}
    ends = list(accumulate(-(-size // ALIGNED) * ALIGNED for size in bytes_of.values()))
    if not ends:
        return {}
    memory = torch.frombuffer(mmap(-1, max(ends[-1], ALIGNED)), dtype=torch.uint8)
    copies = {}
    for (name, tensor), start in zip(state.items(), [0, *ends], strict=False):
        place = memory[start : start + bytes_of[name]].view(tensor.dtype).view(tensor.shape)
        copies[name] = place.copy_(tensor.detach())
    return copies


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """What safetensors' own writer would make of CPU tensors, without its second copy of them all in memory.

    Layout: length of the header (8 bytes, little-endian), header in JSON, the tensors' bytes one after another.
    """
    header: dict[str, object] = {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
