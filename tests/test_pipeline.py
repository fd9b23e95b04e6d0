"""Plans and runs over toy stages: what is skipped, what is made again, and that a kill loses nothing."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from favonius.dialogues.simulator import QUESTION_TOKENS
from favonius.errors import FavoniusError, UserError, machine_failures
from favonius.evals.config import EvaluateConfig
from favonius.files import read_json
from favonius.pipeline.estimate import Estimate, estimate
from favonius.pipeline.plan import PlannedStep, plan
from favonius.pipeline.saved import current_recipe, known_digests, read_origin, saved_recipe
from favonius.recipe import load_recipe
from favonius.run import Context, Inputs, StepFolder
from tests.toy_run import PARTS, RECIPE, ROWS, STEPS, outputs, run_toy, toy_stage, write_recipe


def look(run: Path) -> dict[str, PlannedStep]:
    """What `favonius status` would say."""
    recipe = current_recipe(run)
    steps = plan(recipe, run, read_origin(run).recipe.parent, known_digests(run, recipe))
    return {step.name: step for step in steps}


def states(run: Path) -> dict[str, str]:
    return {name: step.state for name, step in look(run).items()}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "recipes")


@pytest.fixture
def run(tmp_path: Path, recipe: Path) -> Path:
    """A finished run of `recipe`."""
    assert run_toy(recipe, tmp_path / "run") == list(STEPS)
    return tmp_path / "run"


# skipping and repeating


def test_a_finished_run_does_nothing_again(recipe: Path, run: Path) -> None:
    before = outputs(run)
    assert run_toy(recipe, run) == []
    assert outputs(run) == before
    assert set(states(run).values()) == {"done"}


@pytest.mark.parametrize(
    ("override", "again", "why"),
    [
        ("steps.dialogues.sampling.seed=1", STEPS, "sampling.seed: 0 → 1"),
        ("steps.dialogues.system=Hi", ("dialogues",), "system: none → Hi"),
        ("steps.dsft.epochs=2", ("dsft", "answers", "ratings", "pairs", "ddpo", "evaluate"), "epochs: 1 → 2"),
        ("steps.answers.pool.dsft.system=Hi", STEPS[2:5] + STEPS[5:], "pool.dsft.system: none → Hi"),
        ("steps.ratings.judge.max_length=9", ("ratings", "pairs", "ddpo", "evaluate"), "judge.max_length: 1024 → 9"),
        ("steps.pairs.seed=1", ("pairs", "ddpo", "evaluate"), "seed: 0 → 1"),
        ("steps.ddpo.learning_rate=1e-6", ("ddpo", "evaluate"), "learning_rate: 5e-07 → 1e-06"),
        ("steps.ddpo.objective.beta=0.2", ("ddpo", "evaluate"), "objective.beta: 0.1 → 0.2"),
        ("steps.evaluate.samples=1", ("evaluate",), "samples: 2 → 1"),
        ("steps.evaluate.baseline=base", ("evaluate",), "baseline: dSFT → base"),
        ("models.base=other/base", STEPS[1:], "input base changed"),
        ("models.base={source: org/base, template: zephyr}", STEPS[1:], "input base changed"),
        ("models.base={source: org/base, terms: MIT}", (), ""),
        ("name=other", (), ""),
        ("steps.ddpo.learning_rate=0.0000005", (), ""),
    ],
)
def test_one_changed_field_runs_exactly_its_dependants(
    recipe: Path, run: Path, override: str, again: tuple[str, ...], why: str
) -> None:
    steps = {step.name: step for step in _plan_with(recipe, run, override)}
    assert run_toy(recipe, run, override) == list(again)
    if again and not override.startswith("models"):
        assert steps[again[0]].state == "stale"
        assert steps[again[0]].why == why
        assert all(steps[name].state in ("waiting", "done") for name in STEPS if name != again[0])
    assert set(states(run).values()) == {"done"}
    assert run_toy(recipe, run, override) == []


def _plan_with(recipe: Path, run: Path, *overrides: str) -> list[PlannedStep]:
    loaded = load_recipe(recipe, overrides)
    return plan(loaded, run, recipe.parent, known_digests(run, loaded))


def test_a_changed_seed_file_runs_everything_that_rests_on_it(recipe: Path, run: Path) -> None:
    (recipe.parent / "seeds.jsonl").write_text("other", encoding="utf-8")
    assert look(run)["dialogues"].why == "input seeds.jsonl changed"
    assert run_toy(recipe, run) == list(STEPS)


def test_an_edited_recipe_file_shows_in_the_status(recipe: Path, run: Path) -> None:
    recipe.write_text(RECIPE.replace("5e-7", "1e-6"), encoding="utf-8")
    steps = look(run)
    assert (steps["ddpo"].state, steps["ddpo"].why) == ("stale", "learning_rate: 5e-07 → 1e-06")
    assert (steps["evaluate"].state, steps["evaluate"].why) == ("waiting", "waits for ddpo")
    assert steps["pairs"].state == "done"
    recipe.unlink()
    assert set(states(run).values()) == {"done"}


def test_a_waiting_step_tells_its_own_changes_too(recipe: Path, run: Path) -> None:
    recipe.write_text(RECIPE.replace("5e-7", "1e-6").replace("baseline: dSFT", "baseline: base"), encoding="utf-8")
    assert look(run)["evaluate"].why == "waits for ddpo; baseline: dSFT → base"


def test_a_new_stage_version_runs_its_steps_again(recipe: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EvaluateConfig, "version", EvaluateConfig.version + 1)
    step = look(run)["evaluate"]
    assert (step.state, step.why) == ("stale", f"stage version {EvaluateConfig.version - 1} → {EvaluateConfig.version}")
    assert run_toy(recipe, run) == ["evaluate"]


def test_a_deleted_output_is_made_again(recipe: Path, run: Path) -> None:
    (run / "ddpo" / "model" / "weights.txt").unlink()
    step = look(run)["ddpo"]
    assert (step.state, step.why) == ("stale", "model/weights.txt was deleted")
    assert run_toy(recipe, run) == ["ddpo"]


def test_a_deleted_step_folder_disturbs_nothing_after_it(recipe: Path, run: Path) -> None:
    for path in sorted((run / "pairs").rglob("*"), reverse=True):
        path.unlink()
    (run / "pairs").rmdir()
    assert look(run)["pairs"].why == "never run"
    assert run_toy(recipe, run) == ["pairs"]


@pytest.mark.parametrize("name", ["config.json", "done.json"])
def test_a_damaged_record_is_named_with_the_way_out(recipe: Path, run: Path, name: str) -> None:
    (run / "pairs" / name).write_text('{"identity": ', encoding="utf-8")
    with pytest.raises(UserError, match=r"pairs: its config\.json or done\.json was damaged .* delete this folder"):
        run_toy(recipe, run)


# parts of a run


def test_until_stops_after_its_step(tmp_path: Path, recipe: Path) -> None:
    assert run_toy(recipe, tmp_path / "run", until="dsft") == ["dialogues", "dsft"]
    steps = look(tmp_path / "run")
    assert [steps[name].state for name in ("dsft", "answers", "ratings")] == ["done", "ready", "waiting"]
    assert steps["ratings"].why == "waits for answers"
    with pytest.raises(UserError, match=r"--until dstf: the recipe has no such step; did you mean dsft\?"):
        run_toy(recipe, tmp_path / "run", until="dstf")


def test_ablations_join_a_finished_run(recipe: Path, run: Path) -> None:
    assert run_toy(recipe, run, with_ablations=True) == ["ddpo-without-dsft", "evaluate"]
    assert states(run)["ddpo-without-dsft"] == "done"
    assert "ddpo-without-dsft" in saved_recipe(run).steps
    assert run_toy(recipe, run) == ["evaluate"]
    assert "ddpo-without-dsft" not in states(run)


def test_marking_a_step_as_ablation_changes_none_of_its_results(recipe: Path, run: Path) -> None:
    recipe.write_text(RECIPE.replace("  evaluate:\n", "  evaluate:\n    ablation: true\n"), encoding="utf-8")
    assert run_toy(recipe, run, with_ablations=True) == ["ddpo-without-dsft", "evaluate"]
    recipe.write_text(RECIPE, encoding="utf-8")
    assert run_toy(recipe, run, with_ablations=True) == []


def test_stages_get_what_their_config_names(tmp_path: Path, recipe: Path) -> None:
    seen: dict[str, Inputs] = {}

    def watching(config: Any, inputs: Inputs, out: Path, context: Context) -> None:
        seen[out.name] = inputs
        toy_stage(config, inputs, out, context)

    run = tmp_path / "run"
    run_toy(recipe, run, parts=dataclasses.replace(PARTS, stage_of=lambda config: watching))
    assert seen["dialogues"].file("seeds.jsonl") == recipe.parent / "seeds.jsonl"
    assert seen["dialogues"].model("teacher").name == "teacher"
    assert seen["ddpo"].folder("pairs") == run / "pairs"
    manifest = StepFolder(run / "dsft").manifest()
    assert manifest is not None
    assert seen["ddpo"].model("dsft").folder == run / "dsft" / "model"
    assert seen["ddpo"].model("dsft").digest == manifest.output_digest()


def test_only_models_that_steps_name_are_fetched(tmp_path: Path, recipe: Path) -> None:
    run_toy(recipe, tmp_path / "run", until="dialogues")
    assert [entry["name"] for entry in read_json(tmp_path / "run" / "models.json")] == ["teacher"]
    assert look(tmp_path / "run")["dsft"].why == "model base not fetched yet"


def test_a_shorter_run_forgets_no_model(recipe: Path, run: Path) -> None:
    assert run_toy(recipe, run, until="dialogues") == []
    assert set(states(run).values()) == {"done"}


@pytest.mark.parametrize("name", ["models.json", "origin.json"])
def test_a_damaged_record_of_the_run_is_named(run: Path, name: str) -> None:
    (run / name).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=name):
        look(run)


def test_the_report_is_written_at_the_end(run: Path) -> None:
    assert (run / "report.html").exists()


# failures


def failing_at(name: str, error: BaseException) -> Any:
    def stage(config: Any, inputs: Inputs, out: Path, context: Context) -> None:
        if out.name == name:
            raise error
        toy_stage(config, inputs, out, context)

    return dataclasses.replace(PARTS, stage_of=lambda config: stage)


def test_a_failed_step_stays_partial_and_the_report_is_written(tmp_path: Path, recipe: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(FavoniusError, match=r"^dsft: the loss is not a number$"):
        run_toy(recipe, run, parts=failing_at("dsft", FavoniusError("the loss is not a number")))
    assert (run / "report.html").exists()
    step = look(run)["dsft"]
    assert (step.state, step.why) == ("partial", "was interrupted (attempt 1)")
    assert run_toy(recipe, run) == list(STEPS[1:])


def test_a_failing_report_does_not_hide_the_error(tmp_path: Path, recipe: Path) -> None:
    def report(run: Path) -> Path:
        raise ValueError("no page")

    parts = dataclasses.replace(failing_at("dsft", FavoniusError("dsft: no luck")), report=report)
    with pytest.raises(FavoniusError, match=r"^dsft: no luck$"):
        run_toy(recipe, tmp_path / "run", parts=parts)
    with pytest.raises(ValueError, match="no page"):
        run_toy(recipe, tmp_path / "run", parts=dataclasses.replace(PARTS, report=report))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/disk/file"), "disk that holds /disk/file"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left on the disk that holds .*run; free some"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "nothing finished is lost"),
        (MemoryError(), "not enough memory; lower pack_tokens"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "not enough memory"),
    ],
)  # fmt: skip
def test_a_full_machine_is_a_sentence(tmp_path: Path, recipe: Path, error: Exception, sentence: str) -> None:
    run = tmp_path / "run"
    with pytest.raises(FavoniusError, match=sentence) as caught:
        run_toy(recipe, run, parts=failing_at("pairs", error))
    assert caught.value.exit_code == 1
    assert run_toy(recipe, run) == ["pairs", "ddpo", "evaluate"]


def test_a_disk_that_fills_while_a_record_is_written_loses_no_step(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real = tmp_path / "run", os.fsync

    def full(descriptor: int) -> None:
        if (run / "dsft" / "config.json").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FavoniusError, match="no space left"):
        run_toy(recipe, run)
    monkeypatch.undo()
    assert run_toy(recipe, run) == list(STEPS[1:])
    assert not list(run.rglob("*.tmp"))


def test_a_fault_of_ours_stays_what_it_is(tmp_path: Path, recipe: Path) -> None:
    with pytest.raises(ZeroDivisionError), machine_failures(tmp_path):
        _ = 1 / 0
    with pytest.raises(KeyError):
        run_toy(recipe, tmp_path / "run", parts=failing_at("pairs", KeyError("x")))


# estimates


def test_estimates_are_upper_bounds(recipe: Path) -> None:
    rows = [json.dumps({"id": f"seed-{number}", "prompt": f"Why {number}?"}) for number in range(20)]
    (recipe.parent / "seeds.jsonl").write_text("\n".join(rows), encoding="utf-8")
    overrides = ["steps.dialogues.test_share=0.2", "steps.dialogues.rounds={2: 1}"]
    overrides += ["steps.dsft.batch_size=8", "steps.dsft.epochs=2", "steps.answers.limit=5"]
    overrides += ["steps.ratings.card=null", "steps.ratings.judge.max_length=99"]
    found = estimate(load_recipe(recipe, overrides), recipe.parent)
    train, test = found["dialogues"].train, found["dialogues"].test
    assert train + test == 20
    assert 0 < test < 10
    assert found["dialogues"].written == 20 * (256 + QUESTION_TOKENS + 256)
    assert found["dsft"] == Estimate(read=train * 2 * 1024, optimizer_steps=math.ceil(train / 8) * 2)
    assert found["answers"].written == (5 + test) * 2 * 256
    assert found["ratings"].read == (5 + test) * 2 * 99
    assert found["ddpo"] == Estimate(read=5 * 2 * 1024, optimizer_steps=1)
    assert found["evaluate"].written == test * 2 * 3 * 256


# kills


def start(recipe: Path, run: Path, delay: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.toy_run", "run", str(recipe), "--out", str(run)]
    environment = os.environ | {"FAVONIUS_TOY_DELAY": str(delay)}
    root = Path(__file__).parent.parent
    return subprocess.Popen(
        command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts
    )


def hear_interrupts() -> None:
    """A shell starts background jobs deaf to Ctrl-C, and their children inherit it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for_work(process: subprocess.Popen[str]) -> None:
    """Until a step has started, or the process has ended."""
    assert process.stderr is not None
    for line in process.stderr:
        if " starts (" in line or " goes on (" in line:
            return


