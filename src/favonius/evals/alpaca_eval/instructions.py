"""The instructions of AlpacaEval and the reference's answers to them, out of a file or from the hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from favonius.data import fields, hub
from favonius.data.checks import Drops
from favonius.data.raw import RawRow
from favonius.data.sources import open_rows
from favonius.errors import UserError
from favonius.evals.alpaca_eval.preferences import Comparison, ModelPreferences
from favonius.evals.benchmarks.config import AlpacaEval
from favonius.evals.benchmarks.rows import drawn_of_each
from favonius.run import Inputs

REPOSITORY = "tatsu-lab/alpaca_eval"
FILES = {1: "alpaca_eval.json", 2: "alpaca_eval_gpt4_baseline.json"}
"""With the answers of text-davinci-003 and of gpt-4-1106-preview."""
AGAIN = "an instruction that stood there before"
FILE_REFERENCE = "reference"
"""The reference's name where its rows name none."""


@dataclass(frozen=True)
class Instruction:
    """`reference` is the answer to compare with, where the file brings one; `author` who gave it."""

    id: str
    text: str
    category: str | None
    reference: str | None
    author: str


@dataclass(frozen=True)
class Instructions:
    """`every` is the whole file, `asked` what is drawn of it."""

    every: tuple[Instruction, ...]
    asked: tuple[Instruction, ...]
    source: str
    left_out: Drops = field(default_factory=Drops)

    def whole_set(self) -> ModelPreferences:
        """All instructions in their order, for readers of difficulties: published ones are numbered by it."""
        return ModelPreferences([Comparison(one.text, None, 0.0, 0.0) for one in self.every])


def read_instructions(config: AlpacaEval, inputs: Inputs) -> Instructions:
    """From the config's file, else the published set of the evaluation's version.

    Of rows with the same instruction the first counts. UserError where a row has no instruction or, without a baseline
    that would answer, no output; FavoniusError where the hub cannot be reached.
    """
    if config.instructions is None:
        path, source = hub.fetch_file(REPOSITORY, FILES[config.evaluation_version]), f"{hub.PREFIX}{REPOSITORY}"
    else:
        path, source = inputs.file(config.instructions), str(config.instructions)
    left_out = Drops()
    every = _read(open_rows(str(path)), config.baseline is None, left_out)
    if not every:
        raise UserError(f"{path}: the file holds no instruction")
    asked = drawn_of_each(every, config.limit, config.seed, lambda one: one.category)
    return Instructions(tuple(every), tuple(asked), source, left_out)


def _read(rows: Iterable[RawRow], with_reference: bool, left_out: Drops) -> list[Instruction]:
    found: dict[str, Instruction] = {}
    for number, row in enumerate(rows, start=1):
        text = fields.text(row, "instruction")
        if text in found:
            left_out.add(AGAIN, f"{row.place}: {text}")
            continue
        found[text] = Instruction(
            id=str(number),
            text=text,
            category=fields.optional_text(row, "dataset"),
            reference=fields.text(row, "output") if with_reference else None,
            author=fields.optional_text(row, "generator") or FILE_REFERENCE,
        )
    return list(found.values())
