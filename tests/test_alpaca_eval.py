"""AlpacaEval's scores: the published numbers, properties that hold for any preferences, and bad rows."""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.cli import main
from favonius.errors import UserError
from favonius.evals.alpaca_eval.difficulty import FEWEST_MODELS, Difficulty, fit_difficulty
from favonius.evals.alpaca_eval.judging import is_switched, unswitched, weighted_preference
from favonius.evals.alpaca_eval.length_controlled import FEWEST, differs_much, length_controlled
from favonius.evals.alpaca_eval.preferences import (
    Comparison,
    ModelPreferences,
    Preferences,
    other_references,
    paired,
    read_preferences,
)
from favonius.evals.alpaca_eval.published_difficulty import read_published
from favonius.evals.alpaca_eval.regression import Rows, best_strength, fit, logistic
from favonius.evals.alpaca_eval.scores import scores
from favonius.evals.alpaca_eval.win_rate import win_rate

DATA = Path(os.environ.get("FAVONIUS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "alpaca_eval"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FAVONIUS_TEST_DATA names no folder with AlpacaEval")


def row(
    model: str = "ours", instruction: str = "Why?", preference: object = 2.0, **others: object
) -> dict[str, object]:
    return {
        "model": model,
        "instruction": instruction,
        "preference": preference,
        "length_reference": 100,
        "length_model": 120,
        **others,
    }


def written(path: Path, rows: Sequence[object]) -> Path:
    text = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def made_up(models: int, instructions: int = 60, seed: int = 0) -> Preferences:
    """Judged by quality, difficulty and, as judges do, length."""
    draw = np.random.default_rng(seed)
    hardness = draw.normal(size=instructions)
    reference = draw.integers(200, 3000, instructions)
    found = Preferences()
    for number in range(models):
        own = (reference * draw.uniform(0.3, 1.2) + draw.integers(0, 400, instructions)).astype(int)
        shorter = (reference - own) / (reference - own).std(ddof=1)
        share = logistic(hardness - 0.8 * np.tanh(shorter) + number / 2 - 1)
        found.models[f"model-{number}"] = ModelPreferences(
            [Comparison(f"instruction {i}", float(share[i]), reference[i], own[i]) for i in range(instructions)]
        )
    return found


def flat(comparisons: Sequence[Comparison]) -> Difficulty:
    return Difficulty({one.instruction: 0.0 for one in comparisons}, "none")


# The published numbers


@pytest.fixture(scope="module")
def version_1() -> Preferences:
    return read_preferences(DATA / "v1_preferences.jsonl.gz")


@needs_data
def test_version_1_gives_the_published_numbers(version_1: Preferences) -> None:
    published = json.loads((DATA / "v1_published.json").read_text())
    found = scores(version_1, None)
    assert found.keys() == published.keys()
    for name, score in found.items():
        assert score["win_rate"] == pytest.approx(published[name]["win_rate"], abs=0.05)
        assert score["standard_error"] == pytest.approx(published[name]["standard_error"], abs=0.02)
        assert score["n"] + score["unreadable"] == 805
        assert "length_controlled_winrate" not in score


@needs_data
def test_version_2_gives_the_published_numbers_also_with_length_controlled() -> None:
    published = json.loads((DATA / "v2_published.json").read_text())
    preferences = read_preferences(DATA / "v2_preferences.jsonl.gz")
    found = scores(preferences, fit_difficulty(list(preferences.models.values())))
    assert found.keys() == published.keys()
    for name, score in found.items():
        assert score["win_rate"] == pytest.approx(published[name]["win_rate"], abs=0.1)
        assert score["difficulty"] == f"fitted from {len(published)} models"
    ours = np.array([found[name]["length_controlled_winrate"] for name in published])
    theirs = np.array([score["length_controlled_winrate"] for score in published.values()])
    assert np.abs(ours - theirs).mean() <= 1.5
    assert np.corrcoef(ours.argsort().argsort(), theirs.argsort().argsort())[0, 1] >= 0.97


@needs_data
def test_a_model_that_was_held_against_another_reference_is_named(version_1: Preferences) -> None:
    found = other_references(version_1.models)
    assert found == {"Mistral-7B+RAHF-DUAL+LoRA": 774}


# Win rates


def test_win_rate_by_hand() -> None:
    found = win_rate([1.0, 1.0, 0.0, 0.5])
    assert found is not None
    assert found.value == pytest.approx(62.5)
    assert found.standard_error == pytest.approx(100 * math.sqrt(0.6875 / 3 / 4))
    assert found.n == 4
    assert win_rate([]) is None
    alone = win_rate([1.0])
    assert alone is not None and alone.standard_error is None


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_rows(random: Any) -> None:
    comparisons = made_up(1).models["model-0"].comparisons
    difficulty = Difficulty({one.instruction: i / 60 for i, one in enumerate(comparisons)}, "made up")
    shuffled = list(comparisons)
    random.shuffle(shuffled)
    one, other = (Preferences({"ours": ModelPreferences(rows)}) for rows in (comparisons, shuffled))
    assert scores(one, difficulty) == scores(other, difficulty)


# Length control


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, None]))
def test_the_reference_against_itself_has_50(seed: int, unread: float | None) -> None:
    lengths = np.random.default_rng(seed).integers(1, 4000, FEWEST + 1)
    own = [Comparison(str(i), unread if i == 0 else 0.5, length, length) for i, length in enumerate(lengths)]
    difficulty = Difficulty({one.instruction: float(i) for i, one in enumerate(own)}, "made up")
    found = length_controlled(own, difficulty)
    assert found is not None and (found.win_rate, found.standard_error) == (50.0, 0.0)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 3), st.sampled_from([0.5, 1.5, 2.0]))
