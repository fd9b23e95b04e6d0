"""Stage `dialogues`: a teacher and a simulated user talk, beginning with each opening."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from favonius.data.filters.apply import FilterReport, filtered, open_filters
from favonius.data.rows import write_rows
from favonius.data.splits import split_of
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.conversation import Cast, Conversation, converse, first_turn
from favonius.dialogues.record import Record
from favonius.dialogues.seeds import read_seeds
from favonius.engines.interview import Interviews, interviews
from favonius.errors import FavoniusError
from favonius.files import write_json
from favonius.run import Context, Inputs
from favonius.types import Dialogue

T = TypeVar("T")


def run(config: DialoguesConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes dialogues.jsonl (both splits, in the order of the openings) and stats.json."""
    openings = read_seeds(config, _path(config, inputs))
    record, report = Record(), FilterReport()
    filters = open_filters(config.filters, inputs.files)
    with interviews(context) as opened:
        cast = _cast(config, inputs, opened)
        if config.seeds is not None:  # openings that a model wrote are no fault of the user's
            first = {opening.id: cast.to_teacher(first_turn(opening)) for opening in openings}
            cast.teacher.refuse_unanswerable(first, config.sampling)
        talks = (converse(cast, opening) for opening in openings)
        ended = in_order(opened.conduct(talks, "  dialogues", len(openings), unit="dialogues"))
        rows = filtered(_rows(config, ended, record), filters, report)
        write_rows(out / "dialogues.jsonl", record.passing(rows))
        tokens = sum(speaker.tokens for speaker in {cast.teacher, cast.user})
    if set(record.kept) != {"train", "test"}:
        raise FavoniusError(
            f"{out.name}: too few of the teacher's answers can be used ({_causes(record, report)}); "
            "change its `system` or `max_tokens`"
        )
    write_json(out / "stats.json", {**record.stats(), "filters": report.record(), "tokens": tokens})


def _path(config: DialoguesConfig, inputs: Inputs) -> Path:
    if config.seeds is not None:
        return inputs.file(config.seeds)
    assert config.openings is not None  # the config has one of the two
    return inputs.folder(config.openings) / "openings.jsonl"


def _cast(config: DialoguesConfig, inputs: Inputs, opened: Interviews) -> Cast:
    """Teacher and user are one interview where they are one model and engine."""
    teacher = opened.open(config.engine, inputs.speaker(config.teacher))
    user = opened.open(config.user.engine or config.engine, inputs.speaker(config.user.model or config.teacher))
    return Cast(config, teacher, user)


def in_order(results: Iterable[tuple[int, T]]) -> Iterator[T]:
    """Numbered results that come in any order, by number; those that come early wait."""
    waiting: dict[int, T] = {}
    following = 0
    for number, result in results:
        waiting[number] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _rows(config: DialoguesConfig, ended: Iterable[Conversation], record: Record) -> Iterator[Dialogue]:
    for conversation in ended:
        record.add(conversation)
        if conversation.messages:
            yield _dialogue(conversation, config.test_share)


def _dialogue(conversation: Conversation, test_share: float) -> Dialogue:
    opening = conversation.opening
    return Dialogue(
        id=opening.id,
        split=split_of(opening.prompt, test_share),
        messages=conversation.messages,
        source=opening.sector,
        topic=opening.topic,
    )


def _causes(record: Record, report: FilterReport) -> str:
    of_filters = {f"dropped by {name}": tally.drops.counts.total() for name, tally in report.tallies.items()}
    counts = record.drops.counts + Counter(of_filters)
    return ", ".join(f"{count} {cause}" for cause, count in counts.items())
