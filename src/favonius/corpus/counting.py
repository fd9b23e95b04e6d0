"""How many rows a data step can make, told from its local files before it runs. Nothing is fetched for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path

from favonius.corpus.config import MADE_OF, DataConfig, Source, unchangeable, unlike
from favonius.corpus.order import held_out_rows, most_picks
from favonius.data.convert import Row
from favonius.data.filters.apply import messages_of
from favonius.data.folders import kind_of
from favonius.data.intake import Intake, read_any
from favonius.data.shapes import Shape
from favonius.data.splits import opening
from favonius.data.streams import raw_lines, unpacked_name
from favonius.errors import UserError
from favonius.types import Feedback

READ_THROUGH = 20_000
"""Rows that are read to be counted; of more, lines are counted."""


@dataclass(frozen=True)
class Most:
    """Upper bounds, rows of sources in `uncounted` left out."""

    train: int
    test: int
    prompt_bytes: int = 0
    """Of the longest prompt that was looked at."""
    answers: int = 0
    """Of the prompt with the most, where rows are feedback."""
    answer_bytes: int = 0
    """Of the longest of these."""
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Count:
    """Rows None: not counted here. `test` are those of them that are held out, where the source says so."""

    rows: int | None
    shape: Shape | None
    test: int | None = None
    prompt_bytes: int = 0
    answers: int = 0
    answer_bytes: int = 0


def most_rows(config: DataConfig, folder: Path, steps: Mapping[str, Most] | None = None) -> Most:
    """No row is dropped in it. `steps` has the bounds of the steps that are sources.

    UserError where a local source cannot be read, or not together with another.
    """
    counts = {name: _count(source, folder, steps or {}) for name, source in config.sources.items()}
    shapes = {name: count.shape for name, count in counts.items() if count.shape is not None}
    if problem := unlike(shapes) or unchangeable(shapes, config.filters):
        raise UserError(problem)
    missing = tuple(name for name, count in counts.items() if count.rows is None)
    # Held-out prompts of a dialogues step are its own business.
    share = 0.0 if "prompts" in map(MADE_OF.__getitem__, shapes.values()) else config.test_share
    sides = {name: _parts(count, config.sources[name], share) for name, count in counts.items()}
    mixed = {name: parts for name, parts in sides.items() if not config.sources[name].held_out}
    train, test = _sides(config, mixed, any(name in mixed for name in missing))
    whole = sum(sum(parts) for name, parts in sides.items() if name not in mixed and name not in missing)
    return Most(
        train,
        test + whole,
        prompt_bytes=max(count.prompt_bytes for count in counts.values()),
        answers=max(count.answers for count in counts.values()),
        answer_bytes=max(count.answer_bytes for count in counts.values()),
        uncounted=tuple(name for name in missing if config.rows is None or name not in mixed),
    )


def _parts(count: _Count, source: Source, share: float) -> tuple[int, int]:
    """Rows of a source to learn from, and held-out ones."""
    rows = ceil((count.rows or 0) * source.fraction)
    test = round(rows * share) if count.test is None else ceil(count.test * source.fraction)
    return max(1, rows - test), test


def _sides(config: DataConfig, rows: dict[str, tuple[int, int]], more: bool) -> tuple[int, int]:
    """Rows to learn from and held-out ones; where there may be `more`, what is wanted is all that bounds them."""
    train = {name: side for name, (side, _) in rows.items()}
    most = most_picks(config, train), sum(side for _, side in rows.values())
    if config.rows is None:
        return most
    wanted = config.rows - held_out_rows(config), held_out_rows(config)
    return wanted if more else (min(most[0], wanted[0]), min(most[1], wanted[1]))


def _count(source: Source, folder: Path, steps: Mapping[str, Most]) -> _Count:
    if source.step is not None:
        return _count_of_step(steps[source.step])
    if source.path is None:
        return _Count(source.rows, source.shape)
    path, intake = folder / source.path, Intake()
    shape, rows = read_any(str(path), shape=source.shape, split=source.split, salvage=source.salvage, intake=intake)
    prompts, answers, longest = _longest(islice(rows, READ_THROUGH))
    if next(rows, None) is None:
        number: int | None = intake.read
    else:
        # Only lines can be counted without being read.
        is_lines = path.is_file() and kind_of(path.name) in (".jsonl", ".ndjson") and unpacked_name(path) == path.name
        number = sum(1 for _ in raw_lines(path)) if is_lines else None
    return _Count(number, shape, None, prompts, answers, longest)


def _count_of_step(most: Most) -> _Count:
    number = None if most.uncounted else most.train + most.test
    return _Count(number, None, most.test, most.prompt_bytes, most.answers, most.answer_bytes)


def _longest(rows: Iterable[Row]) -> tuple[int, int, int]:
    """Bytes of the longest prompt, most answers to one, bytes of the longest answer."""
    prompt = answers = longest = 0
    for row in rows:
        prompt = max(prompt, len(opening(messages_of(row)).encode()))
        if isinstance(row, Feedback):
            answers = max(answers, len(row.completions))
            longest = max(longest, *(len(one.text.encode()) for one in row.completions))
    return prompt, answers, longest
