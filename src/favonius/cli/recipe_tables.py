"""A recipe, what it will ask and cost, and how far its run is, as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from favonius.cli.tables import table
from favonius.corpus.config import DataConfig
from favonius.evals.benchmarks.config import BenchmarkConfig
from favonius.models.config import ModelConfig
from favonius.models.spec import APISpec, FolderSpec, GGUFSpec, HubSpec, PyPISpec, parse
from favonius.pipeline.estimate import Estimate, dollars
from favonius.pipeline.plan import PlannedStep
from favonius.recipe import Recipe
from favonius.run import references


def checked(path: Path, recipe: Recipe, estimates: Mapping[str, Estimate]) -> str:
    """What `favonius check` prints of a valid recipe."""
    models = [[name, kind(config, path.parent), config.terms or "not named"] for name, config in recipe.models.items()]
    steps: list[list[str | int]] = [
        [
            name,
            config.stage,
            ", ".join(dict.fromkeys(references(config))),
            estimates[name].requests,
            estimates[name].written,
            estimates[name].read,
            estimates[name].optimizer_steps,
        ]
        for name, config in recipe.steps.items()
    ]
    head = ("step", "stage", "takes", "requests", "tokens written", "tokens read", "optimizer steps")
    parts = [
        f"{path} is valid; its run folder is runs/{recipe.name}.",
        table(("model", "comes from", "terms"), models),
        table(head, steps),
        *([bill] if (bill := money(recipe, estimates)) else []),
        "Numbers are at most: no row is dropped, every row and answer is as long as it may be.",
        *_reasked([name for name, step in estimates.items() if step.reasks]),
        *(
            _uncounted(name, estimates[name].uncounted)
            for name, config in recipe.steps.items()
            if isinstance(config, DataConfig) and estimates[name].uncounted
        ),
        *(
            f"What {', '.join(estimates[name].uncounted)} of {name} read is in none of them: lm-eval has the rows."
            for name, config in recipe.steps.items()
            if isinstance(config, BenchmarkConfig) and estimates[name].uncounted
        ),
    ]
    return "\n\n".join(parts)


def _reasked(steps: Sequence[str]) -> list[str]:
    if not steps:
        return []
    return [f"Replies that the judge of {', '.join(steps)} garbles are asked for again, which is not counted."]


def _uncounted(step: str, sources: Sequence[str]) -> str:
    return (
        f"Rows of {', '.join(sources)} are in none of them, as only {step} reads them; say how many they are "
        "(`rows` of the source) to have bounds."
    )


def money(recipe: Recipe, estimates: Mapping[str, Estimate]) -> str:
    """What is asked of models that have a price, and what it can cost; nothing where none has one."""
    priced = {name for name, config in recipe.models.items() if config.price is not None}
    rows: list[list[str | int]] = [
        [name, ask.model, ask.requests, ask.prompt_tokens, ask.completion_tokens]
        for name, step in estimates.items()
        for ask in step.asks
        if ask.model in priced and ask.requests
    ]
    if not rows:
        return ""
    whole = sum(dollars(recipe, step) for step in estimates.values())
    cap = "there is no cap" if recipe.budget is None else f"the cap is ${recipe.budget.dollars:,.2f}"
    head = ("step", "model", "requests", "prompt tokens", "answer tokens")
    return f"{table(head, rows)}\n\nThis can cost up to ${whole:,.2f}; {cap}."


def kind(config: ModelConfig, folder: Path) -> str:
    """Where a model comes from, in words."""
    match parse(config.source, folder):
        case PyPISpec(packages, version, file):
            more = f" and {len(packages) - 1} more" if len(packages) > 1 else ""
            return f"package index: {packages[0]} {version}{more}, {file}"
        case HubSpec(repository, revision):
            return f"hub: {repository}" + (f" at {revision}" if revision else "")
        case GGUFSpec(path):
            return f"GGUF file: {path}"
        case FolderSpec(path):
            return f"folder: {path}"
        case APISpec(served_as):
            price = config.price
            asked = "" if price is None else f", ${price.prompt:g} and ${price.completion:g} for a million tokens"
            return f"API: {served_as}{asked}"


def status(steps: Sequence[PlannedStep]) -> str:
    """What `favonius status` prints."""
    rows = [[step.name, step.config.stage, step.state, step.why] for step in steps]
    return table(("step", "stage", "state", "why"), rows)
