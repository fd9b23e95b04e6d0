"""What a constitutional pass made: answers, critiques by principle, revisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import Field

from favonius.report.gather import Reading, Run, Step, rows_of
from favonius.report.public import Public
from favonius.report.wording import NONE, count, decimal, share, words
from favonius.types import Message

ROUNDS_SHOWN = 4


class ConstitutionStats(Reading):
    """`feedback.constitution.describe`."""

    kept: int = 0
    held_out: int | None = Field(default=None, alias="held out")
    prompts: dict[str, int] = Field(default={})
    outcomes: dict[str, int] = Field(default={})
    principles: dict[str, dict[str, int]] = Field(default={})
    sound: int | None = Field(default=None, alias="answers without flaw")
    answer_words: float | None = Field(default=None, alias="mean words of an answer")
    revision_words: float | None = Field(default=None, alias="mean words of a revision")
    longer: float | None = Field(default=None, alias="longer revision share")


class Round(Reading):
    """A row of revisions.jsonl: what was critiqued, by what, and what became of it."""

    prompt: tuple[Message, ...]
    principle: str
    answer: str
    critique: str | None = None
    revision: str | None = None
    outcome: str


@dataclass(frozen=True)
class Article:
    """What critiques by one principle came to."""

    name: str
    asked: int
    revised: int
    clean: int
    unusable: int

    @property
    def share(self) -> float:
        """Revised of all asked, in hundredths."""
        return 100 * self.revised / max(1, self.asked)


@dataclass(frozen=True)
class Revised:
    step: Step
    facts: tuple[tuple[str, str], ...]
    articles: tuple[Article, ...]
    shown: tuple[Round, ...]


def revised(run: Run, step: Step, public: Public) -> Revised:
    """What a constitution step made."""
    stats = ConstitutionStats.model_validate(public(step.stats))
    articles = (_article(name, found) for name, found in stats.principles.items())
    return Revised(
        step=step,
        facts=_facts(stats) if step.stats else (),
        articles=tuple(sorted(articles, key=lambda article: (-article.revised, article.name))),
        shown=tuple(_shown(run, step, public)),
    )


def _article(name: str, found: Mapping[str, int]) -> Article:
    named = (found.get(key, 0) for key in ("asked", "revised", "nothing to mend", "unusable"))
    return Article(words(name), *named)


def _facts(stats: ConstitutionStats) -> tuple[tuple[str, str], ...]:
    lengths = (stats.answer_words, stats.revision_words)
    facts = {
        "prompts": count(sum(stats.prompts.values()) or None),
        "revised and kept": count(stats.kept),
        "held out of these": count(stats.held_out),
        **{f"rounds: {outcome}": count(times) for outcome, times in stats.outcomes.items()},
        "words, answer and revision": NONE if None in lengths else " and ".join(decimal(mean, 3) for mean in lengths),
        "revision is longer": share(stats.longer),
    }
    return tuple((name, value) for name, value in facts.items() if value != NONE)


def _shown(run: Run, step: Step, public: Public) -> Iterator[Round]:
    """The first revision by each of several principles."""
    seen: set[str] = set()
    for row in rows_of(run.path / step.name / "revisions.jsonl"):
        if row.get("revision") and row["outcome"] == "revised" and row["principle"] not in seen:
            seen.add(row["principle"])
            yield Round.model_validate(public(row))
        if len(seen) == ROUNDS_SHOWN:
            return
