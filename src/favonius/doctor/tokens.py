"""The measure of training itself: rows go through the encoder and the functions of `train.rows`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from favonius.chat.format import ControlTokenError, Outcome
from favonius.doctor.diagnosis import Part, Unit
from favonius.doctor.measure import Length, Measured
from favonius.doctor.rendered import Renderings
from favonius.doctor.views import Placed, answers
from favonius.errors import UserError
from favonius.train import rows as training
from favonius.train.rows import Encoder, UnfitError
from favonius.types import Dialogue, Feedback, LabelledAnswer, Message, Pair, SeedPrompt

Encoded = tuple[Outcome, ...]
"""What became of a row's sequences."""


class Tokens:
    unit: Unit = "tokens"

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._renderings = Renderings(encoder)
        self._kinds = {
            training.NO_TEXT: "empty_answer",
            training.EMPTY_ANSWER: "empty_answer",
            training.NOTHING_SCORED: "nothing_scored",
            training.SAME: "identical_pair",
            training.SAME_CUT: "identical_after_truncation",
            training.too_long(encoder.max_length): "over_long",
            training.prompt_too_long(encoder.max_length): "prompt_over_long",
        }

    def measured(self, rows: Sequence[Placed]) -> Iterator[Measured]:
        encoded = self._encoded(rows)
        return (self._measured(placed, encoded[index]) for index, placed in enumerate(rows))

    def parts(self, placed: Placed) -> tuple[Part, ...]:
        return self._renderings.parts(placed.row)

    def _encoded(self, rows: Sequence[Placed]) -> list[Encoded]:
        """All sequences of all rows, in two batches: whole dialogues, and answers behind their prompts."""
        dialogues = [placed.row.messages for placed in rows if isinstance(placed.row, Dialogue)]
        whole = iter(self.encoder.form.encode_many(dialogues))
        asked = [
            (placed.row.prompt, text, ended)
            for placed in rows
            if isinstance(placed.row, Pair | LabelledAnswer | Feedback)
            for text, ended in zip(answers(placed.row), _finished(placed.row), strict=True)
        ]
        behind = iter(self.encoder.answers(asked))
        return [self._of_row(placed, whole, behind) for placed in rows]

    def _of_row(self, placed: Placed, whole: Iterator[Outcome], behind: Iterator[Outcome]) -> Encoded:
        match placed.row:
            case Dialogue():
                return (next(whole),)
            case SeedPrompt():
                return ()
            case row:
                return tuple(next(behind) for _ in answers(row))

    def _measured(self, placed: Placed, encoded: Encoded) -> Measured:
        if isinstance(placed.row, SeedPrompt):
            return self._prompt(placed, placed.row)
        lengths = tuple(_length(outcome) for outcome in encoded if not isinstance(outcome, UserError))
        try:
            row = self._row(placed, encoded)
        except UnfitError as error:
            kind = self._kinds[str(error)]
            return Measured(lengths, kind, str(error), _detail(kind, placed, lengths), kept=False)
        except ControlTokenError as error:
            return Measured(lengths, "control_token", training.CONTROL_TOKEN, str(error), kept=False)
        except UserError as error:
            return Measured(lengths, "template", detail=str(error), kept=False)
        cut = any(length.whole > self.encoder.max_length for length in lengths)
        return Measured(
            lengths,
            kind="cut" if cut else "",
            detail=_detail("cut", placed, lengths),
            tokens=row.tree.logical_tokens if row else 0,
            trained_tokens=sum(sequence.scored_tokens for sequence in row.tree.sequences) if row else 0,
        )

    def _row(self, placed: Placed, encoded: Encoded) -> training.Row | None:
        """What training makes of it, or its error; None of feedback, which has to be made into pairs first."""
        match placed.row:
            case Dialogue() as dialogue:
                return training.dialogue_row(self.encoder, dialogue, encoded[0])
            case Pair() as pair:
                return training.pair_row(self.encoder, pair, *encoded)
            case LabelledAnswer() as answer:
                return training.labelled_row(self.encoder, answer, encoded[0])
            case Feedback() as feedback:
                for one, outcome in zip(feedback.completions, encoded, strict=True):
                    self.encoder.fit(self.encoder.answer(one.text, outcome))
        return None

    def _prompt(self, placed: Placed, row: SeedPrompt) -> Measured:
        """A prompt must leave room for an answer."""
        try:
            ids = self.encoder.form.prompt_ids((Message(role="user", content=row.prompt),))
        except ControlTokenError as error:
            return Measured((), "control_token", training.CONTROL_TOKEN, str(error), kept=False)
        except UserError as error:
            return Measured((), "template", detail=str(error), kept=False)
        lengths = (Length(len(ids), 0),)
        if len(ids) >= self.encoder.max_length:
            cause = training.prompt_too_long(self.encoder.max_length)
            return Measured(lengths, "prompt_over_long", cause, _detail("", placed, lengths), kept=False)
        return Measured(lengths)


def _finished(row: Pair | LabelledAnswer | Feedback) -> tuple[bool, ...]:
    match row:
        case Pair():
            return (row.chosen_finished, row.rejected_finished)
        case LabelledAnswer():
            return (row.finished,)
        case Feedback():
            return (True,) * len(row.completions)


def _length(encoded: Outcome) -> Length:
    """As training measures: what follows the last token that is scored is not part of the sequence."""
    assert not isinstance(encoded, UserError)
    marked = np.flatnonzero(encoded.marks)
    return Length(int(marked[-1]) + 1 if len(marked) else len(encoded), len(marked))


def _detail(kind: str, placed: Placed, lengths: Sequence[Length]) -> str:
    if kind in ("identical_pair", "identical_after_truncation") and isinstance(placed.row, Pair):
        return f"{placed.row.id}: {placed.row.chosen}"
    if kind in ("empty_answer", "nothing_scored"):
        return placed.shown()
    longest = max(length.whole for length in lengths)
    return f"{longest:,} tokens: {placed.shown()}"
