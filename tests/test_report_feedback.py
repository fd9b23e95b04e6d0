"""The page's sections on answers, pairs, best-of-n and the constitutional pass, over what the real stages write."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.data.rows import read_rows
from favonius.files import read_json, write_json
from favonius.report.answers_made import answers_made
from favonius.report.gather import Run, Step, read_run
from favonius.report.pairs_made import best_made, pairs_made
from favonius.report.plots import spread
from favonius.report.public import Public
from favonius.report.revised import ROUNDS_SHOWN, revised
from favonius.report.story import tell
from favonius.report.wording import fold
from favonius.types import Answer, Pair
from tests.page_reader import Page, written
from tests.report_feedback_run import PROMPTS, make_feedback_run
from tests.report_run import HOSTILE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAVONIUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return make_feedback_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return written(folder)


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return read_run(folder)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "orchard"))


@pytest.fixture(scope="module")
def public(folder: Path) -> Public:
    return Public(folder)


def step(run: Run, name: str) -> Step:
    found = run.step(name)
    assert found is not None
    return found


def section(html: str, name: str) -> str:
    """The plain text of one section."""
    start = html.index(f'<section id="{name}"')
    return Page(html[start : html.index("</section>", start) + len("</section>")]).plain()


def test_sections_in_order_safe_and_the_same_again(folder: Path, html: str) -> None:
    names = ("pairs", "best", "pool", "constitution", "rows")
    places = [html.index(f'<section id="{name}"') for name in names]
    assert places == sorted(places)
    page = Page(html)
    assert not {"script", "img"} & set(page.names()) and "\x1b" not in html
    assert HOSTILE.split("&")[0] in page.text and str(folder.parent) not in html
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert written(folder) == html


def test_answers_by_member(folder: Path, run: Run, html: str, public: Public) -> None:
    made = answers_made(run, step(run, "answers"), public)
    rows = read_rows(folder / "answers" / "answers.jsonl", Answer)
    small = dict(made.members)["small"]
    assert small.answered == sum(row.source == "small" for row in rows) == PROMPTS
    assert sum(small.temperatures.values()) == PROMPTS and len(small.temperatures) == 3
    assert [len(one.answers) for one in made.shown] == [3, 3]
    assert made.shown[0].prompt == rows[0].prompt
    text = section(html, "pool")
    assert "prompts held out 6" in text and ", not told · temperature 0.7" in text and "field" in text
    assert "3 models gave 72 answers to 24 prompts." in Page(html).plain()


def test_pairs_with_their_winners_margins_and_other_rules(folder: Path, run: Run, html: str, public: Public) -> None:
    made = pairs_made(run, step(run, "pairs"), "p0", public)
    pairs = read_rows(folder / "pairs" / "pairs.jsonl", Pair)
    assert [(one.name, one.wins, one.losses, one.share) for one in made.contenders] == [
        ("wise", len(pairs), 0, 1.0),
        ("large", 0, len(pairs), 0.0),
    ]
    assert made.margins is not None and f": {len(pairs)}" in str(made.margins.svg)
    comparison = read_json(folder / "pairs" / "comparison.json")
    assert [row.name for row in made.rules] == list(comparison["rules"])
    assert made.rules[0].same_chosen is None and made.rules[1].same_chosen == 1.0
    text = section(html, "pairs")
    for expected in (
        "rule best vs worst",
        "this step's",
        "Other rules on the same feedback",
        "judged by aspects of wise",
    ):
        assert expected in text, expected
    asked = pairs[0].origin.calls[0].request if pairs[0].origin else ""
    assert f"(template {'a' * 12}) · replies {asked[:12]}" in text


def test_of_many_sources_the_first_are_shown_and_the_others_folded(copy: Path) -> None:
    stats = read_json(copy / "pairs" / "stats.json")
    wins = {f"model-{number:02}": 40 - number for number in range(20)}
    write_json(copy / "pairs" / "stats.json", {**stats, "wins": wins, "losses": {}})
    html = written(copy)
    folded = html[html.index("<summary>8 more</summary>") :]
    assert html.count("model-11") == html.count("model-12") == 1
    assert "model-12" in folded and "model-11" not in folded


def test_prompts_without_a_pair_are_told_by_cause(copy: Path) -> None:
    stats = read_json(copy / "pairs" / "stats.json")
    write_json(copy / "pairs" / "stats.json", {**stats, "dropped": {"tie": 7}, "repairs": {"a 10 that became a 1": 5}})
    text = section(written(copy), "pairs").replace("\u00a0", " ")
    assert "Prompts without a pair: tie × 7." in text and "repaired: a 10 that became a 1 5" in text


def test_pairs_shown_have_different_winners_where_there_are_some(copy: Path) -> None:
    file = copy / "pairs" / "pairs.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[-1]["chosen_source"] = "rare"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = read_run(copy)
    made = pairs_made(run, step(run, "pairs"), "p0", Public(copy))
    assert [pair.chosen_source for pair in made.shown] == ["wise", "rare", "wise"]


def test_best_of_n(run: Run, html: str, public: Public) -> None:
    made = best_made(step(run, "best"), public)
    facts = dict(made.facts)
    assert (facts["answers kept"], facts["held out of these"], facts["least score"]) == ("24", "6", "2")
    assert re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", facts["above the prompt's average"])
    assert "wise 24" in section(html, "best")


def test_revisions_by_principle_with_examples(run: Run, html: str, public: Public) -> None:
    made = revised(run, step(run, "constitution"), public)
    assert sum(one.revised for one in made.articles) == made.step.stats["kept"]
    assert all(one.asked == one.revised + one.clean + one.unusable for one in made.articles)
    assert len(made.shown) == ROUNDS_SHOWN == len({one.principle for one in made.shown})
    text = section(html, "constitution")
    assert "which helps nobody." in text and "who knows how much of it there is" in text
    assert f"revised {made.step.stats['kept']} of 18 answers." in Page(html).plain()


def test_the_story_names_judges_and_rule(run: Run) -> None:
    told = " ".join(tell(run).doings)
    assert "org/wise rated them (aspects)" in told and "The rule best vs worst made 24 pairs of them" in told
    ratings = next(one for one in run.steps if one.stage == "ratings")
    both = {"kind": "ensemble", "judges": {"one": ratings.config["judge"], "two": {"model": "org/other"}}}
    made_of = replace(ratings, config={**ratings.config, "judge": {"kind": "consensus", "judge": both}})
    other = replace(run, steps=tuple(made_of if one is ratings else one for one in run.steps))
    assert "org/wise and org/other rated them (consensus)" in " ".join(tell(other).doings)
    assert re.search(r"The best 24 answers became dialogues, whose scores are [\d.]+ above", told)


@pytest.mark.parametrize("name", ["answers", "pairs", "best", "constitution"])
def test_a_step_that_has_not_finished_is_no_reason_to_refuse_the_page(copy: Path, name: str) -> None:
    for file in (copy / name).iterdir():
        if file.name != "config.json":
            file.unlink()
    assert f"step {name} is unfinished" in Page(written(copy)).plain()


def test_steps_of_an_older_favonius_are_shown_with_what_they_have(copy: Path) -> None:
    for name in ("answers", "pairs", "best", "constitution"):
        write_json(copy / name / "stats.json", {"kept": 3})
        for file in (copy / name).glob("*.jsonl"):
            file.unlink()
    (copy / "pairs" / "comparison.json").unlink()
    text = Page(written(copy)).plain()
    assert "3 models gave 3 answers." in text and "revised 3 answers." in text
    assert "Other rules" not in text and "Margins" not in text


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_a_histogram_counts_every_number_once(values: list[float]) -> None:
    chart = spread("Margins", "pairs", "difference", values, "p0")
    label = re.search(r'aria-label="([^"]*)"', str(chart.svg))
    assert label is not None
    counts = re.findall(r": ([\d,]+)(?:, |$)", label[1].partition(". ")[2])
    assert sum(int(count.replace(",", "")) for count in counts) == len(values)


def test_short_lines_are_folded_by_their_number() -> None:
    head, tail = fold("".join(f"{number}\n" for number in range(60)))
    assert head.count("\n") == 24 and head + tail == "".join(f"{number}\n" for number in range(60))
    assert fold("a\n" * 27) == ("a\n" * 27, "")
