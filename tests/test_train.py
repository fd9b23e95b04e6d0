"""The training loop: batches against one big one, resume to the bit, what is said when it cannot go on."""

from __future__ import annotations

import gc
import json
import math
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.chat.format import ChatFormat
from favonius.data.checks import Drops
from favonius.errors import FavoniusError, UserError
from favonius.progress import Progress
from favonius.run import Context, Inputs, ModelSource
from favonius.train import stage
from favonius.train.config import TrainConfig
from favonius.train.loop import Launched, Trainer
from favonius.train.objectives import DPO, SFT
from favonius.train.optimizer import MasterWeights, learning_rate
from favonius.train.rows import Encoder, Row, dialogue_rows
from favonius.types import Dialogue, Message, Pair
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer

FORM = ChatFormat(tiny_tokenizer())


def dialogues(count: int) -> list[Dialogue]:
    return [
        Dialogue(
            id=f"d{n}",
            split="test" if n % 4 == 3 else "train",
            messages=(
                Message(role="user", content=f"a question about {n}?"),
                Message(role="assistant", content="the weather " * (n % 5 + 1) + str(n)),
            ),
        )
        for n in range(count)
    ]


def pairs(count: int) -> list[Pair]:
    return [
        Pair(
            id=f"p{n}",
            split="test" if n % 4 == 3 else "train",
            prompt=(Message(role="user", content=f"a question about {n}?"),),
            chosen="the fox " * (n % 3 + 1),
            rejected=f"another {n}",
            rejected_finished=n % 2 == 0,
        )
        for n in range(count)
    ]


def config(**changes: object) -> TrainConfig:
    settings = {
        "model": "base", "rows": "rows", "objective": SFT(), "epochs": 2, "batch_size": 4, "learning_rate": 1e-3,
        "pack_tokens": 200, "checkpoint_every": 1, "precision": "fp32", "max_length": 200, **changes,
    }  # fmt: skip
    return TrainConfig(**settings)  # type: ignore[arg-type]


def write_rows(folder: Path, rows: list[Dialogue] | list[Pair]) -> Path:
    folder.mkdir(exist_ok=True)
    name = "dialogues.jsonl" if isinstance(rows[0], Dialogue) else "pairs.jsonl"
    (folder / name).write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return folder


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    save_tiny(tmp_path / "base")
    return tmp_path


def train(world: Path, out: str, settings: TrainConfig, rows: list[Dialogue] | list[Pair]) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    source = ModelSource("base", world / "base", "digest of base")
    inputs = Inputs({"rows": write_rows(world / "rows", rows)}, {"base": source}, {})
    (world / out).mkdir(exist_ok=True)
    stage.run(settings, inputs, world / out, Context(world, Progress()))
    return load_file(world / out / "model" / "model.safetensors")


def lines(world: Path, out: str, split: str = "train") -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (world / out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == split]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("bf16", 2e-3)])
def test_dpo_starts_at_ln_2_and_learns(world: Path, precision: str, tolerance: float) -> None:
    settings = config(objective=DPO(beta=0.1), precision=precision, epochs=10, learning_rate=3e-3, pack_tokens=150)
    train(world, "ddpo", settings, pairs(16))
    first, *_, last = lines(world, "ddpo")
    assert first["loss"] == pytest.approx(math.log(2), abs=tolerance)
    assert lines(world, "ddpo", "test")[0]["loss"] == pytest.approx(math.log(2), abs=tolerance)
    assert first["accuracy"] == pytest.approx(0.5, abs=0.5 if precision == "bf16" else 1e-6)
    assert last["loss"] < 0.5 and last["accuracy"] == 1.0
    assert last["chosen_rewards"] > last["rejected_rewards"]


def test_sft_loss_is_the_mean_per_scored_token_of_plain_transformers(world: Path) -> None:
    rows = dialogues(4)
    train(world, "dsft", config(epochs=1, batch_size=3), rows)
    model = tiny_model("llama", attention="sdpa")
    total, count = 0.0, 0
    for row in (row for row in rows if row.split == "train"):
        encoded = FORM.encode(row.messages)
        logps = torch.log_softmax(model(input_ids=torch.tensor([encoded.ids])).logits[0, :-1], -1)
        picked = logps.gather(1, torch.tensor(encoded.ids[1:])[:, None])[:, 0][torch.tensor(encoded.scored[1:])]
        total, count = total - float(picked.detach().sum()), count + len(picked)
    assert lines(world, "dsft")[0]["loss"] == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("objective", [SFT(), DPO(beta=0.3)])
def test_packing_changes_nothing(world: Path, objective: SFT | DPO) -> None:
    rows = dialogues(12) if isinstance(objective, SFT) else pairs(12)
    wide = train(world, "wide", config(objective=objective, pack_tokens=100_000), rows)
    narrow = train(world, "narrow", config(objective=objective, pack_tokens=64), rows)
    for name, tensor in wide.items():
        torch.testing.assert_close(narrow[name], tensor, rtol=1e-3, atol=2e-5)
    assert [a["loss"] for a in lines(world, "wide")] == pytest.approx(
        [a["loss"] for a in lines(world, "narrow")], rel=1e-4
    )


class KilledError(Exception):
    pass


