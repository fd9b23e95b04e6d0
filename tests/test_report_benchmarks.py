"""The page's sections on benchmarks and on the paper's numbers, over records as the stage writes them."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.files import read_json, write_json, write_text
from favonius.report.benchmarks import games, safety, scatter, table
from favonius.report.benchmarks.published import published, sources
from favonius.report.benchmarks.reading import Benchmark, Contamination, Item, Items, Metric, Record, read_benchmark
from favonius.report.benchmarks.scatter import Dot, length_against_score, per_doubling
from favonius.report.benchmarks.section import benchmarks
from favonius.report.gather import read_run
from favonius.report.public import HIDDEN, Public
from tests.page_reader import Page, written
from tests.report_benchmark_run import BASELINE, CONFIG, LABELS, TASKS, make_benchmark_run
from tests.report_run import make_run

SCORE = Metric(key="score", title="score", unit="", better="higher", span=9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_benchmark_run(tmp_path_factory.mktemp("runs") / "measured")


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return written(folder)


@pytest.fixture(scope="module")
def plain(html: str) -> str:
    return Page(html).plain()


@pytest.fixture(scope="module")
def found(folder: Path) -> Benchmark:
    return benchmark(folder)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "measured"))


def benchmark(folder: Path) -> Benchmark:
    read = read_benchmark(folder / "benchmark", CONFIG, Public(folder))
    assert read is not None
    return read


def changed(folder: Path, change: dict[str, Any], **of_task: Any) -> Record:
    """The record with other fields, and with other fields of its first task."""
    file = folder / "benchmark" / "results.json"
    told = read_json(file)
    told["tasks"][0] |= of_task
    write_json(file, told | change)
    return benchmark(folder).record


def items(*scores: float | None, unit: str = "", answers: tuple[str, ...] = ("Yes.",)) -> Items:
    rows = (
        Item(id=str(number), unit=unit or str(number), scores={"score": score}, prompt=f"Ask {number}", answers=answers)
        for number, score in enumerate(scores)
    )
    return Items({row.id: row for row in rows})


# The leaderboard.


def test_the_leaderboard_has_a_row_for_every_task_with_numbers_of_its_record(found: Benchmark) -> None:
    rows = {row.title: row for row in table.leaderboard(found.record)}
    assert list(rows) == ["MT-Bench", "AlpacaEval", "IFEval", "Safety", "Held-out preferences"]
    told = read_json(found.folders["dDPO", "mt-bench"] / "result.json")["metrics"]["score"]
    cell = rows["MT-Bench"].cells[LABELS.index("dDPO")]
    assert cell.value == f"{told['value']:.2f}" and cell.interval == f"{told['low']:.2f}–{told['high']:.2f}"
    assert cell.notes[0] == "1 unreadable" and cell.notes[1].endswith("characters")
    assert rows["MT-Bench"].notes == ("score", "↑ higher is better", "n = 40", "judge: judge-70b")
    assert not [note for cell in rows["IFEval"].cells for note in cell.notes], "no judge, no lengths"
    assert rows["AlpacaEval"].cells[0].notes[0] == "40.0 ± 1.5 length-controlled"


def test_marks_are_the_paired_comparisons(found: Benchmark) -> None:
    told = {
        task["name"]: task for task in read_json(found.folders["dDPO", "safety"].parents[1] / "results.json")["tasks"]
    }
    for row, task in zip(table.leaderboard(found.record), found.record.tasks, strict=True):
        assert row.cells[LABELS.index(BASELINE)].mark == ""
        for label, cell in zip(LABELS, row.cells, strict=True):
            compared = told[task.name]["compared"].get(label, {}).get(task.metrics[0].key)
            is_marked = compared is not None and compared["told_apart"]
            assert bool(cell.mark) == is_marked
            if is_marked:
                assert cell.mark == ("better" if compared["difference"]["value"] > 0 else "worse")
                assert cell.said.endswith("against the baseline")


def test_lower_is_better_and_neither_turn_the_mark(copy: Path, found: Benchmark) -> None:
    metrics = [found.record.tasks[0].metrics[0].model_dump()]
    above = {"difference": {"value": 1.0, "low": 0.5, "high": 1.5}, "told_apart": True}
    for better, mark in (("lower", "worse"), ("higher", "better"), (None, "apart")):
        record = changed(copy, {}, metrics=[metrics[0] | {"better": better}], compared={"dDPO": {"score": above}})
        assert table.leaderboard(record)[0].cells[LABELS.index("dDPO")].mark == mark


def test_differences_have_a_sign_unless_they_round_to_nothing() -> None:
    found = [table.signed(value, unit) for value, unit in ((0.042, "%"), (-0.3, "%"), (-0.001, "grade"), (0.0, "%"))]
    assert found == ["+4.2", "−30.0", "0.00", "0.0"]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (None, "not checked against training rows"),
        ({"checked": []}, "not checked against training rows"),
        ({"checked": ["a", "b"], "questions": 80}, "none of its 80 questions is in the training rows of a, b"),
        (
            {"checked": ["a"], "questions": 80, "overlapping": 1},
            "1 of its 80 questions (1.2 %) is in the training rows of a",
        ),
    ],
)
def test_contamination_in_a_sentence(told: dict[str, Any] | None, sentence: str) -> None:
    assert table.contamination(None if told is None else Contamination.model_validate(told)) == sentence


def test_the_page_warns_of_questions_in_training_rows(html: str, plain: str) -> None:
    assert html.count('<small class="held">') == 1
    assert "2 of its 30 questions (6.7 %) are in the training rows of dialogues" in plain
    assert "1 question that training rows hold" in plain and "row everyday/3, 75.0 % of its words" in plain


# The page.


def test_the_page_is_whole_and_hostile_text_is_only_text(html: str) -> None:
    page = Page(html)
    assert not {"script", "img", "iframe"} & set(page.names()) and "http://" not in html and "https://" not in html
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {one or other for one, other in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html)}
    assert targets and targets <= set(ids)
    assert page.text.count("<script>alert('☠')</script>") >= 3, "a training row, a question, an answer"
    assert html.index('id="benchmarks"') < html.index('id="published"') < html.index('id="rows"')
    assert 'id="results"' not in html and 'id="training"' not in html


def test_the_same_folder_gives_the_same_bytes(folder: Path, html: str) -> None:
    assert written(folder) == html


def test_every_task_tells_all_that_its_record_has(plain: str) -> None:
    for expected in (
        "3 models were measured on 5 benchmarks.",
        "instructions followed, strict",
        "mean answer, characters",
        "The prompts are our own, not the published ones.",
        "dDPO: the prompt is too long for the model",
        "length controlled winrate",
        "harmless, role-play",
    ):
        assert expected in plain, expected


def test_figures_are_drawn_where_they_mean_something(html: str) -> None:
    assert html.count("<figure>") == 3, "a radar and two scatters"
    assert "mean score by category" in html and html.count("<b>Length and score</b>") == 2
    assert html.count('class="matrix"') == 2


def test_a_step_that_is_not_finished_shows_what_it_has(tmp_path: Path) -> None:
    html = written(make_benchmark_run(tmp_path / "part", until=("dSFT", "ifeval")))
    plain = Page(html).plain()
    assert "has not finished: these are the tasks and models that it has done, not yet compared" in plain
    section = html[html.index('<section id="benchmarks"') : html.index('<section id="published"')]
    assert ">dSFT</th>" in section and ">dDPO</th>" not in section and 'class="mark' not in section
    assert "Where base falls furthest behind dSFT" in plain and "Did alignment make it less safe?" in plain


def test_a_step_that_has_nothing_yet_says_so(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "recipe.yaml", tmp_path / "recipe.yaml")
    assert "Nothing to show yet: step benchmark is not started." in Page(written(tmp_path)).plain()


def test_missing_and_torn_items_are_no_reason_to_refuse(copy: Path) -> None:
    (copy / "benchmark" / "base" / "mt-bench" / "items.jsonl").unlink()
    file = copy / "benchmark" / "dDPO" / "mt-bench" / "items.jsonl"
    write_text(file, file.read_text(encoding="utf-8") + '{"id": "torn", "sco\n[]\n')
    plain = Page(written(copy)).plain()
    assert "2 lines of items.jsonl could not be read and are in no figure that is made of items" in plain
    assert "Where dDPO falls furthest behind dSFT" in plain


def test_an_empty_record_and_one_without_numbers(copy: Path) -> None:
    bare = {"metrics": [], "values": {}, "by_category": {}, "answers": {}, "compared": {}, "judge": None}
    changed(copy, {}, **bare)
    written(copy)
    nothing = {label: {"score": {"value": None, "n": 0, "scored": 0, "unreadable": 80}} for label in LABELS}
    metric = {"key": "score", "title": "score", "unit": "", "better": "higher", "span": 9}
    record = changed(copy, {"baseline": None}, values=nothing, metrics=[metric])
    cell = table.leaderboard(record)[0].cells[0]
    assert (cell.value, cell.notes) == ("—", ("80 unreadable",))
    changed(copy, {"tasks": []})
    assert "Benchmarks" in Page(written(copy)).plain()


def test_secrets_and_folders_stay_here(copy: Path) -> None:
    file = copy / "benchmark" / "dDPO" / "ifeval" / "items.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["scores"]["prompt_strict"] = 0.0
        row["answers"] = [f"See {copy}/secret.txt and sk-abcdefghijklmnopqrstuvwx"]
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
    changed(copy, {}, notes=[f"read from {copy}/q.jsonl"])
    html = written(copy)
    assert str(copy) not in html and "sk-abcdef" not in html
    assert f"See measured/secret.txt and {HIDDEN}" in html and "read from measured/q.jsonl" in html


# Item by item.


def test_who_scores_better() -> None:
    found = {"a": items(3, 5, 7, None), "b": items(1, 5, 9, 9), "c": items(1, 1, 1, 1)}
    rows = dict(games.matrix(found, SCORE))
    assert [bout and bout.value for bout in rows["a"]] == [None, "50.0", "100.0"]
    assert [bout and bout.value for bout in rows["c"]] == ["0.0", "12.5", None], "one of four alike"
    assert rows["a"][2] and rows["a"][2].n == 3, "items that both have"
    lower = dict(games.matrix(found, SCORE.model_copy(update={"better": "lower"})))
    assert [bout and bout.value for bout in lower["a"]] == [None, "50.0", "0.0"]


def test_models_that_share_no_item_never_met() -> None:
    other = Items({"z": Item(id="z", scores={"score": 1.0})})
    assert games.matrix({"a": items(1, 2), "b": other}, SCORE) == []
    three = dict(games.matrix({"a": items(1, 2), "b": other, "c": items(2, 3)}, SCORE))
    assert three["b"] == [None, None, None] and three["c"][0] and three["c"][0].value == "100.0"


def test_regressions_are_the_largest_losses_one_of_each_unit(tmp_path: Path) -> None:
    base, own = items(9, 9, 9, 9, 2, None), items(1, 5, 9, 8, 9, 1)
    [lost] = games.regressions({"dSFT": base, "dDPO": own}, "dSFT", SCORE, Public(tmp_path))
    assert [one.prompt for one in lost.shown] == ["Ask 0", "Ask 1", "Ask 3"]
    assert (lost.shown[0].baseline.score, lost.shown[0].model.score) == (9, 1)
    assert lost.sentence == "dDPO scores worse than dSFT on 3 of 5 items, better on 1."
    alike = {"dSFT": items(9, 9, unit="one"), "dDPO": items(5, 1, unit="one")}
    [lost] = games.regressions(alike, "dSFT", SCORE, Public(tmp_path))
    assert [one.prompt for one in lost.shown] == ["Ask 1"]


def test_regressions_need_words_a_baseline_and_a_loss(tmp_path: Path) -> None:
    public = Public(tmp_path)
    silent = {"dSFT": items(9, answers=()), "dDPO": items(1, answers=())}
    assert games.regressions(silent, "dSFT", SCORE, public) == ()
    assert games.regressions({"dDPO": items(1)}, "dSFT", SCORE, public) == ()
    assert games.regressions({"dSFT": items(1), "dDPO": items(1)}, "dSFT", SCORE, public) == ()


# Length against score.


@given(
    lengths=st.lists(st.integers(1, 4000), min_size=8, max_size=20, unique=True),
    slope=st.floats(-3, 3),
    level=st.floats(0, 10),
)
@settings(max_examples=25, deadline=None)
def test_a_line_is_found_again(lengths: list[int], slope: float, level: float) -> None:
    dots = [Dot(str(number), length, level + slope * math.log2(length)) for number, length in enumerate(lengths)]
    found = per_doubling(dots)
    assert found is not None and found.value == pytest.approx(slope, abs=1e-6)


def test_a_slope_needs_lengths_that_differ() -> None:
    assert per_doubling([Dot(str(number), 50, float(number)) for number in range(20)]) is None
    assert per_doubling([Dot(str(number), number + 1, 1.0) for number in range(scatter.FEWEST - 1)]) is None


def test_slopes_in_words_and_at_most_four_models() -> None:
    def longer(factor: float) -> Items:
        rows = (
            Item(id=str(n), unit=str(n), scores={"score": 5 + factor * n % 7}, answers=("x" * 2**n,)) for n in range(10)
        )
        return Items({row.id: row for row in rows})

    rising = Items(
        {str(n): Item(id=str(n), unit=str(n), scores={"score": float(n)}, answers=("x" * 2**n,)) for n in range(10)}
    )
    drawn = length_against_score({"m0": rising, **{f"m{n}": longer(3) for n in range(1, 6)}}, SCORE, "s")
    assert drawn is not None
    assert drawn.sentences[0].startswith("m0: +1.00 (95 % interval 1.00–1.00) with each doubling of the length")
    assert drawn.sentences[0].endswith("longer answers score higher.")
    assert drawn.sentences[1].endswith("which may be nothing.")
    assert "Drawn are the first 4 of 6 models." in drawn.sentences and len(drawn.chart.keys) == 4
    assert length_against_score({"m": items(1, answers=("",))}, SCORE, "s") is None
    few = length_against_score({"m": items(1, 2)}, SCORE, "s")
    assert few is not None and "too few answers" in few.sentences[0]


def test_many_items_are_drawn_thinned() -> None:
    rows = {str(n): Item(id=str(n), scores={"score": 1.0 + n % 9}, answers=("x" * (n + 1),)) for n in range(700)}
    drawn = length_against_score({"m": Items(rows)}, SCORE, "s")
    assert drawn is not None and drawn.sentences[-1].startswith(f"At most {scatter.DOTS} dots")
    assert str(drawn.chart.svg).count("<use ") < scatter.DOTS + 40


# Safety.


def test_safety_in_words(folder: Path, found: Benchmark) -> None:
    task = next(task for task in found.record.tasks if task.kind == "safety")
    rows = {label: found.items(label, "safety") for label in LABELS}
    told = {one.label: one for one in safety.safety(task, BASELINE, rows)}
    assert list(told) == list(LABELS)
    assert told["dDPO"].flag == "less safe than dSFT" and told["dSFT"].flag == ""
    harmful, harmless = told["dDPO"].sentences
    rate = read_json(found.folders["dDPO", "safety"] / "result.json")["by_category"]["harmful, role-play"]["refused"]
    shown = f"{100 * rate['value']:.0f} % ({100 * rate['low']:.0f}–{100 * rate['high']:.0f}) in role-play"
    assert harmful.startswith("Of 20 harmful requests it refuses ") and shown in harmful
    assert "fewer than dSFT over all" in harmful and harmful.endswith("fewer in role-play.")
    assert "which it should answer" in harmless and "over all it cannot be told from dSFT" in harmless
    assert told["base"].flag == "" and "are blank or loop" in told["base"].sentences[-1], "no verdict on babble"
    assert [len(one.sentences) for one in safety.safety(task, None, rows)] == [3, 2, 2]
    assert all("dSFT" not in sentence for one in safety.safety(task, None, rows) for sentence in one.sentences)


def test_a_judge_beside_the_rules_of_safety_is_not_whose_score_it_is(copy: Path, html: str) -> None:
    file = copy / "benchmark" / "results.json"
    told = read_json(file)
    told["tasks"][3]["judge"] = told["tasks"][0]["judge"]
    write_json(file, told)
    again = written(copy)
    assert again.count("<figure>") == html.count("<figure>") and again.count('class="matrix"') == 2
    row = table.leaderboard(benchmark(copy).record)[3]
    assert row.title == "Safety" and not [note for note in row.notes if "judge" in note]


# The paper's numbers.


def test_published_numbers_are_the_papers() -> None:
    chat, academic, ablation = (published.source for published in published([]))
    first = {(row.model, row.size): row.values for row in chat.rows}
    assert first["Zephyr (β)", "7B"] == {"mt-bench": (7.34,), "alpacaeval": (90.60, 1.03)}
    assert first["WizardLM v1.0", "70B"] == {"mt-bench": (7.71,)} and first["GPT-4", ""]["mt-bench"] == (8.99,)
    assert first["Falcon-Instruct", "40B"]["alpacaeval"] == (45.71, 1.75) and len(first) == 14
    second = {(row.model, row.size): row.values for row in academic.rows}
    scores = {"arc": (62.03,), "hellaswag": (84.52,), "mmlu": (61.44,), "truthfulqa": (57.44,)}
    assert second["Zephyr (β)", "7B"] == scores and len(second) == 11
    assert second["Llama2-Chat", "70B"]["truthfulqa"] == (44.92,) and second["MPT-Chat", "7B"]["mmlu"] == (37.62,)
    third = {row.model: (row.values["mt-bench"][0], *row.values["alpacaeval"]) for row in ablation.rows}
    assert third == {
        "dDPO − dSFT": (4.76, 30.76, 1.63),
        "dSFT-1": (6.64, 85.65, 1.23),
        "dSFT-2": (6.19, 78.54, 1.44),
        "dDPO + dSFT": (7.00, 86.07, 1.22),
    }
    assert all(set(row.values) <= set(source.columns) for source in sources() for row in source.rows)


def test_own_rows_stand_beside_the_papers_where_the_protocol_is_the_same(found: Benchmark, plain: str) -> None:
    chat, academic, _ = published([found])
    assert [row.label for row in chat.own] == list(LABELS) and not academic.own
    told = read_json(found.folders["dDPO", "alpaca"] / "result.json")["metrics"]["preference"]
    assert chat.own[2].cells[1] == f"{100 * told['value']:.2f} ({100 * told['standard_error']:.2f})"
    assert chat.judges == "MT-Bench by judge-70b; AlpacaEval by judge-70b"
    assert "Judge of the published scores: GPT-4. Of this run: MT-Bench by judge-70b" in plain
    assert "This run" in plain and "Published" in plain and "90.60 (1.03)" in plain


@pytest.mark.parametrize(
    ("task", "change"),
    [("mt-bench", {"mode": "pairwise"}), ("alpaca", {"evaluation_version": 2}), ("alpaca", {"baseline": "base"})],
)
def test_another_protocol_has_no_place_beside_them(copy: Path, task: str, change: dict[str, Any]) -> None:
    for label in LABELS:
        file = copy / "benchmark" / label / task / "result.json"
        told = read_json(file)
        write_json(file, told | {"config": told["config"] | change})
    column = list(sources()[0].columns).index(TASKS[task]["task"])
    assert {row.cells[column] for row in published([benchmark(copy)])[0].own} == {"—"}


def test_every_report_with_an_evaluation_has_the_papers_numbers_folded(tmp_path: Path) -> None:
    html = written(make_run(tmp_path / "run"))
    section = html[html.index('<section id="published"') :]
    assert section.count('<details class="task"><summary>Table') == 3 and "<details open" not in section
    assert 'id="benchmarks"' not in html
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8"))
    del recipe["steps"]["evaluate"]
    write_text(tmp_path / "run" / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
    assert 'id="published"' not in written(tmp_path / "run")
    assert benchmarks(read_run(tmp_path / "run"), Public(tmp_path)).published == ()
