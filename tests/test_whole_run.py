"""The whole method on tiny models: it runs, its page is written, and kill -9 anywhere changes none of its results."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from favonius.run import StepFolder
from tests.whole_run import write_recipe

STEPS = ("dialogues", "dsft", "answers", "ratings", "pairs", "ddpo", "evaluate")


def start(recipe: Path, run: Path, cache: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.whole_run", "run", str(recipe), "--out", str(run), *arguments]
    environment = {**os.environ, "FAVONIUS_CACHE": str(cache)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def outputs(run: Path) -> dict[str, dict[str, str]]:
    """Digests of every file that each step made."""
    manifests = {name: StepFolder(run / name).manifest() for name in STEPS}
    return {name: manifest.outputs for name, manifest in manifests.items() if manifest is not None}


class Whole(NamedTuple):
    """An undisturbed run and the time it took."""

    recipe: Path
    run: Path
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = write_recipe(folder)
    started = time.monotonic()
    process = start(recipe, folder / "run", folder / "cache", "--with-ablations")
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    return Whole(recipe, folder / "run", time.monotonic() - started)


def test_the_method_runs_from_seeds_to_page(undisturbed: Whole) -> None:
    run = undisturbed.run
    assert list(outputs(run)) == list(STEPS)
    first = json.loads((run / "ddpo" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["step"] == 0 and first["loss"] == pytest.approx(math.log(2), abs=2e-3)
    results = json.loads((run / "evaluate" / "results.json").read_text())
    assert results["labels"] == ["base", "dSFT", "dDPO", "dDPO without dSFT"] and results["judge_is_teacher"]
    page = (run / "report.html").read_text()
    assert all(label in page for label in results["labels"]) and "<svg" in page
    assert str(run) not in page


@pytest.mark.parametrize("share", [0.3, 0.45, 0.6, 0.75])
def test_kill_at_random_points_changes_no_result(undisturbed: Whole, tmp_path: Path, share: float) -> None:
    """Killed after a share of an undisturbed run's time, then once more at random, then left alone."""
    rng = random.Random(share)
    kills = 0
    for seconds in (share * undisturbed.seconds, rng.uniform(0.4, 0.9) * undisturbed.seconds, None):
        process = start(undisturbed.recipe, tmp_path / "run", tmp_path / "cache", "--with-ablations")
        try:
            _, errors = process.communicate(timeout=seconds)
            assert process.returncode == 0, errors
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    assert kills >= 1
    assert outputs(tmp_path / "run") == outputs(undisturbed.run)


def test_one_changed_field_repeats_what_depends_on_it(undisturbed: Whole) -> None:
    """Another β: the pairs, the dSFT model and every paid answer stay; dDPO and the evaluation are made again."""
    recipe, whole, _ = undisturbed
    before = {name: (whole / name / "done.json").stat().st_mtime_ns for name in STEPS}
    time.sleep(0.01)
    cache = whole.parent / "cache"
    process = start(recipe, whole, cache, "--with-ablations", "--set", "steps.ddpo.objective.beta=0.4")
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    again = [name for name in STEPS if (whole / name / "done.json").stat().st_mtime_ns != before[name]]
    assert again == ["ddpo", "evaluate"]
    assert json.loads((whole / "ddpo" / "stats.json").read_text())["reference_forwards"] == 0
