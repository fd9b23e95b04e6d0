"""Several sources in one order, by weights: rows in seeded random order, any position found without those before it.

Whose turn it is depends on the weights alone, and after any number of rows each source has had its share of them, give
or take less than one row. `splits.in_fraction` takes a part of one source.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from favonius.data.fair_turns import turns, whole_shares
from favonius.errors import UserError
from favonius.types import digest

End = Literal["first", "last"]
"""When a mixture ends: as the turn comes of the `first` source that has nothing left, so that the weights hold
throughout, or of the `last`; until then the others share the turns of each that ended."""


@dataclass(frozen=True)
class Part:
    """A source of `rows` rows that is gone through at most `max_repeats` times."""

    name: str
    rows: int
    weight: float
    max_repeats: int = 1


class Pick(NamedTuple):
    """Row `row` of source number `source`, in its pass number `epoch`; all from 0."""

    source: int
    row: int
    epoch: int


class Mixture:
    """The order of a mixture: a pure function of its parts and seed, the same on every machine.

    Each pass over a source is in another order, which also changes when rows are added to it: a run that goes on needs
    the sources that it began with.
    """

    def __init__(self, parts: Sequence[Part], seed: int, end: End = "first") -> None:
        self.parts, self.seed = tuple(parts), seed
        for part in parts:
            if part.rows < 1 or part.max_repeats < 1:
                raise UserError(f"{part.name}: a source needs a row and a max_repeats of at least 1 to be mixed in")
        limits = [part.rows * part.max_repeats for part in parts]
        self._spans = list(_spans(whole_shares([part.weight for part in parts]), limits, end))
        self._begins = [span.begin for span in self._spans]

    def __len__(self) -> int:
        return self._spans[-1].begin + self._spans[-1].length

    def picks(self, start: int = 0) -> Iterator[Pick]:
        """All picks from position `start` on: what is needed to go on from there is that number."""
        orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        for position in range(start, len(self)):
            span = self._spans[bisect_right(self._begins, position) - 1]
            source, taken = span.at(position)
            epoch, place = divmod(taken, self.parts[source].rows)
            if source not in orders or orders[source][0] != epoch:
                orders[source] = epoch, self._order(source, epoch)
            yield Pick(source, int(orders[source][1][place]), epoch)

    def _order(self, source: int, epoch: int) -> NDArray[np.int64]:
        part = self.parts[source]
        return shuffled(part.rows, digest([part.name, self.seed, epoch]))


def shuffled(count: int, key: str) -> NDArray[np.int64]:
    """0 … count - 1 in an order given by `key`."""
    # Of PCG64 numpy promises the raw numbers for all versions, and not its shuffles.
    drawn = np.random.PCG64(int(digest(key), 16)).random_raw(count)
    return np.argsort(drawn, kind="stable")


@dataclass(frozen=True)
class _Span:
    """Positions from `begin` on in which the same sources take turns; of each, `taken` rows were picked before."""

    begin: int
    length: int
    period: list[int]
    ranks: list[int]
    """At each place of the period, how often its source stood in it before."""
    shares: Mapping[int, int]
    taken: Mapping[int, int]

    def at(self, position: int) -> tuple[int, int]:
        """The source whose turn it is, and how many of its rows were picked before."""
        periods, place = divmod(position - self.begin, len(self.period))
        source = self.period[place]
        return source, self.taken[source] + periods * self.shares[source] + self.ranks[place]


def _spans(shares: Mapping[int, int], limits: Sequence[int], end: End) -> Iterator[_Span]:
    begin, taken = 0, dict.fromkeys(shares, 0)
    while shares:
        period = turns(shares)
        shares = {source: period.count(source) for source in shares}
        places = {source: [place for place, name in enumerate(period) if name == source] for source in shares}
        ranks = [bisect_left(places[source], place) for place, source in enumerate(period)]
        ends = {source: _turn_after(limits[source] - taken[source], places[source], len(period)) for source in shares}
        ended = min(ends, key=ends.__getitem__)
        yield _Span(begin, ends[ended], period, ranks, shares, taken)
        if end == "first":
            return
        periods, rest = divmod(ends[ended], len(period))
        taken = {name: taken[name] + periods * shares[name] + bisect_left(places[name], rest) for name in shares}
        begin += ends[ended]
        shares = {source: share for source, share in shares.items() if source != ended}


def _turn_after(rows: int, places: Sequence[int], period: int) -> int:
    """The turn, from 0, at which a source that stands at these places of a period is asked for one row more."""
    periods, more = divmod(rows, len(places))
    return periods * period + places[more]
