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
from favonius.types import Dialogue, Feedback, LabelledAnswer, Message, Messages, Pair, Role, SeedPrompt

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
        before = messages_of(row)
        after = _through(row.id, before, tallies, may_change=isinstance(row, Dialogue))
        if after is not None:
            yield row if after is before else _changed(row, after)


def filtered_by_many(
    rows: Iterable[Row], configs: Sequence[AnyFilter], files: Mapping[str, Path], report: FilterReport, processes: int
) -> Iterator[Row]:
    """What `filtered` gives, in the same order and with the same counts, by `processes` at work at the same time.

    Filters that remember (those for duplicates) and all behind them work in this process.
    """
    named = list(zip(names_of(configs), configs, strict=True))
    ahead = [] if processes == 1 else list(takewhile(lambda one: is_stateless(one[1]), named))
    for name, _ in named:
        report.tally(name)
    passed = _by_many(rows, partial(_open_work, ahead, dict(files)), report, processes) if ahead else rows
    behind = [NamedFilter(name, open_filter(config, files)) for name, config in named[len(ahead) :]]
    yield from filtered(passed, behind, report)


Packed = tuple[str, bool, tuple[tuple[Role, str], ...]]
"""Of a row: id, whether it is a dialogue, roles and contents. Pydantic's own pickles are ten times slower."""
Fate = tuple[tuple[Role, str], ...] | bool
"""True: as it was; False: dropped; else what it became."""


def _by_many(
    rows: Iterable[Row],
    open_work: Callable[[], Work[list[Packed], tuple[FilterReport, list[Fate]]]],
    report: FilterReport,
    processes: int,
) -> Iterator[Row]:
    waiting: deque[list[Row]] = deque()

    def sent() -> Iterator[list[Packed]]:
        for chunk in chunked(rows, _characters, CHUNK_CHARACTERS):
            waiting.append(chunk)
            yield [_packed(row) for row in chunk]

    for counts, fates in map_chunks(open_work, sent(), processes):
        report.merge(counts)
        for row, fate in zip(waiting.popleft(), fates, strict=True):
            if fate is True:
                yield row
            elif fate:
                yield _changed(row, _unpacked(fate))


def _open_work(
    configs: Sequence[tuple[str, AnyFilter]], files: Mapping[str, Path]
) -> Work[list[Packed], tuple[FilterReport, list[Fate]]]:
    """Runs in a worker."""
    filters = [NamedFilter(name, open_filter(config, files)) for name, config in configs]

    def work(chunk: list[Packed]) -> tuple[FilterReport, list[Fate]]:
        report = FilterReport()
        tallies = [(one, report.tally(one.name)) for one in filters]
        return report, [_fate(packed, tallies) for packed in chunk]

    return work


def _fate(packed: Packed, tallies: Sequence[tuple[NamedFilter, Tally]]) -> Fate:
    name, may_change, turns = packed
    before = _unpacked(turns)
    after = _through(name, before, tallies, may_change)
    if after is None or after is before:
        return after is before
    return tuple((message.role, message.content) for message in after)


def _packed(row: AnyRow) -> Packed:
    turns = tuple((message.role, message.content) for message in messages_of(row))
    return row.id, isinstance(row, Dialogue), turns


def _unpacked(turns: Iterable[tuple[Role, str]]) -> Messages:
    return tuple(Message.model_construct(role=role, content=content) for role, content in turns)


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


def _changed(row: Row, messages: Messages) -> Row:
    assert isinstance(row, Dialogue)
    return row.model_copy(update={"messages": messages})


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
