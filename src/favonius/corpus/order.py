"""In which order rows are taken: of every source its numbers of rows are enough to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np

from favonius.corpus.config import DataConfig
from favonius.data.mixing import Mixture, Part, Pick, shuffled
from favonius.errors import UserError
from favonius.types import digest


def train_picks(config: DataConfig, counts: Mapping[str, int]) -> Iterator[Pick]:
    """Rows to learn from: of so many in each source, as many as are wanted or there are.

    UserError where a source of a mixture has none.
    """
    limit = None if config.rows is None else config.rows - held_out_rows(config)
    if not config.weighted:
        return islice(_all(config, counts, "train"), limit)
    empty = next((name for name, count in counts.items() if not count), None)
    if empty is not None:
        raise UserError(f"{empty}: no row of it is left to be mixed in; loosen the filters or leave the source out")
    return islice(_mixture(config, counts, repeat=True).picks(), limit)


def test_picks(config: DataConfig, counts: Mapping[str, int]) -> Iterator[Pick]:
    """Held-out rows by the same weights, none of them twice. Sources that have none give none."""
    limit = None if config.rows is None else held_out_rows(config)
    if not config.weighted or not any(counts.values()):
        return islice(_all(config, counts, "test"), limit)
    there = {name: count for name, count in counts.items() if count}
    numbers = [list(counts).index(name) for name in there]
    picks = _mixture(config, there, repeat=False).picks()
    return islice((pick._replace(source=numbers[pick.source]) for pick in picks), limit)


def most_picks(config: DataConfig, counts: Mapping[str, int]) -> int:
    """How many rows `train_picks` gives where no number of them is wanted."""
    return len(_mixture(config, counts, repeat=True)) if config.weighted else sum(counts.values())


def held_out_rows(config: DataConfig) -> int:
    """How many of the rows wanted are to be held out."""
    return round((config.rows or 0) * config.test_share)


def _mixture(config: DataConfig, counts: Mapping[str, int], repeat: bool) -> Mixture:
    parts = []
    for name, count in counts.items():
        source = config.sources[name]
        assert source.weight is not None  # the config gives all sources one, or none
        parts.append(Part(name, count, source.weight, source.max_repeats if repeat else 1))
    return Mixture(parts, config.seed, config.end)


def _all(config: DataConfig, counts: Mapping[str, int], side: str) -> Iterator[Pick]:
    """All rows of all sources, once, in one seeded order."""
    begins = np.cumsum([0, *counts.values()])
    for position in shuffled(int(begins[-1]), digest([side, config.seed])):
        source = int(np.searchsorted(begins, position, side="right")) - 1
        yield Pick(source, int(position - begins[source]), 0)
