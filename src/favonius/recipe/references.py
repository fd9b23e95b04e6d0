"""Whether the names in a recipe name something that is there, earlier, and of the right kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from favonius.corpus.config import FILES_OF, SHAPE_OF, DataConfig, unchangeable, unlike
from favonius.engines.config import LlamaCpp, OpenAI
from favonius.errors import UserError
from favonius.evals.benchmarks.config import (
    READ_TASKS,
    AlpacaEval,
    BenchmarkConfig,
    MtBench,
    Preference,
)
from favonius.evals.config import EvaluateConfig
from favonius.judges.config import DistilledJudge
from favonius.models.spec import parse
from favonius.recipe.document import KeyPath
from favonius.recipe.model import AnyStage, Recipe
from favonius.recipe.problems import Problem, choice
from favonius.run import FileRef, ModelRef, Reference, RowsRef, StepRef
from favonius.train.config import TrainConfig
from favonius.train.objectives import SFT, Reward

TAKEN = frozenset({"lock"})
"""Names that the run folder uses itself."""
DIALOGUES = ("dialogues", "data", "best", "constitution")
PAIRS = ("pairs", "data", "constitution")
FEEDBACK = ("ratings", "data")
TRAINED_ON = tuple(dict.fromkeys((*DIALOGUES, *PAIRS, *FEEDBACK)))
"""Stages whose steps make rows to be trained on."""


def check_references(recipe: Recipe, folder: Path | None, left_out: Set[str] = frozenset()) -> list[Problem]:
    """All problems, in the recipe's order.

    Files are looked for under `folder`; None leaves them unchecked. `left_out` are the ablations that `recipe` lost.
    """
    problems = [] if folder is None else _model_problems(recipe, folder)
    if recipe.budget is not None:
        unknown = (name for name in recipe.budget.steps if name not in {*recipe.steps, *left_out})
        problems += [
            Problem(("budget", "steps", name), f"no such step{choice(name, recipe.steps)}") for name in unknown
        ]
    problems += _alias_problems(recipe, left_out)
    earlier: dict[str, AnyStage] = {}
    for name, config in recipe.steps.items():
        path: KeyPath = ("steps", name)
        if name in recipe.models:
            problems.append(Problem(path, "a model is called this too; rename the step"))
        if name in TAKEN:
            problems.append(Problem(path, "the run folder has a file of this name; rename the step"))
        for place, reference in named_in(config, path):
            if isinstance(reference, FileRef):
                sentence = _file_problem(recipe, reference, folder)
            elif reference in left_out:
                sentence = f"{reference} runs only with --with-ablations; mark this step `ablation: true` too"
            else:
                sentence = _name_problem(recipe, earlier, config, place, reference)
            if sentence is not None:
                problems.append(Problem(place, sentence))
        problems += _own_problems(recipe, config, path)
        earlier[name] = config
    return problems


def _alias_problems(recipe: Recipe, left_out: Set[str]) -> Iterator[Problem]:
    for alias, name in recipe.aliases.items():
        if alias in recipe.models or alias in recipe.steps:
            yield Problem(("aliases", alias), f"a model or step is called {alias} too; rename one of them")
        if name not in recipe.steps and name not in left_out:
            yield Problem(("aliases", alias), f"no such step{choice(name, recipe.steps)}")


def _model_problems(recipe: Recipe, folder: Path) -> list[Problem]:
    """Sources that stand for nothing, templates that are nowhere; nothing is fetched to find out."""
    problems = []
    for name, config in recipe.models.items():
        try:
            parse(config.source, folder)
        except UserError as error:
            problems.append(Problem(("models", name, "source"), str(error)))
        if config.price is not None and not config.source.startswith("api:"):
            problems.append(Problem(("models", name, "price"), "only api:// models have a price; remove it"))
        if config.template not in ("own", "zephyr") and not (folder / Path(config.template).expanduser()).is_file():
            sentence = f"{config.template} is neither own, nor zephyr, nor a Jinja file (paths start at {folder})"
            problems.append(Problem(("models", name, "template"), sentence))
    return problems


def named_in(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Reference]]:
    """Every reference in a config with its key path."""
    if isinstance(value, Reference):
        yield path, value
    items: Any = ()
    if isinstance(value, BaseModel):
        items = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    for key, item in items:
        yield from named_in(item, (*path, key))


def _name_problem(
    recipe: Recipe, earlier: Mapping[str, AnyStage], config: AnyStage, place: KeyPath, reference: Reference
) -> str | None:
    """What is wrong with the name of a step or model."""
    if isinstance(reference, StepRef):
        wanted = _wanted_stages(config, place)
        fitting = [name for name, step in earlier.items() if step.stage in wanted]
        *others, last = wanted
        kind = f"{', '.join(others)} or {last} step" if others else f"{last} step"
    else:
        fitting = [*recipe.models, *(name for name, step in earlier.items() if isinstance(step, TrainConfig))]
        kind = "model or train step"
    if reference in fitting:
        return None
    if reference in earlier:
        return f"{reference} is of stage {earlier[reference].stage}; name an earlier {kind}{choice(reference, fitting)}"
    if reference in recipe.models:
        return f"{reference} is a model; name an earlier {kind}{choice(reference, fitting)}"
    if reference in recipe.steps:
        return f"{reference} is not an earlier step; move it before this one"
    return f"no earlier {kind} is called {reference}{choice(reference, fitting)}"


def _wanted_stages(config: AnyStage, place: KeyPath) -> tuple[str, ...]:
    """Of the steps that may be named at `place` in `config`."""
    field = str(place[-1])
    match config:
        case BenchmarkConfig() if field == "step":
            return PAIRS if isinstance(config.tasks[str(place[-2])], Preference) else DIALOGUES
        case BenchmarkConfig():  # what was trained on
            return TRAINED_ON
        case TrainConfig():
            if isinstance(config.objective, SFT):
                return DIALOGUES
            return FEEDBACK if isinstance(config.objective, Reward) else PAIRS
        case DataConfig():
            return tuple(FILES_OF)
        case EvaluateConfig():
            return PAIRS if field == "pairs" else DIALOGUES
        case _ if field == "prompts":
            return ("dialogues", "openings", "data")
        case _:  # fields called like the stage that they take
            return (field, "data")


def _file_problem(recipe: Recipe, reference: FileRef, folder: Path | None) -> str | None:
    if reference in recipe.steps or reference in recipe.models:
        return f"a step or model is called {reference} too; write ./{reference} for the file"
    if folder is None or (folder / reference).is_file():
        return None
    near, may_be_folder = folder / reference, isinstance(reference, RowsRef)
    if near.is_dir():
        return None if may_be_folder else f"{near} is a folder; name a file"
    there = near.parent.iterdir() if near.parent.is_dir() else ()
    beside = sorted(path.name for path in there if path.is_file() or may_be_folder)
    kind = "file or folder" if may_be_folder else "file"
    return f"no such {kind} (paths start at {folder}){choice(near.name, beside) if beside else ''}"


def _own_problems(recipe: Recipe, config: AnyStage, path: KeyPath) -> Iterator[Problem]:
    if isinstance(config, EvaluateConfig) and config.baseline not in config.models:
        sentence = f"no model of this step is labelled {config.baseline}{choice(config.baseline, config.models)}"
        yield Problem((*path, "baseline"), sentence)
    if isinstance(config, DataConfig):
        yield from _source_problems(recipe, config, path)
    if isinstance(config, BenchmarkConfig):
        yield from _benchmark_problems(recipe, config, path)
    for holder, above in holders(config, path):
        for place, model, engine in direct_models(holder, above):
            source = recipe.models[model].source if model in recipe.models else ""
            if wrong := _engine_problem(model, source, engine) or _reward_problem(recipe, holder, model):
                yield Problem(place, wrong)


def _source_problems(recipe: Recipe, config: DataConfig, path: KeyPath) -> Iterator[Problem]:
    """Files that a step does not write, and steps whose rows do not go together."""
    shapes = {name: source.shape for name, source in config.sources.items() if source.shape is not None}
    for name, source in config.sources.items():
        stage = recipe.steps[source.step].stage if source.step in recipe.steps else ""
        files = FILES_OF.get(stage, ())
        if source.file is not None and files and source.file not in files:
            yield Problem((*path, "sources", name, "file"), f"{source.step} writes {' and '.join(files)} only")
        elif files and (stage != "data" or source.file is not None):
            shapes[name] = SHAPE_OF[source.file or files[0]]
    if problem := unlike(shapes) or unchangeable(shapes, config.filters):
        yield Problem(path, problem)


def _benchmark_problems(recipe: Recipe, config: BenchmarkConfig, path: KeyPath) -> Iterator[Problem]:
    """A baseline that is no label, models without the weights that a task reads, and models that tasks ask besides."""
    if config.baseline is not None and config.baseline not in config.models:
        sentence = f"no model of this step is labelled {config.baseline}{choice(config.baseline, config.models)}"
        yield Problem((*path, "baseline"), sentence)
    sources = {name: model.source for name, model in recipe.models.items()}
    served = [label for label, model in config.models.items() if sources.get(model, "").startswith("api:")]
    for name, task in config.tasks.items():
        if served and isinstance(task, READ_TASKS):
            sentence = f"{task.task} reads log-probs, and {served[0]} is served by an API; leave this task or it out"
            yield Problem((*path, "tasks", name, "task"), sentence)
        if isinstance(task, (MtBench, AlpacaEval)) and task.baseline is not None:
            place = (*path, "tasks", name, "baseline")
            wrong = _engine_problem(task.baseline, sources.get(task.baseline, ""), config.engine)
            if wrong := wrong or _reward_problem(recipe, task, task.baseline):
                yield Problem(place, wrong)


def holders(value: Any, path: KeyPath) -> Iterator[tuple[BaseModel, KeyPath]]:
    """Every config in a config, itself first, with its key path."""
    if isinstance(value, BaseModel):
        yield value, path
        for name in type(value).model_fields:
            yield from holders(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from holders(item, (*path, key))


def _reward_problem(recipe: Recipe, holder: BaseModel, model: str) -> str | None:
    """A distilled judge is a train step of its own kind, which makes nothing that anyone else can use."""
    step = recipe.steps.get(model)
    gives_rewards = isinstance(step, TrainConfig) and isinstance(step.objective, Reward)
    if isinstance(holder, DistilledJudge) == gives_rewards or step is None:
        return None
    if gives_rewards:
        return f"{model} gives rewards and writes no text; only a judge of kind distilled takes it"
    return f"{model} gives no rewards; a judge of kind distilled takes a train step with objective reward"


def _engine_problem(model: str, source: str, engine: Any) -> str | None:
    """llama.cpp runs GGUF files only, servers answer for api:// models only, and those have no weights for the rest."""
    served = source.startswith("api:")
    if isinstance(engine, OpenAI):
        return None if served else f"{model} is no api:// model, and engine openai talks to those only"
    if served:
        needed = "this field needs its weights" if engine is None else f"engine {engine.kind} needs its weights"
        return f"{model} is served by an API and {needed}; use `engine: {{kind: openai}}` or another model"
    if isinstance(engine, LlamaCpp) and not source.partition("#")[0].lower().endswith(".gguf"):
        return f"{model} is no .gguf file, which engine llamacpp needs; use engine transformers"
    return None


def direct_models(holder: BaseModel, path: KeyPath) -> Iterator[tuple[KeyPath, ModelRef, Any]]:
    """Models that a config's own fields name, singly or in a mapping, each with the engine that stands beside it:
    `reviser_engine` for `reviser`, else `engine`."""
    for name in type(holder).model_fields:
        value = getattr(holder, name)
        if isinstance(holder, EvaluateConfig) and name == "teacher":
            continue  # it is compared with the judge, and not asked
        if isinstance(holder, (MtBench, AlpacaEval)) and name == "baseline":
            continue  # the benchmark's engine asks it, and not the judge's
        engine = getattr(holder, f"{name}_engine", getattr(holder, "engine", None))
        for key, item in value.items() if isinstance(value, Mapping) else [(None, value)]:
            if isinstance(item, ModelRef):
                yield (*path, name, key) if key is not None else (*path, name), item, engine
