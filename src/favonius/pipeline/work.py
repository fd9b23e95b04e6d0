"""Runs a recipe: skips what is done, continues what was stopped, makes the rest."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from favonius.errors import BudgetError, FavoniusError, UserError, machine_failures
from favonius.models.config import ModelConfig
from favonius.pipeline.plan import PlannedStep, plan_step
from favonius.pipeline.saved import Origin, save_models, save_recipe
from favonius.pipeline.stages import Stage, stage_of
from favonius.progress import Progress, clock
from favonius.recipe import AnyStage, Recipe
from favonius.recipe.problems import choice
from favonius.recipe.weights import weights_needed
from favonius.run import (
    WORK,
    Context,
    FileRef,
    Inputs,
    ModelRef,
    ModelSource,
    ServedModel,
    StepFolder,
    StepRef,
    locked,
    references,
)


def fetch_model(
    name: str, config: ModelConfig, folder: Path, progress: Progress, for_llama: bool
) -> ModelSource | ServedModel:
    from favonius.models.resolve import resolve

    return resolve(name, config, folder, progress, for_llama=for_llama)


def write_report(run: Path) -> Path:
    from favonius.report.page import write

    return write(run)


@dataclass(frozen=True)
class Parts:
    """What a run is made of besides its recipe; tests put small ones in."""

    stage_of: Callable[[AnyStage], Stage] = stage_of
    fetch: Callable[[str, ModelConfig, Path, Progress, bool], ModelSource | ServedModel] = fetch_model
    report: Callable[[Path], Path] = write_report


def run_recipe(
    recipe: Recipe,
    recipe_path: Path,
    run: Path,
    progress: Progress,
    *,
    overrides: Sequence[str] = (),
    with_ablations: bool = False,
    until: str | None = None,
    parts: Parts = Parts(),
) -> Path:
    """Bring the run folder `run` to what `recipe` (loaded with its ablations) says, and return its report's path.

    `overrides` are those that `recipe` was loaded with; they are kept for `favonius status`. `until` names the last
    step to run. Raises UserError where another run holds the folder and FavoniusError where a step cannot go on; what
    was finished before stays, and the report is written in that case too.
    """
    chosen = recipe if with_ablations else recipe.without_ablations()
    names = _until(chosen, until)
    with machine_failures(run), locked(run):
        origin = Origin(recipe=recipe_path.resolve(), overrides=tuple(overrides), with_ablations=with_ablations)
        save_recipe(run, recipe, origin)
        worker = _Worker(chosen, names, recipe_path.parent, Context(run, progress, budget=chosen.budget), parts)
        try:
            worker.work()
        except Exception:
            _report_anyway(run, progress, parts)
            raise
        return parts.report(run)


def _until(recipe: Recipe, last: str | None) -> list[str]:
    """Names of the steps up to and with `last`, which may also be a round (`online-2`) or a block of them."""
    names = list(recipe.steps)
    if last is None:
        return names
    if last in recipe.aliases:
        of_round = (name for name in reversed(names) if name.startswith(f"{last}-"))
        last = next(of_round, recipe.aliases[last])
    if last not in names:
        raise UserError(f"--until {last}: the recipe has no such step{choice(last, names)}")
    return names[: names.index(last) + 1]


@dataclass(frozen=True)
class _Worker:
    """Does the steps `names` of `recipe`, whose files are found from `folder`."""

    recipe: Recipe
    names: Sequence[str]
    folder: Path
    context: Context
    parts: Parts

    def work(self) -> None:
        models = self.fetch()
        digests = {name: source.digest for name, source in models.items()}
        for name in self.names:
            step = plan_step(self.recipe, name, self.context.run, self.folder, digests)
            if step.output_digest is not None:
                self.context.progress.say(f"{name}: done before")
                # A kill just after done.json leaves it lying.
                shutil.rmtree(self.context.run / name / WORK, ignore_errors=True)
                digests[name] = step.output_digest
            else:
                digests[name] = self.run_step(step, self.inputs(step.config, models))
            models[name] = ModelSource(name, self.context.run / name / "model", digests[name])

    def fetch(self) -> dict[str, ModelSource | ServedModel]:
        """Every model that the steps name; weights are on this machine then, of those that only llama.cpp asks as the
        GGUF file has them."""
        configs = [self.recipe.steps[name] for name in self.names]
        named = {reference for config in configs for reference in references(config)}
        needed = weights_needed(configs)
        sources = {
            name: self.parts.fetch(name, config, self.folder, self.context.progress, name not in needed)
            for name, config in self.recipe.models.items()
            if name in named
        }
        save_models(self.context.run, self.recipe, sources.values())
        return sources

    def inputs(self, config: AnyStage, models: Mapping[str, ModelSource | ServedModel]) -> Inputs:
        named = list(references(config))
        return Inputs(
            folders={name: self.context.run / name for name in named if isinstance(name, StepRef)},
            models={name: models[name] for name in named if isinstance(name, ModelRef)},
            files={name: self.folder / name for name in named if isinstance(name, FileRef)},
        )

    def run_step(self, step: PlannedStep, inputs: Inputs) -> str:
        """Run one step to its end and return its output digest."""
        if step.identity is None:
            raise UserError(f"{step.name}: {step.why}")
        say, folder = self.context.progress.say, StepFolder(self.context.run / step.name)
        attempt = folder.begin(step.identity)
        say(f"{step.name}: {'goes on' if step.state == 'partial' else 'starts'} ({step.why})")
        context = replace(self.context, step=step.name, left_open=[])
        started = time.monotonic()
        try:
            self.parts.stage_of(step.config)(step.config, inputs, folder.path, context)
        except FavoniusError as error:
            if not str(error).startswith(f"{step.name}:"):
                error.args = (f"{step.name}: {error}",)
            raise
        # A trained model and its optimizer hold each other through hooks; left to itself Python frees them too late.
        gc.collect()
        sentences = context.still_open()
        manifest = folder.finish(step.identity, attempt, time.monotonic() - started, sentences)
        say(f"{step.name}: {'; '.join(['done in ' + clock(manifest.seconds), *sentences])}")
        if any(left.cause == "budget" for left in context.left_open):
            self.stop_or_go_on(step.name, "; ".join(sentences))
        return manifest.output_digest()

    def stop_or_go_on(self, name: str, sentence: str) -> None:
        """BudgetError unless the budget says that later steps take what there is."""
        if self.context.budget is None or self.context.budget.at_cap == "stop":
            raise BudgetError(
                f"{name}: {sentence}; what it has is written: raise the budget in the recipe and run again to go on"
            )


def _report_anyway(run: Path, progress: Progress, parts: Parts) -> None:
    """After a failure, whose own error is on its way up: a report that fails too is mentioned and no more."""
    try:
        parts.report(run)
    except Exception as error:
        progress.say(f"the report could not be written either: {error}")
