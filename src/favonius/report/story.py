"""Who became what, taught by whom: the page's first sentence, from the recipe alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from favonius.report.gather import Run, Step
from favonius.report.wording import decimal


@dataclass(frozen=True)
class Story:
    chain: tuple[str, ...]
    """What the models are called, base first: `base`, `dSFT`, `dDPO`."""
    sentence: str
    teacher: str
    """Empty where no step has a teacher."""


def tell(run: Run) -> Story:
    base, trainings = lineage(run)
    names = _labels(run)
    teacher = _named(run, [step.config.get("teacher") for step in run.of_stage("dialogues")])
    judge = _named(run, [_mapping(step.config.get("judge")).get("model") for step in run.of_stage("ratings")])
    if base is None:
        return Story((), "This recipe trains nothing.", teacher)
    doings = [_doing(step, names.get(step.name, step.name), teacher, judge) for step in trainings]
    sentence = f"The base model {_described(run, base)}, trained {', then '.join(doings)}."
    return Story((names.get(base, base), *(names.get(step.name, step.name) for step in trainings)), sentence, teacher)


def lineage(run: Run) -> tuple[str | None, list[Step]]:
    """The base's name and the trainings that lead from it to the last model of the recipe, ablations aside."""
    trainings = [step for step in run.of_stage("train") if not step.config.get("ablation")]
    if not trainings:
        return None, []
    path = [trainings[-1]]
    while (parent := run.step(str(path[0].config.get("model")))) is not None and parent not in path:
        path.insert(0, parent)
    return str(path[0].config.get("model")), path


def _labels(run: Run) -> dict[str, str]:
    """Model or step name → what the evaluation calls it."""
    evaluations = [_mapping(step.config.get("models")) for step in run.of_stage("evaluate")]
    return {str(model): str(label) for models in evaluations for label, model in models.items()}


def _doing(step: Step, label: str, teacher: str, judge: str) -> str:
    objective = _mapping(step.config.get("objective"))
    if objective.get("kind", "sft") != "sft":
        beta = f", β = {decimal(objective['beta'])}" if isinstance(objective.get("beta"), (int, float)) else ""
        judged = "by the teacher" if judge and judge == teacher else f"by {judge}" if judge else "beforehand"
        return f"to prefer the answers that were judged better {judged} ({label}{beta})"
    return f"on dialogues of the teacher {teacher} ({label})" if teacher else f"on given dialogues ({label})"


def _named(run: Run, models: list[Any]) -> str:
    """The models described, each once, in order."""
    return " and ".join(_described(run, str(name)) for name in dict.fromkeys(name for name in models if name))


def _described(run: Run, name: str) -> str:
    entry = _mapping(run.recipe.get("models")).get(name)
    source = entry.get("source") if isinstance(entry, Mapping) else entry
    record = run.model(name)
    source = record.source if record is not None else source
    return brief(source) if isinstance(source, str) else name


def brief(source: str) -> str:
    """A model's source in a few words: package and version, hub id, or the name of its file or folder."""
    wheel = re.match(r"pypi://(?P<package>[^=\[]+?)(?:-?part)?(?:\[[^]]*\])?==(?P<version>[^/#]+)", source)
    if wheel:
        return f"{wheel['package']} {wheel['version']}"
    path = PureWindowsPath(source)
    local = path.is_absolute() or PurePosixPath(source).is_absolute() or source.startswith((".", "~", "…"))
    return path.name if local else source


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