def test_a_judge_of_length_alone_comes_nearer_to_50(seed: int, slope: float, factor: float) -> None:
    draw = np.random.default_rng(seed)
    reference = draw.integers(200, 3000, 100)
    own = reference * factor * draw.uniform(0.6, 1.6, 100)
    share = logistic(slope * (own - reference) / 500)
    judged = [Comparison(str(i), float(share[i]), reference[i], own[i]) for i in range(100)]
    raw, found = win_rate(share.tolist()), length_controlled(judged, flat(judged))
    assert raw is not None and found is not None
    assert found.length < 0
    if abs(raw.value - 50) > 5:
        assert abs(found.win_rate - 50) < abs(raw.value - 50)


def test_a_judge_blind_to_length_changes_little() -> None:
    draw = np.random.default_rng(0)
    judged = [
        Comparison(str(i), float(draw.random() < 0.7), float(draw.integers(500, 1500)), float(draw.integers(500, 1500)))
        for i in range(400)
    ]
    raw, found = win_rate([one.preference or 0.0 for one in judged]), length_controlled(judged, flat(judged))
    assert raw is not None and found is not None
    assert found.win_rate == pytest.approx(raw.value, abs=2)
    assert found.standard_error == pytest.approx(raw.standard_error or 0, rel=0.15)


def test_unreadable_preferences_are_predicted_and_teach_nothing() -> None:
    judged = made_up(1, 100).models["model-0"].comparisons
    other = [Comparison(one.instruction, None, one.length_reference, one.length_model) for one in judged[:40]]
    whole, part = (length_controlled(rows, flat(judged)) for rows in (judged, other + judged[40:]))
    assert whole is not None and part is not None
    assert part.win_rate == pytest.approx(whole.win_rate, abs=6)
    assert part.standard_error > whole.standard_error
    assert length_controlled(other + judged[40 : 40 + FEWEST - 1], flat(judged)) is None


@pytest.mark.parametrize(
    ("controlled", "raw", "far"),
    [(9.0, 20, True), (11.0, 20, False), (29.0, 20, False), (41.0, 20, True), (36, 50, True), (64, 50, True)],
)
def test_what_is_warned_of(controlled: float, raw: float, far: bool) -> None:
    assert differs_much(controlled, raw) is far


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 0.05, 1.0, 100.0, 1e4]))
def test_the_regression_is_at_its_minimum(seed: int, strength: float) -> None:
    """At the least point of Σ|b| + C Σ loss, the loss pulls each b by exactly 1/C against its sign, or b is 0."""
    draw = np.random.default_rng(seed)
    rows = Rows(draw.normal(size=(40, 3)), draw.uniform(size=40), draw.uniform(0.1, 1, 40))
    found = fit(rows, strength)
    pull = strength * rows.features.T @ (rows.weights * (logistic(rows.features @ found) - rows.labels))
    for coefficient, force in zip(found, pull, strict=True):
        if coefficient == 0:
            assert abs(force) <= 1 + 1e-6
        else:
            assert force == pytest.approx(-np.sign(coefficient), abs=1e-3)


def test_noise_is_penalised_harder_than_signal() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(500, 3))
    signal = Rows(features, logistic(features @ [2.0, -1.0, 0.5]), np.ones(500))
    noise = Rows(features, draw.integers(0, 2, 500).astype(float), np.ones(500))
    assert best_strength(noise) < best_strength(signal)
    assert fit(signal, best_strength(signal)) == pytest.approx([2.0, -1.0, 0.5], abs=0.01)


# Difficulty


def test_difficulty_is_found_again() -> None:
    preferences = made_up(12, 80, seed=3)
    found = fit_difficulty(list(preferences.models.values()))
    planted = np.random.default_rng(3).normal(size=80)
    assert np.corrcoef(list(found.of.values()), planted)[0, 1] > 0.95
    assert abs(np.mean(list(found.of.values()))) < 1e-3
    assert found.source == "fitted from 12 models"


