"""How a model was trained: in a sentence, and each training's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from favonius.card.nouns import CardStep, RunCard
from favonius.report.wording import NONE

DIALOGUES = {
    "dialogues": "from its teacher's dialogues (dSFT)",
    "best": "from the best rated of several answers (SFT)",
    "constitution": "from answers that were revised by a constitution (SFT)",
}
PREFERENCES = {
    "pairs": "from which of two answers was judged better",
    "constitution": "to prefer revised answers to first ones",
}


def taught(card: RunCard, own: CardStep) -> str:
    """What the model that `own` made was taught, from its base on: `the base model learned …, then …`."""
    lessons = []
    for lesson, same in groupby(_lesson(step, card) for step in trainings(card, own)):
        rounds = len(list(same))
        lessons.append(lesson + (f" in {rounds} rounds" if rounds > 1 else ""))
    return f"the base model learned {', then '.join(lessons)}"


def trainings(card: RunCard, own: CardStep) -> list[CardStep]:
    """The steps whose weights led to those of `own`, and itself, the first first."""
    path = [own]
    while (before := card.step(str(_config(path[0]).get("model")))) is not None and before not in path:
        path.insert(0, before)
    return path


def settings(steps: Sequence[CardStep]) -> list[list[str]]:
    """Of each train step that was begun its name, what it begins with and learns from, and its numbers."""
    return [_line(step, step.config) for step in steps if step.stage == "train" and step.config is not None]


def _line(step: CardStep, config: Mapping[str, Any]) -> list[str]:
    told = (config.get(name, NONE) for name in ("model", "rows"))
    numbers = (config.get(name, NONE) for name in ("epochs", "batch_size", "learning_rate"))
    ways = ", ".join(str(config[name]) for name in ("optimizer", "schedule") if name in config)
    return [
        step.name, *map(str, told), _objective(config), *map(str, numbers), ways or NONE,
        f"{config['max_length']:,} tokens" if "max_length" in config else NONE, _trained(config),
    ]  # fmt: skip


def _objective(config: Mapping[str, Any]) -> str:
    objective = config.get("objective") or {}
    beta = objective.get("beta")
    return str(objective.get("kind", "sft")) + ("" if beta is None else f", β {beta:g}")


def _trained(config: Mapping[str, Any]) -> str:
    if adapter := config.get("adapter"):
        kind = "QLoRA" if adapter.get("quantize") == "nf4" else "LoRA"
        return f"{kind} of rank {adapter.get('rank')}"
    frozen = config.get("freeze") or ()
    return "all weights" + (f" but {', '.join(map(str, frozen))}" if frozen else "")


def _lesson(step: CardStep, card: RunCard) -> str:
    config = _config(step)
    rows = card.step(str(config.get("rows")))
    stage = "" if rows is None else rows.stage
    kind = str((config.get("objective") or {}).get("kind", "sft"))
    if kind == "sft":
        return DIALOGUES.get(stage, "from given dialogues (SFT)")
    if kind == "reward":
        return "to rate answers as its judge did"
    name = kind.upper().replace("_", "-")
    by_judge = {"DPO": "dDPO"}.get(name, name) if stage == "pairs" else name
    return f"{PREFERENCES.get(stage, 'from given preferences')} ({by_judge})"


def _config(step: CardStep) -> Mapping[str, Any]:
    return step.config or {}
