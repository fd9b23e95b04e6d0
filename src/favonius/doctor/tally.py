"""Counting what is found, without keeping the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from favonius.data.checks import SAMPLE_CHARACTERS
from favonius.data.shapes import Shape
from favonius.doctor.diagnosis import Finding
from favonius.doctor.kinds import BY_TRAINING, KINDS, Kind

PLACES = 5
NOT_TRAINED: Mapping[Shape, str] = {
    "ultrafeedback": "a pair made with such an answer is dropped by training",
    "prompts": "an answer to them would be dropped by training",
}
"""Shapes of rows that training does not read itself, and what `BY_TRAINING` is of them."""


@dataclass
class _Count:
    rows: int = 0
    places: list[str] = field(default_factory=list)
    sample: str = ""
    causes: dict[str, None] = field(default_factory=dict)


class Tally:
    """Rows by kind of finding: how many, where the first ones are, and what is wrong in the very first."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}

    def add(self, kind: str, place: str, sample: str, cause: str = "", rows: int = 1) -> None:
        """Count a row, once for each kind. `cause`: the wording under which it is counted where it is dropped."""
        count = self._counts.setdefault(kind, _Count())
        count.rows += rows
        if len(count.places) < PLACES:
            count.places.append(place)
        count.sample = count.sample or _excerpt(sample)
        if cause:
            count.causes[cause] = None

    def findings(self, read: int, shape: Shape) -> tuple[Finding, ...]:
        """In the order of `KINDS`."""
        return tuple(
            _finding(name, kind, self._counts[name], read, shape)
            for name, kind in KINDS.items()
            if name in self._counts
        )


def _finding(name: str, kind: Kind, count: _Count, read: int, shape: Shape) -> Finding:
    effect = NOT_TRAINED.get(shape, kind.effect) if kind.effect == BY_TRAINING else kind.effect
    if count.causes:
        effect += ", counted as " + " and ".join(f"“{cause}”" for cause in count.causes)
    share = count.rows / read if read else 0.0
    places = tuple(count.places)
    return Finding(name, kind.severity, kind.what, effect, count.rows, share, places, count.sample)


def _excerpt(text: str) -> str:
    """The beginning of a text, in one line."""
    most = SAMPLE_CHARACTERS
    line = " ".join(text[: 2 * most].split())
    return line if len(line) <= most and len(text) <= 2 * most else line[: most - 1] + "…"
