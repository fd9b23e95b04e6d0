"""IFEval as a benchmark: our own prompts hold together, rows and weights are right, files of other prompts are read."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from favonius.data.benchmarks_known import EvaluationText
from favonius.data.checks import Drops
from favonius.data.decontaminate import EvaluationIndex
from favonius.data.sources import open_rows
from favonius.errors import UserError
from favonius.evals.benchmarks.config import IFEval
from favonius.evals.benchmarks.record import figure
from favonius.evals.ifeval.catalogue import UNKNOWN, AnyInstruction
from favonius.evals.ifeval.rows import Answered, Task, answered
from favonius.evals.ifeval.score import result, score
from favonius.evals.ifeval.task import OWN_PROMPTS, IFEvalTask, built_in
from favonius.run import FileRef, Inputs
from tests.asked_tasks import NOTHING, desk, said

OWN_ANSWERS = Path(__file__).parent / "ifeval_answers.jsonl"
"""For each built-in prompt an answer, written by hand, that does all it says."""
DATA = Path(os.environ.get("FAVONIUS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "ifeval"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FAVONIUS_TEST_DATA names no folder with IFEval")
BLAND = "Of course! Here is an answer that has nothing to do with the question, and I hope that it helps you a lot."


@cache
def own_answers() -> dict[str, str]:
    return {row.value["prompt"]: row.value["response"] for row in open_rows(str(OWN_ANSWERS))}


def test_our_prompts_are_many_and_cover_every_kind_of_instruction() -> None:
    tasks = built_in()
    assert len(tasks) == len(own_answers()) >= 60
    kinds = {kind.model_fields["id"].default for kind in get_args(get_args(AnyInstruction)[0])}
    asked = [name for task in tasks for name in task.names]
    assert set(asked) == kinds and all(asked.count(kind) >= 3 for kind in kinds)
    assert all(1 <= len(task.names) <= 2 for task in tasks)
    assert len({task.key for task in tasks}) == len(tasks)


@pytest.mark.parametrize("task", built_in(), ids=lambda task: str(task.key))
def test_each_of_our_prompts_can_be_followed_in_few_words(task: Task) -> None:
    answer = own_answers()[task.prompt]
    assert all(score(Answered(task, answer)).strict)
    assert len(answer.split()) <= 90
    assert not any(score(Answered(task, " \n")).loose)


def test_few_of_our_prompts_are_followed_by_chance() -> None:
    followed = [all(score(Answered(task, BLAND)).loose) for task in built_in()]
    assert sum(followed) <= 0.1 * len(followed)


@needs_data
def test_our_prompts_are_not_the_published_ones() -> None:
    published = open_rows(str(DATA / "input_data.jsonl"))
    index = EvaluationIndex(EvaluationText("ifeval", str(row.value["key"]), row.value["prompt"]) for row in published)
    items = IFEvalTask.of(IFEval(), NOTHING).items()
    assert [hit for item in items for hit in index.hits(item.messages)] == []


def test_rows_hold_the_four_scores_and_count_instructions(tmp_path: Path) -> None:
    task, right = IFEvalTask.of(IFEval(), NOTHING), dict(own_answers())
    right[next(task.prompt for task in built_in() if len(task.names) == 2)] = "Well, no, not me."
    found = task.scored(said(task, lambda item: right[item.messages[0].content]), desk(tmp_path))
    [wrong] = [row for row in found.rows if row.scores["prompt_strict"] == 0]
    assert wrong.weights == {"instruction_strict": 2.0, "instruction_loose": 2.0}
    assert wrong.note is not None and wrong.note.startswith("not followed: ")
    assert wrong.answers == ("Well, no, not me.",) and wrong.category is None
    assert found.notes == (OWN_PROMPTS,) and task.questions == "favonius"
    assert found.protocol["instructions"] == sum(len(task.names) for task in built_in())
    assert len(found.protocol["by_instruction"]) == 25


def test_repeating_a_prompt_follows_it_but_not_soundly(tmp_path: Path) -> None:
    task = IFEvalTask.of(IFEval(), NOTHING)
    rows = task.scored(said(task, lambda item: f"{item.messages[0].content}\n" * 8), desk(tmp_path)).rows
    assert task.metrics[0].key == "prompt_sound"
    assert figure(rows, task.metrics[1]).value > 0.1  # type: ignore[operator]
    assert figure(rows, task.metrics[0]).value < 0.05  # type: ignore[operator]


def published(tmp_path: Path, *rows: object) -> Inputs:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Inputs({}, {}, {"prompts": path})


COMMA = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
FROM_FILE = IFEval(prompts=FileRef("prompts"))


def test_prompts_of_a_file_are_asked_under_their_keys(tmp_path: Path) -> None:
    rows = [
        {"key": 7, "prompt": "One.", **COMMA},
        {"prompt": "Two.", **COMMA},
        {"key": 7, "prompt": "Three.", **COMMA},
        {"key": 8, "prompt": "Four.", "instruction_id_list": ["sing:loudly"], "kwargs": [{}]},
    ]
    inputs = published(tmp_path, *rows)
    task = IFEvalTask.of(FROM_FILE, inputs)
    assert {item.id: item.messages[0].content for item in task.items()} == {
        "7": "One.", "prompt 2": "Two.", "7, prompt 3": "Three."
    }  # fmt: skip
    found = task.scored(said(task, lambda _: "No."), desk(tmp_path))
    assert found.left_out.counts == {UNKNOWN: 1} and not found.notes and task.questions == "prompts.jsonl"
    drawn = IFEvalTask.of(FROM_FILE.model_copy(update={"limit": 2, "seed": 1}), inputs)
    assert len(drawn.items()) == 2 and set(drawn.tasks) < set(task.tasks)


def test_a_file_without_a_prompt_to_check_is_refused(tmp_path: Path) -> None:
    inputs = published(tmp_path, {"prompt": "Sing!", "instruction_id_list": ["sing:loudly"], "kwargs": [{}]})
    with pytest.raises(UserError, match=r"prompts: no prompt that can be checked \(an instruction that is not"):
        IFEvalTask.of(FROM_FILE, inputs)


@needs_data
def test_the_task_gives_the_four_numbers_of_the_command(tmp_path: Path) -> None:
    prompts, responses = DATA / "input_data.jsonl", DATA / "responses_gpt4.jsonl"
    stored = {row.value["prompt"]: row.value["response"] for row in open_rows(str(responses))}
    task = IFEvalTask.of(FROM_FILE.model_copy(update={"limit": 60}), Inputs({}, {}, {"prompts": prompts}))
    texts = set(task.texts)
    ready = answered(open_rows(str(prompts)), open_rows(str(responses)), Drops())
    command = result([score(one) for one in ready if one.task.prompt in texts])
    rows = task.scored(said(task, lambda item: stored[item.messages[0].content]), desk(tmp_path)).rows
    assert [metric.key for metric in task.metrics][-1] == "prompt_sound"
    for metric in task.metrics[:-1]:
        level, manner = metric.key.split("_")
        assert figure(rows, metric).value == pytest.approx(command[manner][level] / 100, abs=1e-6)
