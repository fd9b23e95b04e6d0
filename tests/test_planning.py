"""What `favonius check` says a recipe takes of a machine: bytes against real tensors, and advice that is right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, PreTrainedModel

from favonius.cli import main
from favonius.corpus.config import Source
from favonius.engines.decoder import Decoder, Job
from favonius.errors import UserError
from favonius.models.adapters import inject
from favonius.models.config import ModelConfig
from favonius.models.lora import LoRA
from favonius.pipeline.estimate import Estimate
from favonius.pipeline.plan import identity_of
from favonius.pipeline.planning import dry, measure, workload
from favonius.pipeline.planning.generation import cell_bytes
from favonius.pipeline.planning.hardware import GIB, Hardware, stated
from favonius.pipeline.planning.outlines import UnknownShapeError, built, config_of, numbers, outline, period, truncated
from favonius.pipeline.planning.training import Memory, optimizer_bytes, sizes_of
from favonius.pipeline.planning.training_stage import Training
from favonius.train.batches import packs
from favonius.train.config import TrainConfig
from favonius.train.objectives import DPO, KTO, SFT, Objective, Reward
from favonius.train.optimizer import MasterWeights, make_optimizer
from favonius.train.rows import Row
from favonius.train.state import state_of
from favonius.types import Sampling
from tests.tiny import FAMILIES, save_tiny, tiny_model

HERE = Hardware("cpu", 16 * GIB)
GPU = Hardware("cuda", 80 * GIB)


def settings(objective: Objective | None = None, **changes: Any) -> TrainConfig:
    plain = {"model": "base", "rows": "rows", "precision": "bf16", "max_length": 64, "pack_tokens": 128}
    return TrainConfig.model_validate({**plain, "objective": objective or SFT(), **changes})


def bytes_of(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def stepped(model: PreTrainedModel, config: TrainConfig) -> tuple[MasterWeights, torch.optim.Optimizer, int]:
    """Masters and optimizer after one step, and the bytes of the gradients before it."""
    weights = MasterWeights(model, config.freeze)
    optimizer = make_optimizer(config, weights.parameters)
    for master in weights.parameters:
        master.grad = torch.ones_like(master)
    gradients = bytes_of([master.grad for master in weights.parameters if master.grad is not None])
    optimizer.step()
    return weights, optimizer, gradients


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "fp32"},
        {"optimizer": "rmsprop"},
        {"freeze": ("embed_tokens",)},
        {"adapter": LoRA(rank=3, targets=("q_proj", "up_proj")), "learning_rate": 1e-4},
    ],
)
def test_every_byte_of_the_training_state_is_that_of_real_tensors(family: str, changes: dict[str, Any]) -> None:
    config = settings(**changes)
    model = tiny_model(family, torch.float32 if config.precision == "fp32" else torch.bfloat16)
    sizes, _ = sizes_of(config, model.config, HERE)
    assert sizes.parameters == sum(parameter.numel() for parameter in model.parameters())
    if config.adapter is not None:
        inject(model, config.adapter, 0)
    weights, optimizer, gradients = stepped(model, config)
    assert sizes.weights == bytes_of(list(model.parameters()))
    assert sizes.trained == weights.count()
    assert sizes.masters == sum(
        bytes_of([master]) for name, master in weights.masters.items() if master is not weights.computes[name]
    )
    moments = [value for entry in optimizer.state.values() for value in entry.values()]
    assert sizes.optimizer == bytes_of(moments)
    assert sizes.gradients == gradients
    assert sizes.state == bytes_of(list(state_of(weights, optimizer).values()))


def test_eight_bit_moments_take_a_quarter() -> None:
    assert optimizer_bytes(settings(optimizer="adamw8bit"), 1000, 3) == 2000
    assert optimizer_bytes(settings(), 1000, 3) == 8012


def test_four_bits_are_counted_for_linear_layers_alone() -> None:
    shape = tiny_model("llama").config
    plain, model = sizes_of(settings(adapter=LoRA(), learning_rate=1e-4), shape, GPU)
    small, _ = sizes_of(settings(adapter=LoRA(quantize="nf4"), learning_rate=1e-4), shape, GPU)
    linear = sum(
        parameter.numel() for name, parameter in model.named_parameters() if "proj" in name and "lora" not in name
    )
    assert plain.weights - small.weights == pytest.approx(linear * (2 - 0.516), abs=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_is_counted_by_its_config_alone(tmp_path: Path, family: str) -> None:
    save_tiny(tmp_path, family)
    (tmp_path / "model.safetensors").unlink()
    config = config_of("base", ModelConfig(source=str(tmp_path)), tmp_path)
    model = outline(config, torch.bfloat16)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert numbers(model) == sum(parameter.numel() for parameter in tiny_model(family).parameters())


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nobody/nothing-of-this-name", "nobody/nothing-of-this-name is not on this machine and nothing is fetched"),
        (f"pypi://none==1.0/none.gguf#sha256={'0' * 64}", "none.gguf is not on this machine"),
        ("api://far", "behind an API"),
    ],
)
def test_what_is_not_here_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, sentence: str
) -> None:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path))
    with pytest.raises(UnknownShapeError, match=sentence):
        config_of("base", ModelConfig(source=source), tmp_path)


def test_layers_are_cut_by_the_period_of_their_kinds() -> None:
    kinds = ["sliding_attention", "full_attention"]
    shape = tiny_model("gemma3", num_hidden_layers=4, layer_types=kinds * 2).config
    assert period(shape) == 2 and period(tiny_model("llama").config) == 1
    short = truncated(shape, 3)
    assert short.layer_types == [*kinds, "sliding_attention"] and shape.num_hidden_layers == 4
    assert len(built(short, torch.float32, torch.device("cpu")).model.layers) == 3


def test_what_is_measured_is_carried_on_to_all_layers() -> None:
    assert measure.on_line([1, 3], [5.0, 9.0], 18) == pytest.approx(39.0)
    assert measure.on_line([1], [5.0], 1) == 5.0
    assert measure.on_line([1, 3], [5.0, 4.0], 18) == 4.0  # noise must not make deep models cheap


def dialogue(config: TrainConfig, length: int, split: str = "train") -> Row:
    row = workload.made_up(config, 1, [length])
    return Row(row.id, "test" if split == "test" else "train", row.tree, row.desirable)


def test_rows_that_are_there_are_counted() -> None:
    config = settings(epochs=2, batch_size=4, evaluate_every=2)
    rows = [dialogue(config, 10 + number) for number in range(9)] + [dialogue(config, 20, "test")]
    work = workload.of_rows(rows, config)
    assert work.steps == 6 and work.known == "counted"
    assert work.tokens(2) == 2 * sum(row.tree.run_tokens for row in rows[:9])
    assert workload.held_out_passes(work, config) == 4  # before the first step, after 2, 4 and 6
    assert workload.held_out_passes(work, settings(epochs=2, evaluate_every="epoch")) == 3
    assert workload.held_out_passes(work, settings(epochs=2)) == 2
    assert len(workload.fullest_pack(work, config)) == 4  # no more than a batch has


@given(st.lists(st.integers(4, 60), min_size=1, max_size=40), st.integers(1, 9), st.integers(64, 200))
def test_packs_are_those_that_training_makes(lengths: list[int], batch_size: int, pack_tokens: int) -> None:
    config = settings(batch_size=batch_size, pack_tokens=pack_tokens)
    rows = [dialogue(config, length) for length in lengths]
    work = workload.of_rows(rows, config)
    made = [
        len(packs([row.tree for row in workload.batch(rows, step, batch_size, 0)], lambda tree: 1.0, pack_tokens, 0, 1))
        for step in range(1, work.steps + 1)
    ]
    assert workload.packs_per_step(work, config) == pytest.approx(sum(made) / len(made))
    fullest = sum(row.tree.run_tokens for row in workload.fullest_pack(work, config))
    assert max(row.tree.run_tokens for row in rows) <= fullest <= max(pack_tokens, 60)


@pytest.mark.parametrize(("objective", "branches"), [(SFT(), 1), (DPO(), 2), (Reward(per_prompt=3), 3)])
def test_rows_that_are_not_there_are_as_long_as_may_be(objective: Objective, branches: int) -> None:
    config = settings(objective, epochs=3, batch_size=8)
    work = workload.at_most(Estimate(train=20, answers=4, prompt_tokens=30), config)
    tree = work.train[0].row.tree
    assert work.steps == 9 and len(tree.sequences) == branches
    assert work.tokens(3) == 60 * tree.run_tokens <= 60 * branches * 64


def training(hardware: Hardware = GPU, objective: Objective | None = None, **changes: Any) -> Training:
    config = settings(objective, **{"max_length": 512, "pack_tokens": 4096, **changes})
    shape = tiny_model("llama", num_hidden_layers=4).config
    return Training.of(config, shape, hardware, workload.at_most(Estimate(train=100, prompt_tokens=9), config))


def test_a_step_that_fits_gets_no_advice() -> None:
    fitting = training()
    assert fitting.advice(fitting.memory()) == []


@pytest.mark.parametrize("share", [0.3, 0.9, 1 - 1e-9])
def test_advice_is_marked_where_it_suffices(share: float) -> None:
    needed = training().memory()
    small = Hardware("cuda", int(share * needed.peak))
    tight = training(small, activation_checkpointing="off")
    advised = tight.advice(tight.memory())
    assert advised and all(one.fits == (one.peak <= small.memory) for one in advised)
    smaller = next(one for one in advised if one.change == "pack_tokens: 511")
    assert smaller.peak == training(small, activation_checkpointing="off", pack_tokens=511).memory().peak
    assert smaller.peak < needed.peak
    assert smaller.fits == (share > 0.99)


def test_advice_names_what_the_recipe_can_say() -> None:
    tight = training(Hardware("cuda", 1000), activation_checkpointing="off")
    changes = [one.change for one in tight.advice(tight.memory())]
    assert changes[:6] == [
        "pack_tokens: 511",
        "activation_checkpointing: on",
        "optimizer: rmsprop",
        "optimizer: adamw8bit",
        "adapter: {rank: 16}",
        "adapter: {rank: 16, quantize: nf4}",
    ]
    assert "processes: 8" in changes
    on_cpu = training(Hardware("cpu", 1000), activation_checkpointing="off")
    assert not any("8bit" in one.change or "processes" in one.change for one in on_cpu.advice(on_cpu.memory()))


def test_checkpointing_is_taken_for_granted_where_the_step_itself_would_turn_it_on() -> None:
    free = training()
    plain = free.memory()
    tight = training(Hardware("cuda", plain.peak - 1)).memory()
    assert not plain.checkpointed and tight.checkpointed and tight.peak < plain.peak


def test_processes_share_what_is_trained() -> None:
    one, four = training(), training(processes=4)
    assert four.memory().parts["optimizer"] == one.sizes.optimizer // 4
    assert Memory({"a": 5}, loading=7, processes=2).peak == 14


def test_caches_are_as_large_as_the_engine_makes_them() -> None:
    import random

    model = tiny_model("qwen3")
    decoder = Decoder(model, frozenset(), slots=3, length=40)
    decoder.admit(Job([1, 2, 3], Sampling(max_tokens=4), random.Random(0)))
    made = bytes_of([tensor for pair in decoder.cache.layers.values() for tensor in pair])
    assert made == 3 * 40 * cell_bytes(model.config, 4)


@pytest.mark.parametrize(
    ("objective", "changes"),
    [
        (SFT(), {}),
        (DPO(), {"freeze": ("embed_tokens",)}),
        (DPO(tail_weight=0.5), {}),
        (KTO(), {}),
        (Reward(), {"optimizer": "rmsprop"}),
        (SFT(), {"adapter": LoRA(), "learning_rate": 1e-4, "activation_checkpointing": "on"}),
    ],
)
def test_a_dry_step_is_a_step_of_training(objective: Objective, changes: dict[str, Any]) -> None:
    config = settings(objective, precision="fp32", **changes)
    count = 1 if isinstance(objective, SFT) else 2
    rows = [workload.made_up(config, 5 + number, [20, 24][:count]) for number in range(2)]
    job = measure.job_of(config, tiny_model("gemma3").config, rows, compiles=False, more=True)
    found = dry.measure(dry.Job.model_validate_json(job.model_dump_json()))
    assert min(found.one_pack, found.two_packs, found.forward) > 0
    assert found.compiling == 0 and found.peak > 0


RECIPE = """\
name: planned
models:
  here: MODEL
  far: nobody/nothing-of-this-name
