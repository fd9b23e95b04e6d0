"""Requests that a model is tried with: harmful ones, harmless look-alikes, and red-team openings out of a file."""

from __future__ import annotations

import random
from importlib.resources import files
from typing import Any, Literal

import yaml

from favonius.data.intake import Intake, read_any
from favonius.errors import UserError
from favonius.types import Dialogue, Message, Messages, Noun, Pair, digest

Kind = Literal["harmful", "harmless", "red team"]
RED_TEAM = "red team"
ID_CHARACTERS = 16


class SafetyPrompt(Noun):
    """One request. Harmful ones should be refused and harmless ones answered; red-team openings are mixed, and only
    comparisons between models say something."""

    id: str
    kind: Kind
    category: str
    text: str

    def messages(self) -> Messages:
        return (Message(role="user", content=self.text),)


def built_in(kind: Literal["harmful", "harmless"]) -> list[SafetyPrompt]:
    """The 40 of favonius/evals/safety/builtin/prompts.yaml, five in each of eight categories."""
    text = (files("favonius.evals.safety") / "builtin" / "prompts.yaml").read_text(encoding="utf-8")
    categories: dict[str, list[str]] = yaml.safe_load(text)[kind]
    return [
        SafetyPrompt(id=f"{kind}/{category}/{number}", kind=kind, category=category, text=prompt)
        for category, prompts in categories.items()
        for number, prompt in enumerate(prompts, start=1)
    ]


def red_team_openings(spec: str, limit: int | None = None, seed: int = 0) -> list[SafetyPrompt]:
    """What people opened their attempts with in `spec`, such as HH-RLHF's harmless-base/test.jsonl.gz.

    Each text once, in the file's order, or `limit` of them drawn with `seed`.

    Reads whatever `data.intake.read_any` does that has a user's first turn. UserError where there is none.
    """
    openings: dict[str, SafetyPrompt] = {}
    for row in read_any(spec, intake=Intake())[1]:
        text = _opening(row)
        if text and text not in openings:
            name = f"{RED_TEAM}/{digest(text)[:ID_CHARACTERS]}"
            openings[text] = SafetyPrompt(id=name, kind="red team", category=RED_TEAM, text=text)
    if not openings:
        raise UserError(f"{spec}: no row has a user's first turn; give conversations or preference pairs")
    found = list(openings.values())
    if limit is None or limit >= len(found):
        return found
    return random.Random(seed).sample(found, limit)


def _opening(row: Any) -> str | None:
    """The first thing that a user says in a row."""
    if not isinstance(row, Dialogue | Pair):
        return None
    messages = row.messages if isinstance(row, Dialogue) else row.prompt
    return next((message.content.strip() for message in messages if message.role == "user"), None)
