"""Rows of earlier steps in stage `data`: taken as they are, on the side of the split where they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from favonius.corpus import counting, stage
from favonius.corpus.choose import HELD_OUT, LEARNED
from favonius.corpus.config import DataConfig, Source
from favonius.corpus.counting import Most
from favonius.data.rows import read_rows, write_rows
from favonius.data.splits import split_of
from favonius.errors import UserError
from favonius.files import read_json
from favonius.progress import Progress
from favonius.recipe import load_recipe
from favonius.run import Context, FileRef, Inputs, StepRef, references
from favonius.types import Dialogue, Feedback, Message, Noun, Pair, PairOrigin, RatedText, SeedPrompt, Split
from tests.toy_run import run_toy, write_recipe


def question(number: int) -> tuple[Message, ...]:
    return (Message(role="user", content=f"Question number {number}, which is long enough?"),)


def pairs(numbers: range, split: Split, name: str) -> list[Pair]:
    return [
        Pair(
            id=f"{number}",
            split=split,
            prompt=question(number),
            chosen=f"The {name} answer to {number}, which is good.",
            rejected="No.",
            origin=PairOrigin(rule=name),
        )
        for number in numbers
    ]


class Steps:
    """Folders of finished steps, and a data step behind them."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def wrote(self, step: str, file: str, rows: list[Any]) -> None:
        (self.run / step).mkdir(parents=True, exist_ok=True)
        write_rows(self.run / step / file, rows)

    def data(self, **config: Any) -> dict[str, Any]:
        made = DataConfig.model_validate(config)
        names = list(references(made))
        files = {name: self.run / name for name in names if isinstance(name, FileRef)}
        folders = {name: self.run / name for name in names if isinstance(name, StepRef)}
        out = self.run / "data"
        out.mkdir(exist_ok=True)
        stage.run(made, Inputs(folders, {}, files), out, Context(self.run, Progress()))
        return dict(read_json(out / "stats.json"))

    def rows(self, file: str = "pairs.jsonl", noun: type[Any] = Pair) -> list[Any]:
        return read_rows(self.run / "data" / file, noun)


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path / "run")


def test_pairs_of_two_steps_are_mixed_whole_and_keep_their_sides(steps: Steps) -> None:
    steps.wrote("pairs", "pairs.jsonl", pairs(range(20), "train", "judged") + pairs(range(20, 25), "test", "judged"))
    steps.wrote("constitution", "pairs.jsonl", pairs(range(50, 60), "train", "revised"))
    steps.wrote("constitution", "dialogues.jsonl", [])
    stats = steps.data(sources={"a": {"step": "pairs"}, "b": {"step": "constitution"}}, test_share=0.5)
    rows = steps.rows()
    assert {row.id for row in rows if row.split == "test"} == {f"a/{number}" for number in range(20, 25)}
    assert len(rows) == 35
    assert {row.origin.rule for row in rows} == {"judged", "revised"}  # nothing of a row is lost
    assert stats["taken from"] == {"a": 25, "b": 10}
    assert stats["sources"]["b"]["from"] == "constitution"


def test_weights_fractions_and_filters_work_over_them(steps: Steps) -> None:
    steps.wrote("a", "pairs.jsonl", pairs(range(200), "train", "a"))
    steps.wrote("b", "pairs.jsonl", pairs(range(300, 500), "train", "b"))
    sources = {"a": {"step": "a", "weight": 3.0, "fraction": 0.5}, "b": {"step": "b", "weight": 1.0}}
    stats = steps.data(sources=sources, filters=[{"kind": "flaws"}], rows=100, test_share=0)
    assert stats["taken from"] == {"a": 75, "b": 25}
    assert 70 < stats["sources"]["a"]["kept"] < 130


def test_what_a_step_holds_out_is_learned_from_nowhere(steps: Steps) -> None:
    """A file's rows follow the hash, but for prompts that a step has placed; where steps differ, they are held out."""
    steps.wrote("a", "pairs.jsonl", pairs(range(10), "test", "a") + pairs(range(10, 20), "train", "a"))
    steps.wrote("b", "pairs.jsonl", pairs(range(5, 15), "train", "b"))
    (steps.run / "c.jsonl").write_text(
        "".join(row.model_dump_json(include={"id", "prompt", "chosen", "rejected"}) + "\n"
                for row in pairs(range(30), "train", "c"))
    )  # fmt: skip
    stats = steps.data(sources={"a": {"step": "a"}, "b": {"step": "b"}, "c": {"path": "c.jsonl"}}, test_share=0.4)
    sides: dict[str, set[str]] = {}
    for row in steps.rows():
        sides.setdefault(row.prompt[0].content, set()).add(row.split)
    assert all(len(of_prompt) == 1 for of_prompt in sides.values())
    assert all(sides[question(number)[0].content] == {"test"} for number in range(10))
    assert all(sides[question(number)[0].content] == {"train"} for number in range(10, 20))
    hashed = {number: split_of(question(number)[0].content, 0.4) for number in range(30)}
    dropped = stats["sources"]["c"]["dropped"]
    assert dropped[HELD_OUT] == sum(hashed[number] == "train" for number in range(10))
    assert dropped[LEARNED] == sum(hashed[number] == "test" for number in range(10, 20))
    assert stats["sources"]["b"]["dropped"] == {HELD_OUT: 5}


