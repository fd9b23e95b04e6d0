"""More than one process: who is who, what is added up, and a model cut into shards.

Every rank knows every row and every batch; a rank computes its share of the trees. What is added up over ranks are
sums, and what they are divided by is counted from the whole batch, so that the number of ranks changes no result
beyond rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import MethodType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from favonius.errors import UserError
from favonius.models.load import device as default_device
from favonius.models.reward_head import RewardHead
from favonius.trees.pack import Pack
from favonius.trees.reward import rewards
from favonius.trees.score import Logps, score

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)
"""How long a rank waits for another in one collective before it takes it for dead."""


@dataclass(frozen=True)
class World:
    """One process among `size`; `rank` 0 writes the files that there is one of, and talks."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @classmethod
    def alone(cls) -> World:
        return cls(default_device())

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def add_up(self, tensor: Tensor) -> Tensor:
        """`tensor` summed over ranks, in place. Waits for the device only where the tensor is on the CPU."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds on any rank: the same answer on every rank. On the CPU, so no device is waited for."""
        return bool(self.add_up(torch.tensor(int(flag)))) if self.size > 1 else flag

    def gather(self, value: T) -> list[T]:
        """Every rank's `value`, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        self.any(False)


@contextmanager
def joined() -> Iterator[World]:
    """The world that torchrun's variables describe. gloo carries what is on the CPU, nccl what is on GPUs."""
    local, cuda = int(os.environ["LOCAL_RANK"]), torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        place = torch.device("cuda", local) if cuda else torch.device("cpu")
        yield World(place, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def shard(model: PreTrainedModel, world: World) -> None:
    """Cut `model` into the ranks' shards, in place: fp32 masters, gathered in the dtype that the model has.

    Every decoder layer is one group, all the rest another: embedding, final norm and output head are gathered once per
    micro-step. Gradients are summed over ranks in fp32, not averaged. UserError for an architecture without a list of
    decoder layers.
    """
    compute = model.dtype
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in [*decoder_layers(model), model]:  # one at a time, so that only one layer is whole in fp32
        module.float()
        fully_shard(module, mesh=mesh, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)
            module.set_gradient_divide_factor(1.0)
    model.scored_values = MethodType(_scored_values, model)
    model.reward_values = MethodType(_reward_values, model)
    register_fsdp_forward_method(model, "scored_values")
    register_fsdp_forward_method(model, "reward_values")


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """By the names that transformers gives their class; UserError where it gives none."""
    names = set(model._no_split_modules or ())
    # FSDP makes a subclass of a module's class and sets it in its place.
    layers = [module for module in model.modules() if type(module).__name__.removeprefix("FSDP") in names]
    if not layers:
        raise UserError(
            f"transformers does not say which are the decoder layers of {model.config.model_type}, which processes: 2 "
            "and activation_checkpointing: on need to know; leave both out"
        )
    return layers


def _scored_values(model: PreTrainedModel, batch: Pack) -> Tensor:
    """What FSDP takes for the forward: it unshards the root's group around it, and hooks the tensor that it returns."""
    return score(model, batch).values_M


def sharded_score(model: Any, batch: Pack) -> Logps:
    """`trees.score.score` of a model that `shard` has cut up. All ranks must call it together."""
    return Logps(model.scored_values(batch), batch.sequence_M.to(model.device), batch.sequences)


def _reward_values(model: Any, batch: Pack) -> Tensor:
    return rewards(model, model.reward_head, batch)


def sharded_rewards(model: Any, head: RewardHead, batch: Pack) -> Tensor:
    """`trees.reward.rewards` of a model that `shard` has cut up, and the head on it with it."""
    return model.reward_values(batch)  # type: ignore[no-any-return]


def whole(parameter: Tensor) -> Tensor:
    """A parameter with the shards of all ranks, which must ask for it together."""
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