def test_few_models_fit_no_difficulty_and_one_that_always_wins_does_no_harm() -> None:
    few = fit_difficulty(list(made_up(FEWEST_MODELS - 1).models.values()))
    assert set(few.of.values()) == {0.0} and few.source.startswith("none")
    many = made_up(FEWEST_MODELS)
    many.models["best"] = ModelPreferences(
        [Comparison(one.instruction, 1.0, 100.0 + i, 90.0) for i, one in enumerate(many.models["model-0"].comparisons)]
    )
    found = scores(many, fit_difficulty(list(many.models.values())))
    assert found["best"]["win_rate"] == 100
    assert 95 < found["best"]["length_controlled_winrate"] <= 100


def published(path: Path, rows: Sequence[str], header: str = "index,instruction_difficulty") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_published_difficulty_goes_by_place(tmp_path: Path) -> None:
    models = list(made_up(1, 3).models.values())
    found = read_published(published(tmp_path / "d.csv", ["0,0.5", "2,-1", "1,2"], ",instruction_difficulty"), models)
    assert found.of == {"instruction 0": 0.5, "instruction 1": 2.0, "instruction 2": -1.0}
    assert found.reworded is None and found.source == "published, of d.csv"
    header = "model,index,instruction_difficulty,std_delta_len,not_gamed_baseline,preference"
    gamed = ["v,0,0.5,-1,False,0.75", "v,1,2,-2,False,", "c,0,0.5,1,False,0.25"]
    found = read_published(published(tmp_path / "g.csv", [*gamed, "c,2,-1,0,False,0.5"], header), models)
    assert found.reworded is not None
    features, labels = found.reworded
    assert labels.tolist() == [0.75, 0.25, 0.5]
    assert features == pytest.approx(np.array([[math.tanh(-1), 0.5, 0], [math.tanh(1), 0.5, 0], [0, -1, 0]]))


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (["0,1", "1,2"], "index,instruction_difficulty", "numbers 2 instructions"),
        (["0,x", "1,2", "2,0"], "index,instruction_difficulty", "line 2: instruction_difficulty is 'x'"),
        (["0,1", "1,2", "2,0"], "index,hardness", "line 2: instruction_difficulty is ''"),
        (["0,1,9"], "index,instruction_difficulty", "another number of cells"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, rows: list[str], header: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_published(published(tmp_path / "d.csv", rows, header), list(made_up(1, 3).models.values()))


# Rows


def test_every_bad_row_is_counted_by_its_cause(tmp_path: Path) -> None:
    rows = [
        row(),
        row(instruction="draw", preference=0),
        row(instruction="null", preference=None),
        '{"model": "ours", "instruction": "nan", "preference": NaN, "length_reference": 1, "length_model": 2}',
        row(instruction="much", preference=2.5),
        row(instruction="text", preference="2"),
        row(instruction="true", preference=True),
        row(instruction="length", length_model=-1),
        row(instruction="no length", length_reference=None),
        row(preference=1.0),
        row(instruction="more", note="?"),
        {"instruction": "whose?", "preference": 1},
        '{"model": "ou',
        "[1]",
    ]
    found = read_preferences(written(tmp_path / "p.jsonl.gz", rows))
    ours = found.models["ours"]
    assert ours.by_instruction() == {"Why?": 1.0, "draw": 0.5, "more": 1.0}
    assert (ours.unreadable, ours.duplicates, ours.excluded) == (2, 1, 5)
    assert found.amiss.counts == {
        "preference is neither 1 to 2 nor 0": 1,
        "preference is no number": 2,
        "length_model is no number of characters": 1,
        "length_reference is missing": 1,
        "model and instruction came before; the first row counts": 1,
        "unknown field note, ignored": 1,
        "model is missing": 1,
        "not a whole JSON value": 1,
        "not a JSON object": 1,
    }
    assert found.amiss.samples["preference is neither 1 to 2 nor 0"] == ["line 5 (ours)"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "the file is empty"),
        ([row(preference=9)] * 3, "line 1 .ours.: preference is neither 1 to 2 nor 0, as in 3 rows"),
        ([{"question_id": 81}], "line 1: model is missing"),
    ],
)
def test_a_file_without_a_usable_row_is_refused(tmp_path: Path, rows: list[object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_preferences(written(tmp_path / "p.jsonl", rows))


def test_a_file_that_is_missing_or_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_preferences(tmp_path / "p.jsonl")
    path = written(tmp_path / "p.jsonl.gz", [row(instruction=str(i)) for i in range(500)])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="cut off"):
        read_preferences(path)


def test_pairs_are_of_instructions_that_both_have() -> None:
    first = ModelPreferences([Comparison("a", 1.0, 1, 1), Comparison("b", None, 1, 1), Comparison("c", 0.0, 1, 1)])
    second = ModelPreferences([Comparison("c", 0.5, 1, 1), Comparison("b", 1.0, 1, 1)])
    assert paired(first, second) == {"c": (0.0, 0.5)}


# What judges are shown and say


def test_the_order_is_drawn_from_the_instruction_alone() -> None:
    drawn = {"How did US states get their names?": True, "Who is Larry Page?": False}
    assert {text: is_switched(text) for text in drawn} == drawn
    switched = [is_switched(f"instruction {number}") for number in range(1000)]
    assert 440 < sum(switched) < 560
    assert switched != [is_switched(f"instruction {number}", seed=1) for number in range(1000)]
    assert (unswitched(1.25, True), unswitched(1.25, False)) == (1.75, 1.25)


@given(st.floats(-2000, 0), st.floats(-2000, 0))
def test_weighted_preferences(first: float, second: float) -> None:
    found = weighted_preference({"m": first, "M": second, "The": -0.1})
    assert found is not None and 1 <= found <= 2
    assert found == pytest.approx(3 - (weighted_preference({"m": second, "M": first}) or 0))
    assert found == pytest.approx(1 + 1 / (1 + math.exp(min(first - second, 700))))


def test_weighted_preferences_without_a_token() -> None:
    assert weighted_preference({"m": -3.0, "x": -0.1}) == 1
    assert weighted_preference({"M": -3.0}) == 2
    assert weighted_preference({"x": -0.1}) is None
    assert weighted_preference({"m": -math.inf}) is None


# The command


def preference_rows(preferences: Preferences) -> list[object]:
    return [
        row(name, one.instruction, 1 + (one.preference or 0), length_reference=int(one.length_reference),
            length_model=int(one.length_model))
        for name, model in preferences.models.items()
        for one in model.comparisons
    ]  # fmt: skip


def test_json_is_all_that_goes_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*preference_rows(made_up(FEWEST_MODELS)), row("model-0", "x", None), row("few", "instruction 0", 1.5)]
    path = written(tmp_path / "p.jsonl", rows)
    assert main(["eval", "alpacaeval", "score", str(path), "--version", "2", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert set(found["model-0"]) >= {"win_rate", "standard_error", "n", "length_controlled_winrate", "avg_length"}
    assert (found["model-0"]["n"], found["model-0"]["unreadable"]) == (60, 1)
    assert found["model-0"]["difficulty"] == f"fitted from {FEWEST_MODELS + 1} models"
    assert (found["few"]["win_rate"], found["few"]["standard_error"]) == (50, None)
    assert found["few"]["length_controlled_winrate"] is None
    assert "1 row: the judge's word is unreadable, left out (model-0 1)" in err
    assert "few: too few readable preferences" in err
    assert "they lack: few 60, model-1 1" in err


def test_version_1_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "p.jsonl", [row("weak", preference=1), row("strong", preference=2)])
    out = tmp_path / "out" / "scores.json"
    assert main(["eval", "alpacaeval", "score", str(path), "--version", "1", "--json", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert "length_controlled_winrate" not in json.loads(out.read_text())["weak"]
    assert main(["eval", "alpacaeval", "score", str(path), "--version", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["model", "strong", "weak"]


def test_difficulty_of_another_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = preference_rows(made_up(FEWEST_MODELS + 1))
    many, one = written(tmp_path / "many.jsonl.gz", rows), written(tmp_path / "one.jsonl", rows[:60])
    score = ["eval", "alpacaeval", "score"]
    assert main([*score, str(many), "--json", "-"]) == 0
    among = json.loads(capsys.readouterr().out)["model-0"]
    assert main([*score, str(one), "--difficulty", str(many), "--json", "-"]) == 0
    alone = json.loads(capsys.readouterr().out)["model-0"]
    assert alone.pop("difficulty") == f"{among.pop('difficulty')} of many.jsonl.gz"
    assert alone == among
    assert main([*score, str(one)]) == 0
    assert "give one with --difficulty" in capsys.readouterr().err
    assert main([*score, str(many), "--difficulty", str(one)]) == 0  # the same instructions, but too few models
    assert main([*score, str(one), "--difficulty", str(written(tmp_path / "other.jsonl", [row()]))]) == 2
    assert "no preference on 60 of the instructions" in capsys.readouterr().err


def test_mistakes_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "p.jsonl", [row()])
    score = ["eval", "alpacaeval", "score", str(path)]
    assert main([*score, "--version", "1", "--difficulty", "d.csv"]) == 2
    assert main([*score, "--difficulty", "d.csv"]) == 2
    assert main([*score, "--json", str(tmp_path)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
