"""Prompts with their instructions, and answers to them, out of files; what cannot be scored is counted and named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from favonius.data import fields
from favonius.data.checks import Drops
from favonius.data.raw import RawRow
from favonius.errors import UserError
from favonius.evals.ifeval.catalogue import UnfitInstructionError, instruction_of
from favonius.evals.ifeval.instruction import Instruction
from favonius.phrases import quoted

INSTRUCTIONS = "instruction_id_list"
PARAMETERS = "kwargs"
RESPONSE = ("response", "output", "answer", "completion")

PROMPT_AGAIN = "a prompt that stood there before"
ANSWER_AGAIN = "a response to a prompt that has one already"
NO_TEXT = "a response that is no text"
NO_PROMPT = "a response without a prompt"
NO_ANSWER = "a prompt without a response"
UNEQUAL = "not as many kwargs as instructions"
NOTHING_ASKED = "a prompt without instructions"
STRANGE = "a row without the fields of its kind"


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt and what can be checked of an answer to it."""

    key: str | int | None
    prompt: str
    instructions: tuple[Instruction, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A task and the answer that is scored."""

    task: Task
    answer: str


def answered(prompts: Iterable[RawRow], responses: Iterable[RawRow], left_out: Drops) -> list[Answered]:
    """The tasks that have an answer, in the order of `prompts`; all else is counted in `left_out`.

    Of a prompt, and of a response to it, the first row counts. A prompt with one instruction that cannot be checked is
    left out whole. UserError where no row has the fields of its kind.
    """
    tasks, unfit = read_tasks(prompts, left_out)
    answers = _answers(responses, left_out)
    for prompt in answers:
        if prompt not in tasks and prompt not in unfit:
            left_out.add(NO_PROMPT, prompt)
    for prompt in tasks:
        if prompt not in answers:
            left_out.add(NO_ANSWER, prompt)
    return [Answered(task, answers[prompt]) for prompt, task in tasks.items() if prompt in answers]


def read_tasks(rows: Iterable[RawRow], left_out: Drops) -> tuple[dict[str, Task], set[str]]:
    """Tasks by prompt, and the prompts that have none because an instruction of theirs cannot be checked; see
    `answered`."""
    tasks: dict[str, Task] = {}
    unfit: set[str] = set()
    fault: UserError | None = None
    for row in rows:
        try:
            prompt = fields.text(row, "prompt")
            names, parameters = _demands(row)
        except UserError as error:
            left_out.add(STRANGE, str(error))
            fault = fault or error
            continue
        if prompt in tasks or prompt in unfit:
            left_out.add(PROMPT_AGAIN, f"{row.place}: {prompt}")
            continue
        try:
            tasks[prompt] = Task(row.value.get("key"), prompt, tuple(_instructions(names, parameters)), tuple(names))
        except UnfitInstructionError as error:
            left_out.add(error.cause, f"{row.place}: {error.detail}")
            unfit.add(prompt)
    if fault is not None and not tasks and not unfit:
        raise fault
    return tasks, unfit


def _demands(row: RawRow) -> tuple[list[str], list[dict[str, Any]]]:
    """Names and parameters as they stand in the row. UserError where they are no lists of names and of objects."""
    names, parameters = (fields.listing(row, fields.needed(row, (name,))) for name in (INSTRUCTIONS, PARAMETERS))
    if not all(isinstance(name, str) for name in names):
        raise fields.wrong(row, INSTRUCTIONS, names, "a list of names")
    parameters = [{} if one is None else one for one in parameters]
    if not all(isinstance(one, dict) for one in parameters):
        raise fields.wrong(row, PARAMETERS, parameters, "a list of objects")
    return names, parameters


def _instructions(names: list[str], parameters: list[dict[str, Any]]) -> Iterator[Instruction]:
    if not names:
        raise UnfitInstructionError(NOTHING_ASKED, "instruction_id_list is empty")
    if len(names) != len(parameters):
        raise UnfitInstructionError(UNEQUAL, f"{len(names)} and {len(parameters)}")
    for name, one in zip(names, parameters, strict=True):
        yield instruction_of(name, one)


def _answers(rows: Iterable[RawRow], left_out: Drops) -> dict[str, str]:
    """Answers by prompt."""
    answers: dict[str, str] = {}
    fault: UserError | None = None
    for row in rows:
        try:
            prompt, answer = fields.text(row, "prompt"), _response(row)
        except UserError as error:
            left_out.add(STRANGE, str(error))
            fault = fault or error
            continue
        if not isinstance(answer, str):
            left_out.add(NO_TEXT, f"{row.place}: {quoted(answer)}")
        elif prompt in answers:
            left_out.add(ANSWER_AGAIN, f"{row.place}: {prompt}")
        else:
            answers[prompt] = answer
    if fault is not None and not answers:
        raise fault
    return answers


def _response(row: RawRow) -> Any:
    """Whatever stands in the place of an answer. UserError where nothing does."""
    name = next((name for name in RESPONSE if name in row.value), None)
    if name is None:
        raise UserError(f"{row.place}: the field response is missing (fields: {', '.join(row.value)})")
    return row.value[name]
