"""Benchmarks on rows of one's own, and a recipe that holds a benchmark."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from favonius.data.rows import write_rows
from favonius.errors import FavoniusError, UserError
from favonius.evals.benchmarks import stage
from favonius.evals.benchmarks.config import AnyTask, BenchmarkConfig, Health, Perplexity, Preference
from favonius.evals.benchmarks.record import read
from favonius.evals.benchmarks.summary import summary
from favonius.evals.heldout import held_out_logps
from favonius.files import read_json
from favonius.pipeline.estimate import estimate
from favonius.pipeline.work import run_recipe
from favonius.progress import Progress
from favonius.recipe import load_recipe
from favonius.run import Inputs, ModelRef, RowsRef, ServedModel, StepRef
from favonius.types import Dialogue, Message, Noun, Pair, Sampling, SeedPrompt
from tests.tiny import save_tiny, tiny_model
from tests.voices import context, source, speak


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def bench(models: Sequence[str], task: AnyTask) -> BenchmarkConfig:
    return BenchmarkConfig(models={name: ModelRef(name) for name in models}, tasks={"own": task})


def talk(question: str, answer: str) -> tuple[Message, ...]:
    return (Message(role="user", content=question), Message(role="assistant", content=answer))


def dialogues(count: int = 6) -> list[Noun]:
    split: Any = "test"
    return [Dialogue(id=f"d{n}", split=split, messages=talk(f"What about {n}?", f"The fox {n}."), source="village")
            for n in range(count)]  # fmt: skip


def pairs(count: int = 6) -> list[Noun]:
    """Two to a prompt; the first of each has answers of one length."""
    return [
        Pair(id=f"p{n}", split="test", prompt=talk(f"What about {n // 2}?", "")[:1], chosen="The fox.",
             rejected="The cat." if n % 2 == 0 else "A word and another, " * 2)
        for n in range(count)
    ]  # fmt: skip


def run(world: Path, config: BenchmarkConfig, **folders: Path) -> dict[str, Any]:
    """The part of results.json on task `own`."""
    models: dict[str, Any] = {name: source(world, name) for name in ("one", "two")}
    models["api"] = ServedModel("api", "gpt", "digest of api")
    (world / "b").mkdir(exist_ok=True)
    inputs = Inputs(folders, models, {"rows.jsonl": world / "rows.jsonl"})
    stage.run(config, inputs, world / "b", context(world))
    return dict(read_json(world / "b" / "results.json")["tasks"][0])


def own(world: Path, monkeypatch: pytest.MonkeyPatch, task: AnyTask, rows: Sequence[Noun]) -> dict[str, Any]:
    """The same of models `one`, which loops, and `two`, with these rows."""
    write_rows(world / "rows.jsonl", rows)
    for seed, name in enumerate(("one", "two")):
        if not (world / name).exists():
            save_tiny(world / name, seed=seed)
    speak(monkeypatch, {"one": lambda asked: "the the " * 40, "two": lambda asked: "A fox."})
    return run(world, bench(["one", "two"], task))


def test_perplexity_is_the_log_prob_of_held_out_answers(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = Dialogue(id="long", split="test", messages=talk("Long?", "word " * 300))
    marked = Dialogue(id="marked", split="test", messages=talk("Marked?", "It is </s> here."))
    task = own(world, monkeypatch, Perplexity(file=RowsRef("rows.jsonl"), max_length=200), [*dialogues(), long, marked])
    known = [row for row in dialogues() if isinstance(row, Dialogue)]
    logps = held_out_logps(source(world, "one"), "one", known, [], 200, context(world)).teacher.values()
    figures = task["values"]["one"]
    nats = -sum(total for total, _ in logps) / sum(tokens for _, tokens in logps)
    assert figures["nats_per_token"]["value"] == pytest.approx(nats) and figures["nats_per_token"]["n"] == 6
    size = sum(len(row.messages[1].content.encode()) for row in known)
    assert figures["nats_per_byte"]["value"] == pytest.approx(-sum(total for total, _ in logps) / size)
    assert task["protocol"]["one"]["perplexity"]["value"] == pytest.approx(math.exp(nats))
    left_out = task["left_out"]["one"]
    assert left_out == {"longer than 200 tokens": 1, "a control token of the model in its text": 1}
    assert list(task["by_category"]["one"]) == ["village"]
    difference = task["compared"]["two"]["nats_per_token"]["difference"]["value"]
    assert difference == pytest.approx(task["values"]["two"]["nats_per_token"]["value"] - nats)


def test_preferences_are_measured_by_log_prob_and_by_reward(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = own(world, monkeypatch, Preference(file=RowsRef("rows.jsonl"), reference=ModelRef("two"), beta=0.5), pairs())
    assert [metric["key"] for metric in task["metrics"]] == [
        "reward_accuracy", "reward_accuracy_per_token", "reward_accuracy_alike", "reward_margin",
        "accuracy", "accuracy_per_token", "accuracy_alike",
    ]  # fmt: skip
    rows = [row for row in pairs() if isinstance(row, Pair)]
    mine, theirs = (held_out_logps(source(world, name), name, [], rows, 1024, context(world)).pairs
                    for name in ("one", "two"))  # fmt: skip
    margins = [0.5 * ((mine[row.id][0] - theirs[row.id][0]) - (mine[row.id][1] - theirs[row.id][1])) for row in rows]
    figures = task["values"]["one"]
    assert figures["reward_margin"]["value"] == pytest.approx(sum(margins) / 6)
    assert figures["reward_accuracy"]["value"] == pytest.approx(sum(one > 0 for one in margins) / 6)
    assert figures["accuracy"]["value"] == sum(mine[row.id][0] > mine[row.id][1] for row in rows) / 6
    each = [mine[row.id][0] / mine[row.id][2] > mine[row.id][1] / mine[row.id][3] for row in rows]
    assert figures["accuracy_per_token"]["value"] == sum(each) / 6
    assert (figures["accuracy"]["n"], figures["accuracy"]["scored"]) == (3, 6)  # two pairs to a prompt
    assert (figures["accuracy_alike"]["n"], figures["accuracy_alike"]["scored"]) == (3, 3)
    assert task["protocol"]["one"]["longer_wins"]["value"] == 0.25  # three ties, three shorter ones preferred
    ties = task["values"]["two"]
    assert ties["reward_accuracy"]["value"] == 0.5 and ties["reward_margin"]["value"] == 0.0
    assert task["notes"] == ["two is the reference itself: its rewards are 0, and every pair counts half."]


def test_without_a_reference_there_is_no_reward(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = own(world, monkeypatch, Preference(file=RowsRef("rows.jsonl"), limit=4, max_length=60), pairs())
    assert [metric["key"] for metric in task["metrics"]] == ["accuracy", "accuracy_per_token", "accuracy_alike"]
    assert task["values"]["one"]["accuracy"]["scored"] + sum(task["left_out"]["one"].values()) == 4


def test_health_says_how_answers_end(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [SeedPrompt(id=f"s{n}", prompt=f"What about {n}?", sector="village") for n in range(5)]
    task = own(world, monkeypatch, Health(file=RowsRef("rows.jsonl"), sampling=Sampling(max_tokens=60)), prompts)
    one, two = task["values"]["one"], task["values"]["two"]
    assert (one["loop"]["value"], one["ends"]["value"], one["without_flaw"]["value"]) == (1.0, 0.0, 0.0)
    assert (two["loop"]["value"], two["ends"]["value"], two["without_flaw"]["value"]) == (0.0, 1.0, 1.0)
    assert (one["tokens"]["value"], two["tokens"]["value"]) == (60.0, 2.0)
    assert two["characters"]["value"] == len("A fox.")
    assert task["answers"]["one"]["flaws"] == {"loop": 5, "unfinished": 5} and task["answers"]["one"]["finished"] == 0.0
    assert task["questions"] == "rows.jsonl" and task["compared"]["two"]["tokens"]["difference"]["value"] == -58.0


def test_rows_that_open_alike_are_one_unit(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Dialogue(id=f"d{n}", split="test", messages=talk(f"What about {n % 2}?", f"The fox {n}.")) for n in range(6)
    ]
    for task in (Health(file=RowsRef("rows.jsonl")), Perplexity(file=RowsRef("rows.jsonl"))):
        figures = own(world, monkeypatch, task, rows)["values"]["one"]
        assert {(figure["n"], figure["scored"]) for figure in figures.values()} == {(2, 6)}


def test_an_answer_that_was_cut_off_before_its_first_word_is_left_out(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [row.model_copy(update={"id": f"q{n}"}) for n, row in enumerate(pairs(2))]
    empty = made[0].model_copy(update={"id": "empty", "rejected": "", "rejected_finished": False})
    task = own(world, monkeypatch, Preference(file=RowsRef("rows.jsonl"), reference=ModelRef("two")), [*made, empty])
    assert task["left_out"]["one"] == {"an answer without a token": 1}
    assert task["values"]["one"]["accuracy"]["scored"] == 2


def test_a_model_whose_log_probs_are_no_numbers_ranks_nothing(world: Path) -> None:
    """A NaN is neither above nor below 0, and would count as half right."""
    save_tiny(world / "one")
    model = tiny_model("llama")
    model.get_input_embeddings().weight.data.fill_(math.nan)
    model.save_pretrained(world / "one")
    rows = [row for row in pairs() if isinstance(row, Pair)]
    found = held_out_logps(source(world, "one"), "one", [], rows, 1024, context(world))
    assert found.pairs == {} and found.left_out.counts == {"no finite log-prob by one": 6}


def test_rows_say_what_their_scores_rest_on(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pairs(2)
    own(world, monkeypatch, Preference(file=RowsRef("rows.jsonl"), reference=ModelRef("two")), [first, second])
    before = [row.rests_on for row in read(world / "b" / "one" / "own").rows]
    told = read(world / "b" / "one" / "own").told
    assert told["named"].keys() == {"file", "reference"} and told["engine"] is None
    own(
        world, monkeypatch, Preference(file=RowsRef("rows.jsonl")), [first, second.model_copy(update={"chosen": "No."})]
    )
    after = [row.rests_on for row in read(world / "b" / "one" / "own").rows]
    assert before[0] == after[0] and before[1] != after[1] and None not in before


def test_another_reference_of_one_name_is_another_setting(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where weights changed between two calls, and one model was measured in each."""
    task = own(world, monkeypatch, Preference(file=RowsRef("rows.jsonl"), reference=ModelRef("two")), pairs(2))
    assert len(task["notes"]) == 1  # two is its own reference
    results = {label: read(world / "b" / label / "own") for label in ("one", "two")}
    named = {"reference": "other weights"}
    results["two"] = replace(results["two"], told={**results["two"].told, "named": named})
    [told] = summary({"own": results}, ["one", "two"], "two")["tasks"]
    assert told["notes"][-1] == "two took this task with other settings than one: their numbers do not compare."


