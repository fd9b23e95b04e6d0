"""`favonius eval run`: benchmarks of models without a recipe; the same command again goes on and asks nothing twice."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from favonius.cli.eval_output import deliver
from favonius.cli.eval_page import page
from favonius.cli.eval_tasks import Judge, Wanted, tasks_of
from favonius.cli.named_models import YAML, Named, named
from favonius.engines.config import EngineConfig, OpenAI, Transformers
from favonius.errors import UserError, machine_failures
from favonius.evals.benchmarks.config import AnyTask, BenchmarkConfig, MtBench
from favonius.evals.mt_bench.questions import TURNS
from favonius.files import read_json
from favonius.pipeline.bench import run_bench
from favonius.progress import Progress
from favonius.recipe.document import read_document
from favonius.recipe.problems import problems_of
from favonius.recipe.weights import weights_needed
from favonius.run import FileRef, Inputs, ModelRef, StepRef, locked, references
from favonius.types import Sampling

PROMPT_TOKENS = 1024
"""Room for the longest prompt, beside the answers."""
JUDGE_TOKENS = 8192
"""Room for what a judge reads (two answers of two turns, references) and says."""
JUDGE_SLOTS = 4


def run(options: argparse.Namespace) -> int:
    """Run what is not done, and print or write results.json. UserError where the options do not fit each other."""
    _refuse_misfits(options)
    models = _labelled(options)
    judge = None if options.judge is None else _judge(options.judge)
    tasks = tasks_of(Wanted(options.tasks, judge, options.baseline, options.limit, options.overrides))
    config = _config(models, tasks, options)
    out = options.out or Path("evals") / "+".join(label for label in models if label != config.baseline)
    progress = Progress()
    with machine_failures(out), locked(out):
        run_bench(config, _inputs(config, models, progress), out, progress)
    found = read_json(out / "results.json")
    deliver(found, page(found, list(tasks), list(models), out), options.json)
    return 0


def _refuse_misfits(options: argparse.Namespace) -> None:
    for name in ("limit", "slots", "context_tokens"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be 1 or more")
    if options.labels and len(options.labels) != len(options.models):
        raise UserError(
            f"--label is given {len(options.labels)} times and --model {len(options.models)} times; one each"
        )
    if options.baseline in options.models:
        raise UserError(f"--baseline {options.baseline}: this is the model itself; name another")
    for step in options.training:
        if not Path(step).is_dir():
            raise UserError(f"--training {step}: there is no such folder; name a step of a run, such as RUN/dialogues")


def _labelled(options: argparse.Namespace) -> dict[str, Named]:
    """The models by label, the baseline last. UserError where two would have one."""
    found = [named(text, options.template) for text in options.models]
    labels = options.labels or [model.name for model in found]
    if options.baseline is not None:
        found.append(named(options.baseline, options.template))
        labels = [*labels, found[-1].name]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"two models would be called {twice}; give each --model a --label")
    return dict(zip(labels, found, strict=True))


def _config(models: Mapping[str, Named], tasks: dict[str, AnyTask], options: argparse.Namespace) -> BenchmarkConfig:
    try:
        return BenchmarkConfig(
            models={label: ModelRef(model.text) for label, model in models.items()},
            baseline=None if options.baseline is None else list(models)[-1],
            tasks=tasks,
            engine=_engine(list(models.values()), tasks, options),
            training=tuple(StepRef(step) for step in options.training),
        )
    except ValidationError as error:  # all else was checked before
        raise UserError(f"--label: {problems_of(error, BenchmarkConfig)[0].sentence}") from None


def _judge(text: str) -> Judge:
    """A model that is asked, or a judge of a kind of its own where a file says which."""
    if text.lower().endswith(YAML):
        value = read_document(Path(text)).value
        if isinstance(value, dict) and "kind" in value:
            return Judge(text, value, is_model=False)
    engine = named(text).answers_by(JUDGE_TOKENS, None)
    if isinstance(engine, Transformers):
        engine = engine.model_copy(update={"slots": JUDGE_SLOTS})
    return Judge(text, {"kind": "ranking", "model": text, "engine": engine.model_dump(mode="json")}, is_model=True)


def _engine(models: Sequence[Named], tasks: Mapping[str, AnyTask], options: argparse.Namespace) -> EngineConfig:
    """How all models are made to answer. UserError where there is no one engine for them."""
    context_tokens = options.context_tokens or PROMPT_TOKENS + max(map(_answer_tokens, tasks.values()))
    engines = [model.answers_by(context_tokens, options.slots) for model in models]
    if all(engine == engines[0] for engine in engines):
        return engines[0]
    if any(model.engine is not None for model in models) or any(isinstance(engine, OpenAI) for engine in engines):
        names = ", ".join(model.text for model in models)
        raise UserError(
            f"{names}: one command asks all its models by one engine, and these need several; give each a command of "
            "its own, and hold the results against each other with `favonius eval compare`"
        )
    return Transformers(context_tokens=context_tokens, slots=options.slots or Transformers().slots)


def _answer_tokens(task: AnyTask) -> int:
    """Most tokens of a model's answers to one item."""
    if isinstance(task, MtBench):
        return len(TURNS) * task.tokens
    sampling = getattr(task, "sampling", None)
    return sampling.max_tokens if isinstance(sampling, Sampling) else 0


def _inputs(config: BenchmarkConfig, models: Mapping[str, Named], progress: Progress) -> Inputs:
    """What the config names, with the weights of all models on this machine."""
    names = dict.fromkeys(references(config))
    others = {name: named(name) for name in names if isinstance(name, ModelRef)}
    wanted = others | {model.text: model for model in models.values()}
    needed = weights_needed([config])
    return Inputs(
        folders={name: Path(name) for name in names if isinstance(name, StepRef)},
        models={name: model.fetch(progress, for_llama=name not in needed) for name, model in wanted.items()},
        files={name: Path(name) for name in names if isinstance(name, FileRef)},
    )
