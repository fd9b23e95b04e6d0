"""`favonius eval compare`: two folders of results, told apart by hand-worked numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.cli import main
from favonius.evals.benchmarks.record import SCHEMA, Result, write
from favonius.evals.benchmarks.rows import OVER_PARTS, counting_alike
from favonius.evals.benchmarks.task import ItemRow, Metric
from favonius.statistics import holm

GRADE = Metric(key="grade", title="grade", unit="", span=9.0)
RIGHT = Metric(key="right", title="right answers")
LENGTH = Metric(key="length", title="length", unit="", better=None)
LOSS = Metric(key="loss", title="loss", unit="", better="lower")
CONFIG = {"task": "gsm8k", "limit": None, "seed": 0, "sampling": {"temperature": 0.0, "max_tokens": 512}}
JUDGE = {"name": "judge", "kind": "spoken", "template": "0123456789abcdef"}


def row(name: str, score: float | None, key: str = "grade", **more: Any) -> ItemRow:
    told: dict[str, Any] = {"unit": name, "prompt": f"What of {name}?", "answers": (f"{name} got {score}.",)} | more
    return ItemRow(id=name, scores={key: score}, **told)


def rows(scores: Mapping[str, float | None], key: str = "grade", **more: Any) -> list[ItemRow]:
    return [row(name, score, key, **more) for name, score in scores.items()]


def save(
    folder: Path, own: Sequence[ItemRow], metrics: Sequence[Metric] = (GRADE,), digest: str = "", **more: Any
) -> Path:
    """Results of one task of one model; returns the model's folder."""
    told = {
        "schema": SCHEMA,
        "task": folder.name,
        "kind": "gsm8k",
        "title": "Sums",
        "model": {"label": folder.parent.name, "name": folder.parent.name, "digest": digest or str(folder.parent)},
        "judge": None,
        "questions": "favonius",
        "config": CONFIG,
        "metrics": {metric.key: metric.model_dump(exclude={"key"}) for metric in metrics},
    }
    write(folder, Result(told | more, own))
    return folder.parent


def asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[dict[str, Any], str]:
    """What --json - prints, and what stands on stderr."""
    assert main(["eval", "compare", *map(str, arguments), "--json", "-"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["eval", "compare", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Grades 7 5 9 6 against 6 5 7 8."""
    mine = save(tmp_path / "mine" / "sums", rows({"a": 7.0, "b": 5.0, "c": 9.0, "d": 6.0}))
    theirs = save(tmp_path / "theirs" / "sums", rows({"d": 8.0, "c": 7.0, "b": 5.0, "a": 6.0}))
    return mine, theirs


def test_a_comparison_by_hand(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found, err = asked(capsys, *two)
    assert err == "" and found["differences"] == [] and not found["same_model"]
    held = found["tasks"][0]["metrics"]["grade"]
    assert (held["first"]["value"], held["second"]["value"]) == (6.75, 6.5)
    assert (held["difference"]["value"], held["difference"]["n"]) == (0.25, 4)
    assert (held["wins"], held["losses"], held["ties"], held["p"]) == (2, 1, 1, 1.0)
    # Differences 1, 0, 2, −2 from 0.25: squares sum to 8.75; /3 is the variance, /4 that of the mean.
    assert held["standard_error"] == pytest.approx(math.sqrt(8.75 / 3 / 4))
    assert held["difference"]["low"] < 0 < held["difference"]["high"]
    assert held["verdict"] is None and not held["told_apart"]


def test_many_headlines_are_adjusted_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight wins of eight: p = 2 / 2⁸; one of two tasks, so twice that. The other task's p is 1 and stays 1."""
    names = "abcdefgh"
    for label, gain in (("mine", 1.0), ("theirs", 0.0)):
        save(
            tmp_path / label / "clear", rows({name: (1.0 + gain) * place for place, name in enumerate(names, start=1)})
        )
        save(tmp_path / label / "even", rows(dict.fromkeys(names, 5.0)))
    found, _ = asked(capsys, tmp_path / "mine", tmp_path / "theirs")
    clear, even = found["tasks"]
    assert clear["metrics"]["grade"]["p"] == pytest.approx(2 / 2**8)
    assert clear["adjusted_p"] == pytest.approx(4 / 2**8)
    assert clear["metrics"]["grade"]["verdict"] == "first"
    assert even["adjusted_p"] == 1.0 and even["metrics"]["grade"]["ties"] == 8


def test_lower_may_be_better_and_neither_may(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"item-{number}" for number in range(12)]
    for label, gain in (("mine", -0.5), ("theirs", 0.0)):
        save(tmp_path / label / "loss", rows(dict.fromkeys(names, 2.0 + gain), "loss"), (LOSS,))
        save(tmp_path / label / "words", rows(dict.fromkeys(names, 200.0 * (1 + gain)), "length"), (LENGTH,))
    found, _ = asked(capsys, tmp_path / "mine", tmp_path / "theirs")
    verdicts = {task["name"]: task["metrics"][task["headline"]]["verdict"] for task in found["tasks"]}
    assert verdicts == {"loss": "first", "words": "lower"}


def test_what_only_one_has_is_counted_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = save(tmp_path / "mine" / "sums", rows({"a": 7.0, "b": None, "c": 9.0, "x": 1.0}))
    theirs = save(tmp_path / "theirs" / "sums", [*rows({"a": 6.0, "b": 5.0}), row("c", 7.0, prompt="Other words")])
    save(tmp_path / "theirs" / "more", rows({"a": 6.0}))
    found, err = asked(capsys, mine, theirs)
    task = found["tasks"][0]
    assert (task["items"], task["only_first"], task["only_second"], task["asked_otherwise"]) == (2, 1, 0, 1)
    held = task["metrics"]["grade"]
    assert (held["difference"]["value"], held["difference"]["n"]) == (1.0, 1)
    assert (held["unreadable_first"], held["unreadable_second"]) == (1, 0)
    assert found["only_second"] == ["more"]
    for words in ("has more", "1 item only in", "1 item of one id have other prompts", "1 item without a number"):
        assert words in err, err


def test_differing_judges_limits_and_sampling_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"a": 7.0, "b": 5.0}
    changed = CONFIG | {"limit": 10, "sampling": {"temperature": 0.7, "max_tokens": 512}}
    mine = save(tmp_path / "mine" / "sums", rows(scores), judge=JUDGE)
    theirs = save(
        tmp_path / "theirs" / "sums",
        rows(scores),
        config=changed,
        judge=JUDGE | {"name": "other"},
        questions="mine.jsonl",
    )
    found, err = asked(capsys, mine, theirs)
    assert found["tasks"][0]["differences"] == [
        "the judge is judge (spoken, prompts 01234567) and other (spoken, prompts 01234567)",
        "limit is nothing and 10",
        "sampling.temperature is 0.0 and 0.7",
    ]  # the questions are the same, wherever they lie
    assert "limit is nothing and 10" in err and err.count("\n") == 1


def test_what_a_config_names_is_told_by_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One reference under two names is one; two references of one name are two."""
    named = {"mine": ("dsft", "a" * 64, "b" * 64), "theirs": ("run/dsft", "a" * 64, "c" * 64)}
    for label, (reference, first, second) in named.items():
        config = CONFIG | {"reference": reference, "judge": {"model": "gpt"}}
        save(
            tmp_path / label / "sums", rows({"a": 1.0}), config=config,
            named={"reference": first, "judge.model": second},
        )  # fmt: skip
    found, _ = asked(capsys, tmp_path / "mine", tmp_path / "theirs")
    assert found["tasks"][0]["differences"] == ["judge.model is gpt (bbbbbbbb) and gpt (cccccccc)"]


def test_the_engine_that_answered_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, kind, room in (("mine", "transformers", 1024), ("theirs", "llamacpp", 2048)):
        save(tmp_path / label / "sums", rows({"a": 1.0}), engine={"kind": kind, "context_tokens": room})
    found, _ = asked(capsys, tmp_path / "mine", tmp_path / "theirs")
    assert found["tasks"][0]["differences"] == ["answering.engine.kind is transformers and llamacpp"]
    save(tmp_path / "theirs" / "sums", rows({"b": 1.0}), engine={"kind": "transformers", "context_tokens": 2048})
    found, _ = asked(capsys, tmp_path / "mine", tmp_path / "theirs")
    assert found["tasks"][0]["differences"] == ["answering.engine.context_tokens is 1024 and 2048"]


def test_how_an_engine_works_is_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, slots, kind in (("mine", 4, "transformers"), ("theirs", 8, "llamacpp")):
        save(tmp_path / label / "sums", rows({"a": 1.0}), config=CONFIG | {"engine": {"kind": kind, "slots": slots}})
    found, _ = asked(capsys, tmp_path / "mine", tmp_path / "theirs")
    assert found["tasks"][0]["differences"] == ["engine.kind is transformers and llamacpp"]


def test_units_are_what_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two turns of a question are one unit: a win and a smaller loss are a win."""
    first = {"q1/1": 9.0, "q1/2": 4.0, "q2/1": 5.0, "q2/2": 5.0}
    second = {"q1/1": 5.0, "q1/2": 5.0, "q2/1": 5.0, "q2/2": 5.0}
    for label, scores in (("mine", first), ("theirs", second)):
        save(tmp_path / label / "turns", [row(name, score, unit=name[:2]) for name, score in scores.items()])
    found, _ = asked(capsys, tmp_path / "mine", tmp_path / "theirs")
    held = found["tasks"][0]["metrics"]["grade"]
    assert (held["wins"], held["losses"], held["ties"]) == (1, 0, 1)
    assert (held["difference"]["value"], held["difference"]["n"]) == (0.75, 2)


def test_items_weigh_what_they_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Differences −1 and 0 with weights 3 and 1: −0.75. What weighs otherwise for the two is left out."""
    weights = {"a": 3.0, "b": 1.0, "c": 2.0}
    for label, scores, last in (("mine", (1.0, 2.0, 9.0), 2.0), ("theirs", (2.0, 2.0, 2.0), 5.0)):
        own = [
            row(name, score, "loss", weights={"loss": last if name == "c" else weights[name]})
            for name, score in zip("abc", scores, strict=True)
        ]
        save(tmp_path / label / "text", own, (LOSS,))
    found, err = asked(capsys, tmp_path / "mine", tmp_path / "theirs")
    held = found["tasks"][0]["metrics"]["loss"]
    assert held["difference"]["value"] == pytest.approx(-0.75) and held["weighs_otherwise"] == 1
    assert held["first"]["value"] == pytest.approx(1.25) and "tokenizers" in err


def test_items_that_rest_on_something_else_are_other_items(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs ask alike and have other pairs; results of before this was written say nothing of it."""
    mine = save(tmp_path / "mine" / "pairs", [row(name, 1.0, rests_on="one") for name in "abc"])
    theirs = [row("a", 0.0, rests_on="one"), row("b", 0.0, rests_on="two"), row("c", 0.0)]
    found, err = asked(capsys, mine, save(tmp_path / "theirs" / "pairs", theirs))
    task = found["tasks"][0]
    assert (task["items"], task["asked_otherwise"]) == (2, 1) and "other prompts, pairs or references" in err


def test_parts_count_alike_whatever_each_model_was_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A took one question of each part, B three and one: of what both have each part counts half."""
    one = [row("x1", 1.0, category="x"), row("y1", 0.0, category="y")]
    more = [row("x1", 0.0, category="x"), row("x2", 0.0, category="x"), row("x3", 0.0, category="x")]
    for label, own in (("mine", one), ("theirs", [*more, row("y1", 0.0, category="y")])):
        save(tmp_path / label / "mmlu", counting_alike(own), protocol={"mean": OVER_PARTS})
    held = asked(capsys, tmp_path / "mine", tmp_path / "theirs")[0]["tasks"][0]["metrics"]["grade"]
    assert (held["difference"]["value"], held["difference"]["n"], held["weighs_otherwise"]) == (0.5, 2, 0)


def test_categories_are_compared_by_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, gain in (("mine", 2.0), ("theirs", 0.0)):
        own = [*rows({"a": 3.0 + gain, "b": 4.0 + gain}, category="sums"), *rows({"c": 5.0 - gain}, category="letters")]
        save(tmp_path / label / "both", own)
    found, _ = asked(capsys, tmp_path / "mine", tmp_path / "theirs")
    by_category = found["tasks"][0]["by_category"]
    assert by_category["sums"]["grade"]["difference"]["value"] == 2.0
    assert by_category["letters"]["grade"]["difference"]["value"] == -2.0
    assert main(["eval", "compare", str(tmp_path / "mine"), str(tmp_path / "theirs")]) == 0
    shown = capsys.readouterr().out
    assert "  sums" in shown and "+2.00" in shown and "-2.00" in shown


def test_the_page_and_the_worst_regressions(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "compare", *map(str, two), "--texts", "3"]) == 0
    shown = capsys.readouterr().out
    assert "sums: Sums, 4 items in both" in shown and "not told apart" in shown
    assert shown.count("── sums") == 1  # of four items one is worse
    told = shown[shown.index("── sums") :]
    assert "What of d?" in told and "A: 6.00\n  │ d got 6.0." in told and "B: 8.00\n  │ d got 8.0." in told


def test_regressions_come_worst_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = save(tmp_path / "mine" / "sums", rows({"a": 4.0, "b": 1.0, "c": 9.0, "d": 3.0}))
    theirs = save(tmp_path / "theirs" / "sums", rows({"a": 5.0, "b": 9.0, "c": 1.0, "d": 6.0}))
    found, _ = asked(capsys, mine, theirs, "--texts", 2)
    assert [one["id"] for one in found["tasks"][0]["regressions"]] == ["b", "d"]


def test_control_characters_of_an_answer_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, score in (("mine", 1.0), ("theirs", 2.0)):
        save(tmp_path / label / "sums", [row("a", score, answers=("\x1b[2Jgone",))])
    assert main(["eval", "compare", str(tmp_path / "mine"), str(tmp_path / "theirs"), "--texts", "1"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_folders_of_several_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of two is the one that is no baseline; of three, one must be named."""
    for label in ("base", "tuned"):
        save(tmp_path / "out" / label / "sums", rows({"a": 1.0}))
    assert "holds results of base, tuned; name one, such as" in refused(capsys, tmp_path / "out", tmp_path / "out")
    (tmp_path / "out" / "results.json").write_text(json.dumps({"baseline": "base"}))
    found, _err = asked(capsys, tmp_path / "out", tmp_path / "out" / "base")
    assert (found["first"]["label"], found["second"]["label"]) == ("tuned", "base")
    save(tmp_path / "out" / "third" / "sums", rows({"a": 1.0}))
    assert "third" in refused(capsys, tmp_path / "out", tmp_path / "out" / "base")


def test_one_model_against_itself_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("mine", "again"):
        save(tmp_path / label / "sums", rows({"a": 1.0}), digest="same")
    found, err = asked(capsys, tmp_path / "mine", tmp_path / "again")
    assert found["same_model"] and "one and the same model" in err


def test_what_cannot_be_compared_is_refused_in_one_sentence(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, _ = two
    other = save(tmp_path / "other" / "letters", rows({"a": 1.0}))
    assert "no task is in both" in refused(capsys, mine, other)
    assert "there is no such folder" in refused(capsys, mine, tmp_path / "nowhere")
    assert "one task of a model" in refused(capsys, mine, mine / "sums")
    (tmp_path / "empty").mkdir()
    assert "no results of benchmarks here" in refused(capsys, mine, tmp_path / "empty")
    save(tmp_path / "run" / "benchmark" / "base" / "sums", rows({"a": 1.0}))
    assert f"there are some in {tmp_path / 'run' / 'benchmark'}" in refused(capsys, mine, tmp_path / "run")
    assert "--texts -1" in refused(capsys, *two, "--texts", -1)
    (mine / "sums" / "result.json").write_text("{}")
    assert "sums" in refused(capsys, *two)


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("items.jsonl", '{"id": "a", "unit": "a", "scores": {"grade": 1.0}}\n' * 2, "two rows have the id a"),
        ("items.jsonl", '{"id": "a", "unit": "a", "scores": {"grade": NaN}}\n', "grade of a is nan"),
        ("items.jsonl", '{"id": "a"}\n', "line 1: unit is missing"),
        ("result.json", '{"schema": 1', "this is not whole JSON"),
        ("result.json", '{"schema": 1}', "no result of this version"),
        ("../../results.json", "{", "this is not whole JSON"),
    ],
)
def test_a_damaged_result_is_refused_and_named(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str], file: str, text: str, sentence: str
) -> None:
    mine, theirs = two
    (mine / "sums" / file).resolve().write_text(text, encoding="utf-8")
    err = refused(capsys, mine.parent if file.startswith("..") else mine, theirs)
    assert sentence in err and Path(file).name in err


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_between_the_p_and_bonferroni(chances: list[float]) -> None:
    found = holm(chances)
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    for place in order:
        assert chances[place] <= found[place] <= min(1.0, chances[place] * len(chances)) + 1e-12
    assert [found[place] for place in order] == sorted(found)


def test_holm_by_hand() -> None:
    """0.01 × 4; 0.03 × 3 → 0.09; 0.04 × 2 = 0.08, no less than its forerunner; 0.5 × 1."""
    assert holm([0.04, 0.01, 0.5, 0.03]) == pytest.approx([0.09, 0.04, 0.5, 0.09])
