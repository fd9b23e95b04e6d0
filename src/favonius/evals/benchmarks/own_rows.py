"""Rows of the user's own to measure on: the held-out ones of an earlier step, or those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from favonius.data.checks import Drops
from favonius.data.convert import Row
from favonius.data.intake import Intake, read_any
from favonius.data.rows import read_rows
from favonius.data.sources import source_name
from favonius.data.splits import opening, prompt_key
from favonius.errors import FavoniusError, UserError
from favonius.evals.benchmarks.config import RowsTask
from favonius.evals.benchmarks.rows import drawn
from favonius.run import Inputs, RowsRef, StepRef
from favonius.types import Dialogue, Messages, Pair, SeedPrompt, digest

R = TypeVar("R", Dialogue, Pair)


def own_rows(config: RowsTask, inputs: Inputs, kind: type[R]) -> tuple[list[R], Drops]:
    """The rows that `config` names, at most its limit, and by cause those of its file that cannot be used.

    UserError where the file's rows are no `kind`; FavoniusError where the step has held none out.
    """
    rows: Sequence[R]
    if config.step is not None:
        rows, unusable = _held_out(config.step, inputs, kind), Drops()
    else:
        every, unusable = _in_file(config.file, inputs)
        rows = [row for row in every if isinstance(row, kind)]
        _refuse_others(config.file, every, len(rows))
    return drawn(rows, config.limit, config.seed), unusable


def own_prompts(config: RowsTask, inputs: Inputs) -> tuple[list[Dialogue | SeedPrompt], Drops]:
    """The same of dialogues or, in a file, prompts."""
    if config.step is not None:
        return list(own_rows(config, inputs, Dialogue)[0]), Drops()
    every, unusable = _in_file(config.file, inputs)
    rows = [row for row in every if isinstance(row, (Dialogue, SeedPrompt))]
    _refuse_others(config.file, every, len(rows))
    return drawn(rows, config.limit, config.seed), unusable


def origin_of(config: RowsTask, inputs: Inputs) -> str:
    """Where the rows come from, as results name it."""
    if config.file is not None:
        return source_name(str(inputs.file(config.file)))
    return f"held-out rows of step {config.step}"


def unit_of(prompt: Messages) -> str:
    """What is independent: rows that open alike rest on one another."""
    return digest(prompt_key(opening(prompt)))[:16]


def _held_out(step: StepRef, inputs: Inputs, kind: type[R]) -> list[R]:
    file = "pairs.jsonl" if kind is Pair else "dialogues.jsonl"
    rows = [row for row in read_rows(inputs.folder(step) / file, kind) if row.split == "test"]
    if not rows:
        raise FavoniusError(f"step {step} left no held-out row; raise its test_share")
    return rows


def _in_file(file: RowsRef | None, inputs: Inputs) -> tuple[list[Row], Drops]:
    assert file is not None  # the config has a step or a file
    intake = Intake()
    _, rows = read_any(str(inputs.file(file)), intake=intake)
    return list(rows), intake.dropped


def _refuse_others(file: RowsRef | None, every: Sequence[Row], fitting: int) -> None:
    """All rows of a file are of one kind."""
    if fitting < len(every):
        kind = type(every[0]).__name__.lower()
        raise UserError(f"{file}: its rows are of kind {kind}, which this task cannot use; name another file")
