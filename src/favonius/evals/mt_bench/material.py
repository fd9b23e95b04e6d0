"""What a run of MT-Bench needs beside models: the questions that are asked, reference answers and judge prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from favonius.errors import UserError
from favonius.evals.benchmarks.config import MtBench
from favonius.evals.benchmarks.rows import drawn_of_each
from favonius.evals.mt_bench import published
from favonius.evals.mt_bench.prompts import JudgePrompts, read_prompts
from favonius.evals.mt_bench.questions import (
    REFERENCED,
    TURNS,
    Question,
    Reference,
    read_questions,
    read_references,
)
from favonius.run import FileRef, Inputs


@dataclass(frozen=True)
class Material:
    """`references` are by question; where no question is judged with one, there are none. `source` says where the
    questions come from."""

    questions: dict[int, Question]
    references: dict[int, Reference]
    prompts: JudgePrompts
    source: str

    @property
    def categories(self) -> dict[int, str]:
        """Of each question that is asked."""
        return {number: one.category for number, one in self.questions.items()}


def read_material(config: MtBench, inputs: Inputs) -> Material:
    """The files that the config names; those that it does not name are looked for in the folder of the questions.

    UserError where a file is not what it should be, where a question has no reference answer that its category needs,
    and where there is no judge prompt for what will be asked; FavoniusError where FastChat's files cannot be fetched.
    """
    given = published.fetch() if config.questions is None else inputs.file(config.questions)
    folder = given if given.is_dir() else None
    read = read_questions(given if folder is None else folder / published.QUESTIONS)
    asked = drawn_of_each(list(read.values()), config.limit, config.seed, lambda question: question.category)
    prompts = read_prompts(_named(config.prompts, published.PROMPTS, folder, inputs))
    for question in asked:
        for turn in TURNS:
            prompts.find(config.mode, turn, question.needs_reference)
    return Material(
        questions={question.question_id: question for question in asked},
        references=_references(_named(config.references, published.REFERENCES, folder, inputs), asked),
        prompts=prompts,
        source=published.NAME if config.questions is None else str(config.questions),
    )


def _named(name: FileRef | None, usual: str, folder: Path | None, inputs: Inputs) -> Path | None:
    """The file that the config names, else the one of the usual name in the questions' folder, if there is one."""
    if name is not None:
        return inputs.file(name)
    return folder / usual if folder is not None and (folder / usual).is_file() else None


def _references(path: Path | None, asked: Sequence[Question]) -> dict[int, Reference]:
    if not any(question.needs_reference for question in asked):
        return {}
    if path is None:
        raise UserError(
            f"questions in {', '.join(REFERENCED)} are judged beside reference answers, and there are none; name "
            f"FastChat's {published.REFERENCES} as `references`, or the folder that holds it as `questions`"
        )
    return read_references(path, asked)
