"""What of other people's data went in: sources, filters with changes to look at, contamination, shares of a mixture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from favonius.data.filters.report import SAMPLE_MARGIN
from favonius.report.drops import Drop, joined, of_filter
from favonius.report.gather import Reading, Step
from favonius.report.marked import Piece, marked
from favonius.report.public import Public

CHANGES_SHOWN = 6
CUT = 2 * SAMPLE_MARGIN
"""Characters of a neighbourhood that was cut out of a longer text."""


class Loss(Reading):
    """What salvage left behind of one file (`data.raw.Losses.record`)."""

    lost_rows: int = 0
    lost_bytes: int = 0
    whole_turns_in_lost_rows: int = 0
    ends_early: bool = False
    causes: dict[str, int] = Field(default={})


class Taken(Reading):
    train: int = 0
    test: int = 0
    repeats: int = 0


class SourceStats(Reading):
    """One source of a data step (`corpus.record`)."""

    shape: str = ""
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = Field(default={})
    changed: dict[str, int] = Field(default={})
    lost: dict[str, Loss] = Field(default={})
    taken: Taken = Taken()


class Change(Reading):
    """What a filter made of a text: the neighbourhood of the first difference (`data.filters.report.difference`)."""

    row: str
    before: str
    after: str

    @property
    def pieces(self) -> tuple[list[Piece], list[Piece]]:
        """Before and after, with the difference marked, and … where the text goes on."""
        cut = [len(text) >= CUT for text in (self.before, self.after)]
        before, after = marked(self.before, self.after, whole=not any(cut))
        return _going_on(before, cut[0]), _going_on(after, cut[1])


@dataclass(frozen=True)
class Source:
    """`place` is what the recipe calls its file, folder or hub dataset."""

    name: str
    place: str
    held_out: bool
    stats: SourceStats
    wanted: float | None
    """Share of the training rows that its weight asks for; None without weights."""
    got: float | None
    """Share that it has."""

    @property
    def dropped(self) -> int:
        return sum(self.stats.dropped.values())

    @property
    def lost(self) -> int:
        return sum(loss.lost_rows for loss in self.stats.lost.values())


@dataclass(frozen=True)
class Filter:
    """What one filter did, over all sources."""

    name: str
    seen: int
    changed: int
    dropped: int
    drops: tuple[Drop, ...]
    noted: tuple[tuple[str, int], ...]
    """Causes that were counted of rows that were kept."""
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class DataIn:
    """A step that let rows in or through."""

    step: Step
    sources: tuple[Source, ...]
    filters: tuple[Filter, ...]
    contamination: tuple[Drop, ...]
    """By benchmark, those with no hit too."""


def data_in(step: Step, public: Public) -> DataIn:
    """What a data step read, or what the filters of a dialogues step let through."""
    stats = public(step.stats)
    sources = _sources(step, stats, public)
    tallies = _tallies(stats)
    filters = tuple(_filter(name, found, public) for name, found in tallies.items())
    return DataIn(step, sources, filters, tuple(_contamination(step, filters)))


def _sources(step: Step, stats: Mapping[str, Any], public: Public) -> tuple[Source, ...]:
    records = {name: SourceStats.model_validate(record) for name, record in (stats.get("sources") or {}).items()}
    configs = {name: (step.config.get("sources") or {}).get(name) or {} for name in records}
    mixed = [name for name in records if not configs[name].get("held_out")]
    wanted = _shares({name: configs[name].get("weight") or 0.0 for name in mixed})
    got = _shares({name: records[name].taken.train for name in mixed})
    return tuple(
        Source(
            name=name,
            place=public(str(configs[name].get("path") or configs[name].get("hub") or "")),
            held_out=name not in mixed,
            stats=found,
            wanted=wanted.get(name),
            got=got.get(name),
        )
        for name, found in records.items()
    )


def _shares(amounts: Mapping[str, float]) -> dict[str, float]:
    """Each as a share of all; none where there is nothing to share."""
    whole = sum(amounts.values())
    return {name: amount / whole for name, amount in amounts.items()} if whole else {}


def _tallies(stats: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Full records by filter: of every source where the step has sources, else the step's own."""
    records = [source.get("filters") or {} for source in (stats.get("sources") or {}).values()]
    found: dict[str, list[Mapping[str, Any]]] = {name: [] for name in stats.get("filters") or {}}
    for record in records or [stats.get("filters") or {}]:
        for name, tally in record.items():
            found.setdefault(name, []).append(tally)
    return found


def _filter(name: str, tallies: Sequence[Mapping[str, Any]], public: Public) -> Filter:
    noted = sum((Counter(tally.get("noted") or {}) for tally in tallies), Counter[str]())
    changes = [Change.model_validate(change) for tally in tallies for change in tally.get("changes") or ()]
    return Filter(
        name=name,
        seen=sum(tally["seen"] for tally in tallies),
        changed=sum(tally["changed"] for tally in tallies),
        dropped=sum(tally["dropped"] for tally in tallies),
        drops=joined([of_filter(tally, public) for tally in tallies]),
        noted=tuple(noted.most_common()),
        changes=tuple(changes[:CHANGES_SHOWN]),
    )


def _contamination(step: Step, filters: Sequence[Filter]) -> Iterator[Drop]:
    """Per benchmark that a decontaminate filter searched for. That nothing was found is a finding."""
    configs = [entry for entry in step.config.get("filters") or () if entry.get("kind") == "decontaminate"]
    found = [one for one in filters if one.name.split(" ")[0] == "decontaminate"]
    for config, one in zip(configs, found, strict=False):
        hits = {drop.cause: drop for drop in one.drops}
        for benchmark in (*(config.get("benchmarks") or ()), *(config.get("files") or ())):
            yield hits.get(benchmark, Drop(benchmark, 0, ()))


def _going_on(pieces: list[Piece], cut: bool) -> list[Piece]:
    return [*pieces, Piece("…", False)] if cut else pieces
