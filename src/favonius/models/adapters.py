"""LoRA through peft: layers are adapted in place, the adapter is written as peft reads it, and merged for what follows.

Legend: O output and I input features of a linear layer, R rank.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from favonius.errors import UserError
from favonius.files import replacing, write_json
from favonius.models.load import load
from favonius.models.lora import ALL_LINEAR, LoRA
from favonius.run import ModelSource

ADAPTER = "default"
"""peft's name for an adapter that has none: part of its parameters' names in a model, not of those in a file."""


def check_machine(lora: LoRA, place: torch.device) -> None:
    """UserError where this machine cannot train `lora` on `place`."""
    _package("peft", "lora")
    if lora.quantize == "nf4":
        if place.type != "cuda":
            raise UserError(
                f"adapter: quantize: nf4 needs a CUDA GPU, and this machine computes on its {place.type}, where "
                "bitsandbytes passes no gradients on; use quantize: none"
            )
        _package("bitsandbytes", "qlora")


def inject(model: PreTrainedModel, lora: LoRA, seed: int) -> None:
    """Put a new adapter into `model`, in its compute dtype; nothing else keeps requires_grad.

    A is drawn from `seed` and B is 0, so that not a bit of the model's output changes: log-probs from before are the
    reference of preference training, whatever the rank. UserError where `model` has no layer that `lora` names.
    """
    peft = _package("peft", "lora")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(_peft_config(peft, model, lora), model, ADAPTER)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(model.dtype)


def linear_names(model: PreTrainedModel) -> list[str]:
    """Layers that can be adapted. Not the head, whose weight alone `trees.head` looks at and which is often tied."""
    head = model.get_output_embeddings()
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]


def _peft_config(peft: Any, model: PreTrainedModel, lora: LoRA) -> Any:
    names = linear_names(model)
    known = sorted({name.rpartition(".")[2] for name in names})
    targets = known if lora.targets == (ALL_LINEAR,) else list(lora.targets)
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in names):
            raise UserError(f"adapter: targets: no linear layer is named {target}; there are {', '.join(known)}")
    return peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, task_type="CAUSAL_LM")


class Update(NamedTuple):
    """What an adapter adds to the weight [O, I] of the linear layer `name`."""

    name: str
    weight_OI: Tensor


def updates(lora: LoRA, weights: Mapping[str, Tensor]) -> Iterator[Update]:
    """alpha/rank · B·A of each layer, fp32 on the CPU; `weights` are the trained parameters by name in the model."""
    for name, a_RI in weights.items():
        layer, is_a, _ = name.partition(f".lora_A.{ADAPTER}.")
        if is_a:
            b_OR = weights[name.replace(f".lora_A.{ADAPTER}.", f".lora_B.{ADAPTER}.")]
            yield Update(layer, lora.alpha / lora.rank * (_stored(b_OR) @ _stored(a_RI)))


class Merged(NamedTuple):
    model: PreTrainedModel
    rounding: float
    """Norm of what rounding did to the adapted weights, in units of the norm of the adapter's update; 0 in fp32."""


@torch.no_grad()  # type: ignore[untyped-decorator]
def merged(source: ModelSource, lora: LoRA, weights: Mapping[str, Tensor], dtype: torch.dtype, seed: int) -> Merged:
    """The model of `source`, from its own files, plus an adapter that was trained on it; in `dtype`, on the CPU.

    Why rounding is random (from `seed`), and why an adapter trained on a 4-bit copy is added to the original:
    docs/decisions/0008.
    """
    base = load(source, "bf16" if dtype == torch.bfloat16 else "fp32", torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    rounding = whole = 0.0
    for name, update_OI in updates(lora, weights):
        weight_OI = base.get_submodule(name).weight
        exact_OI = weight_OI.float() + update_OI
        weight_OI.copy_(round_bf16(exact_OI, generator) if dtype == torch.bfloat16 else exact_OI)
        rounding += float((weight_OI.float() - exact_OI).square().sum(dtype=torch.float64))
        whole += float(update_OI.square().sum(dtype=torch.float64))
    return Merged(base, (rounding / whole) ** 0.5 if whole else 0.0)


def round_bf16(exact: Tensor, generator: torch.Generator) -> Tensor:
    """fp32 to one of its two neighbours in bf16, the nearer one more often: right on average. Values of bf16 stay."""
    # bf16 is the upper half of fp32: what a random lower half carries over into the upper one is the rounding.
    bits = exact.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, generator=generator, dtype=torch.int32)
    return ((bits + noise) & ~0xFFFF).view(torch.float32).bfloat16()


def save_adapter(source: ModelSource, model: PreTrainedModel, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write `folder` as peft's PeftModel.from_pretrained reads it over the weights of `source`; tensors in fp32."""
    config = model.peft_config[ADAPTER].to_dict()
    config |= {"base_model_name_or_path": source.name, "inference_mode": True}
    # peft's own writer lists its sets in an order that differs from process to process, and the digest would too.
    write_json(
        folder / "adapter_config.json",
        {key: sorted(value) if isinstance(value, set) else value for key, value in sorted(config.items())},
    )
    tensors = {f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": _stored(weights[name]) for name in weights}
    with replacing(folder / "adapter_model.safetensors") as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, {"format": "pt"}))


def _stored(half: Tensor) -> Tensor:
    return half.detach().to("cpu", torch.float32).contiguous()


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"adapter: needs the package {name}; pip install 'favonius[{extra}]'") from error