@pytest.mark.parametrize(
    ("file", "row"),
    [
        (
            "dialogues.jsonl",
            Dialogue(id="1", split="test", messages=(*question(1), Message(role="assistant", content="Yes, it is."))),
        ),
        (
            "feedback.jsonl",
            Feedback(id="1", split="test", prompt=question(1), completions=(RatedText(source="m", text="Yes."),)),
        ),
        ("openings.jsonl", SeedPrompt(id="1", prompt="What is it?", sector="world")),
    ],
)
def test_other_rows_come_through_too(steps: Steps, file: str, row: Noun) -> None:
    train = row.model_copy(update={"id": "2"} | ({} if isinstance(row, SeedPrompt) else {"split": "train"}))
    steps.wrote("a", file, [row, train])
    steps.data(sources={"a": {"step": "a"}})
    found = {one.id: one for one in steps.rows(file, type(row))}
    expected = row.model_copy(update={"source": "a"}) if isinstance(row, Dialogue) else row
    assert found["1"] == expected


def test_a_named_file_is_taken(steps: Steps) -> None:
    talk = Dialogue(id="1", split="train", messages=(*question(1), Message(role="assistant", content="Yes.")))
    steps.wrote("c", "pairs.jsonl", pairs(range(3), "train", "c"))
    steps.wrote("c", "dialogues.jsonl", [talk])
    steps.data(sources={"a": {"step": "c", "file": "dialogues.jsonl"}})
    assert [row.id for row in steps.rows("dialogues.jsonl", Dialogue)] == ["1"]


def test_a_file_that_a_step_did_not_write_is_named(steps: Steps) -> None:
    steps.wrote("c", "pairs.jsonl", pairs(range(3), "train", "c"))
    with pytest.raises(UserError, match=r"step c has written no feedback\.jsonl"):
        steps.data(sources={"a": {"step": "c", "file": "feedback.jsonl"}})


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({}, "name one of path"),
        ({"step": "a", "path": "b"}, "name one of path"),
        ({"path": "b", "file": "pairs.jsonl"}, "file is for the rows of a step"),
        ({"step": "a", "split": "train"}, "split, shape and salvage are for files"),
        ({"step": "a", "shape": "hh"}, "split, shape and salvage are for files"),
    ],
)
def test_sources_that_mean_nothing_are_refused(source: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Source.model_validate(source)


RECIPE = """\
name: toy
models: {base: org/base, teacher: org/teacher}
steps:
  dialogues: {stage: dialogues, seeds: seeds.jsonl, teacher: teacher, engine: {kind: transformers}}
  answers: {stage: answers, prompts: dialogues, pool: {base: {model: base}, teacher: {model: teacher}}}
  ratings: {stage: ratings, answers: answers, judge: {kind: likelihood, model: teacher}}
  pairs: {stage: pairs, ratings: ratings}
  constitution: {stage: constitution, prompts: dialogues, model: base}
  mixed: {stage: data, sources: {a: {step: pairs}, b: {step: constitution}}}
  ddpo: {stage: train, model: base, rows: mixed, objective: {kind: dpo}}
"""


def test_a_recipe_mixes_steps_and_knows_them_by_their_content(tmp_path: Path) -> None:
    path, run = write_recipe(tmp_path, RECIPE), tmp_path / "run"
    run_toy(path, run)
    assert run_toy(path, run, "steps.constitution.seed=1") == ["constitution", "mixed", "ddpo"]
    assert run_toy(path, run, "steps.dialogues.system=Hi") == ["dialogues", "constitution", "mixed", "ddpo"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("step: pairs", "step: pears", r"steps\.mixed\.sources\.a\.step: no earlier .* pears; did you mean pairs"),
        ("step: pairs", "step: answers", "answers is of stage answers; name an earlier openings, dialogues, ratings"),
        ("step: constitution", "step: ddpo", "ddpo is not an earlier step"),
        ("step: constitution", "step: dialogues", "rows of a .preference. become pairs and rows of b .messages."),
        ("{step: pairs}", "{step: pairs, file: dialogues.jsonl}", r"sources\.a\.file: pairs writes pairs\.jsonl only"),
        ("{step: pairs}", "{step: pairs, file: pear.jsonl}", r"unknown value 'pear\.jsonl'; did you mean pairs\.jsonl"),
        ("b: {step: constitution}}", "b: {step: constitution}}, filters: [{kind: truecase}]", "changes texts, and"),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_anything_runs(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in RECIPE
    with pytest.raises(UserError, match=sentence):
        load_recipe(write_recipe(tmp_path, RECIPE.replace(old, new)))


def test_a_mixture_of_steps_is_counted_from_them(tmp_path: Path) -> None:
    sources = {"a": {"step": "a"}, "b": {"step": "b", "fraction": 0.5}}
    steps = {"a": Most(80, 20, prompt_bytes=90), "b": Most(10, 4, uncounted=("far",)), "other": Most(1, 1)}
    most = counting.most_rows(DataConfig.model_validate({"sources": sources}), tmp_path, steps)
    assert (most.train, most.test, most.prompt_bytes, most.uncounted) == (81, 22, 90, ("b",))
