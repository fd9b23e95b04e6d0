"""Two answers to one prompt, and what a judge or a rule makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from favonius.types import Feedback, JudgeCall, Messages, RatedText, digest

Side = Literal[1, 2]
Scores = tuple[float | None, float | None]


@dataclass(frozen=True)
class Contest:
    """Two answers of `row`, by their places among its completions, in the order in which they are shown.

    `kind` says in which way two rules differ on them; `telling` orders contests, the greatest first.
    """

    row: Feedback
    places: tuple[int, int]
    telling: tuple[float, ...] = ()
    kind: str = ""

    @property
    def answers(self) -> tuple[RatedText, RatedText]:
        return self.row.completions[self.places[0]], self.row.completions[self.places[1]]

    @property
    def texts(self) -> tuple[str, str]:
        return known_by(self.answers[0].text), known_by(self.answers[1].text)

    @property
    def key(self) -> str:
        """The same whichever answer stands first, and whatever seed put it there."""
        return contest_key(self.row.prompt, self.texts)


@dataclass(frozen=True)
class Opinion:
    """What one voice makes of a contest.

    `lean` is above 0 for the first answer, below for the second, 0 for neither, and None where nothing is said of
    both. `aspects` are a name and both answers' scores each. `notes` are further sentences. `calls` are the questions
    that the judge was asked, with the ledger of `run` holding the replies; `places` are those of the two answers there.
    """

    voice: str
    lean: float | None
    says: str
    scores: Scores = (None, None)
    aspects: tuple[tuple[str, Scores], ...] = ()
    critiques: tuple[str | None, str | None] = (None, None)
    notes: tuple[str, ...] = ()
    calls: tuple[JudgeCall, ...] = ()
    places: tuple[int, int] | None = None
    run: Path | None = field(default=None, compare=False)

    @property
    def prefers(self) -> Side | None:
        if self.lean is None or self.lean == 0:
            return None
        return 1 if self.lean > 0 else 2


class Voice(Protocol):
    """A judge, reference labels, or a rule."""

    name: str

    def opinion(self, contest: Contest) -> Opinion: ...


def known_by(text: str) -> str:
    """What an answer is recognised by in another file: its text without the white space around it."""
    return text.strip()


def contest_key(prompt: Messages, texts: Sequence[str]) -> str:
    return digest([*([turn.role, turn.content] for turn in prompt), sorted(texts)])


def preference(lean: float | None) -> str:
    """A lean as a sentence's end."""
    if lean is None:
        return "says nothing of both"
    return "no preference" if lean == 0 else f"prefers {1 if lean > 0 else 2}"
