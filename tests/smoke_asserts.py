"""Asserts on the results of `make smoke`: `python -m tests.smoke_asserts runs/smoke`. Exit code 1 where one fails."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

from favonius.pipeline.plan import plan
from favonius.pipeline.saved import known_digests, read_origin, saved_recipe


def every_step_is_done(run: Path) -> None:
    recipe = saved_recipe(run)
    steps = plan(recipe, run, read_origin(run).recipe.parent, known_digests(run, recipe))
    assert steps
    for step in steps:
        assert step.state == "done", f"{step.name} is {step.state}: {step.why}"


def the_report_is_there(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")


def ddpo_begins_at_ln_2(run: Path) -> None:
    lines = (run / "ddpo" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: row["step"])
    first = {row["split"]: row["loss"] for row in reversed(rows)}
    assert "train" in first, "metrics.jsonl has no training step"
    for split, loss in first.items():
        assert abs(loss - math.log(2)) < 2e-2, f"first {split} loss is {loss}"


def dsft_learns(run: Path) -> None:
    """The loss on held-out dialogues falls, and the evaluation sees the same of the saved model."""
    lines = (run / "dsft" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    test = [row["loss"] for row in map(json.loads, lines) if row["split"] == "test"]
    assert test[-1] < test[0] - 0.01, f"held-out losses {test}"
    nll = _table(run)["nll"]
    assert nll["dSFT"]["value"] < nll["base"]["value"], f"negative log-probs {nll}"


def the_table_is_whole(run: Path) -> None:
    table = _table(run)
    for label in ("base", "dSFT", "dDPO"):
        for key in ("ended", "leak", "loop", "length", "nll"):
            assert table[key][label]["n"] > 0, f"{key} of {label}"
    assert table["win_rate"]["dDPO"]["n"] > 0


def no_prompt_is_both_learned_and_tested(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "dialogues" / "dialogues.jsonl").read_text("utf-8").splitlines()]
    pairs = [json.loads(line) for line in (run / "pairs" / "pairs.jsonl").read_text("utf-8").splitlines()]
    sides: dict[str, set[str]] = {}
    for row in rows + pairs:
        sides.setdefault(row["id"], set()).add(row["split"])
    assert pairs and all(len(side) == 1 for side in sides.values())


def _table(run: Path) -> dict[str, dict[str, dict[str, float]]]:
    results = json.loads((run / "evaluate" / "results.json").read_text(encoding="utf-8"))
    return {row["key"]: row["values"] for row in results["metrics"]}


CHECKS: tuple[Callable[[Path], None], ...] = (
    every_step_is_done,
    the_report_is_there,
    ddpo_begins_at_ln_2,
    dsft_learns,
    the_table_is_whole,
    no_prompt_is_both_learned_and_tested,
)


def main(run: Path) -> int:
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check(run)
            print(f"smoke: {name}")
        except (AssertionError, OSError, ValueError, KeyError, TypeError) as error:
            failed += 1
            print(f"smoke: FAILED {name}: {type(error).__name__} {error}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
