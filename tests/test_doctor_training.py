"""The doctor says what training does: the same rows dropped for the same causes, the same tokens counted."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.data import convert, preferences, turns
from favonius.data.checks import Drops
from favonius.data.rows import read_rows, write_rows
from favonius.data.sources import open_rows
from favonius.doctor.diagnosis import Diagnosis
from favonius.doctor.examine import Source, diagnose
from favonius.doctor.kinds import KINDS, UNFIT_ON_READING
from favonius.doctor.measure import Measured
from favonius.doctor.views import Placed
from favonius.train import rows as training
from favonius.train.config import TrainConfig
from favonius.train.objectives import DPO, SFT
from favonius.train.rows import Encoder, labelled_rows, read_training_rows
from favonius.types import Dialogue, LabelledAnswer, Noun, Pair
from tests.diagnoses import FORM, FOX, LENGTH, LONG, NOTHING_ELSE, answered, conversation, limits, tokens

WORDS = st.sampled_from(["", " ", "the fox", "the fox", "a question?", FOX * 2, LONG, LONG + " a", "Bye</s>"])
ASKED = st.lists(st.tuples(WORDS, WORDS), max_size=2)


def examined(path: Path, rows: Sequence[Noun], truncation: str) -> tuple[Diagnosis, list[Measured]]:
    """The file, and each row by itself."""
    diagnosis = diagnose(Source(str(path), open_rows(str(path))), tokens(truncation), NOTHING_ELSE, limits(truncation))
    placed = [Placed(str(number), row) for number, row in enumerate(rows)]  # type: ignore[arg-type]
    return diagnosis, list(tokens(truncation).measured(placed))


def agrees(
    diagnosis: Diagnosis, measured: list[Measured], rows: Sequence[Any], kept: list[training.Row], drops: Drops
) -> None:
    assert diagnosis.training is not None
    assert dict(diagnosis.training.dropped) == dict(drops.counts)
    assert [row.id for row, one in zip(rows, measured, strict=True) if one.kept] == [row.id for row in kept]
    learned = [row for row in kept if row.split == "train"]
    assert diagnosis.training.kept == len(kept)
    assert diagnosis.training.held_out == len(kept) - len(learned)
    assert diagnosis.training.tokens == sum(row.tree.logical_tokens for row in learned)
    assert diagnosis.training.trained_tokens == sum(
        sequence.scored_tokens for row in learned for sequence in row.tree.sequences
    )


def config(objective: Any, truncation: str) -> TrainConfig:
    return TrainConfig(model="m", rows="rows", objective=objective, max_length=LENGTH, truncation=truncation,
                       max_dropped_share=1.0)  # type: ignore[arg-type]  # fmt: skip


EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TRUNCATIONS = st.sampled_from(["drop", "keep_start"])
SPLITS = st.sampled_from(["train", "test"])


@EXAMPLES
@given(said=st.lists(st.tuples(ASKED, WORDS, WORDS, SPLITS), max_size=6), truncation=TRUNCATIONS)
def test_dialogues_are_dropped_as_training_drops_them(said: list[Any], truncation: str, tmp_path: Path) -> None:
    said = [([], "a question?", "an answer", "train"), *said]
    rows = [
        Dialogue(id=f"row {number}", split=split, messages=answered(conversation(asked, question), answer))
        for number, (asked, question, answer, split) in enumerate(said)
    ]
    write_rows(tmp_path / "dialogues.jsonl", rows)
    drops = Drops()
    kept = read_training_rows(config(SFT(), truncation), tmp_path, FORM, drops)
    agrees(*examined(tmp_path / "dialogues.jsonl", rows, truncation), rows, kept, drops)


@EXAMPLES
@given(said=st.lists(st.tuples(ASKED, WORDS, WORDS, WORDS, st.booleans(), SPLITS), max_size=6), truncation=TRUNCATIONS)
def test_pairs_are_dropped_as_training_drops_them(said: list[Any], truncation: str, tmp_path: Path) -> None:
    said = [([], "a question?", "yes", "no", True, "train"), *said]
    rows = [
        Pair(id=f"row {number}", split=split, prompt=conversation(asked, question), chosen=chosen, rejected=rejected,
             rejected_finished=finished)
        for number, (asked, question, chosen, rejected, finished, split) in enumerate(said)
    ]  # fmt: skip
    write_rows(tmp_path / "pairs.jsonl", rows)
    drops = Drops()
    kept = read_training_rows(config(DPO(), truncation), tmp_path, FORM, drops)
    agrees(*examined(tmp_path / "pairs.jsonl", rows, truncation), rows, kept, drops)


@EXAMPLES
@given(said=st.lists(st.tuples(ASKED, WORDS, WORDS, st.booleans(), st.booleans()), max_size=6), truncation=TRUNCATIONS)
def test_labelled_answers_are_dropped_as_training_drops_them(said: list[Any], truncation: str, tmp_path: Path) -> None:
    said = [([], "a question?", "yes", True, True), *said]
    rows = [
        LabelledAnswer(id=f"row {number}", split="train", prompt=conversation(asked, question), text=answer,
                       desirable=desirable, finished=finished)
        for number, (asked, question, answer, desirable, finished) in enumerate(said)
    ]  # fmt: skip
    path = tmp_path / "labelled_answers.jsonl"
    write_rows(path, rows)
    drops = Drops()
    kept = labelled_rows(Encoder(FORM, LENGTH, truncation), read_rows(path, LabelledAnswer), drops)  # type: ignore[arg-type]
    agrees(*examined(path, rows, truncation), rows, kept, drops)


def test_every_cause_of_a_drop_has_its_kind() -> None:
    """What `data` and `train.rows` may raise, read from their source."""
    for module in (turns, convert, preferences):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UnfitRowError":
                assert UNFIT_ON_READING[getattr(module, node.args[0].id)] in KINDS  # type: ignore[attr-defined]
    known = tokens()._kinds
    for node in ast.walk(ast.parse(inspect.getsource(training))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UnfitError":
            [cause] = node.args
            raised = getattr(training, cause.id if isinstance(cause, ast.Name) else cause.func.id)  # type: ignore[attr-defined]
            if raised in (training.NO_SCORE, training.ONE_ANSWER, training.ALL_EQUAL):
                continue  # of feedback the doctor makes no training rows: it has to be made into pairs, or a reward's
            assert known[raised if isinstance(raised, str) else raised(LENGTH)] in KINDS
