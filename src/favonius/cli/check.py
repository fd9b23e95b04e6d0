"""`favonius check RECIPE`: is it a recipe, what will it ask and cost, and what does it take of a machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from favonius.cli import recipe_tables
from favonius.errors import UserError
from favonius.files import json_text
from favonius.pipeline.estimate import Estimate, dollars, estimate
from favonius.recipe import Recipe, load_recipe
from favonius.recipe.parameters import with_files_from_here

if TYPE_CHECKING:
    from favonius.pipeline.planning.stages import Plan

MORE = "Add --measure for time, memory and disk on this machine, or --hardware cuda:80 for memory and disk on another."


def run(options: argparse.Namespace) -> None:
    """Print the plan. UserError where the recipe has a fault, or where it can cost more than its budget."""
    path: Path = options.recipe
    overrides = [with_files_from_here(text, path.parent) for text in options.overrides]
    recipe = load_recipe(path, overrides, options.with_ablations)
    estimates = estimate(recipe, path.parent)
    plan = _plan(recipe, estimates, options) if options.measure or options.hardware else None
    if options.json:
        print(json_text(_as_json(recipe, estimates, plan)))
    else:
        print(recipe_tables.checked(path, recipe, estimates) + "\n\n" + (MORE if plan is None else _as_text(plan)))
    refuse_above_cap(recipe, estimates)


def refuse_above_cap(recipe: Recipe, estimates: Mapping[str, Estimate]) -> None:
    """UserError where a run, or a step with a purse of its own, can cost more than the budget allows."""
    if recipe.budget is None:
        return
    costs = {name: dollars(recipe, step) for name, step in estimates.items()}
    caps = {"the run": (sum(costs.values()), recipe.budget.dollars)}
    caps |= {f"step {name}": (costs[name], cap) for name, cap in recipe.budget.steps.items()}
    for what, (cost, cap) in caps.items():
        if cost > cap:
            raise UserError(
                f"budget: {what} can cost up to ${cost:,.2f}, and ${cap:,.2f} are allowed; raise the budget, or lower "
                "limit, rounds or max_tokens (a run that is started anyway ends cleanly when its money is spent)"
            )


def _plan(recipe: Recipe, estimates: Mapping[str, Estimate], options: argparse.Namespace) -> Plan:
    from favonius.pipeline.planning.hardware import here, stated  # torch and transformers take seconds to import
    from favonius.pipeline.planning.stages import Planner

    hardware = here() if options.measure else stated(options.hardware)
    folder = options.out if options.out is not None else Path("runs") / recipe.name
    planner = Planner(recipe, options.recipe.parent, folder, hardware, options.measure, _say)
    return planner.plan(estimates)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _as_text(plan: Plan) -> str:
    from favonius.cli import plan_tables

    return plan_tables.planned(plan)


def _as_json(recipe: Recipe, estimates: Mapping[str, Estimate], plan: Plan | None) -> dict[str, Any]:
    """The estimates, which are upper bounds, and what was asked for beyond them."""
    steps = {
        name: {
            **asdict(step),
            "stage": recipe.steps[name].stage,
            "requests": step.requests,
            "dollars": dollars(recipe, step),
        }
        for name, step in estimates.items()
    }
    if plan is None:
        return {"recipe": recipe.name, "at_most": steps}
    from favonius.cli import plan_tables

    return {"recipe": recipe.name, "at_most": steps, "plan": plan_tables.as_json(plan)}
