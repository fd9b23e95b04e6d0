"""What each command does."""

from __future__ import annotations

import argparse
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from favonius.cli import recipe_tables
from favonius.errors import UserError, machine_failures
from favonius.files import json_text
from favonius.pipeline.plan import plan
from favonius.pipeline.saved import current_recipe, known_digests, read_origin, saved_recipe
from favonius.pipeline.talkers import last_trained, talkers
from favonius.progress import Progress
from favonius.recipe import load_recipe
from favonius.recipe.parameters import with_files_from_here
from favonius.recipe.problems import problems_of
from favonius.recipe.schema import json_schema
from favonius.types import Sampling


def dispatch(options: argparse.Namespace) -> int:
    """Do what was asked. Returns the exit code: 1 where a check found something, else 0."""
    match options.command:
        case "run":
            run(options.recipe, options.out, options.overrides, options.with_ablations, options.until)
        case "schema":
            print(json_text(json_schema()))
        case "status":
            status(options.run)
        case "report":
            report(options.run)
        case "chat":
            asked = {name: getattr(options, name, None) for name in Sampling.model_fields}
            given = {name: value for name, value in asked.items() if value is not None}
            chat(options.run, options.step, options.system, given)
        case command:
            return _module(options, command).run(options) or 0
    return 0


def _module(options: argparse.Namespace, command: str) -> Any:
    """The module that does a command in its `run`, imported when it is asked for: most bring much with them."""
    own = {"eval": "evals"}
    name = "pairs_of_votes" if command == "pairs" and options.from_votes is not None else own.get(command, command)
    return import_module(f"favonius.cli.{name}")


def run(path: Path, out: Path | None, overrides: list[str], with_ablations: bool, until: str | None) -> None:
    from favonius.pipeline.work import run_recipe

    overrides = [with_files_from_here(text, path.parent) for text in overrides]
    recipe = load_recipe(path, overrides, with_ablations=True)
    folder = out if out is not None else Path("runs") / recipe.name
    page = run_recipe(recipe, path, folder, Progress(), overrides=overrides, with_ablations=with_ablations, until=until)
    print(f"report: {page}")
    if last_trained(folder) is not None:
        print(f"talk to the model: favonius chat {folder}")


def status(folder: Path) -> None:
    recipe = current_recipe(folder)
    base = read_origin(folder).recipe.parent
    print(recipe_tables.status(plan(recipe, folder, base, known_digests(folder, recipe))))


def report(folder: Path) -> None:
    from favonius.report.page import write

    with machine_failures(folder):
        print(write(folder))


def chat(folder: Path, step: str | None, system: str | None, given: dict[str, float | int]) -> None:
    from favonius.serve.terminal import chat as talk

    try:
        sampling = Sampling.model_validate(given)
    except ValidationError as error:
        first = problems_of(error, Sampling)[0]
        raise UserError(f"--{str(first.path[0]).replace('_', '-')}: {first.sentence}") from None
    sources = talkers(folder)
    name = step or last_trained(folder) or next(reversed(sources))
    name = saved_recipe(folder).aliases.get(name, name)
    if name not in sources:
        raise UserError(f"{folder}: there is no model of {name} to talk to; there are {', '.join(sources)}")
    # Ctrl-C stops an answer; a scheduler's stop is to end the program, which has nothing to release.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    talk(folder, sources, name, sampling, system)
