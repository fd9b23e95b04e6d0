"""`favonius eval mt-bench score`, its radar, and the published judgments."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from favonius.cli import main
from favonius.evals.mt_bench.judging import grading
from favonius.evals.mt_bench.prompts import read_prompts
from favonius.evals.mt_bench.questions import CATEGORIES, published_categories, read_questions, read_references
from favonius.evals.mt_bench.reading import read_rating
from favonius.report.plots import STAND_IN
from favonius.report.radar import Score, radar
from favonius.statistics import Estimate
from tests.mt_bench_rows import DATA, published, row, shown, stored, whole
from tests.page_reader import Page


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in rows)
    return path


def test_the_command_prints_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "judgments.jsonl.gz", [*whole(), row(81, 1, float("nan"))])
    assert main(["eval", "mt-bench", "score", str(path), "--json", "-"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out, parse_constant=pytest.fail)
    assert found["m"]["mean"] == 6 and found["m"]["by_category"]["math"] == 7
    assert found["m"]["by_category"]["stem"] is None and len(found["m"]["missing"]["turn_1"]) == 77
    assert "the score is not a finite number (judgments.jsonl.gz, line 7)" in printed.err
    assert main(["eval", "mt-bench", "score", str(path), "--json", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text()) == found and capsys.readouterr().out == ""
    assert main(["eval", "mt-bench", "score", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["model", "mean"] and lines[1].split()[:2] == ["m", "6.00"]


def test_other_questions_come_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "judgments.jsonl.gz", [row(7, turn, 4 + turn) for turn in (1, 2)])
    assert main(["eval", "mt-bench", "score", str(path)]) == 2
    assert "not one of the benchmark's × 2, as in judgments.jsonl.gz, line 1; name the file" in capsys.readouterr().err
    questions = tmp_path / "question.jsonl"
    questions.write_text(json.dumps({"question_id": 7, "category": "law", "turns": ["a", "b"]}) + "\n")
    assert main(["eval", "mt-bench", "score", str(path), "--questions", str(questions), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["m"]["by_category"] == {"law": 5.5}


def test_files_that_cannot_be_judgments_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole_file = write(tmp_path / "whole.jsonl.gz", whole()).read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole_file[:-20])
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "text.jsonl").write_text("hello\n")
    for name, said in (
        ("none.jsonl", "none.jsonl: there is no such file"),
        ("cut.jsonl.gz", "cut off; means of a part would be others"),
        ("empty.jsonl", "empty.jsonl: the file is empty"),
        ("text.jsonl", "not a whole JSON value × 1, as in text.jsonl, line 1"),
    ):
        assert main(["eval", "mt-bench", "score", str(tmp_path / name), "--json", "-"]) == 2
        printed = capsys.readouterr()
        assert said in printed.err and printed.out == ""


# The radar.


def test_the_radar_says_and_draws_every_number() -> None:
    full = {category: 1.0 + place for place, category in enumerate(CATEGORIES)}
    models: dict[str, dict[str, Score]] = {
        "a <b>": {**full, "math": Estimate(4.44, 3.0, 6.0, 10)},
        "c": {**full, "stem": None},
    }
    chart = radar("MT-Bench", "mean grade", models, "radar-1")
    assert [(key.name, key.color, key.kind) for key in chart.keys] == [
        ("a <b>", "first", "line"),
        ("c", "second", "line"),
    ]
    page = Page(str(chart.svg))
    label = dict(page.tags)["svg"]["aria-label"]
    assert label is not None and "a <b>: writing 1, " in label and "math 4.44 (3 to 6)" in label and "stem —" in label
    assert all(category in page.text for category in CATEGORIES)
    assert not set(STAND_IN.values()) & set(re.findall(r"#\w{6}", str(chart.svg)))
    assert str(chart.svg) == str(radar("MT-Bench", "mean grade", models, "radar-1").svg)


def test_a_dollar_in_a_name_begins_no_formula() -> None:
    names = [r"$\\nonsense$", "$5", "a < b & c"]
    drawn = Page(str(radar("t", "u", {"a": dict.fromkeys(names, 5.0)}, "r").svg))
    assert all(name in drawn.text for name in names)


def test_a_radar_holds_one_to_four_models() -> None:
    full = dict.fromkeys(CATEGORIES, 5.0)
    four = radar("t", "u", {str(number): full for number in range(4)}, "r")
    assert len({(key.color, key.kind) for key in four.keys}) == 4
    unfit: list[dict[str, dict[str, float]]] = [
        {},
        {str(number): full for number in range(5)},
        {"a": {"x": 1.0, "y": 2.0}},
    ]
    for models in unfit:
        with pytest.raises(ValueError, match="make no radar"):
            radar("t", "u", models, "r")


# Published data.


@published
def test_published_means_are_fastchats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "mt-bench", "score", str(DATA / "gpt-4_single.jsonl.gz"), "--json", "-"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    rows = [one for one in stored() if one["score"] != -1]
    for model, own in found.items():
        for turns, name in (((1,), "turn_1"), ((2,), "turn_2"), ((1, 2), "mean")):
            values = [one["score"] for one in rows if one["model"] == model and one["turn"] in turns]
            assert own[name] == pytest.approx(sum(values) / len(values), abs=1e-6)
        assert own["n"] == sum(one["model"] == model for one in rows)
    # The file holds two sets of answers of one model, one of them with a reply that gives no rating.
    assert {model: one["mean"] for model, one in found.items()} == pytest.approx(
        {"mistral-orpo-mix": 6.003125, "mistral-orpo": 5.858934169}, abs=1e-6
    )
    assert found["mistral-orpo"]["unparsed"] == 1
    assert found["mistral-orpo"]["repeated"] == {"turns": 160, "rows": 320, "of_several_answers": 160}
    assert "mistral-orpo: 160 turns judged more than once" in printed.err


@published
def test_stored_judgments_are_read_as_their_scores() -> None:
    rows = stored()
    unlike = [one for one in rows if (-1 if (read := read_rating(one["judgment"])) is None else read) != one["score"]]
    assert len(rows) == 480 and unlike == []


@published
def test_published_files_are_read_and_make_the_stored_prompts() -> None:
    questions = read_questions(DATA / "question.jsonl")
    assert {number: one.category for number, one in questions.items()} == published_categories()
    references = read_references(DATA / "reference_answer" / "gpt-4.jsonl", questions.values())
    assert list(references) == list(range(101, 131))
    prompts = read_prompts(DATA / "judge_prompts.jsonl")
    for one in stored():
        question = questions[one["question_id"]]
        asking = grading(prompts, question, shown(one, question), one["turn"], references.get(question.question_id))
        assert asking.messages[-1].content == one["user_prompt"] and asking.prompt.name == one["judge"][1]
