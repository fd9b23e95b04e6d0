"""Rows that a step left out, by cause, wherever its stage counted them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from favonius.report.gather import Step
from favonius.report.public import Public
from favonius.report.wording import fact

SAMPLES = 4
"""Dropped rows shown per cause."""
SHORTENED = " (earlier rounds kept)"
"""How causes end for which a dialogue has fewer rounds than it was to have, and is kept."""


@dataclass(frozen=True)
class Drop:
    """Rows that a step left out for one cause, some of them shown."""

    cause: str
    count: int
    samples: tuple[str, ...]


def drops(step: Step, public: Public) -> tuple[Drop, ...]:
    """Every cause for which rows are missing: the stage's own, its sectors' and its filters'."""
    if step.stage == "openings":
        sectors: Mapping[str, Any] = step.stats.get("sectors") or {}
        return tuple(drop for name, found in sectors.items() for drop in _behind(name, counted(found, public)))
    own = counted(step.stats, public)
    if step.stage != "dialogues":
        return own
    tallies: Mapping[str, Any] = step.stats.get("filters") or {}
    by_filters = (drop for name, tally in tallies.items() for drop in _behind(name, of_filter(tally, public)))
    return (*(drop for drop in own if not drop.cause.endswith(SHORTENED)), *by_filters)


def shortened(step: Step, public: Public) -> tuple[Drop, ...]:
    """Dialogues that ended early and were kept, by cause."""
    found = (drop for drop in counted(step.stats, public) if drop.cause.endswith(SHORTENED))
    return tuple(replace(drop, cause=drop.cause.removesuffix(SHORTENED)) for drop in found)


def counted(record: Mapping[str, Any], public: Public) -> tuple[Drop, ...]:
    """What `data.checks.Drops.record` wrote."""
    return _made(record.get("dropped") or {}, record.get("samples") or {}, public)


def of_filter(tally: Mapping[str, Any], public: Public) -> tuple[Drop, ...]:
    """What `data.filters.report.Tally.record` wrote."""
    return _made(tally.get("causes") or {}, tally.get("drops") or {}, public)


def joined(parts: Sequence[tuple[Drop, ...]]) -> tuple[Drop, ...]:
    """Drops of several parts as one, the commonest cause first."""
    found: dict[str, Drop] = {}
    for drop in chain.from_iterable(parts):
        known = found.get(drop.cause, Drop(drop.cause, 0, ()))
        samples = (known.samples + drop.samples)[:SAMPLES]
        found[drop.cause] = Drop(drop.cause, known.count + drop.count, samples)
    return tuple(sorted(found.values(), key=lambda drop: (-drop.count, drop.cause)))


def _made(counts: Mapping[str, int], samples: Mapping[str, Any], public: Public) -> tuple[Drop, ...]:
    found = ((cause, count, samples.get(cause, ())[:SAMPLES]) for cause, count in counts.items() if count)
    return tuple(
        Drop(public.told(cause), count, tuple(_sample(cause, sample, public) for sample in chosen))
        for cause, count, chosen in found
    )


def _sample(cause: str, sample: Any, public: Public) -> str:
    """A sample of a failure is what an engine said, which may name a server."""
    text = fact("", public(sample))
    return public.told(text) if "failed" in cause else text


def _behind(name: str, found: tuple[Drop, ...]) -> Iterator[Drop]:
    return (replace(drop, cause=f"{name}: {drop.cause}") for drop in found)
