"""LoRA: the reference is the model without it, what is written is the model with it, and no update is lost between."""

from __future__ import annotations

import json
import math
import random
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, PreTrainedModel

from favonius.data.checks import Drops
from favonius.errors import UserError
from favonius.models.adapters import ADAPTER, check_machine, inject, merged, round_bf16, updates
from favonius.models.load import load
from favonius.models.lora import LoRA
from favonius.progress import Progress
from favonius.run import Context, Inputs, ModelSource
from favonius.train import stage
from favonius.train.distributed import World
from favonius.train.loop import Launched, Trainer
from favonius.train.objectives import DPO, SFT
from favonius.train.optimizer import MasterWeights
from favonius.train.rows import Encoder, pair_rows
from favonius.trees.pack import pack
from favonius.trees.score import score
from favonius.trees.tree import Tree
from favonius.types import Dialogue, Pair
from tests.ranks import run_ranks
from tests.reference import error, grow, packed_logps, plain_logps, talk, twins
from tests.test_distributed import train as train_as_rank
from tests.test_train import FORM, config, dialogues, lines, pairs, write_rows
from tests.tiny import FAMILIES, save_tiny, tiny_model

CPU = torch.device("cpu")
SMALL = LoRA(rank=4, alpha=8)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    save_tiny(tmp_path / "base")
    return tmp_path


def source(folder: Path) -> ModelSource:
    return ModelSource(folder.parent.name, folder, f"digest of {folder}")


def train(world: Path, out: str, rows: list[Dialogue] | list[Pair], model: str = "base", **changes: Any) -> Path:
    """Run the stage on world/`model` with an adapter; returns the step's folder."""
    settings = config(**{"adapter": SMALL, "learning_rate": 3e-3, **changes})
    folder = world / out
    folder.mkdir(exist_ok=True)
    inputs = Inputs({"rows": write_rows(world / "rows", rows)}, {"base": source(world / model)}, {})
    stage.run(settings, inputs, folder, Context(world, Progress()))
    return folder


def stats(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "stats.json").read_text()))


def forest() -> list[Tree]:
    rng = random.Random(1)
    return [grow(rng, 11, [14, 9]), talk(rng, 5, 20), grow(rng, 7, [6, 1, 3, 5], shared=3)]


