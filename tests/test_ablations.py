"""The ablations' recipe on tiny models, from seeds to both figures; and what the figures take from a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from favonius.errors import UserError
from favonius.files import write_json
from favonius.recipe import load_recipe
from favonius.report.ablations.chapter import ablations
from favonius.report.ablations.epochs import curve, curves, score_lines
from favonius.report.ablations.models import Made, comparisons, made
from favonius.report.ablations.variants import VARIANTS, table_three, variants
from favonius.report.benchmarks.published import sources
from favonius.report.gather import Run, read_run
from favonius.report.public import Public
from favonius.train.config import TrainConfig
from favonius.train.loop import Launched, Trainer
from favonius.train.objectives import DPO
from tests import training
from tests.page_reader import Page
from tests.tiny import save_tiny

RECIPE = Path(__file__).parent.parent / "recipes" / "ablations.yaml"
TABLE_3 = ("dDPO − dSFT", "dSFT-1", "dSFT-2", "dDPO + dSFT")


# The recipe.


def settings(folder: Path) -> list[str]:
    """The recipe's models and prompts replaced by tiny ones."""
    for seed, name in enumerate(("base", "teacher")):
        save_tiny(folder / name, "gemma3", seed=seed)
    seeds = (json.dumps({"id": f"s{n}", "prompt": f"What about {n}, then?"}) + "\n" for n in range(16))
    (folder / "seeds.jsonl").write_text("".join(seeds))
    given = {
        "models.base": folder / "base",
        "models.teacher": folder / "teacher",
        "prompts": folder / "seeds.jsonl",
        "steps.dialogues.engine": "{kind: transformers}",
        "steps.answers.pool.teacher.engine": "{kind: transformers}",
        "steps.benchmark.tasks.ifeval.limit": 3,
        "sft_rate": 1e-3,
        "dpo_rate": 1e-3,
        "dpo_epochs": 2,
        "max_length": 400,
    }
    return [f"{path}={value}" for path, value in given.items()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablations")
    command = [sys.executable, "-m", "tests.whole_run", "run", str(RECIPE), "--out", str(folder / "run")]
    command += [part for setting in settings(folder) for part in ("--set", setting)]
    environment = {**os.environ, "FAVONIUS_CACHE": str(folder / "cache")}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    return folder / "run"


def rows_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def lines(step: Path, split: str) -> list[dict[str, Any]]:
    return [row for row in rows_in(step / "metrics.jsonl") if row["split"] == split]


def stats(step: Path) -> dict[str, Any]:
    return dict(json.loads((step / "stats.json").read_text()))


def test_what_variants_share_is_made_once(whole: Path) -> None:
    assert stats(whole / "ddpo")["reference_forwards"] == stats(whole / "ddpo")["kept"]
    assert stats(whole / "ddpo-after-1")["reference_forwards"] == 0, "the same rows under the same dSFT model"
    assert stats(whole / "ddpo-after-2")["reference_forwards"] > 0
    first, second = (rows_in(whole / name / "answers.jsonl") for name in ("evaluate", "evaluate-epochs"))
    assert [row["text"] for row in first if row["source"] == "dSFT-1"] == [
        row["text"] for row in second if row["source"] == "1 dSFT"
    ]


def test_imitation_and_contrast_learn_from_the_same_answers(whole: Path) -> None:
    """dSFT-2 is to differ from dDPO + dSFT by what is done with the chosen answers alone."""
    best = {row["id"]: row["messages"][-1]["content"] for row in rows_in(whole / "best" / "dialogues.jsonl")}
    pairs = rows_in(whole / "pairs" / "pairs.jsonl")
    assert pairs and all(best[pair["id"]] == pair["chosen"] for pair in pairs)


def test_accuracy_is_known_after_each_epoch(whole: Path) -> None:
    for name in ("ddpo-after-1", "ddpo-after-2", "ddpo-after-3"):
        pairs = rows_in(whole / "pairs" / "pairs.jsonl")
        held_out = sum(pair["split"] == "test" for pair in pairs)
        assert [(row["epoch"], row["rows"]) for row in lines(whole / name, "test")] == [
            (0.0, held_out), (1.0, held_out), (2.0, held_out),
        ]  # fmt: skip
        trained = lines(whole / name, "train")
        assert sum(row["rows"] for row in trained) == 2 * (len(pairs) - held_out)
        assert all("accuracy" in row for row in trained)


def test_the_page_draws_both(whole: Path) -> None:
    html = (whole / "report.html").read_text(encoding="utf-8")
    section = html[html.index('<section id="ablations">') :]
    section = section[: section.index("</section>")]
    text = re.sub(r"\s+", " ", Page(section + "</section>").text)
    assert "Table 3 of the paper" in text and "Figure 3 of the paper" in text
    assert section.count("<svg") == 5 + 2, "wins, preferences, IFEval, and two published; accuracy and wins by epochs"
    assert all(f"after {number} epoch" in text for number in (1, 2, 3))
    assert text.count("published: Mistral 7B, GPT-4") == 2 and text.count("this run") == 3
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert str(whole) not in html


def test_the_recipe_is_valid_as_it_is_and_with_rows_that_there_are(tmp_path: Path) -> None:
    plain = load_recipe(RECIPE)
    trainings = [step for step in plain.steps.values() if isinstance(step, TrainConfig)]
    assert {step.epochs for step in trainings if step.objective.kind == "sft"} == {1, 2, 3}
    (tmp_path / "talks.jsonl").write_text('{"prompt": "Why?", "response": "So."}\n')
    given = load_recipe(
        RECIPE,
        [
            f"steps.dialogues={{stage: data, sources: {{own: {{path: {tmp_path / 'talks.jsonl'}}}}}}}",
            "steps.ratings={stage: data, sources: {ultrafeedback: {hub: hf://openbmb/UltraFeedback}}}",
            "steps.answers.ablation=true",
        ],
    )
    assert "answers" not in given.steps and len(given.steps) == len(plain.steps) - 1


def test_a_wrong_evaluate_every_is_told_by_its_own_name() -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(RECIPE, ["steps.ddpo.evaluate_every=often"])
    told = str(refused.value).splitlines()
    assert len(told) == 2 and all("steps.ddpo.evaluate_every: " in line for line in told)
    assert "there are epoch" in told[0] and "a whole number, not 'often'" in told[1]


# Training.


def test_a_stopped_training_goes_on_with_the_same_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = training.write_pairs(tmp_path / "rows", 10)
    held_out = [row | {"split": "test"} for row in rows_in(rows / "pairs.jsonl")[:3]]
    with open(rows / "pairs.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in held_out)
    config = training.settings(
        DPO(), epochs=3, batch_size=4, learning_rate=1e-3, checkpoint_every=1, evaluate_every="epoch"
    )
    base = save_tiny(tmp_path / "base")
    whole = training.train(tmp_path / "whole", base, rows, config)
    step = Trainer.step

    def dies(trainer: Trainer, number: int) -> Launched:
        if number > 6:
            raise InterruptedError
        return step(trainer, number)

    monkeypatch.setattr(Trainer, "step", dies)
    with pytest.raises(InterruptedError):
        training.train(tmp_path / "again", base, rows, config)
    monkeypatch.undo()
    again = training.train(tmp_path / "again", base, rows, config)
    tests = [[(row["step"], row["loss"]) for row in lines(tmp_path / name, "test")] for name in ("whole", "again")]
    assert tests[0] == tests[1] and [number for number, _ in tests[0]] == [0, 3, 6, 9]
    assert all(again.weights[name].equal(tensor) for name, tensor in whole.weights.items())


# What the figures take from a run.


def step(kind: str, model: str, epochs: int = 1) -> dict[str, Any]:
    return {"stage": "train", "model": model, "rows": "rows", "objective": {"kind": kind}, "epochs": epochs}


GRID = {
    "sft-1": step("sft", "base"),
    "sft-2": step("sft", "base", 2),
    "on-best": step("sft", "sft-1"),
    "ddpo-on-base": step("ipo", "base"),
    "ddpo": step("dpo", "sft-1"),
    "ddpo-3": step("dpo", "sft-1", 3),
    "ddpo-2-3": step("dpo", "sft-2", 3),
    "again": step("dpo", "ddpo", 3),
    "judge": step("reward", "sft-1"),
}


def make_run(folder: Path, steps: Mapping[str, Any] = GRID) -> Run:
    folder.mkdir(exist_ok=True)
    recipe = {"models": {"base": {"source": "org/base"}}, "steps": dict(steps)}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return read_run(folder)


def logged(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def training_lines(epochs: int, accuracy: float) -> list[dict[str, Any]]:
    """Two steps an epoch, of 8 and 2 pairs, and a pass over 10 held-out pairs after each."""
    rows = [{"step": 0, "epoch": 0.0, "split": "test", "accuracy": 0.5, "rows": 10}]
    for number in range(1, 2 * epochs + 1):
        last = number % 2 == 0
        rows.append(
            {
                "step": number, "epoch": number / 2, "split": "train", "accuracy": 0.0 if last else accuracy,
                "rows": 2 if last else 8,
            }
        )  # fmt: skip
        if last:
            rows.append({"step": number, "epoch": number / 2, "split": "test", "accuracy": accuracy, "rows": 10})
    return rows


def evaluated(folder: Path, name: str, wins: Mapping[str, float], baseline: str) -> None:
    """A results.json of stage `evaluate` with win rates, as that stage leaves the baseline's out."""
    values = {label: None if label == baseline else {"value": rate, "low": rate - 0.1, "high": rate + 0.1, "n": 20}
              for label, rate in wins.items()}  # fmt: skip
    metric = {"key": "win_rate", "title": f"wins against {baseline}", "unit": "%", "better": "higher", "values": values}
    found = {
        "baseline": baseline,
        "judge": "a judge",
        "prompts": 20,
        "samples": 1,
        "labels": [*wins],
        "metrics": [metric],
    }
    (folder / name).mkdir(parents=True, exist_ok=True)
    write_json(folder / name / "results.json", found)


def test_how_a_model_was_made_is_read_off_the_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    found = {name: made(run, name) for name in ("base", *GRID)}
    assert found["base"] == Made((), ())
    assert found["on-best"] == Made(("sft", "sft"), (1, 1))
    assert found["ddpo-on-base"] == Made(("preferences",), (1,))
    assert found["ddpo-2-3"] == Made(("sft", "preferences"), (2, 3))
    assert found["again"] == Made(("sft", "preferences", "preferences"), (1, 1, 3))
    assert found["judge"] is None, "a reward model writes nothing"


def compared(models: Mapping[str, str], stage: str = "evaluate") -> dict[str, Any]:
    return {"stage": stage, "models": dict(models), "baseline": next(iter(models))}


def test_variants_are_found_by_how_they_were_made(tmp_path: Path) -> None:
    models = {"imitated": "sft-1", "long": "ddpo-3", "short": "ddpo", "bare": "ddpo-on-base", "base": "base"}
    steps = {**GRID, "evaluate": compared(models), "rest": compared({"a": "sft-1", "b": "ddpo"})}
    evaluated(tmp_path, "evaluate", dict.fromkeys(models, 0.6), "imitated")
    evaluated(tmp_path, "rest", {"a": 0.5, "b": 0.6}, "a")
    whole, rest = comparisons(make_run(tmp_path, steps), Public(tmp_path))
    assert variants(whole) == {"dDPO − dSFT": "bare", "dSFT-1": "imitated", "dDPO + dSFT": "short"}
    assert variants(rest) == {}, "dSFT and dDPO alone ablate nothing"
    assert whole.measures[0].values["imitated"].value == 0.5, "the baseline against itself"
    assert table_three([rest], "v") == ()


def test_a_run_without_ablations_has_no_section(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"sft": step("sft", "base"), "ddpo": step("dpo", "sft", 2)})
    logged(tmp_path, "ddpo", training_lines(2, 0.8))
    assert ablations(read_run(run.path), Public(tmp_path)) is None


def test_table_three_is_the_papers() -> None:
    """zephyr-spec §1.10."""
    source = next(source for source in sources() if source.title.startswith("Table 3"))
    found = {row.model: (row.values["mt-bench"], row.values["alpacaeval"]) for row in source.rows}
    assert found == {
        "dDPO − dSFT": ((4.76,), (30.76, 1.63)),
        "dSFT-1": ((6.64,), (85.65, 1.23)),
        "dSFT-2": ((6.19,), (78.54, 1.44)),
        "dDPO + dSFT": ((7.00,), (86.07, 1.22)),
    }
    assert tuple(VARIANTS.values()) == TABLE_3 == tuple(found)


@pytest.mark.parametrize("mode", ["single", "pairwise"])
def test_published_numbers_stand_beside_those_of_the_same_protocol_only(tmp_path: Path, mode: str) -> None:
    metric = {"key": "score", "title": "score", "unit": "", "better": "higher"}
    for label, value in (("bare", 3.5), ("imitated", 5.25)):
        figure = {"value": value, "low": value - 0.5, "high": value + 0.5, "n": 80}
        (tmp_path / "benchmark" / label / "mt").mkdir(parents=True)
        part = {
            "task": "mt", "kind": "mt-bench", "title": "MT-Bench", "model": {"label": label}, "config": {"mode": mode},
            "metrics": {"score": {**metric, **figure}},
        }  # fmt: skip
        write_json(tmp_path / "benchmark" / label / "mt" / "result.json", part)
    steps = {**GRID, "benchmark": compared({"bare": "ddpo-on-base", "imitated": "sft-1"}, "benchmark")}
    rows = table_three(list(comparisons(make_run(tmp_path, steps), Public(tmp_path))), "v")
    own, *others = rows[0]
    keys = [key.name for key in own.keys]
    assert ("published: Mistral 7B, GPT-4" in keys) == (mode == "single")
    assert [chart.title for chart in others] == ["AlpacaEval 1"] if mode == "single" else ["MT-Bench", "AlpacaEval 1"]
    assert "dDPO − dSFT 3.50 (3–4)" in own.svg
    assert ("dDPO + dSFT 7.00" in own.svg) == (mode == "single")


def test_curves_hold_each_epochs_training_and_held_out_accuracy(tmp_path: Path) -> None:
    make_run(tmp_path)
    for name, epochs, accuracy in (("ddpo", 1, 0.4), ("ddpo-3", 3, 0.75), ("ddpo-2-3", 3, 1.0), ("again", 3, 0.1)):
        logged(tmp_path, name, training_lines(epochs, accuracy))
    first, second = curves(read_run(tmp_path))
    assert (first.sft_epochs, second.sft_epochs) == (1, 2)
    assert first.trained == ((1.0, 0.6), (2.0, 0.6), (3.0, 0.6)), "8 pairs at 75 % and 2 at 0"
    assert [(epoch, held.value) for epoch, held in first.held_out] == [
        (0.0, 0.5),
        (1.0, 0.75),
        (2.0, 0.75),
        (3.0, 0.75),
    ]
    start, after, *_ = (held for _, held in first.held_out)
    assert start.low is None, "before training nothing was measured"
    assert after.low is not None and after.high is not None and after.low < 0.75 < after.high
    sure = second.held_out[-1][1]
    assert sure.low is not None and sure.low < 0.8 and sure.high == 1.0, "ten of ten do not make a certainty"


def test_a_training_under_way_is_drawn_as_far_as_it_is(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    logged(tmp_path, "ddpo-3", training_lines(3, 0.8)[:2])
    logged(tmp_path, "ddpo-2-3", training_lines(3, 0.8)[:1])
    first, second = curves(read_run(run.path))
    assert first.trained == ((0.5, 0.8),) and second.trained == ()
    found = ablations(read_run(run.path), Public(tmp_path))
    assert found is not None and len(found.epochs) == 1 and found.variants == ()


@given(st.lists(st.tuples(st.integers(1, 32), st.integers(0, 64)), min_size=1, max_size=30), st.integers(1, 6))
def test_an_epochs_accuracy_is_that_of_its_pairs(batches: list[tuple[int, int]], epochs: int) -> None:
    sized = [(size, min(halves, 2 * size)) for size, halves in batches]
    rows = [
        {
            "step": epoch * len(sized) + number + 1, "epoch": epoch + (number + 1) / len(sized), "split": "train",
            "accuracy": halves / (2 * size), "rows": size,
        }
        for epoch in range(epochs)
        for number, (size, halves) in enumerate(sized)
    ]  # fmt: skip
    found = curve(1, rows)
    wanted = sum(halves for _, halves in sized) / sum(2 * size for size, _ in sized)
    assert len(found.trained) == epochs
    assert all(accuracy == pytest.approx(wanted) for _, accuracy in found.trained)


def test_scores_are_ordered_by_epochs_of_both(tmp_path: Path) -> None:
    models = {"1 + 3": "ddpo-3", "1": "sft-1", "1 + 1": "ddpo", "2": "sft-2", "2 + 3": "ddpo-2-3", "other": "on-best"}
    evaluated(tmp_path, "evaluate", dict(zip(models, (0.8, 0.5, 0.7, 0.45, 0.4, 0.1), strict=True)), "1")
    (one,) = comparisons(make_run(tmp_path, {**GRID, "evaluate": compared(models)}), Public(tmp_path))
    found = score_lines(one, one.measures[0])
    told = {sft: [(epochs, value.value) for epochs, value in points] for sft, points in found.items()}
    assert told == {1: [(0.0, 0.5), (1.0, 0.7), (3.0, 0.8)], 2: [(0.0, 0.45), (3.0, 0.4)]}
