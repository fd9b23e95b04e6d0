"""The head that makes a reward model of a language model, and its file beside the weights.

Legend: N token states, D hidden size.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from favonius.errors import FavoniusError, UserError, brief
from favonius.files import replacing
from favonius.run import ModelSource

FILE = "reward_head.safetensors"


class RewardHead(nn.Module):  # type: ignore[misc]
    """reward = weight · state + bias, in fp32 or wider; begins at 0, where no answer is better than another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """[N]. The head stays in fp32 where the model computes in bf16: rewards of close answers differ by little."""
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        return hidden_ND.to(wide) @ self.weight.to(wide) + self.bias.to(wide)


def save_reward_head(head: RewardHead, folder: Path) -> None:
    """Write it into a model's folder, whose digest then covers it."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    with replacing(folder / FILE) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, {"format": "pt"}))


def load_reward_head(source: ModelSource) -> RewardHead:
    """The head of the model of `source`, on the CPU. UserError where it has none, FavoniusError where it is damaged."""
    path = source.folder / FILE
    if not path.is_file():
        raise UserError(
            f"model {source.name} has no reward head ({FILE}); name a train step whose objective is "
            "{kind: reward}, which makes one"
        )
    try:
        tensors = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise FavoniusError(f"{path} is damaged ({brief(error)}); make it again") from error
    head = RewardHead(len(tensors["weight"]))
    head.load_state_dict(tensors)
    return head
