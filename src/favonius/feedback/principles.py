"""The principles that the authors of answers are told to mind, as UltraFeedback's were (zephyr-spec §4.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from favonius.data.documents import parse_document, read_document
from favonius.data.splits import share_of, weighted
from favonius.feedback.config import Principles
from favonius.feedback.draws import drawn
from favonius.feedback.prompts import Prompt
from favonius.types import Noun, Principle

Wording = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

OF_CHATS = {"helpfulness": 0.6, "truthfulness": 0.2, "honesty": 0.18, "verbalized_calibration": 0.02}
"""Of ShareGPT and UltraChat in both weightings, and here of every source that UltraFeedback does not know."""

_OF_FALSEHOODS = {"truthfulness": 0.5, "honesty": 0.45, "verbalized_calibration": 0.05}
WEIGHTS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    # A tenth of what the code draws as honesty becomes verbalized calibration; here that is multiplied out.
    "code": {
        "sharegpt": OF_CHATS,
        "ultrachat": OF_CHATS,
        "flan": {"helpfulness": 0.8, "verbalized_calibration": 0.2},
        "evolinstruct": {"helpfulness": 1.0},
        "truthfulqa": _OF_FALSEHOODS,
        "falseqa": _OF_FALSEHOODS,
    },
    "readme": {
        "sharegpt": OF_CHATS,
        "ultrachat": OF_CHATS,
        "flan": {"helpfulness": 0.6, "truthfulness": 0.2, "verbalized_calibration": 0.2},
        "evolinstruct": {"helpfulness": 1.0},
        "truthfulqa": {"truthfulness": 1.0},
        "falseqa": {"truthfulness": 1.0},
    },
}
"""Weighting → how the prompt's source begins, letters and digits only → shares of the kinds."""


class Wordings(Noun):
    """Several ways of saying each principle; one of them is drawn per answer."""

    helpfulness: tuple[Wording, ...] = Field(default=(), min_length=1)
    truthfulness: tuple[Wording, ...] = Field(default=(), min_length=1)
    honesty: tuple[Wording, ...] = Field(default=(), min_length=1)
    verbalized_calibration: tuple[Wording, ...] = Field(default=(), min_length=1)
    harmlessness: tuple[Wording, ...] = Field(default=(), min_length=1)

    def of(self, kind: str) -> tuple[str, ...]:
        found: tuple[str, ...] = getattr(self, kind)
        return found


@cache
def built_in_wordings() -> Wordings:
    """Those of favonius/feedback/builtin/principles.yaml; every kind has some."""
    file = files("favonius.feedback") / "builtin" / "principles.yaml"
    return parse_document(file.read_text(encoding="utf-8"), file.name, Wordings)


def read_wordings(path: Path | None) -> Wordings:
    """The built-in wordings, those of the kinds that the file has replaced. UserError naming file and key."""
    if path is None:
        return built_in_wordings()
    own = read_document(path, Wordings)
    return built_in_wordings().model_copy(update={kind: own.of(kind) for kind in own.model_fields_set})


def shares(config: Principles, source: str | None) -> dict[str, float]:
    """How likely each kind is for prompts of a source; they sum to 1."""
    name = re.sub(r"[\W_]", "", (source or "").lower())
    known = WEIGHTS[config.weights]
    own = next((weights for beginning, weights in known.items() if name.startswith(beginning)), OF_CHATS)
    left = {kind: (1.0 - config.harmlessness) * weight for kind, weight in own.items()}
    return left | {"harmlessness": config.harmlessness}


def principle_for(
    config: Principles, wordings: Wordings, prompt: Prompt, author: str, sample: int, seed: int, shown: bool
) -> Principle:
    """What an answer's author is told to mind: fixed by the prompt, the author, the sample and the seed."""
    purpose = f"{seed} {sample} {author}"
    kind = weighted(shares(config, prompt.source), share_of(f"principle {purpose}", prompt.id))
    [text] = drawn(wordings.of(kind), 1, f"wording {purpose}", prompt.id)
    return Principle(kind=kind, text=text, shown=shown)