def shaken(model: PreTrainedModel) -> dict[str, Tensor]:
    """The adapter's parameters by name, with random values also in B, which begins as 0."""
    generator = torch.Generator().manual_seed(3)
    halves = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, half in halves.items():
        if ".lora_B." in name:
            half.data = 0.1 * torch.randn(half.shape, generator=generator).to(half.dtype)
    return {name: half.detach() for name, half in halves.items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_adapter_changes_no_bit_and_is_all_that_trains(family: str, dtype: torch.dtype) -> None:
    model, batch = tiny_model(family, dtype), pack(forest())
    before = score(model, batch).values_M
    own = {id(parameter) for parameter in model.parameters()}
    inject(model, SMALL, seed=0)
    assert torch.equal(score(model, batch).values_M, before)
    trained = MasterWeights(model, []).computes
    assert not own & {id(parameter) for parameter in trained.values()}
    assert len(trained) == 2 * 7 * 2 and all(".lora_" in name for name in trained)
    assert all(parameter.dtype == dtype for parameter in trained.values())


def test_an_adapter_is_drawn_from_its_seed_alone() -> None:
    def drawn(seed: int) -> Tensor:
        torch.rand(seed + 1)
        model = tiny_model("llama")
        state = torch.get_rng_state()
        inject(model, SMALL, seed)
        assert torch.equal(torch.get_rng_state(), state)
        return model.get_parameter(f"model.layers.0.mlp.up_proj.lora_A.{ADAPTER}.weight").detach()

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_and_gradients_of_an_adapter_are_those_of_plain_peft(family: str) -> None:
    model, reference = twins(family, torch.float32)
    for each in (model, reference):
        inject(each, SMALL, seed=0)
        shaken(each)
    trees = forest()
    ours = score(model, pack(trees)).values_M
    theirs = torch.cat([plain_logps(reference, sequence) for tree in trees for sequence in tree.sequences])
    assert error(ours, theirs) <= 1e-5
    weights = torch.linspace(-1, 2, len(ours))
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for (name, mine), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert (mine.grad is not None) == (".lora_" in name)
        if mine.grad is not None and other.grad is not None:
            assert error(mine.grad, other.grad) <= 1e-4, name


class Products(TorchDispatchMode):
    """Shapes of every matrix product that is computed inside."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.shapes.add(tuple(out.shape))
        return out


@pytest.mark.parametrize("adapter", [True, False])
def test_no_gradient_of_a_frozen_matrix_is_made(adapter: bool) -> None:
    model = tiny_model("llama")
    shapes = {tuple(parameter.shape) for parameter in model.parameters() if parameter.ndim == 2}
    if adapter:
        inject(model, SMALL, seed=0)
        shaken(model)
    values = score(model, pack(forest())).values_M
    with Products() as products:
        values.sum().backward()
    assert bool(products.shapes & shapes) is not adapter, products.shapes & shapes


def test_dpo_starts_at_ln_2_from_the_reference_of_full_training(world: Path) -> None:
    rows, settings = pairs(12), {"objective": DPO(beta=0.1)}
    full = train(world, "full", rows, adapter=None, **settings)
    low = train(world, "low", rows, **settings)
    high = train(world, "high", rows, adapter=LoRA(rank=16, targets=("q_proj", "mlp.up_proj")), **settings)
    assert [stats(step)["reference_forwards"] for step in (full, low, high)] == [12, 0, 0]
    assert stats(high)["trained_parameters"] < stats(full)["trained_parameters"] == stats(full)["parameters"]
    for out in ("low", "high"):
        for split in ("train", "test"):
            assert lines(world, out, split)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert lines(world, out)[-1]["loss"] < 0.69


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_sft_and_then_dpo_by_adapters_beats_its_own_sft_on_held_out_pairs(world: Path, precision: str) -> None:
    sft = train(world, "dsft", dialogues(16), precision=precision, objective=SFT(), epochs=3)
    assert lines(world, "dsft", "test")[-1]["loss"] < lines(world, "dsft", "test")[0]["loss"] - 0.5
    dpo = train(world, "ddpo", pairs(24), model="dsft/model", precision=precision, objective=DPO(beta=0.1), epochs=4)
    start, end = lines(world, "ddpo", "test")
    assert start["loss"] == pytest.approx(math.log(2), abs=1e-6 if precision == "fp32" else 2e-3)
    assert end["accuracy"] >= 0.9 and end["margin"] > start["margin"] + 0.5

    # What later steps load is the merged model: measured anew, it prefers as the adapter did.
    held_out = [row.tree for row in pair_rows(Encoder(FORM, 200), pairs(24), Drops()) if row.split == "test"]
    before, after = (sums(load(source(step / "model"), precision, CPU), held_out) for step in (sft, dpo))
    margins = 0.1 * ((after - before)[:, 0] - (after - before)[:, 1])
    assert (margins > 0).float().mean() >= 0.9
    assert float(margins.mean()) == pytest.approx(end["margin"], rel=0.001 if precision == "fp32" else 0.2)


@torch.no_grad()
def sums(model: PreTrainedModel, trees: list[Tree]) -> Tensor:
    """log p of each answer of each tree."""
    return torch.tensor([[float(logps.sum()) for logps in tree] for tree in packed_logps(model, trees)])


class KilledError(Exception):
    pass


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stopped_training_ends_with_the_same_bits(
    world: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    settings = {"objective": DPO(beta=0.3), "precision": precision, "checkpoint_every": 1}
    whole = train(world, "whole", pairs(12), **settings)
    step = Trainer.step

    def dies(trainer: Trainer, number: int) -> Launched:
        if number > 4:
            raise KilledError
        return step(trainer, number)

    monkeypatch.setattr(Trainer, "step", dies)
    with pytest.raises(KilledError):
        train(world, "again", pairs(12), **settings)
    for thread in threading.enumerate():  # a kill would take the writer of the last checkpoint with it
        if thread.name == "checkpoint":
            thread.join()
    [checkpoint] = (world / "again" / "work").glob("*.safetensors")
    assert all(".lora_" in name or name.startswith("optimizer.") for name in load_file(checkpoint))
    monkeypatch.setattr(Trainer, "step", step)
    again = train(world, "again", pairs(12), activation_checkpointing="on", **settings)
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "model/model.safetensors"):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_what_is_written_is_source_plus_update_and_peft_reads_it(world: Path, family: str) -> None:
    save_tiny(world / "base", family)
    step = train(world, "step", dialogues(8), adapter=LoRA(rank=4, alpha=12.0, targets=("v_proj", "down_proj")))
    base, out = (load_file(world / folder / "model.safetensors") for folder in ("base", "step/model"))
    halves = load_file(step / "adapter" / "adapter_model.safetensors")
    assert sorted(out) == sorted(base) and len(halves) == 2 * 2 * 2
    for name, tensor in base.items():
        prefix = f"base_model.model.{name.removesuffix('.weight')}"
        a, b = (halves.get(f"{prefix}.lora_{half}.weight") for half in "AB")
        assert (a is not None) == name.endswith(("v_proj.weight", "down_proj.weight"))
        expected = tensor if a is None or b is None else tensor + 12.0 / 4 * b @ a
        torch.testing.assert_close(out[name], expected, rtol=1e-6, atol=1e-7)
        assert a is None or not torch.equal(out[name], tensor)
    ids = torch.arange(3, 20)[None]
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world / "base"), step / "adapter")
    expected_logits = AutoModelForCausalLM.from_pretrained(step / "model")(ids).logits
    torch.testing.assert_close(adapted(ids).logits, expected_logits, rtol=1e-4, atol=1e-5)
    written = json.loads((step / "adapter" / "adapter_config.json").read_text())
    assert written["target_modules"] == ["down_proj", "v_proj"]
    assert stats(step)["merge_rounding"] == pytest.approx(0, abs=1e-4)


@given(value=st.floats(-(2.0**100), 2.0**100, width=32), seed=st.integers(0, 100))
def test_rounding_takes_a_neighbour(value: float, seed: int) -> None:
    exact = torch.full((64,), value)
    found = set(round_bf16(exact, torch.Generator().manual_seed(seed)).float().tolist())
    nearest = float(exact[0].bfloat16())
    if nearest == value:
        assert found == {nearest}
    else:
        low, high = sorted((nearest, float(_other_neighbour(value))))
        assert found <= {low, high} and low < value < high


def _other_neighbour(value: float) -> Tensor:
    """Of the two bf16 numbers around `value`, the farther one."""
    nearest = torch.tensor(value).bfloat16()
    away = math.inf if float(nearest) < value else -math.inf
    return torch.nextafter(nearest, torch.tensor(away, dtype=torch.bfloat16))


@torch.no_grad()
def test_an_update_far_below_bf16_resolution_is_not_lost(world: Path) -> None:
    """To nearest, every weight would come out as it went in, and the training with it."""
    tiny_model("llama", torch.bfloat16).save_pretrained(world / "base")
    model = load(source(world / "base"), "bf16", CPU)
    lora = LoRA(rank=4, alpha=1e-2)
    inject(model, lora, seed=0)
    weights = shaken(model)
    out, rounding = merged(source(world / "base"), lora, weights, torch.bfloat16, seed=0)
    original = load(source(world / "base"), "bf16", CPU)
    held = whole = 0.0
    for name, update in updates(lora, weights):
        before = original.get_submodule(name).weight.float()
        assert ((before + update).bfloat16() == before).float().mean() > 0.9
        held += float(((out.get_submodule(name).weight.float() - before) * update).sum())
        whole += float((update * update).sum())
    assert held / whole == pytest.approx(1, abs=0.2)
    assert rounding > 1
    again = merged(source(world / "base"), lora, weights, torch.bfloat16, seed=0).model
    assert all(torch.equal(a, b) for a, b in zip(out.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("target", ["qproj", "lm_head", "j_proj", "embed_tokens"])
def test_a_layer_that_is_not_there_is_a_sentence(target: str) -> None:
    with pytest.raises(UserError, match=f"no linear layer is named {target}; there are down_proj, gate_proj, k_proj"):
        inject(tiny_model("llama"), LoRA(targets=("q_proj", target)), seed=0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"freeze": ("embed",)}, "leave out freeze"),
        ({"adapter": {"quantize": "nf4"}, "processes": 2}, "one process only"),
        ({"adapter": {"dropout": 0.05}}, "leave dropout out"),
        ({"adapter": {"targets": ()}}, "at least 1 item"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        config(**{"adapter": {}, **changes})


def test_one_target_needs_no_list() -> None:
    assert LoRA.model_validate({"targets": "q_proj"}).targets == ("q_proj",)
    assert LoRA.model_validate_json('{"targets": ["q_proj"]}', strict=True).targets == ("q_proj",)
    assert LoRA.model_validate_json('{"targets": "all-linear"}', strict=True) == LoRA()


def test_an_adapter_needs_a_learning_rate_of_its_own() -> None:
    settings = config(adapter=SMALL)
    with pytest.raises(ValidationError, match="an adapter needs its own learning_rate"):
        type(settings).model_validate(settings.model_dump(exclude={"learning_rate"}))
    assert type(settings).model_validate(settings.model_dump()) == settings


def test_where_it_cannot_run_is_said_before_any_work(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="nf4 needs a CUDA GPU, and this machine computes on its cpu"):
        check_machine(LoRA(quantize="nf4"), CPU)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"needs the package bitsandbytes; pip install 'favonius\[qlora\]'"):
        check_machine(LoRA(quantize="nf4"), torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr(stage, "load", lambda *_, **__: pytest.fail("loaded a model first"))
    with pytest.raises(UserError, match=r"needs the package peft; pip install 'favonius\[lora\]'"):
        train(world, "none", pairs(8), objective=DPO())


def test_two_processes_train_the_same_adapter(world: Path) -> None:
    write_rows(world / "pairs", pairs(12))
    settings = config(objective=DPO(), adapter=SMALL, learning_rate=1e-4, pack_tokens=64)
    run_ranks(train_as_rank, world, "two", settings)
    train_as_rank(World(CPU), world, "one", settings)
    one, two = (load_file(world / out / "adapter" / "adapter_model.safetensors") for out in ("one", "two"))
    assert all(error(two[name], tensor) < 1e-3 for name, tensor in one.items())
    assert (world / "two" / "model" / "model.safetensors").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="4-bit training needs a CUDA GPU")
def test_qlora_starts_at_ln_2_and_merges_into_the_original(world: Path) -> None:
    pytest.importorskip("bitsandbytes")
    shape = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    tiny_model("llama", torch.bfloat16, **shape).save_pretrained(world / "base")
    settings = {"objective": DPO(beta=0.1), "precision": "bf16"}
    train(world, "lora", pairs(12), **settings)
    step = train(world, "qlora", pairs(12), adapter=LoRA(rank=4, quantize="nf4"), **settings)
    assert stats(step)["reference_forwards"] == 12  # another precision is another reference
    assert lines(world, "qlora")[0]["loss"] == pytest.approx(math.log(2), abs=2e-3)
    assert lines(world, "qlora")[-1]["loss"] < 0.69
    base, out = (load_file(world / folder / "model.safetensors") for folder in ("base", "qlora/model"))
    assert all(error(out[name], tensor) < 0.05 for name, tensor in base.items())
