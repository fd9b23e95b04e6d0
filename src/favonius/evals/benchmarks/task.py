"""The seam of all benchmarks: what a model is asked, what it said, and a number for each thing that it was asked.

A task either asks (`AskedTask`: the model writes, its words lie in the ledger) or reads (`ReadTask`: the
model's weights give probabilities). Both end as rows with numbers per item; means, intervals and comparisons are made
of these rows, in one place (`record`), so that two models can be compared item by item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from favonius.data.checks import Drops
from favonius.engines.config import EngineConfig
from favonius.run import Context, Inputs, ModelSource
from favonius.types import JudgedBy, Messages, Noun, Sampling


class Item(Noun):
    """One thing that a model is asked."""

    id: str
    messages: Messages
    """Ends with the user."""
    follow_ups: tuple[str, ...] = ()
    """What the user says after each answer, with the model's own answers in view."""
    sampling: Sampling
    category: str | None = None
    unit: str | None = None
    """What is independent of other units, such as a prompt asked in several wrappers; None: the item itself."""
    about: dict[str, Any] = Field(default={})
    """What its scorer needs: a reference answer, instructions, …"""


class Turn(Noun):
    """One answer of the model."""

    text: str
    finished: bool
    tokens: int
    request: str
    """Key of the request in the ledger."""


@dataclass(frozen=True)
class Said:
    """An item and the model's answer to each of its turns."""

    item: Item
    turns: tuple[Turn, ...]


class Metric(Noun):
    """What a number of a row is called and how it reads."""

    key: str
    """Such as `accuracy`; the same in rows, records and comparisons."""
    title: str
    unit: Literal["%", ""] = "%"
    """Values of unit `%` are shares from 0 to 1."""
    better: Literal["higher", "lower"] | None = "higher"
    span: float = 1.0
    """How far two scores can be apart: 1 for shares, 9 for grades from 1 to 10."""


class ItemRow(Noun):
    """A line of items.jsonl: one item and what it scored."""

    id: str
    unit: str
    category: str | None = None
    scores: dict[str, float | None]
    """Metric's key → number; None where there is none (an unreadable judgment), which is counted and in no mean."""
    weights: dict[str, float] = Field(default={})
    """Metric's key → how much the item counts in the metric's mean (such as its tokens); 1 where left out."""
    prompt: str = ""
    answers: tuple[str, ...] = ()
    tokens: int | None = None
    """Of all answers."""
    finished: bool = True
    note: str | None = None
    """Why a score is None, or what a reader should see beside it."""
    judged: tuple[str, ...] = ()
    """Keys of the judge's replies in the ledger."""
    rests_on: str | None = None
    """Digest of what the scores rest on beside the prompt: a pair's two answers, a reference answer, the right choice.
    Rows of one id that rest on something else are of different items."""


@dataclass(frozen=True)
class Scored:
    """What came of a task for one model."""

    rows: Sequence[ItemRow]
    judge: JudgedBy | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """What the protocol reports beyond means of rows, such as a length-controlled win rate; JSON."""
    left_out: Drops = field(default_factory=Drops)
    """Items that were not asked or not scored, by cause."""
    notes: Sequence[str] = ()
    """Sentences that a reader of the numbers must know."""


@dataclass(frozen=True)
class Desk:
    """What a task may use beside the model that it is about."""

    context: Context
    inputs: Inputs
    label: str
    """The model's, for progress bars and in files that name models."""
    folder: Path
    """Where the task's result.json will lie; a task may write files of its own there, such as judgments."""
    engine: EngineConfig
    """By which the models of the benchmark answer; a task asks its own baseline by it."""


class Task(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def metrics(self) -> Sequence[Metric]:
        """The first is the headline."""
        ...

    @property
    def questions(self) -> str:
        """Where the items come from: a file, a hub id, or `favonius` for our own."""
        ...

    @property
    def texts(self) -> Sequence[str]:
        """What training data must not hold: the items' questions, for the check on contamination."""
        ...


class AskedTask(Task, Protocol):
    """A task whose items the model answers in words."""

    def items(self) -> Sequence[Item]: ...

    def scored(self, said: Sequence[Said], desk: Desk) -> Scored:
        """A row per item; judges are asked here, through the ledger of `desk.context`."""
        ...


class ReadTask(Task, Protocol):
    """A task that reads probabilities off the model's weights."""

    def measured(self, model: ModelSource, desk: Desk) -> Scored: ...
