"""What filters saw, changed and dropped, with samples for people to look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from favonius.data.checks import SAMPLE_CHARACTERS, SAMPLES, Drops
from favonius.data.filters.outcome import Outcome
from favonius.phrases import shortened
from favonius.types import Messages

SAMPLE_MARGIN = 40
"""Characters shown to either side of a change."""


@dataclass
class Tally:
    """What one filter did."""

    seen: int = 0
    changed: int = 0
    drops: Drops = field(default_factory=Drops)
    noted: Counter[str] = field(default_factory=Counter)
    """Causes given for rows that were kept: an end that was trimmed, a language that was undecided."""
    changes: list[dict[str, str]] = field(default_factory=list)
    """The first few: row, and the neighbourhood of the first difference before and after."""

    def add(self, name: str, before: Messages, outcome: Outcome) -> None:
        self.seen += 1
        if outcome.messages is None:
            shown = outcome.detail or " | ".join(message.content for message in before)
            self.drops.add(outcome.cause or "dropped", f"{name}: {shown}")
            return
        if outcome.cause is not None:
            self.noted[outcome.cause] += 1
        if outcome.messages is not before:
            self.changed += 1
            if len(self.changes) < SAMPLES:
                self.changes.append({"row": name, **difference(before, outcome.messages)})

    def merge(self, other: Tally) -> None:
        self.seen += other.seen
        self.changed += other.changed
        self.noted += other.noted
        self.changes = (self.changes + other.changes)[:SAMPLES]
        self.drops.counts += other.drops.counts
        for cause, samples in other.drops.samples.items():
            self.drops.samples[cause] = (self.drops.samples.get(cause, []) + samples)[:SAMPLES]

    def record(self) -> dict[str, Any]:
        dropped = self.drops.counts.total()
        counts = {"seen": self.seen, "changed": self.changed, "dropped": dropped}
        causes = {"causes": dict(self.drops.counts), "noted": dict(self.noted)}
        return {**counts, **causes, "changes": self.changes, "drops": self.drops.samples}


@dataclass
class FilterReport:
    """What every filter did, by name, in the order of the recipe."""

    tallies: dict[str, Tally] = field(default_factory=dict)

    def tally(self, name: str) -> Tally:
        return self.tallies.setdefault(name, Tally())

    def merge(self, other: FilterReport) -> None:
        """Add what another process counted; samples stay those of the earlier rows where `other` had the later ones."""
        for name, tally in other.tallies.items():
            self.tally(name).merge(tally)

    def record(self) -> dict[str, Any]:
        """For stats.json."""
        return {name: tally.record() for name, tally in self.tallies.items()}


def difference(before: Messages, after: Messages) -> dict[str, str]:
    """Where two conversations first differ: a little of both, from the same place on."""
    if len(after) < len(before):
        cut = " | ".join(f"{message.role}: {message.content}" for message in before[len(after) :])
        return {"before": shortened(cut, SAMPLE_CHARACTERS), "after": ""}
    for old, new in zip(before, after, strict=True):
        if old.content != new.content:
            pairs = enumerate(zip(old.content, new.content, strict=False))
            shorter = min(len(old.content), len(new.content))
            start = max(0, next((index for index, (one, other) in pairs if one != other), shorter) - SAMPLE_MARGIN)
            end = start + 2 * SAMPLE_MARGIN
            return {"before": old.content[start:end], "after": new.content[start:end]}
    raise ValueError("the conversations are equal")