@pytest.mark.parametrize("objective", [SFT(), DPO(beta=0.3)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    world: Path, monkeypatch: pytest.MonkeyPatch, objective: SFT | DPO, precision: str, stop: int
) -> None:
    rows = dialogues(12) if isinstance(objective, SFT) else pairs(12)
    settings = config(objective=objective, precision=precision, evaluate_every=2)
    whole = train(world, "whole", settings, rows)
    step = Trainer.step
    ran: list[int] = []

    def dies(trainer: Trainer, number: int) -> Launched:
        if number > stop:
            raise KilledError
        return step(trainer, number)

    def counts(trainer: Trainer, number: int) -> Launched:
        ran.append(number)
        return step(trainer, number)

    monkeypatch.setattr(Trainer, "step", dies)
    with pytest.raises(KilledError):
        train(world, "again", settings, rows)
    monkeypatch.setattr(Trainer, "step", counts)
    again = train(world, "again", settings, rows)
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    assert ran[0] in (stop, stop + 1) and ran[-1] == 6
    for split in ("train", "test"):
        assert [(a["step"], a["loss"]) for a in lines(world, "again", split)] == [
            (a["step"], a["loss"]) for a in lines(world, "whole", split)
        ]


def test_reference_is_computed_once_for_any_rate_beta_or_folder(world: Path) -> None:
    def computed(out: str) -> int:
        return int(json.loads((world / out / "stats.json").read_text())["reference_forwards"])

    rows = pairs(8)
    train(world, "a", config(objective=DPO(beta=0.1)), rows)
    train(world, "b", config(objective=DPO(beta=0.5), learning_rate=1e-4, batch_size=2), rows)
    changed = [rows[0].model_copy(update={"chosen": "the quick fox"}), *rows[1:]]
    train(world, "c", config(objective=DPO(beta=0.5)), changed)
    assert (computed("a"), computed("b"), computed("c")) == (8, 0, 1)


def test_frozen_weights_stay_and_a_wrong_pattern_is_named(world: Path) -> None:
    weights = train(world, "frozen", config(freeze=("embed_tokens",)), dialogues(8))
    before = dict(tiny_model("llama").named_parameters())
    assert torch.equal(weights["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert not torch.equal(weights["lm_head.weight"], before["lm_head.weight"])
    with pytest.raises(UserError, match="freeze: no parameter's name contains 'embedding'"):
        MasterWeights(tiny_model("llama"), ["embedding"])


def test_small_rates_are_not_lost_in_bf16(world: Path) -> None:
    """An update below bf16's resolution adds up in the fp32 masters (performance.md §2)."""
    model = tiny_model("llama", torch.bfloat16)
    weights = MasterWeights(model, [])
    name = "model.layers.0.mlp.up_proj.weight"
    before = model.get_parameter(name).detach().clone()
    for _ in range(200):
        with torch.no_grad():
            weights.masters[name] += 1e-4
        weights.publish()
    assert float((model.get_parameter(name).detach() - before).float().mean()) == pytest.approx(0.02, rel=0.05)


def test_weights_that_nobody_holds_are_freed() -> None:
    """A run trains many models in one process."""
    model = tiny_model("llama", torch.bfloat16, attention="eager")
    weights = MasterWeights(model, [])
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    masters = [weakref.ref(master) for master in weights.parameters]
    assert all(master() is not None and master().grad is not None for master in masters)  # type: ignore[union-attr]
    del model, weights
    gc.collect()
    assert not any(master() is not None for master in masters)


def test_a_loss_that_is_not_a_number_stops_with_a_sentence(world: Path) -> None:
    with pytest.raises(FavoniusError, match="not a number at optimizer step"):
        train(world, "wild", config(learning_rate=1e30, max_grad_norm=1e30), dialogues(12))


def test_no_row_left_and_rows_of_the_wrong_kind_are_sentences(world: Path) -> None:
    with pytest.raises(UserError, match=r"no training row is left \(8 prompt longer than max_length \(8 tokens\)\)"):
        train(world, "none", config(max_length=8), dialogues(8))
    (world / "rows" / "pairs.jsonl").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"step rows makes no pairs\.jsonl, which objective dpo learns from"):
        train(world, "kind", config(objective=DPO()), dialogues(8))


@settings(deadline=None)
@given(steps=st.integers(1, 500), share=st.floats(0, 0.5), schedule=st.sampled_from(["linear", "cosine", "constant"]))
def test_learning_rate_equals_transformers(steps: int, share: float, schedule: str) -> None:
    from transformers import get_scheduler

    settings = config(learning_rate=2e-5, schedule=schedule, warmup_share=share)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2e-5)
    theirs = get_scheduler(name, optimizer, math.ceil(share * steps), steps).lr_lambdas[0]
    for step in {1, min(2, steps), steps // 2 + 1, steps}:
        assert learning_rate(settings, step, steps) == pytest.approx(2e-5 * theirs(step - 1), rel=1e-9, abs=1e-15)


def test_every_epoch_is_its_own_shuffle_of_all_rows(tmp_path: Path) -> None:
    rows: list[Row] = dialogue_rows(Encoder(FORM, 200), dialogues(12), Drops())
    trainer = Trainer(tiny_model("llama"), rows, {}, config(batch_size=2, epochs=2), tmp_path)
    first, second = ([row.id for step in steps for row in trainer.batch(step)] for steps in (range(1, 6), range(6, 11)))
    assert sorted(first) == sorted(second) == sorted(row.id for row in rows if row.split == "train")
    assert first != second