def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipes")
    run_toy(recipe, tmp_path / "undisturbed")
    run, chance, kills = tmp_path / "run", random.Random(17), 0
    for _ in range(8):
        with start(recipe, run, delay=0.003) as process:
            wait_for_work(process)
            time.sleep(chance.uniform(0.0, 0.12))
            process.kill()
            process.communicate()
        kills += process.returncode == -signal.SIGKILL
        for name in STEPS:  # a done.json never stands before its outputs
            manifest = StepFolder(run / name).manifest()
            assert manifest is None or all((run / name / output).exists() for output in manifest.outputs)
    assert kills >= 3
    with start(recipe, run, delay=0) as process:
        process.communicate()
    assert process.returncode == 0
    assert outputs(run) == outputs(tmp_path / "undisturbed")
    produced = (run / "produced.txt").read_text(encoding="utf-8").split()
    assert ROWS * len(STEPS) <= len(produced) <= ROWS * len(STEPS) + kills  # each kill costs one row at most


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_so_and_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    recipe, run = write_recipe(tmp_path / "recipes"), tmp_path / "run"
    with start(recipe, run, delay=0.05) as process:
        wait_for_work(process)
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "stopped; run the same command again to go on"
    assert "Traceback" not in errors
    assert states(run)["dialogues"] == "partial"
    assert run_toy(recipe, run) == list(STEPS)


def test_a_second_run_on_the_folder_is_refused(tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path / "recipes"), tmp_path / "run"
    with start(recipe, run, delay=0.5) as first:
        wait_for_work(first)
        with start(recipe, run, delay=0) as second:
            _, errors = second.communicate()
        first.kill()
        first.communicate()
    assert second.returncode == 2
    assert errors.startswith("error: ")
    assert "another run is at work in this folder; wait for it, or give a run another with --out" in errors
