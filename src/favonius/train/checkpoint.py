"""The training state on disk: whole or absent, written while the next step computes.

A checkpoint is one safetensors file: masters, the optimizer's tensors and, in its metadata, the step. Data order and
learning rate are functions of the step, and nothing draws random numbers, so that is all the state there is.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from favonius.files import replacing
from favonius.train.optimizer import MasterWeights

FILE = re.compile(r"step-(\d+)\.safetensors")


class Checkpoints:
    """Writes the newest state in the background. At most one finished optimizer step is not on disk at any time."""

    def __init__(self, folder: Path, weights: MasterWeights, optimizer: torch.optim.Optimizer) -> None:
        self.folder, self.weights, self.optimizer = folder, weights, optimizer
        self._writer: threading.Thread | None = None
        self._failure: BaseException | None = None

    def newest(self) -> int:
        """The last step on disk; 0 where there is none."""
        return max((step for step, _ in self._files()), default=0)

    def restore(self, step: int) -> None:
        with safe_open(self.folder / f"step-{step}.safetensors", "pt") as file, torch.no_grad():
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        with torch.no_grad():
            for name, master in self.weights.masters.items():
                master.copy_(stored[f"master.{name}"])
        state = self.optimizer.state_dict()
        for name, tensor in stored.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                state["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(state)
        self.weights.publish()

    def save(self, step: int) -> None:
        """Copy the state and write it in the background; waits for the write before. Raises what that one met."""
        self.wait()
        tensors = self._snapshot()
        self._writer = threading.Thread(target=self._write, args=(step, tensors), name="checkpoint")
        self._writer.start()

    def wait(self) -> None:
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _snapshot(self) -> dict[str, Tensor]:
        tensors = {f"master.{name}": _copy(master) for name, master in self.weights.masters.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": _copy(value) for key, value in state.items()}
        return tensors

    def _write(self, step: int, tensors: dict[str, Tensor]) -> None:
        try:
            path = self.folder / f"step-{step}.safetensors"
            with replacing(path) as temporary:
                write_safetensors(temporary, tensors)
            for other, file in self._files():
                if other != step:
                    file.unlink()
        except BaseException as error:  # handed to the training thread, which raises it
            self._failure = error

    def _files(self) -> list[tuple[int, Path]]:
        if not self.folder.exists():
            return []
        found = ((FILE.fullmatch(file.name), file) for file in self.folder.iterdir())
        return [(int(match[1]), file) for match, file in found if match]


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """What safetensors' own writer would make of CPU tensors in fp32, without its second copy of them all in memory.

    Layout: length of the header (8 bytes, little-endian), header in JSON, the tensors' bytes one after another.
    """
    header: dict[str, object] = {}
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise ValueError(f"{name} is {tensor.dtype}; the training state is fp32")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(memoryview(tensor.numpy()).cast("B") if tensor.ndim else tensor.numpy().tobytes())


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()