def test_rows_of_another_kind_are_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"task own: rows\.jsonl: its rows are of kind dialogue"):
        own(world, monkeypatch, Preference(file=RowsRef("rows.jsonl")), dialogues())
    assert not (world / "ledger.sqlite").exists()


def test_a_step_without_held_out_rows_is_an_error(world: Path) -> None:
    (world / "step").mkdir()
    rows = [row.model_copy(update={"split": "train"}) for row in dialogues()]
    write_rows(world / "step" / "dialogues.jsonl", rows)
    with pytest.raises(FavoniusError, match="step step left no held-out row"):
        run(world, bench(["one"], Perplexity(step=StepRef("step"))), step=world / "step")


def test_models_behind_an_api_have_no_log_probs(world: Path) -> None:
    with pytest.raises(UserError, match="api is served by an API"):
        run(world, bench(["api"], Perplexity(file=RowsRef("rows.jsonl"))))


def test_a_task_needs_a_step_or_a_file_and_a_label_is_a_folder() -> None:
    with pytest.raises(ValidationError, match="name one of step"):
        Perplexity()
    for label in ("a/b", "..", "work", " "):
        with pytest.raises(ValidationError, match="cannot be a folder"):
            bench([label], Health(step=StepRef("talks")))


# in a recipe

RECIPE = """\
name: toy
models: {base: base, student: student, judge: "api://judge"}
steps:
  talks: {stage: data, sources: {own: {path: dialogues.jsonl}}, test_share: 0.5}
  pairs: {stage: data, sources: {own: {path: pairs.jsonl}}, test_share: 0.5}
  trained: {stage: train, ablation: true, model: base, rows: talks, objective: {kind: sft}}
  benchmark:
    stage: benchmark
    models: {base: base, student: student, "trained: more": trained}
    training: [talks]
    tasks:
      ifeval: {task: ifeval, limit: 3}
      preference: {task: preference, step: pairs, reference: base}
      perplexity: {task: perplexity, step: talks}
      health: {task: health, step: talks, sampling: {max_tokens: 20}}
      rewards: {task: preference, step: pairs, reference: trained}
"""


