"""How many rows a data step can make, told from its local files before it runs. Nothing is fetched for it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path

from favonius.corpus.config import MADE_OF, DataConfig, Source, unchangeable, unlike
from favonius.corpus.order import held_out_rows, most_picks
from favonius.data.filters.apply import messages_of
from favonius.data.folders import kind_of
from favonius.data.intake import Intake, read_any
from favonius.data.shapes import Shape
from favonius.data.splits import opening
from favonius.data.streams import raw_lines, unpacked_name
from favonius.errors import UserError

READ_THROUGH = 20_000
"""Rows that are read to be counted; of more, lines are counted."""


@dataclass(frozen=True)
class Most:
    """Upper bounds, rows of sources in `uncounted` left out."""

    train: int
    test: int
    prompt_bytes: int
    """Of the longest prompt that was looked at."""
    uncounted: tuple[str, ...]


@dataclass(frozen=True)
class _Count:
    rows: int | None
    shape: Shape | None
    prompt_bytes: int = 0


def most_rows(config: DataConfig, folder: Path) -> Most:
    """No row is dropped in it. UserError where a local source cannot be read, or not together with another."""
    counts = {name: _count(source, folder) for name, source in config.sources.items()}
    shapes = {name: count.shape for name, count in counts.items() if count.shape is not None}
    if problem := unlike(shapes) or unchangeable(shapes, config.filters):
        raise UserError(problem)
    rows = {name: ceil((count.rows or 0) * config.sources[name].fraction) for name, count in counts.items()}
    mixed = {name: number for name, number in rows.items() if not config.sources[name].held_out}
    uncounted = tuple(name for name, count in counts.items() if count.rows is None)
    # Held-out prompts of a dialogues step are its own business.
    share = 0.0 if "prompts" in map(MADE_OF.__getitem__, shapes.values()) else config.test_share
    train, test = _sides(config, mixed, share, bool(uncounted))
    whole = sum(number for name, number in rows.items() if name not in mixed)
    longest = max(count.prompt_bytes for count in counts.values())
    return Most(train, test + whole, longest, () if config.rows is not None else uncounted)


def _sides(config: DataConfig, rows: dict[str, int], share: float, more: bool) -> tuple[int, int]:
    """Rows to learn from and held-out ones; where there may be `more`, what is wanted is all that bounds them."""
    test = {name: round(number * share) for name, number in rows.items()}
    train = {name: max(1, number - test[name]) for name, number in rows.items()}
    most = most_picks(config, train), sum(test.values())
    if config.rows is None:
        return most
    wanted = config.rows - held_out_rows(config), held_out_rows(config)
    return wanted if more else (min(most[0], wanted[0]), min(most[1], wanted[1]))


def _count(source: Source, folder: Path) -> _Count:
    """Rows None: not counted here."""
    if source.path is None:
        return _Count(None, source.shape)
    path, intake = folder / source.path, Intake()
    shape, rows = read_any(str(path), shape=source.shape, split=source.split, salvage=source.salvage, intake=intake)
    longest = max((len(opening(messages_of(row)).encode()) for row in islice(rows, READ_THROUGH)), default=0)
    if next(rows, None) is None:
        return _Count(intake.read, shape, longest)
    # Only lines can be counted without being read.
    is_lines = path.is_file() and kind_of(path.name) in (".jsonl", ".ndjson") and unpacked_name(path) == path.name
    return _Count(sum(1 for _ in raw_lines(path)) if is_lines else None, shape, longest)
