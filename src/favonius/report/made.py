"""What models made by talking: conversations, and the openings that they began with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from favonius.engines.ledger_books import Spend
from favonius.report.bars import Bars, bars_of
from favonius.report.drops import Drop, counted, shortened
from favonius.report.gather import Reading, Run, Step
from favonius.report.money import per_thousand
from favonius.report.plots import Chart, histogram
from favonius.report.public import Public
from favonius.report.wording import NONE, count, decimal
from favonius.types import Message

SPEAKERS = {"user": "user", "assistant": "teacher"}


class Coverage(Reading):
    """How often each label came (`dialogues.diversity.coverage`)."""

    evenness: float | None = None
    counts: dict[str, int] = Field(default={})


class Variety(Reading):
    """`dialogues.diversity.variety`."""

    distinct_1: float | None = None
    distinct_2: float | None = None
    distinct_3: float | None = None
    mtld: float | None = None


class Talk(Reading):
    """A sample conversation. `persona` is whom the simulated user played."""

    id: str
    messages: tuple[Message, ...]
    source: str | None = None
    topic: str | None = None
    persona: str | None = None

    @property
    def rounds(self) -> list[tuple[Message, ...]]:
        return [self.messages[at : at + 2] for at in range(0, len(self.messages), 2)]

    @property
    def caption(self) -> str:
        return " · ".join(filter(None, (self.source, self.topic, self.persona)))


class DialoguesStats(Reading):
    kept: int = 0
    seeds: int | None = None
    held_out: int | None = Field(default=None, alias="held out")
    rounds: dict[int, int] = Field(default={})
    words: dict[str, float] = Field(default={}, alias="words of a turn")
    answer_tokens: float | None = Field(default=None, alias="tokens of an answer")
    sectors: Coverage = Coverage()
    topics: Coverage = Coverage()
    variety: dict[str, Variety] = Field(default={})
    shown: tuple[Talk, ...] = ()

    @property
    def mean_rounds(self) -> float | None:
        total = sum(self.rounds.values())
        return sum(number * times for number, times in self.rounds.items()) / total if total else None


class SectorStats(Reading):
    kind: str = ""
    kept: int = 0
    wanted: int = 0
    asked: int = 0
    topics: Coverage = Coverage()
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Voice:
    """How one side talks, in numbers as the page shows them."""

    name: str
    words: str
    tokens: str
    distinct: tuple[str, ...]
    """Of single words, of pairs and of three in a row."""
    mtld: str


@dataclass(frozen=True)
class Conversations:
    step: Step
    facts: tuple[tuple[str, str], ...]
    rounds: Chart | None
    voices: tuple[Voice, ...]
    coverage: tuple[Bars, ...]
    shortened: tuple[Drop, ...]
    talks: tuple[Talk, ...]
    thousand: tuple[tuple[str, Spend], ...]
    """What a thousand conversations take: for their turns, for their openings, together."""


@dataclass(frozen=True)
class Sector:
    name: str
    stats: SectorStats
    drops: tuple[Drop, ...]

    @property
    def share(self) -> float:
        """Made of those wanted, 0…100."""
        return min(100.0, 100.0 * self.stats.kept / max(1, self.stats.wanted))


@dataclass(frozen=True)
class Openings:
    step: Step
    sectors: tuple[Sector, ...]
    topics: Bars | None
    voice: Voice | None


def conversations(run: Run, step: Step, prefix: str, public: Public) -> Conversations:
    """What a dialogues step made. `prefix` begins the ids of its drawing."""
    stats = DialoguesStats.model_validate(public(step.stats))
    coverage = (
        _bars("By sector", stats.sectors),
        _bars("By topic", stats.topics, _of_topics(len(stats.topics.counts), _topics_before(run, step))),
    )
    voices = (_voice(role, stats) for role in SPEAKERS if role in stats.variety or role in stats.words)
    return Conversations(
        step=step,
        facts=_facts(step, stats),
        rounds=histogram("Rounds", "conversations", stats.rounds, prefix) if stats.rounds else None,
        voices=tuple(voices),
        coverage=tuple(bars for bars in coverage if bars is not None),
        shortened=shortened(step, public),
        talks=stats.shown,
        thousand=_thousand(run, step, stats.kept),
    )


def openings(step: Step, public: Public) -> Openings:
    """What an openings step made."""
    stats = public(step.stats)
    records: Mapping[str, Any] = stats.get("sectors") or {}
    variety = Variety.model_validate(stats.get("variety") or {})
    counts = _topics(step)
    return Openings(
        step=step,
        sectors=tuple(
            Sector(name, SectorStats.model_validate(record), counted(record, public))
            for name, record in records.items()
        ),
        topics=_bars("By topic", Coverage(counts=public(counts)), _of_topics(len(counts), 0)),
        voice=None if variety.mtld is None else _voice_of("openings", variety, None, None),
    )


def _facts(step: Step, stats: DialoguesStats) -> tuple[tuple[str, str], ...]:
    facts = {
        "kept": count(stats.kept if step.stats else None),
        "held out of these": count(stats.held_out),
        "begun": count(stats.seeds),
        "rounds on average": decimal(stats.mean_rounds, 3),
    }
    return tuple((name, value) for name, value in facts.items() if value != NONE)


def _thousand(run: Run, step: Step, made: int) -> tuple[tuple[str, Spend], ...]:
    own, before = run.books.of(step.name), run.books.of(str(step.config.get("openings")))
    if not made or not own:
        return ()
    rows = [("their turns", own), ("their openings", before), ("together", own + before)]
    return tuple((name, per_thousand(spent, made)) for name, spent in (rows if before else rows[:1]))


def _topics_before(run: Run, step: Step) -> int:
    """How many topics the openings of a dialogues step are about; 0 where nobody counted them."""
    source = run.step(str(step.config.get("openings")))
    return 0 if source is None else len(_topics(source))


def _topics(step: Step) -> dict[str, int]:
    """Of all sectors of an openings step."""
    counts: Counter[str] = Counter()
    for sector in (step.stats.get("sectors") or {}).values():
        counts.update(Coverage.model_validate(sector.get("topics") or {}).counts)
    return dict(counts)


def _of_topics(found: int, asked_for: int) -> str:
    return f"{found:,} of the openings' {asked_for:,} topics" if asked_for else f"{found:,} topics"


def _bars(title: str, coverage: Coverage, note: str = "") -> Bars | None:
    is_list = coverage.evenness is not None and len(coverage.counts) > 1
    even = f"evenness {decimal(coverage.evenness, 2)}" if is_list else ""
    return bars_of(title, coverage.counts, ", ".join(filter(None, (note, even))))


def _voice(role: str, stats: DialoguesStats) -> Voice:
    tokens = stats.answer_tokens if role == "assistant" else None
    return _voice_of(SPEAKERS[role], stats.variety.get(role, Variety()), stats.words.get(role), tokens)


def _voice_of(name: str, variety: Variety, words: float | None, tokens: float | None) -> Voice:
    distinct = (variety.distinct_1, variety.distinct_2, variety.distinct_3)
    return Voice(
        name=name,
        words=decimal(words, 3),
        tokens=decimal(tokens, 3),
        distinct=tuple(decimal(share, 3) for share in distinct),
        mtld=decimal(variety.mtld, 3),
    )
