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


CHECKS: tuple[Callable[[Path], None], ...] = (every_step_is_done, the_report_is_there, ddpo_begins_at_ln_2)


def main(run: Path) -> int:
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check(run)
            print(f"smoke: {name}")
        except (AssertionError, OSError, ValueError, KeyError) as error:
            failed += 1
            print(f"smoke: FAILED {name}: {type(error).__name__} {error}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
