"""What stats.json says of a data step: what was read, left out, changed and taken, in all and source by source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from favonius.corpus.choose import Chosen
from favonius.corpus.config import MADE_OF, DataConfig
from favonius.corpus.gather import Gathered, absorb_report
from favonius.data.checks import Drops
from favonius.data.filters.config import Decontaminate
from favonius.data.filters.open import names_of

COUNTS = ("seen", "changed", "dropped")


@dataclass
class Taken:
    """Rows that were written, by source."""

    train: Counter[str] = field(default_factory=Counter)
    test: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    """Of the training rows, those that were there before."""

    def add(self, source: str, held_out: bool, again: bool) -> None:
        (self.test if held_out else self.train)[source] += 1
        self.repeats[source] += again

    def of(self, source: str) -> int:
        return self.train[source] + self.test[source]

    def all_of(self, sources: Iterable[str]) -> int:
        return sum(map(self.of, sources))


def stats(
    config: DataConfig, gathered: Mapping[str, Gathered], chosen: Mapping[str, Chosen], taken: Taken
) -> dict[str, Any]:
    """In every source `read` = `kept` + all of `dropped`, and `kept` = rows `taken` at least once + `not taken`."""
    sources = {name: _source(gathered[name], chosen[name], taken) for name in config.sources}
    total = _dropped(gathered, chosen)
    return {
        "kept": taken.all_of(sources),
        **total.record(),
        "made": MADE_OF[next(iter(gathered.values())).shape],
        "read": sum(source["read"] for source in sources.values()),
        "held out": taken.test.total(),
        "not taken": sum(source["not taken"] for source in sources.values()),
        **({"repeated": taken.repeats.total()} if taken.repeats.total() else {}),
        **({"wanted": config.rows} if config.rows is not None else {}),
        "taken from": {name: taken.of(name) for name in sources},
        "filters": _filters(sources),
        "contamination": _contamination(config, total),
        "sources": sources,
    }


def dropped_in_words(gathered: Mapping[str, Gathered], chosen: Mapping[str, Chosen]) -> str:
    """`12 refusals: no opinions, 3 its prompt is held out`, the commonest first."""
    counts = _dropped(gathered, chosen).counts.most_common()
    return ", ".join(f"{count:,} {cause}" for cause, count in counts) or "every row is held out"


def _dropped(gathered: Mapping[str, Gathered], chosen: Mapping[str, Chosen]) -> Drops:
    dropped = Drops()
    for name in gathered:
        dropped.absorb(_dropped_of(gathered[name], chosen[name]))
    return dropped


def _dropped_of(gathered: Gathered, chosen: Chosen) -> Drops:
    """Of one source, in both passes."""
    dropped = Drops()
    dropped.absorb(Drops(Counter(gathered.record["dropped"]), gathered.record["samples"]))
    dropped.absorb(chosen.dropped)
    absorb_report(dropped, chosen.report)
    return dropped


def _source(gathered: Gathered, chosen: Chosen, taken: Taken) -> dict[str, Any]:
    name, kept = gathered.name, len(chosen.train) + len(chosen.test)
    return {
        **gathered.record,
        "kept": kept,
        **_dropped_of(gathered, chosen).record(),
        "filters": {**gathered.record["filters"], **chosen.report.record()},
        "taken": {"train": taken.train[name], "test": taken.test[name], "repeats": taken.repeats[name]},
        "not taken": kept - (taken.of(name) - taken.repeats[name]),
    }


def _filters(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many rows each filter saw, changed and dropped, in all."""
    totals: dict[str, Counter[str]] = {}
    for source in sources.values():
        for name, tally in source["filters"].items():
            totals.setdefault(name, Counter()).update({count: tally[count] for count in COUNTS})
    return {name: {count: counts[count] for count in COUNTS} for name, counts in totals.items()}


def _contamination(config: DataConfig, dropped: Drops) -> dict[str, dict[str, Any]]:
    """Rows dropped for each benchmark. Those with none are in it, too: that nothing was found is a finding."""
    found: dict[str, dict[str, Any]] = {}
    for name, entry in zip(names_of(config.filters), config.filters, strict=True):
        for benchmark in (*entry.benchmarks, *entry.files) if isinstance(entry, Decontaminate) else ():
            cause = f"{name}: {benchmark}"
            found[benchmark] = {"rows": dropped.counts[cause], "samples": dropped.samples.get(cause, [])}
    return found
