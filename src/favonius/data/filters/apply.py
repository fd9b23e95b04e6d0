"""Filters run over rows: in this process, or the larger part of them in several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from favonius.data.filters.config import AnyFilter
from favonius.data.filters.open import NamedFilter, is_stateless, names_of, open_filter, open_filters
from favonius.data.filters.outcome import Filter, Outcome
from favonius.data.filters.report import FilterReport, Tally
from favonius.data.parallel import Work, chunked, map_chunks
from favonius.errors import UserError
from favonius.types import Dialogue, Feedback, LabelledAnswer, Message, Messages, Pair, SeedPrompt

__all__ = ["Filter", "FilterReport", "NamedFilter", "filtered", "filtered_by_many", "open_filter", "open_filters"]

AnyRow = Dialogue | Pair | LabelledAnswer | Feedback | SeedPrompt
Row = TypeVar("Row", bound=AnyRow)

CHUNK_CHARACTERS = 500_000
"""Text that a process filters at a time."""
BROKEN = "nothing left to answer"


def filtered(rows: Iterable[Row], filters: Sequence[NamedFilter], report: FilterReport) -> Iterator[Row]:
    """The rows that pass, as the filters leave them. A row meets the filters in order, until one drops it.

    Of a pair the prompt and the chosen answer are looked at, of rated answers the prompt alone. UserError where a
    filter would change anything but a dialogue: one of two answers, changed, would teach the change.
    """
    tallies = [(one, report.tally(one.name)) for one in filters]
    for row in rows:
        left = _left(row, tallies)
        if left is not None:
            yield left


def filtered_by_many(
    rows: Iterable[Row], configs: Sequence[AnyFilter], files: Mapping[str, Path], report: FilterReport, processes: int
) -> Iterator[Row]:
    """What `filtered` gives, in the same order and with the same counts, by `processes` at work at the same time.

    Filters that remember (those for duplicates) and all behind them work in this process. Starting the others takes a
    second or two each, so it can only pay for many megabytes of text.
    """
    named = list(zip(names_of(configs), configs, strict=True))
    ahead = [] if processes == 1 else list(takewhile(lambda one: is_stateless(one[1]), named))
    for name, _ in named:
        report.tally(name)
    passed = _by_many(rows, partial(_open_work, ahead, dict(files)), report, processes) if ahead else rows
    behind = [NamedFilter(name, open_filter(config, files)) for name, config in named[len(ahead) :]]
    yield from filtered(passed, behind, report)


Fate = AnyRow | bool
"""True: the row as it was, which need not come back; False: dropped; else what it became."""


def _by_many(
    rows: Iterable[Row],
    open_work: Callable[[], Work[Sequence[AnyRow], tuple[FilterReport, list[Fate]]]],
    report: FilterReport,
    processes: int,
) -> Iterator[Row]:
    waiting: deque[list[Row]] = deque()

    def sent() -> Iterator[list[Row]]:
        for chunk in chunked(rows, _characters, CHUNK_CHARACTERS):
            waiting.append(chunk)
            yield chunk

    for counts, fates in map_chunks(open_work, sent(), processes):
        report.merge(counts)
        for row, fate in zip(waiting.popleft(), fates, strict=True):
            if fate is True:
                yield row
            elif isinstance(fate, type(row)):
                yield fate


def _open_work(
    configs: Sequence[tuple[str, AnyFilter]], files: Mapping[str, Path]
) -> Work[Sequence[AnyRow], tuple[FilterReport, list[Fate]]]:
    """Runs in a worker."""
    filters = [NamedFilter(name, open_filter(config, files)) for name, config in configs]

    def work(chunk: Sequence[AnyRow]) -> tuple[FilterReport, list[Fate]]:
        report = FilterReport()
        tallies = [(one, report.tally(one.name)) for one in filters]
        return report, [_fate(row, tallies) for row in chunk]

    return work


def _fate(row: AnyRow, tallies: Sequence[tuple[NamedFilter, Tally]]) -> Fate:
    left = _left(row, tallies)
    return left is not None if left is None or left is row else left


def _left(row: Row, tallies: Sequence[tuple[NamedFilter, Tally]]) -> Row | None:
    """The row that filters leave: the same object where none changed it."""
    before = messages_of(row)
    after = _through(row.id, before, tallies, may_change=isinstance(row, Dialogue))
    if after is before:
        return row
    if after is None:
        return None
    assert isinstance(row, Dialogue)  # `_through` lets nothing else change
    return row.model_copy(update={"messages": after})


def _characters(row: AnyRow) -> int:
    return sum(len(message.content) for message in messages_of(row))


def _through(
    name: str, messages: Messages, tallies: Sequence[tuple[NamedFilter, Tally]], may_change: bool
) -> Messages | None:
    """What is left of one row's messages after all filters; the same object where none changed them."""
    for one, tally in tallies:
        outcome = one.apply(messages)
        if outcome.messages is not None and outcome.messages is not messages:
            if not may_change:
                raise UserError(f"the filter {one.name} changes texts and is for dialogues only; leave it out ({name})")
            outcome = _if_whole(outcome, messages)
        tally.add(name, messages, outcome)
        if outcome.messages is None:
            return None
        messages = outcome.messages
    return messages


def _if_whole(outcome: Outcome, before: Messages) -> Outcome:
    """A change as it is, or as a drop where it leaves no dialogue or has emptied a turn."""
    left = outcome.messages or ()
    whole = len(left) >= 2 and left[-1].role == "assistant" and _empty_turns(left) <= _empty_turns(before)
    return outcome if whole else Outcome(None, outcome.cause or BROKEN, outcome.detail)


def _empty_turns(messages: Messages) -> int:
    return sum(not message.content.strip() for message in messages)


def messages_of(row: AnyRow) -> Messages:
    """A row as the conversation that filters look at."""
    match row:
        case Dialogue():
            return row.messages
        case Pair():
            return (*row.prompt, Message(role="assistant", content=row.chosen))
        case LabelledAnswer():
            return (*row.prompt, Message(role="assistant", content=row.text))
        case Feedback():
            return row.prompt
        case SeedPrompt():
            return (Message(role="user", content=row.prompt),)