steps:
  mine: {stage: data, sources: {own: {path: rows.jsonl}}, test_share: 0}
  large: {stage: data, sources: {hub: {hub: "hf://someone/rows", shape: messages, rows: 1000}}, test_share: 0}
  small: {stage: train, model: here, rows: mine, objective: {kind: sft}, batch_size: 4, max_length: 64}
  more: {stage: train, model: small, rows: large, objective: {kind: sft}, batch_size: 8, max_length: 64}
  other: {stage: train, model: far, rows: mine, objective: {kind: sft}, batch_size: 4}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    save_tiny(tmp_path / "model")
    row = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "The fox answers."}]}
    rows = [{**row, "id": str(number)} for number in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("MODEL", str(tmp_path / "model")), "utf-8")
    return path


def plan_of(recipe: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["check", str(recipe), "--json", "--out", str(recipe.parent / "run"), *arguments]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def test_check_alone_measures_nothing(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = plan_of(recipe, capsys)
    assert "plan" not in printed
    assert printed["at_most"]["more"]["optimizer_steps"] == 125  # of the rows that the recipe states
    assert printed["at_most"]["small"]["optimizer_steps"] == 3


def test_another_machine_is_reckoned_for(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(recipe, capsys, "--hardware", "cuda:80")["plan"]
    steps = {step["name"]: step for step in plan["steps"]}
    assert plan["hardware"] == {"kind": "cuda", "bytes": 80 * GIB, "here": False} and plan["seconds"] is None
    weights = 2 * sum(parameter.numel() for parameter in tiny_model("llama").parameters())
    assert steps["small"]["disk_kept_bytes"] == weights == steps["small"]["memory"]["weights"]
    assert steps["small"]["disk_working_bytes"] >= 2 * 6 * weights
    assert steps["small"]["peak_memory_bytes"] == sum(steps["small"]["memory"].values())
    assert steps["other"]["peak_memory_bytes"] is None and "is not on this machine" in steps["other"]["unknown"]
    assert steps["mine"]["peak_memory_bytes"] is None and steps["mine"]["unknown"] is None


def test_the_table_says_what_does_not_fit(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(recipe), "--hardware", "cpu:0.5", "--out", str(recipe.parent / "run")]) == 0
    out = capsys.readouterr().out
    assert "small does not fit: it takes" in out and "not enough" in out
    assert out.count("is not on this machine") == 1


def test_this_machine_is_measured(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[dry.Job] = []

    def apart(module: str, job: dry.Job) -> str:
        tried.append(job)
        assert module == "dry"
        return dry.measure(job).model_dump_json()

    monkeypatch.setattr(measure, "_apart", apart)
    plan = plan_of(recipe, capsys, "--measure", "--set", "steps.more.rows=mine")["plan"]
    steps = {step["name"]: step for step in plan["steps"]}
    assert [job.shape["num_hidden_layers"] for job in tried] == [1, 2] * 2
    assert steps["small"]["seconds"] > 0 and steps["small"]["peak_memory_bytes"] > 0
    assert steps["other"]["seconds"] is None
    assert plan["seconds"] == pytest.approx(steps["small"]["seconds"] + steps["more"]["seconds"])


def test_a_machine_is_written_one_way() -> None:
    assert stated("cuda:80") == Hardware("cuda", 80 * GIB)
    assert stated("cpu:0.5").memory == GIB // 2
    for text in ("80", "tpu:8", "cuda:", "cuda:-1", "cpu:nan", "cpu:much"):
        with pytest.raises(UserError, match="--hardware"):
            stated(text)


def test_stated_rows_are_for_hub_datasets_and_change_no_identity() -> None:
    assert identity_of(Source(hub="hf://a/b", rows=7)) == identity_of(Source(hub="hf://a/b"))
    with pytest.raises(ValueError, match="those of files and steps are counted"):
        Source.model_validate({"path": "rows.jsonl", "rows": 7})


def test_shapes_survive_the_way_to_the_dry_step() -> None:
    shape = tiny_model("gemma3").config
    again = AutoConfig.for_model(**json.loads(json.dumps(shape.to_dict(), default=str)))
    assert numbers(outline(again, torch.float32)) == numbers(outline(shape, torch.float32))
