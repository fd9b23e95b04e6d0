"""Sample rows as text: every stretch in its colour or brackets, the middle of long ones left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from favonius.doctor.diagnosis import Part, Sample, Span
from favonius.doctor.paint import Paint
from favonius.phrases import counted, printable

HEAD, TAIL = 360, 160
"""Characters that are shown of a stretch's beginning and end."""
SLACK = 40
"""So few characters are not left out: the note that says so would be as long."""
FIRST_RUNS, LAST_RUNS = 6, 3
"""Stretches of one mark that are shown of a part's beginning and end; in a dialogue two make a round."""
INDENT = "  │ "

Run = list[Span]
"""Neighbours of one mark."""


def sample(row: Sample, place: str, paint: Paint) -> Iterator[str]:
    """Lines: `place` and id, then each part."""
    yield f"{paint.head(printable(place))}  {paint.aside(f'id {printable(row.id)}')}"
    for part in row.parts:
        tokens = "" if part.tokens is None else f" ({counted(part.tokens, 'token')})"
        yield paint.aside(f"  {printable(part.name)}{tokens}")
        yield from (INDENT + line for line in _shown(part, paint).removesuffix("\n").split("\n"))


def _shown(part: Part, paint: Paint) -> str:
    runs = [list(run) for _, run in groupby(part.spans, key=lambda span: span.mark)]
    middle = runs[FIRST_RUNS:-LAST_RUNS]
    if not middle:
        return "".join(_marked(run, paint) for run in runs)
    first, last = ("".join(_marked(run, paint) for run in some) for some in (runs[:FIRST_RUNS], runs[-LAST_RUNS:]))
    left_out = paint.aside(f"… {_size(middle):,} more characters …")
    return f"{first.removesuffix(chr(10))}\n{left_out}\n{last.removeprefix(chr(10))}"


def _size(runs: Sequence[Run]) -> int:
    return sum(len(span.text) for run in runs for span in run)


def _marked(run: Run, paint: Paint) -> str:
    texts = [paint.marked(printable(_shortened(span.text)), span.mark, span.special) for span in run]
    return "".join(texts).join(paint.brackets(run[0].mark))


def _shortened(text: str) -> str:
    left_out = len(text) - HEAD - TAIL
    if left_out <= SLACK:
        return text
    return f"{text[:HEAD]} … {left_out:,} more characters … {text[-TAIL:]}"
