"""Alarms over made-up metrics: what must raise one, what must not, and that a stop in between changes nothing."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.train.config import TrainConfig
from favonius.train.health import Alarm, Health, not_a_number
from favonius.train.objectives import DPO, SFT

Row = dict[str, Any]
Change = Callable[[float, Row], Row]
"""(share of the training that is done, a line) → what the line says otherwise."""


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"model": "base", "rows": "rows", "objective": DPO(), "batch_size": 16, "epochs": 2, **changes}
    )


def stream(change: Change = lambda done, row: {}, steps: int = 200, seed: int = 0, noise: float = 1.0) -> list[Row]:
    """A DPO training as good ones look: noisy batches, chosen answers a little less likely, test passes at times."""
    draw = random.Random(seed)
    lines = []
    for step in range(steps + 1):
        done = step / steps
        splits = ["train"] * (step > 0) + ["test"] * (step % 40 == 0)
        for split in splits:
            gauss = draw.gauss(0, noise) if split == "train" else 0.0
            wobble = draw.gauss(0, noise) if split == "train" else 0.0
            tokens = 200 + 30 * gauss
            row: Row = {
                "step": step,
                "epoch": round(2 * done, 4),
                "split": split,
                "loss": 0.69 - 0.2 * done + 0.06 * gauss,
                "accuracy": min(1.0, 0.5 + 0.3 * done + 0.1 * wobble),
                "margin": 0.8 * done + 0.2 * wobble * done,
                "chosen_rewards": -2.0 * done,
                "rejected_rewards": -2.8 * done,
                "chosen_logps": tokens * (-1.4 + 0.15 * wobble - 0.15 * done),
                "rejected_logps": -330.0,
                "chosen_tokens": tokens,
                "rejected_tokens": 190 + 30 * wobble,
                "margin_length_correlation": max(-1.0, min(1.0, 0.1 + 0.3 * gauss)),
            }
            if split == "train":
                row |= {"grad_norm": 3.0 * math.exp(0.4 * wobble), "learning_rate": 1e-6, "tokens": 6000}
            row |= change(done, row)
            lines.append({name: value for name, value in row.items() if value is not None})
    return lines


def alarms(lines: list[Row], settings: TrainConfig | None = None) -> list[Alarm]:
    health = Health(settings or config())
    return [alarm for line in lines for alarm in health.observe(line)]


def kinds(lines: list[Row], settings: TrainConfig | None = None) -> list[str]:
    return [alarm.kind for alarm in alarms(lines, settings)]


@pytest.mark.parametrize("batch_size", [1, 4, 16, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_good_training_is_quiet_at_any_batch_size(batch_size: int, seed: int) -> None:
    lines = stream(steps=3200 // batch_size + 40, seed=seed, noise=4 / math.sqrt(batch_size))
    assert alarms(lines, config(batch_size=batch_size)) == []


def test_a_good_sft_and_a_short_training_are_quiet() -> None:
    def sft(done: float, row: Row) -> Row:
        return {**dict.fromkeys(row), **{name: row[name] for name in ("step", "epoch", "split")},
                "loss": row["loss"] + 1.2, "grad_norm": row.get("grad_norm")}  # fmt: skip

    assert alarms(stream(sft), config(objective=SFT())) == []
    assert alarms(stream(steps=9)) == []


def test_a_number_that_is_none_is_said_at_once() -> None:
    for name, value in (("loss", math.nan), ("grad_norm", math.inf)):
        broken = stream()[3] | {name: value}
        assert alarms([broken]) == [Alarm(broken["step"], "not a number", not_a_number(broken["step"]))]
    assert "not a number at optimizer step 7" in not_a_number(7) and "lower learning_rate" in not_a_number(7)
    assert alarms([stream()[3] | {"margin_length_correlation": math.nan}]) == []


def test_chosen_answers_that_get_unlikely() -> None:
    def collapse(done: float, row: Row) -> Row:
        return {"chosen_logps": row["chosen_logps"] - 1.2 * max(0.0, done - 0.3) * row["chosen_tokens"]}

    [alarm] = alarms(stream(collapse))
    assert alarm.kind == "chosen answers get unlikely" and 100 < alarm.step < 180
    assert "from -1." in alarm.sentence and "nats per token" in alarm.sentence and "raise beta" in alarm.sentence


def test_longer_answers_alone_are_no_collapse() -> None:
    def longer(done: float, row: Row) -> Row:
        return {name: row[name] * (1 + 4 * done) for name in ("chosen_logps", "chosen_tokens")}

    assert kinds(stream(longer)) == []


@pytest.mark.parametrize(("epochs", "heard"), [(1.0, True), (6.0, False)])
def test_pairs_that_are_told_apart_at_once(epochs: float, heard: bool) -> None:
    """Accuracy 1 from half of the training on: inside the first epoch of one, in the fourth of six."""

    def easy(done: float, row: Row) -> Row:
        return {"epoch": epochs * done, "accuracy": 1.0 if done > 0.5 else 0.7}

    found = alarms(stream(easy), config(epochs=int(epochs)))
    assert [alarm.kind for alarm in found] == ["pairs are too easy"] * heard
    if heard:
        assert found[0].step == 110 and "every pair of the last 10 steps" in found[0].sentence


def test_batches_of_one_pair_that_are_right_by_chance_are_not_easy() -> None:
    draw = random.Random(3)

    def likely(done: float, row: Row) -> Row:
        return {"epoch": done, "accuracy": float(draw.random() < 0.93)}

    assert "pairs are too easy" not in kinds(stream(likely, steps=600), config(batch_size=1, epochs=1))


@pytest.mark.parametrize(
    ("chosen", "rejected", "correlation", "heard"),
    [
        (300, 180, 0.8, "longer"), (180, 300, -0.8, "shorter"), (300, 180, 0.3, ""), (210, 190, 0.8, ""),
        (180, 300, 0.8, ""),
    ],
)  # fmt: skip
def test_lengths_that_explain_the_margin(chosen: float, rejected: float, correlation: float, heard: str) -> None:
    def long(done: float, row: Row) -> Row:
        tokens = row["chosen_tokens"] - 200 + chosen
        return {"chosen_tokens": tokens, "chosen_logps": -1.4 * tokens, "rejected_tokens": rejected,
                "margin_length_correlation": correlation + 0.1 * (row["margin_length_correlation"] - 0.1)}  # fmt: skip

    found = alarms(stream(long))
    assert [alarm.kind for alarm in found] == ["length explains the margin"] * bool(heard)
    if heard:
        assert f"learning to answer {heard}" in found[0].sentence and "r = " in found[0].sentence


def test_lines_without_a_correlation_say_nothing_about_length() -> None:
    assert kinds(stream(lambda done, row: {"margin_length_correlation": None, "rejected_tokens": 90})) == []


def test_a_gradient_that_explodes() -> None:
    def explode(done: float, row: Row) -> Row:
        return {"grad_norm": row["grad_norm"] * 50} if row["split"] == "train" and done > 0.6 else {}

    [alarm] = alarms(stream(explode))
    assert alarm.kind == "gradient explodes" and 121 <= alarm.step <= 125
    assert "times its running median" in alarm.sentence


def test_two_odd_batches_and_norms_that_come_back_are_no_explosion() -> None:
    def spikes(done: float, row: Row) -> Row:
        return {"grad_norm": 500.0} if row["split"] == "train" and row["step"] % 20 in (0, 1) else {}

    def saturated(done: float, row: Row) -> Row:
        return {"grad_norm": row["grad_norm"] * (0.01 if 0.2 < done < 0.7 else 0.5)} if "grad_norm" in row else {}

    assert kinds(stream(spikes)) == [] and kinds(stream(saturated)) == []


@pytest.mark.parametrize(("slope", "heard"), [(0.5, True), (0.2, True), (0.1, False)])
def test_a_loss_that_does_not_fall(slope: float, heard: bool) -> None:
    """`stream` falls by 0.2; with 0.2 put back it stays."""
    found = alarms(stream(lambda done, row: {"loss": row["loss"] + slope * done}, steps=400))
    assert [alarm.kind for alarm in found] == ["loss does not fall"] * heard
    if heard:
        assert found[0].step >= 300 and "over the first 10 steps" in found[0].sentence


def test_held_out_accuracy_that_falls_while_margins_grow() -> None:
    def overfit(done: float, row: Row) -> Row:
        off = abs(done - 0.4)
        return {"accuracy": 0.75 - 0.2 * off, "loss": 0.6 + 0.1 * off} if row["split"] == "test" else {}

    def once(done: float, row: Row) -> Row:
        return {"accuracy": 0.6 if row["step"] == 120 else 0.75} if row["split"] == "test" else {}

    [alarm] = alarms(stream(overfit))
    assert alarm.kind == "held-out accuracy falls" and alarm.step == 160
    assert "from 75% (step 80) to 67%" in alarm.sentence
    assert kinds(stream(once)) == []
    shrinking = stream(lambda done, row: overfit(done, row) | {"margin": 1 - done})
    assert kinds(shrinking) == []
    falling = stream(lambda done, row: overfit(done, row) | {"loss": 0.69 - 0.2 * done})
    assert kinds(falling) == [], "a few pairs of a small test set change sides"


def test_an_alarm_is_raised_again_only_after_it_has_cleared() -> None:
    def twice(done: float, row: Row) -> Row:
        shown = 0.2 < done < 0.4 or 0.6 < done < 0.8
        return {"margin_length_correlation": 0.9 if shown else 0.0, "chosen_tokens": 300, "rejected_tokens": 100,
                "chosen_logps": -400.0}  # fmt: skip

    first, second = alarms(stream(twice, steps=200))
    assert first.kind == second.kind == "length explains the margin"
    assert 40 < first.step < 60 and 120 < second.step < 140

    flicker = stream(
        lambda done, row: twice(0.3, row) | ({"margin_length_correlation": 0.2} if row["step"] % 3 else {})
    )
    assert len(alarms(flicker)) <= 1


WRONG: dict[str, Change] = {
    "nothing": lambda done, row: {},
    "collapse": lambda done, row: {"chosen_logps": row["chosen_logps"] - 2 * done * row["chosen_tokens"]},
    "flat": lambda done, row: {"loss": 0.7},
    "long": lambda done, row: {"margin_length_correlation": 0.9, "rejected_tokens": 100},
    "explode": lambda done, row: {"grad_norm": 200.0} if done > 0.5 and row["split"] == "train" else {},
    "overfit": lambda done, row: {"accuracy": 0.8 - 0.3 * done, "loss": 0.5 + done} if row["split"] == "test" else {},
}


@settings(max_examples=40, deadline=None)
@given(wrong=st.lists(st.sampled_from(sorted(WRONG)), max_size=4), seed=st.integers(0, 99), stop=st.integers(0, 220))
def test_a_training_that_was_stopped_raises_what_it_had_yet_to_raise(wrong: list[str], seed: int, stop: int) -> None:
    def change(done: float, row: Row) -> Row:
        for name in wrong:
            row = row | WRONG[name](done, row)
        return row

    lines = stream(change, steps=200, seed=seed)
    whole = alarms(lines)
    kept: list[Row] = []
    health = Health(config())
    for line in lines[:stop]:
        kept += [line, *(alarm.record() for alarm in health.observe(line))]
    kept = [json.loads(json.dumps(line)) for line in kept]
    resumed = Health(config())
    again = [alarm for line in kept for alarm in resumed.observe(line)]
    rest = [alarm for line in lines[stop:] for alarm in resumed.observe(line)]
    assert again + rest == whole
    assert [line["kind"] for line in kept if line["split"] == "alarm"] == [alarm.kind for alarm in again]
    assert len({(alarm.step, alarm.kind) for alarm in whole}) == len(whole)


def test_every_alarm_can_be_heard_and_says_what_to_try() -> None:
    found = {alarm.kind: alarm for change in WRONG.values() for alarm in alarms(stream(change))}
    assert set(found) == {
        "chosen answers get unlikely", "loss does not fall", "length explains the margin", "gradient explodes",
        "held-out accuracy falls",
    }  # fmt: skip
    for alarm in found.values():
        assert "; " in alarm.sentence and any(digit in alarm.sentence for digit in "0123456789")
        assert alarm.record() == {"step": alarm.step, "split": "alarm", "kind": alarm.kind, "sentence": alarm.sentence}


def test_health_does_not_import_torch() -> None:
    code = "import sys, favonius.train.health; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
