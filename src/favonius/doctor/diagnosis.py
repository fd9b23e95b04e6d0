"""What the doctor says, as values: nothing here reads, counts or prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from favonius.data.shapes import Shape
from favonius.doctor.kinds import Severity

Mark = Literal["context", "trained", "masked"]
"""Of a stretch of text: read only; read and learned; or an assistant's that is read and not learned."""
Unit = Literal["tokens", "characters"]
Unchecked = Literal["tokens", "held_out", "benchmarks", "near_duplicates"]


@dataclass(frozen=True, slots=True)
class Found:
    """The file, before anything is made of its rows. `share`s everywhere are of `read`."""

    source: str
    shape: Shape
    in_words: str
    read: int
    usable: int
    dropped: Mapping[str, int]
    """On reading, by cause."""
    losses: tuple[str, ...]
    """What salvage left behind, a sentence for each file."""
    refusal: str
    """Why a broken file was not read to its end; empty where it was."""


@dataclass(frozen=True, slots=True)
class Training:
    """What training would do with the usable rows."""

    max_length: int
    truncation: str
    kept: int
    held_out: int
    """Of those kept, how many are of the test split."""
    dropped: Mapping[str, int]
    """By the cause that stats.json of the step would count."""
    tokens: int
    """In one epoch over the train rows, a pair's prompt counted twice."""
    trained_tokens: int
    stops: tuple[str, ...]
    """Why the step would refuse to begin."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text of one mark; `special`: tokens that the model knows as such, not as text."""

    text: str
    mark: Mark
    special: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a row. `name`: dialogue; prompt, both begin, chosen, rejected; or of whom an answer is."""

    name: str
    spans: tuple[Span, ...]
    tokens: int | None
    """None where there is no tokenizer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A row as the model sees it."""

    place: str
    id: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """Values in [low, high); None: there is no such end."""

    low: int | None
    high: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Distribution:
    count: int
    sum: int
    least: int
    median: int
    p90: int
    p99: int
    most: int
    bins: tuple[Bin, ...]

    @property
    def mean(self) -> float:
        return self.sum / self.count


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of sequences: a dialogue, or a prompt with one answer. Before anything is cut off."""

    unit: Unit
    whole: Distribution
    trained: Distribution | None
    """In the same bins; None where nothing is trained (prompts)."""
    over: int | None
    """Sequences longer than max_length, where that can be told."""


@dataclass(frozen=True, slots=True)
class Gap:
    """By how much chosen answers are longer than rejected ones."""

    unit: Unit
    difference: Distribution
    longer: int
    equal: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of fault or note (see `kinds`) and the rows that it concerns."""

    kind: str
    severity: Severity
    what: str
    effect: str
    count: int
    share: float
    places: tuple[str, ...]
    """Of the first rows."""
    sample: str
    """The first one: what is wrong in it."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    found: Found
    training: Training | None
    """None where there is no tokenizer, or rows of this shape are not what training learns from."""
    samples: tuple[Sample, ...]
    lengths: Lengths | None
    turns: Distribution | None
    """Rounds of a dialogue, or user turns of a prompt."""
    gap: Gap | None
    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]
    """What was not looked for, as what it takes was not given."""

    @property
    def faults(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "fault")

    @property
    def notes(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "note")

    def record(self) -> dict[str, Any]:
        """For --json and stats.json."""
        return asdict(self)
