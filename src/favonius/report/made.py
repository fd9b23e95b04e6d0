"""What models made by talking: conversations and the openings that they began with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from favonius.engines.ledger_books import Spend
from favonius.report.drops import Drop, counted, shortened
from favonius.report.gather import Reading, Run, Step
from favonius.report.money import per_thousand
from favonius.report.plots import Chart, histogram
from favonius.report.public import Public
from favonius.report.wording import count, decimal, measure, minus, words
from favonius.types import Message

BARS_SHOWN = 10
"""Of a list of bars; the others are folded."""
ROUNDS_SHOWN = 2
"""Of a sample conversation; the others are folded."""
SPEAKERS = {"user": "user", "assistant": "teacher"}


class Coverage(Reading):
    """How often each label came (`dialogues.diversity.coverage`)."""

    different: int = 0
    evenness: float | None = None
    counts: dict[str, int] = {}


class Variety(Reading):
    """`dialogues.diversity.variety`."""

    distinct_1: float | None = None
    distinct_2: float | None = None
    distinct_3: float | None = None
    mtld: float | None = None


class Talk(Reading):
    """A sample conversation."""

    id: str
    messages: tuple[Message, ...]
    source: str | None = None
    topic: str | None = None
    persona: str | None = None
    """Whom the simulated user played."""

    @property
    def rounds(self) -> tuple[tuple[Message, ...], ...]:
        """Turns in twos; a system message stands alone before them."""
        turns = [message for message in self.messages if message.role != "system"]
        system = [message for message in self.messages if message.role == "system"]
        pairs = [tuple(turns[at : at + 2]) for at in range(0, len(turns), 2)]
        return (tuple(system), *pairs) if system else tuple(pairs)


class DialoguesStats(Reading):
    kept: int = 0
    rounds: dict[int, int] = {}
    sectors: Coverage = Coverage()
    topics: Coverage = Coverage()
    variety: dict[str, Variety] = {}
    shown: tuple[Talk, ...] = ()


class SectorStats(Reading):
    kind: str = ""
    kept: int = 0
    wanted: int = 0
    asked: int = 0
    tokens: int | None = None
    topics: Coverage = Coverage()
    shown: tuple[str, ...] = ()


class OpeningsStats(Reading):
    kept: int = 0
    wanted: int = 0
    variety: Variety = Variety()
    sectors: dict[str, SectorStats] = {}


@dataclass(frozen=True)
class Bars:
    """Labels with their counts, the longest bar first; `share` of the longest is 0…100."""

    title: str
    note: str
    rows: tuple[tuple[str, int, float], ...]

    @property
    def shown(self) -> tuple[tuple[str, int, float], ...]:
        return self.rows if len(self.rows) <= BARS_SHOWN + 2 else self.rows[:BARS_SHOWN]

    @property
    def folded(self) -> tuple[tuple[str, int, float], ...]:
        return self.rows[len(self.shown) :]
