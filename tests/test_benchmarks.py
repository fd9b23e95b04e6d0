"""Benchmarks: what is asked, what is counted, what the numbers are, and that nothing is asked or measured twice."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.data.rows import write_rows
from favonius.engines.account import SpentError
from favonius.engines.config import Transformers
from favonius.engines.interview import interview
from favonius.errors import UserError
from favonius.evals.benchmarks import record, stage
from favonius.evals.benchmarks.asking import Heard, ask
from favonius.evals.benchmarks.config import BenchmarkConfig, IFEval
from favonius.evals.benchmarks.rows import row_of
from favonius.evals.benchmarks.summary import compared, summary
from favonius.evals.benchmarks.task import Desk, Item, ItemRow, Metric, Said, Scored
from favonius.files import read_json
from favonius.run import Budget, Context, Inputs, LeftOpen, ModelRef, StepRef
from favonius.types import Dialogue, JudgedBy, Message, Request, RequestError, Sampling
from tests.voices import Voice, context, source, speak, stats

RIGHT = Metric(key="right", title="right")
GRADE = Metric(key="grade", title="grade", unit="", span=9.0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def item(name: str, text: str, *follow_ups: str, **changes: Any) -> Item:
    told: dict[str, Any] = {"sampling": Sampling(max_tokens=20), "follow_ups": follow_ups, **changes}
    return Item(id=name, messages=(Message(role="user", content=text),), **told)


def row(name: str, unit: str | None = None, weight: float | None = None, **scores: float | None) -> ItemRow:
    weights = {} if weight is None else dict.fromkeys(scores, weight)
    return ItemRow(id=name, unit=unit or name, scores=scores, weights=weights)


# ---------------------------------------------------------------------------------------------------- asking


def put(
    world: Path, monkeypatch: pytest.MonkeyPatch, voice: Voice, items: Sequence[Item]
) -> tuple[Heard, list[Request]]:
    engines = speak(monkeypatch, {"m": voice})
    with interview(Transformers(), source(world, "m"), context(world)) as model:
        heard = ask(items, model, "m, toy")
    return heard, engines["m"].asked


def echo(asked: Request) -> str:
    return f" echo of {asked.messages[-1].content} "


def test_a_follow_up_is_asked_with_the_models_own_answer_in_view(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, asked = put(world, monkeypatch, echo, [item("a", "one", "two", "three"), item("b", "four")])
    [first, second] = heard.said
    assert [turn.text for turn in first.turns] == ["echo of one", "echo of two", "echo of three"]
    last = next(request for request in asked if len(request.messages) == 5)
    assert [(message.role, message.content) for message in last.messages] == [
        ("user", "one"), ("assistant", "echo of one"), ("user", "two"), ("assistant", "echo of two"), ("user", "three")
    ]  # fmt: skip
    assert first.turns[2].request == last.key() and second.item.id == "b"
    assert (heard.requests, heard.tokens) == (4, 12) and not heard.left_out.counts


def test_nothing_is_asked_twice(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [item(str(n), f"about {n}", "and then") for n in range(20)]
    before, first = put(world, monkeypatch, echo, items)
    after, second = put(world, monkeypatch, echo, items)
    assert len(first) == 40 and not second and after == before


def test_a_kill_between_two_turns_asks_only_what_is_missing(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(asked: Request) -> str:
        if len(asked.messages) == 3 and "about 7" in asked.messages[0].content:
            raise KeyboardInterrupt
        return echo(asked)

    items = [item(str(n), f"about {n}", "and then") for n in range(20)]
    with pytest.raises(KeyboardInterrupt):
        put(world, monkeypatch, dies, items)
    _, after = put(world, monkeypatch, echo, items)
    assert 1 <= len(after) < 40 and any("about 7" in request.messages[0].content for request in after)


def test_what_cannot_be_asked_is_counted_by_cause_and_turn(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(asked: Request) -> str:
        if "about 3" in asked.messages[0].content:
            raise RequestError("the prompt “about 3” has 99 tokens")
        if len(asked.messages) == 3 and "about 4" in asked.messages[0].content:
            raise RequestError("a assistant message holds the control token </s>")
        return echo(asked)

    items = [item(str(n), f"about {n}", "and then") for n in range(6)]
    heard, _ = put(world, monkeypatch, fails, items)
    assert [one.item.id for one in heard.said] == ["0", "1", "2", "5"]
    assert heard.left_out.counts == {
        "turn 1: the prompt … has N tokens": 1,
        "turn 2: a assistant message holds the control token </s>": 1,
    }
    assert heard.requests == 9  # the first answer to item 4 was given


def test_items_of_one_id_are_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="two items have the id a"):
        put(world, monkeypatch, echo, [item("a", "one"), item("a", "two")])


# ---------------------------------------------------------------------------------------------------- numbers


def test_a_figure_is_a_ratio_over_units() -> None:
    """Two rows of one prompt are one unit: 3 of 5 rows right, units with 2/2, 1/2 and 0/1."""
    rows = [row("a", "u", right=1.0), row("b", "u", right=1.0), row("c", "v", right=1.0), row("d", "v", right=0.0),
            row("e", "w", right=0.0), row("f", "w", right=None), row("g", "x", grade=3.0)]  # fmt: skip
    found = record.figure(rows, RIGHT)
    assert found.value == pytest.approx(3 / 5)
    assert (found.n, found.scored, found.unreadable) == (3, 5, 1)
    rest = [2 - 0.6 * 2, 1 - 0.6 * 2, 0 - 0.6]
    assert found.standard_error == pytest.approx(math.sqrt(sum(one**2 for one in rest) * 3 / 2) / 5)
    assert found.low is not None and found.high is not None and found.low < 0.6 < found.high


def test_weights_make_a_mean_per_token() -> None:
    found = record.figure([row("a", weight=1.0, grade=2.0), row("b", weight=3.0, grade=6.0)], GRADE)
    assert found.value == pytest.approx(5.0) and found.scored == 2


def test_shares_without_a_miss_keep_an_interval() -> None:
    found = record.figure([row(str(n), weight=2.0, right=1.0) for n in range(15)], RIGHT)
    assert found.value == 1.0 == found.high and found.low is not None and 0.7 < found.low < 0.9


def test_where_nothing_is_readable_there_is_no_number() -> None:
    found = record.figure([row("a", right=None)], RIGHT)
    assert (found.value, found.low, found.high, found.standard_error) == (None, None, None, None)
    assert (found.n, found.scored, found.unreadable) == (0, 0, 1)
    assert record.figure([], RIGHT).unreadable == 0


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_a_fault(score: float) -> None:
    with pytest.raises(ValueError, match="right of a is not a finite number"):
        record.figure([row("a", right=score)], RIGHT)


def test_categories_have_the_metrics_that_their_rows_have() -> None:
    rows = [row("a", right=1.0), row("b", grade=4.0), row("c", right=0.0)]
    placed = [one.model_copy(update={"category": name}) for one, name in zip(rows, ("x", "y", None), strict=True)]
    found = record.by_category(placed, [RIGHT, GRADE])
    assert {name: list(own) for name, own in found.items()} == {"x": ["right"], "y": ["grade"]}
    assert found["y"]["grade"]["value"] == 4.0


def test_comparisons_are_item_by_item() -> None:
    mine = [row("a", right=1.0), row("b", right=1.0), row("c", right=None), row("d", right=0.0)]
    theirs = [row("a", right=0.0), row("b", right=1.0), row("c", right=1.0), row("e", right=1.0)]
    found = compared(mine, theirs, [RIGHT, GRADE])
    assert found["grade"] is None and found["right"] is not None
    assert found["right"]["difference"]["value"] == 0.5 and found["right"]["difference"]["n"] == 2
    assert (found["right"]["wins"], found["right"]["losses"], found["right"]["ties"]) == (1, 0, 1)
    json.dumps(found, allow_nan=False)


def test_items_that_weigh_otherwise_are_not_compared() -> None:
    """Nats per token of two tokenizers."""
    mine = [row("a", weight=3.0, grade=1.0), row("b", weight=1.0, grade=4.0)]
    alike = [row("a", weight=3.0, grade=2.0), row("b", weight=1.0, grade=1.0)]
    others = [row("a", weight=5.0, grade=2.0), row("b", weight=2.0, grade=1.0)]
    found = compared(mine, alike, [GRADE])["grade"]
    assert found is not None and found["difference"]["value"] == pytest.approx((3 * -1 + 1 * 3) / 4)
    assert compared(mine, others, [GRADE])["grade"] is None


def test_results_of_other_settings_are_named() -> None:
    told: dict[str, Any] = {
        **dict.fromkeys(("kind", "title", "questions", "contamination", "judge", "left_out", "answers", "protocol")),
        "metrics": {}, "by_category": {}, "notes": ["A note."],
    }  # fmt: skip
    results = {name: record.Result({**told, "config": {"limit": limit}}, []) for name, limit in (("a", 1), ("b", 2))}
    [task] = summary({"toy": results}, ["a", "b"], "a")["tasks"]
    assert task["notes"] == ["A note.", "b took this task with other settings than a: their numbers do not compare."]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=9))
def test_a_comparison_turned_round_is_its_opposite(scores: list[tuple[float, float]]) -> None:
    """Also of what has no bounds: the interval holds the value."""
    first = [row(str(n), grade=one) for n, (one, _) in enumerate(scores)]
    second = [row(str(n), grade=other) for n, (_, other) in enumerate(scores)]
    there, back = compared(first, second, [GRADE])["grade"], compared(second, first, [GRADE])["grade"]
    assert there is not None and back is not None
    difference = there["difference"]
    assert difference["value"] == pytest.approx(-back["difference"]["value"])
    assert (there["wins"], there["losses"]) == (back["losses"], back["wins"])
    assert difference["low"] - 1e-9 <= difference["value"] <= difference["high"] + 1e-9


# ---------------------------------------------------------------------------------------------------- the stage


@dataclass(frozen=True)
class Toy:
    """Right where the last answer holds `fox`; unreadable where it holds `mute`."""

    count: int = 8
    name = "toy"
    title = "Toy"
    metrics: Sequence[Metric] = (RIGHT,)
    questions = "favonius"
    texts = ("about 1",)

    def items(self) -> list[Item]:
        return [item(str(n), f"about {n}", "and then", category="odd" if n % 2 else "even") for n in range(self.count)]

    def scored(self, said: Sequence[Said], desk: Desk) -> Scored:
        rows = [row_of(one, {"right": None if "mute" in one.turns[-1].text else float("fox" in one.turns[-1].text)})
                for one in said]  # fmt: skip
        return Scored(rows, JudgedBy(name="rules", kind="rules"), {"items": len(rows)}, notes=["A toy."])


def bench(models: Sequence[str], **changes: Any) -> BenchmarkConfig:
    told: dict[str, Any] = {"models": {name: ModelRef(name) for name in models}, "tasks": {"toy": IFEval()}}
    return BenchmarkConfig(**{**told, **changes})


def run(
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: BenchmarkConfig,
    voices: Mapping[str, Voice],
    around: Context | None = None,
    **folders: Path,
) -> tuple[dict[str, Any], int]:
    """results.json, and how many requests reached a model. Every task is the toy."""
    monkeypatch.setattr(stage, "open_task", lambda name, one, inputs: Toy())
    engines = speak(monkeypatch, voices)
    (world / "b").mkdir(exist_ok=True)
    models = {name: source(world, name) for name in voices}
    stage.run(config, Inputs(folders, models, {}), world / "b", around or context(world))
    asked = sum(len(engine.asked) for engine in engines.values())
    return dict(read_json(world / "b" / "results.json")), asked


def foxes(asked: Request) -> str:
    return "mute" if "about 5" in asked.messages[0].content else "a fox"


def cats(asked: Request) -> str:
    return "a fox" if "about 2" in asked.messages[0].content else "User: a cat"


VOICES: Mapping[str, Voice] = {"base": cats, "dSFT": foxes}


def test_the_stage_writes_what_the_report_reads(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, asked = run(world, monkeypatch, bench(["base", "dSFT"]), VOICES)
    assert asked == 32 and results["labels"] == ["base", "dSFT"] and results["baseline"] == "base"
    [task] = results["tasks"]
    assert (task["name"], task["kind"], task["title"], task["questions"]) == ("toy", "ifeval", "Toy", "favonius")
    assert task["metrics"] == [RIGHT.model_dump()] and task["judge"]["name"] == "rules"
    values = {label: task["values"][label]["right"] for label in results["labels"]}
    assert values["base"]["value"] == 1 / 8 and values["dSFT"]["value"] == 1.0
    assert (values["dSFT"]["n"], values["dSFT"]["scored"], values["dSFT"]["unreadable"]) == (7, 7, 1)
    assert task["by_category"]["base"]["even"]["right"]["value"] == 0.25
    assert task["answers"]["base"]["flaws"] == {"leak": 14} and task["answers"]["dSFT"]["flaws"] == {}
    assert task["answers"]["dSFT"]["n"] == 16 and task["answers"]["dSFT"]["finished"] == 1.0
    assert task["answers"]["dSFT"]["tokens"] == pytest.approx((14 * 2 + 2 * 1) / 16)
    assert task["compared"]["dSFT"]["right"]["difference"]["value"] == pytest.approx(6 / 7)
    assert task["compared"]["dSFT"]["right"]["told_apart"] and "base" not in task["compared"]
    assert task["contamination"] is None and task["notes"] == ["A toy."]
    told = stats(world / "b")
    assert (told["kept"], told["dropped"], told["tokens"]) == (16, {}, 2 * 14 + 2 + 14 * 3 + 2 * 2)


def test_result_and_items_say_where_each_number_comes_from(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(world, monkeypatch, bench(["dSFT"]), VOICES)
    found = record.read(world / "b" / "dSFT" / "toy")
    assert found.told["model"] == {"label": "dSFT", "name": "dSFT", "digest": "digest of dSFT"}
    assert found.told["asked"] == {"requests": 16, "tokens": 30} and found.told["items"] == 8
    assert (
        found.metrics == [RIGHT] and found.told["config"]["task"] == "ifeval" and "favonius" in found.told["versions"]
    )
    assert found.rows[5].scores == {"right": None} and found.rows[0].answers == ("a fox", "a fox")
    assert not (world / "b" / "work").exists()
    assert read_json(world / "b" / "results.json")["baseline"] is None


def test_items_without_answer_are_counted_and_said(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(asked: Request) -> str:
        if "about 1" in asked.messages[0].content:
            raise RequestError("too long")
        return foxes(asked)

    results, _ = run(world, monkeypatch, bench(["dSFT"]), {"dSFT": fails})
    [task] = results["tasks"]
    assert task["left_out"]["dSFT"] == {"turn 1: too long": 1} and task["values"]["dSFT"]["right"]["n"] == 6
    assert "1 of 8 items got no answer and are in no number." in task["notes"]
    assert stats(world / "b")["dropped"] == {"dSFT, toy: turn 1: too long": 1}


def test_a_model_that_answers_nothing_has_no_number(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(asked: Request) -> str:
        raise RequestError("refused")

    results, _ = run(world, monkeypatch, bench(["base", "dSFT"]), {"base": cats, "dSFT": never})
    [task] = results["tasks"]
    assert task["values"]["dSFT"]["right"]["value"] is None and task["compared"]["dSFT"]["right"] is None
    assert task["values"]["base"]["right"]["value"] == 1 / 8


def test_a_killed_benchmark_goes_on_and_asks_nothing_twice(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(asked: Request) -> str:
        if "about 6" in asked.messages[0].content:
            raise KeyboardInterrupt
        return foxes(asked)

    with pytest.raises(KeyboardInterrupt):
        run(world, monkeypatch, bench(["base", "dSFT"]), {"base": cats, "dSFT": dies})
    scored: list[str] = []

    def counted(self: Toy, said: Sequence[Said], desk: Desk) -> Scored:
        scored.append(desk.label)
        return real(self, said, desk)

    real = Toy.scored
    monkeypatch.setattr(Toy, "scored", counted)
    results, asked = run(world, monkeypatch, bench(["base", "dSFT"]), VOICES)
    assert 1 <= asked <= 16 and scored == ["dSFT"]
    assert results["tasks"][0]["values"]["dSFT"]["right"]["value"] == 1.0


def test_what_money_did_not_suffice_for_is_measured_again(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = True

    def voice(asked: Request) -> str:
        if poor and "about 6" in asked.messages[0].content:
            raise SpentError
        return foxes(asked)

    left_open: list[LeftOpen] = []
    around = replace(context(world), budget=Budget(dollars=1), left_open=left_open)
    results, _ = run(world, monkeypatch, bench(["dSFT"]), {"dSFT": voice}, around)
    assert [left.cause for left in left_open] == ["budget"]
    assert results["tasks"][0]["values"]["dSFT"]["right"]["n"] == 6
    poor = False
    results, asked = run(world, monkeypatch, bench(["dSFT"]), {"dSFT": voice})
    assert asked == 2 and results["tasks"][0]["values"]["dSFT"]["right"]["n"] == 7


def test_training_rows_that_hold_questions_are_named(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = "What is it that the quick brown fox says about 1 rainy day in the village of its birth, then?"
    monkeypatch.setattr(Toy, "texts", (question, "Something else that nobody was ever trained on, as far as we know."))
    messages = (Message(role="user", content=question), Message(role="assistant", content="A fox."))
    (world / "rows").mkdir()
    write_rows(world / "rows" / "dialogues.jsonl", [Dialogue(id="d", split="train", messages=messages)])
    config = bench(["dSFT"], training=(StepRef("rows"),))
    results, _ = run(world, monkeypatch, config, VOICES, rows=world / "rows")
    found = results["tasks"][0]["contamination"]
    assert (found["checked"], found["questions"], found["overlapping"]) == (["rows"], 2, 1)
    assert found["rows"][0]["row"] == "d"


def test_faults_of_a_task_are_ours(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scored(self: Toy, said: Sequence[Said], desk: Desk) -> Scored:
        return Scored([row_of(one, {"wrong": 1.0}) for one in said])

    monkeypatch.setattr(Toy, "scored", scored)
    with pytest.raises(ValueError, match="scores that are no metric: wrong"):
        run(world, monkeypatch, bench(["dSFT"]), VOICES)
