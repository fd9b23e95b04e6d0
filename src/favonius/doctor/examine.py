"""The examination of a file: one pass that keeps no row, only digests of what must be known again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from favonius.data.intake import Intake
from favonius.data.raw import Losses, RawRow
from favonius.data.shapes import LOOKED_AT, Shape, describe, detect
from favonius.doctor.diagnosis import Diagnosis, Found, Unchecked
from favonius.doctor.measure import Measure
from favonius.doctor.reading import Reading, WholeRows
from favonius.doctor.sums import Limits, Sums
from favonius.doctor.tally import Tally
from favonius.doctor.texts import Against, Texts
from favonius.doctor.views import Placed, view
from favonius.errors import UserError

TRAINED: tuple[Shape, ...] = ("messages", "sharegpt", "alpaca", "ultrachat", "preference", "hh", "kto")
"""Shapes whose rows training reads; the others have to be answered or made into pairs first."""
CHUNK_CHARACTERS = 4_000_000
CHUNK_ROWS = 4_000
"""Rows are measured so many at a time, or so much text."""


@dataclass(frozen=True)
class Source:
    """Rows to examine. `losses` is what their reader counts into."""

    name: str
    rows: Iterable[RawRow]
    shape: Shape | None = None
    losses: Losses = field(default_factory=Losses)


def diagnose(source: Source, measure: Measure, against: Against, limits: Limits) -> Diagnosis:
    """What is in the rows of `source`, and what is the matter with it.

    UserError where there are no rows at all, or their shape is not given and cannot be told.
    """
    whole = WholeRows(source.rows)
    rows = iter(whole)
    first = list(islice(rows, LOOKED_AT))
    if not first:
        raise UserError(f"{source.name}: there are no rows in it")
    shape = source.shape or detect(first)
    tally, intake = Tally(), Intake(losses=source.losses)
    sums, texts = Sums(measure, limits, tally), Texts(against)
    for chunk in chunks(Reading(shape, tally, intake).placed(chain(first, rows))):
        sums.add(chunk)
        for placed in chunk:
            texts.look(placed, tally)
    count_breaks(tally, intake.losses, whole.refusal)
    return Diagnosis(
        found=Found(
            source=source.name,
            shape=shape,
            in_words=describe(shape, first),
            read=intake.read,
            usable=intake.kept,
            dropped=dict(intake.dropped.counts),
            losses=tuple(intake.losses.sentences()),
            refusal=whole.refusal,
        ),
        training=sums.training() if measure.unit == "tokens" and shape in TRAINED else None,
        samples=tuple(sums.samples),
        lengths=sums.lengths(),
        turns=sums.turns(),
        gap=sums.gap(),
        findings=tally.findings(intake.read, shape),
        unchecked=unchecked(measure, against),
    )


def chunks(rows: Iterable[Placed]) -> Iterator[list[Placed]]:
    chunk: list[Placed] = []
    size = 0
    for placed in rows:
        chunk.append(placed)
        size += sum(len(turn.content) for turn in view(placed.row).said)
        if size >= CHUNK_CHARACTERS or len(chunk) >= CHUNK_ROWS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def count_breaks(tally: Tally, losses: Losses, refusal: str) -> None:
    if refusal:
        place, _, why = refusal.partition(": ")
        tally.add("broken_file", place, why)
    for file, loss in losses.files.items():
        tally.add("broken_file", file, "; ".join(loss.causes.counts), rows=loss.rows)


def unchecked(measure: Measure, against: Against) -> tuple[Unchecked, ...]:
    """What was not looked for."""
    looked: dict[Unchecked, bool] = {
        "tokens": measure.unit == "tokens",
        "held_out": against.held_out is not None,
        "benchmarks": against.benchmarks is not None,
        "near_duplicates": against.near,
    }
    return tuple(name for name, was in looked.items() if not was)
