"""Plans as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from favonius.models.config import ModelConfig
from favonius.models.spec import FolderSpec, GGUFSpec, HubSpec, PyPISpec, parse
from favonius.pipeline.estimate import Estimate
from favonius.pipeline.plan import PlannedStep
from favonius.recipe import Recipe
from favonius.run import references


def table(head: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """Columns two spaces apart; numbers to the right, 0 left out."""
    texts = [[f"{cell:,}" if cell and isinstance(cell, int) else str(cell or "") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    numbers = [bool(column) and all(isinstance(cell, int) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for cells in [list(head), *texts]:
        fitted = zip(cells, widths, numbers or [False] * len(head), strict=True)
        lines.append("  ".join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in fitted))
    return "\n".join(line.rstrip() for line in lines)


def checked(path: Path, recipe: Recipe, estimates: Mapping[str, Estimate]) -> str:
    """What `favonius check` prints of a valid recipe."""
    models = [[name, kind(config, path.parent), config.terms or "not named"] for name, config in recipe.models.items()]
    steps: list[list[str | int]] = [
        [
            name,
            config.stage,
            ", ".join(dict.fromkeys(references(config))),
            estimates[name].written,
            estimates[name].read,
            estimates[name].optimizer_steps,
        ]
        for name, config in recipe.steps.items()
    ]
    head = ("step", "stage", "takes", "tokens written", "tokens read", "optimizer steps")
    parts = [
        f"{path} is valid; its run folder is runs/{recipe.name}.",
        table(("model", "comes from", "terms"), models),
        table(head, steps),
        "Numbers are at most: no row is dropped, every row and answer is as long as it may be.",
    ]
    return "\n\n".join(parts)


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


def status(steps: Sequence[PlannedStep]) -> str:
    """What `favonius status` prints."""
    rows = [[step.name, step.config.stage, step.state, step.why] for step in steps]
    return table(("step", "stage", "state", "why"), rows)
