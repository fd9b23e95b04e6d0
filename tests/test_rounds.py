"""Rounds become plain steps: wired to one another, named at their places, and never disturbed by one more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.cli import main
from favonius.errors import UserError
from favonius.pipeline.plan import plan
from favonius.pipeline.saved import current_recipe, known_digests, saved_recipe
from favonius.recipe import load_recipe
from favonius.report.gather import read_run
from favonius.report.story import lineage
from favonius.serve import terminal
from tests.toy_run import run_toy, write_recipe

RECIPE = """\
name: toy
models:
  base: org/base
  teacher: {source: pypi://teacher==1.0/teacher.gguf#sha256=SHA, terms: Apache-2.0}
steps:
  dialogues: {stage: dialogues, seeds: seeds.jsonl, teacher: teacher}
  dsft: {stage: train, model: base, rows: dialogues, objective: {kind: sft}}
  online:
    rounds: 2
    student: dsft
    steps:
      answers:
        stage: answers
        prompts: dialogues
        part: [$round, 4]
        pool: {student: {model: $student}, first: {model: dsft}}
      ratings: {stage: ratings, answers: answers, judge: {kind: likelihood, model: teacher}}
      pairs: {stage: pairs, ratings: ratings}
      ddpo: {stage: train, model: $student, rows: pairs, objective: {kind: dpo}, seed: $round}
  evaluate:
    stage: evaluate
    models: {dSFT: dsft, one: online-1, last: online}
    baseline: dSFT
    prompts: dialogues
    pairs: online-1-pairs
    judge: {kind: likelihood, model: teacher}
""".replace("SHA", 64 * "0")
BLOCK = ("answers", "ratings", "pairs", "ddpo")


def of_round(number: int) -> list[str]:
    return [f"online-{number}-{step}" for step in BLOCK]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, RECIPE)


def steps_of(path: Path, *overrides: str) -> dict[str, Any]:
    """As a run's own recipe.yaml has them."""
    steps: dict[str, Any] = load_recipe(path, overrides, with_ablations=True).as_written()["steps"]
    return steps


# what they become


def test_each_round_is_steps_that_rest_on_the_round_before(recipe: Path) -> None:
    steps = steps_of(recipe)
    assert list(steps) == ["dialogues", "dsft", *of_round(1), *of_round(2), "evaluate"]
    first, second = steps["online-1-answers"], steps["online-2-answers"]
    assert (first["prompts"], first["part"], second["part"]) == ("dialogues", [1, 4], [2, 4])
    assert first["pool"] == {"student": {"model": "dsft"}, "first": {"model": "dsft"}}
    assert second["pool"] == {"student": {"model": "online-1-ddpo"}, "first": {"model": "dsft"}}
    assert steps["online-2-ratings"]["answers"] == "online-2-answers"
    assert steps["online-2-pairs"]["ratings"] == "online-2-ratings"
    ddpo = {name: steps[name] for name in ("online-1-ddpo", "online-2-ddpo")}
    assert [(step["model"], step["rows"], step["seed"]) for step in ddpo.values()] == [
        ("dsft", "online-1-pairs", 1),
        ("online-1-ddpo", "online-2-pairs", 2),
    ]
    assert steps["evaluate"]["models"] == {"dSFT": "dsft", "one": "online-1-ddpo", "last": "online-2-ddpo"}


def test_a_name_in_a_block_means_its_own_step_first_and_outside_the_other(tmp_path: Path) -> None:
    outer = "  pairs: {stage: data, sources: {own: {path: seeds.jsonl}}}\n  online:"
    text = RECIPE.replace("  online:", outer).replace("pairs: online-1-pairs", "pairs: pairs")
    steps = steps_of(write_recipe(tmp_path, text))
    assert steps["online-2-ddpo"]["rows"] == "online-2-pairs"
    assert steps["evaluate"]["pairs"] == "pairs"


def test_a_block_may_go_on_from_a_step_that_is_called_like_one_of_its_own(tmp_path: Path) -> None:
    outer = "  ddpo: {stage: train, model: dsft, rows: dialogues, objective: {kind: sft}}\n  online:"
    steps = steps_of(
        write_recipe(tmp_path, RECIPE.replace("  online:", outer).replace("student: dsft", "student: ddpo"))
    )
    assert steps["online-1-answers"]["pool"]["student"]["model"] == steps["online-1-ddpo"]["model"] == "ddpo"
    assert steps["online-2-ddpo"]["model"] == "online-1-ddpo"


def test_a_word_that_is_no_reference_is_left_alone(tmp_path: Path) -> None:
    """Stages, labels and texts may be called like steps."""
    text = RECIPE.replace("first: {model: dsft}", "first: {model: dsft, system: pairs}")
    pool = steps_of(write_recipe(tmp_path, text))["online-2-answers"]["pool"]
    assert pool["first"]["system"] == "pairs"


def test_what_was_unrolled_reads_back_the_same(tmp_path: Path, recipe: Path) -> None:
    loaded = load_recipe(recipe)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(loaded.as_written(), sort_keys=False), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml") == loaded


def test_parameters_reach_into_blocks(tmp_path: Path) -> None:
    text = RECIPE.replace("rounds: 2", "rounds: $times").replace("student: dsft", "student: $start")
    text = text.replace("seed: $round", "seed: $round, epochs: $times").replace(
        "steps:\n  dialogues", "parameters: {times: 2, start: dsft}\nsteps:\n  dialogues"
    )
    path = write_recipe(tmp_path, text)
    assert steps_of(path)["online-2-ddpo"]["epochs"] == 2
    assert "online-3-ddpo" in steps_of(path, "times=3")
    assert steps_of(path, "start=base")["online-1-ddpo"]["model"] == "base"


def test_an_ablation_in_a_block_is_one_in_every_round_and_no_student(tmp_path: Path) -> None:
    extra = "      plain: {stage: train, ablation: true, model: dsft, rows: pairs, objective: {kind: dpo}}\n  evaluate:"
    text = RECIPE.replace("  evaluate:", extra).replace("last: online}", "last: online, plain: online-2-plain}")
    path = write_recipe(tmp_path, text)
    every, ordinary = load_recipe(path, with_ablations=True), load_recipe(path)
    assert every.ablations() == {"online-1-plain", "online-2-plain"}
    assert not set(ordinary.steps) & every.ablations()
    evaluate = every.as_written()["steps"]["evaluate"]
    assert (evaluate["models"]["last"], evaluate["models"]["plain"]) == ("online-2-ddpo", "online-2-plain")


def test_a_reward_model_is_not_the_next_student(tmp_path: Path) -> None:
    judge = "      judge: {stage: train, model: $student, rows: ratings, objective: {kind: reward}}\n  evaluate:"
    steps = steps_of(write_recipe(tmp_path, RECIPE.replace("  evaluate:", judge)))
    assert steps["online-2-judge"]["model"] == "online-1-ddpo"


def test_two_blocks_go_one_after_the_other(tmp_path: Path) -> None:
    block = RECIPE[RECIPE.index("  online:") : RECIPE.index("  evaluate:")]
    second = block.replace("  online:", "  further:").replace("student: dsft", "student: online")
    steps = steps_of(write_recipe(tmp_path, RECIPE.replace("  evaluate:", second + "  evaluate:")))
    assert steps["further-1-ddpo"]["model"] == "online-2-ddpo"


# running them


def test_one_more_round_leaves_the_finished_ones_as_they_are(tmp_path: Path, recipe: Path) -> None:
    run = tmp_path / "run"
    assert run_toy(recipe, run) == ["dialogues", "dsft", *of_round(1), *of_round(2), "evaluate"]
    assert run_toy(recipe, run) == []
    assert run_toy(recipe, run, "steps.online.rounds=3") == [*of_round(3), "evaluate"]
    assert run_toy(recipe, run, "steps.online.rounds=2") == ["evaluate"]


def test_a_changed_block_runs_all_its_rounds_again(tmp_path: Path, recipe: Path) -> None:
    run = tmp_path / "run"
    run_toy(recipe, run)
    again = run_toy(recipe, run, "steps.online.steps.ddpo.learning_rate=1e-6")
    assert again == ["online-1-ddpo", *of_round(2), "evaluate"]


@pytest.mark.parametrize(
    ("until", "last"), [("online-1", "online-1-ddpo"), ("online", "online-2-ddpo"), ("online-2-pairs",) * 2]
)
def test_until_names_rounds(tmp_path: Path, recipe: Path, until: str, last: str) -> None:
    assert run_toy(recipe, tmp_path / "run", until=until)[-1] == last


def test_until_a_round_takes_in_what_comes_after_its_training(tmp_path: Path) -> None:
    after = "      rows: {stage: data, sources: {pairs: {step: pairs}}}\n  evaluate:"
    path = write_recipe(tmp_path, RECIPE.replace("  evaluate:", after))
    assert run_toy(path, tmp_path / "run", until="online-1")[-1] == "online-1-rows"


def test_a_run_is_looked_at_like_any_other(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run_toy(recipe, run, until="online-1")
    now = current_recipe(run)
    states = {step.name: step.state for step in plan(now, run, recipe.parent, known_digests(run, now))}
    assert (states["online-1-ddpo"], states["online-2-answers"], states["online-2-ratings"]) == (
        "done", "ready", "waiting",
    )  # fmt: skip
    assert main(["status", str(run)]) == 0
    assert "online-2-answers" in capsys.readouterr().out
    base, trainings = lineage(read_run(run))
    assert (base, [step.name for step in trainings]) == ("base", ["dsft", "online-1-ddpo", "online-2-ddpo"])
    talked: list[str] = []
    monkeypatch.setattr(terminal, "chat", lambda run, models, name, sampling, system: talked.append(name))
    assert main(["chat", str(run), "--step", "online-1"]) == main(["chat", str(run)]) == 0
    assert talked == ["online-1-ddpo", "online-1-ddpo"]
    assert saved_recipe(run).aliases["online"] == "online-2-ddpo"


# mistakes

MISTAKES = [
    ("rounds: 2", "rounds: 0", "steps.online.rounds: must be at least 1, not 0"),
    ("rounds: 2", "rounds: many", "steps.online.rounds: must be a whole number, not 'many'"),
    ("    rounds: 2\n", "", "steps.online.rounds: missing key"),
    ("    student: dsft\n", "", "steps.online.student: missing key"),
    ("student: dsft", "student: dfst", "steps.online.student: no earlier model or train step is called dfst; did you"),
    ("student: dsft", "student: $round", "steps.online.student: $round names no parameter"),
    ("rounds: 2", "rounds: 2\n    ablaton: true", "steps.online.ablaton: unknown key; there are rounds, student"),
    ("[$round, 4]", "[$rund, 4]", "steps.online.steps.answers.part.0: $rund names no parameter, and is not $round"),
    ("[$round, 4]", "[$round, $rounds]", "steps.online.steps.answers.part.1: a round does not know how many there are"),
    ("[$round, 4]", "[$round, 1]", "steps.online.steps.answers: part is k of n with 1 ≤ k ≤ n"),
    ("seed: $round", "sed: 1", "steps.online.steps.ddpo.sed: unknown key; did you mean seed?"),
    ("rows: pairs", "rows: pears", "steps.online.steps.ddpo.rows: no earlier pairs, data or constitution"),
    ("ratings: ratings", "ratings: online", "steps.online.steps.pairs.ratings: "),
    ("ddpo: {stage: train,", "ddpo: {stage: pairs,", "steps.online.steps: no step here trains a model"),
    ("ddpo: {", "inner: {rounds: 2, student: dsft, steps: {}}\n      ddpo: {", "steps.online.steps.inner: rounds"),
    ("ddpo: {", "dDPO: {", "steps.online.steps.dDPO: 'dDPO' may hold only small letters, digits and hyphens"),
    ("pairs: {stage", "pairs: 3\n      more: {stage", "steps.online.steps.pairs: must be a mapping"),
    ("  dsft: {", "  online-2: {stage: pairs, ratings: x}\n  dsft: {", "steps.online: two steps would be called"),
    ("  base: org", "  online: org/x\n  base: org", "steps.online: a model or step is called online too; rename"),
    ("models: {dSFT", "models: {x: online-3, dSFT", "steps.evaluate.models.x: no earlier model or train step"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in RECIPE
    path = write_recipe(tmp_path, RECIPE.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    found = [line for line in str(caught.value).splitlines() if f" {sentence}" in line]
    assert len(found) == 1, str(caught.value)
    number = int(found[0].removeprefix(f"{path}:").partition(":")[0])
    key = sentence.partition(": ")[0].split(".")[-1]
    line = path.read_text(encoding="utf-8").splitlines()[number - 1]
    assert key in line or key.isdigit() or "missing key" in sentence


def test_a_clash_with_a_made_name_is_found_on_either_side(tmp_path: Path) -> None:
    clash = "  online-1-pairs: {stage: pairs, ratings: x}\n"
    for place in ("  online:", "  evaluate:"):
        with pytest.raises(UserError, match="two steps would be called online-1-pairs; rename one of them"):
            load_recipe(write_recipe(tmp_path, RECIPE.replace(place, clash + place)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps.online.rounds=0", "steps.online.rounds: must be at least 1, not 0"),
        ("steps.online.steps.ddpo.epochs=0", "steps.online.steps.ddpo.epochs: must be at least 1, not 0"),
        ("steps.online.steps.dppo.epochs=2", "steps.online.steps.dppo: the recipe has no such step; did you mean"),
        ("steps.online.steps=3", "steps.online.steps: must be a mapping"),
        ("aliases=3", "aliases: must be a mapping"),
    ],
)  # fmt: skip
def test_a_wrong_override_names_itself(recipe: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(recipe, [text])
    assert str(caught.value).startswith(f"--set {text}: {sentence}")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.sampled_from(["$round", "$student", "$x", "dsft", "pairs", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*BLOCK, "rounds", "steps"]), inner),
    max_leaves=4,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_a_block_is_loaded_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    value = yaml.safe_load(RECIPE)
    holder, key = value["steps"], "online"
    while isinstance(holder[key], dict) and holder[key] and data.draw(st.booleans()):
        holder, key = holder[key], data.draw(st.sampled_from([*holder[key]]))
    holder[key] = data.draw(ANYTHING)
    file = write_recipe(tmp_path, yaml.safe_dump(value, sort_keys=False))
    try:
        load_recipe(file)
    except UserError as error:
        assert all(line.startswith(f"{file}:") for line in str(error).splitlines())