@pytest.fixture
def recipe(world: Path) -> Path:
    for seed, name in enumerate(("base", "student")):
        save_tiny(world / name, seed=seed)
    write_rows(world / "dialogues.jsonl", dialogues(24))
    write_rows(world / "pairs.jsonl", pairs(24))
    (world / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return world / "recipe.yaml"


def test_a_recipe_runs_its_benchmark_and_leaves_ablations_out(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_folder = recipe.parent / "run"
    speak(monkeypatch, {"base": lambda asked: "<|user|> the", "student": lambda asked: "The fox answers."})
    loaded = load_recipe(recipe, with_ablations=True)
    for _ in range(2):  # the second time nothing is left to do
        run_recipe(loaded, recipe, run_folder, Progress(io.StringIO()))
    results = read_json(run_folder / "benchmark" / "results.json")
    assert results["labels"] == ["base", "student"]
    assert [task["name"] for task in results["tasks"]] == ["ifeval", "preference", "perplexity", "health"]
    assert all(task["contamination"]["checked"] == ["talks"] for task in results["tasks"])
    assert results["tasks"][1]["questions"] == "held-out rows of step pairs"
    assert read_json(run_folder / "benchmark" / "config.json")["attempts"] == 1
    assert "benchmark/student/ifeval/items.jsonl" not in read_json(run_folder / "benchmark" / "done.json")["outputs"]
    assert "student/ifeval/items.jsonl" in read_json(run_folder / "benchmark" / "done.json")["outputs"]
    assert (run_folder / "report.html").is_file()


def test_an_estimate_bounds_what_is_asked_and_read(recipe: Path) -> None:
    served = "engine: {kind: openai, endpoints: [http://x/v1]}"
    judged = f"steps.benchmark.tasks.mt={{task: mt-bench, judge: judge, {served}, limit: 2}}"
    found = estimate(load_recipe(recipe, [judged]), recipe.parent)
    talks, pairs_made, bounds = found["talks"], found["pairs"], found["benchmark"]
    asked = {model: sum(ask.requests for ask in bounds.asks if ask.model == model) for model in ("base", "student")}
    assert asked == dict.fromkeys(("base", "student"), 3 + talks.test + 16 * 2)
    assert sum(ask.requests for ask in bounds.asks if ask.model == "judge") == 2 * 16 * 2
    assert bounds.read == 2 * (talks.test * 1024 + pairs_made.test * 2 * 1024 * 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("baseline=studnt", "baseline: no model of this step is labelled studnt; did you mean student?"),
        ("tasks.preference.step=trained", "tasks.preference.step: trained is of stage train; name an earlier pairs"),
        ("tasks.perplexity.step=benchmark", "tasks.perplexity.step: benchmark is not an earlier step"),
        ("training=[base]", "training.0: base is a model; name an earlier dialogues"),
        ("tasks.health.task=helth", "tasks.health.task: unknown task 'helth'; did you mean health?"),
        ("tasks.arc={task: arc, shot: 5}", "tasks.arc.shot: unknown key; did you mean shots?"),
        ("tasks.perplexity={task: perplexity}", "tasks.perplexity: name one of step"),
        ("tasks.ae={task: alpacaeval, judge: {kind: rankin, model: base}}", "tasks.ae.judge.kind: unknown kind"),
        ("models.judge=judge", "models.judge: judge is served by an API and engine transformers needs its weights"),
        ("models.judge=judge", "tasks.perplexity.task: perplexity reads log-probs, and judge is served by an API"),
        ("tasks.mt={task: mt-bench, judge: student, baseline: judge}", "tasks.mt.baseline: judge is served by an API"),
    ],
)  # fmt: skip
def test_a_wrong_benchmark_names_itself(recipe: Path, change: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe(recipe, [f"steps.benchmark.{change}"], with_ablations=True)
    assert sentence in str(error.value)
