"""The measure where there is no tokenizer: lengths in characters, and faults that the texts alone show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from favonius.doctor.diagnosis import Mark, Part, Span, Unit
from favonius.doctor.measure import Length, Measured
from favonius.doctor.views import Placed, answers, assistant_texts, named_answers
from favonius.types import Dialogue, Pair, SeedPrompt


class Characters:
    unit: Unit = "characters"

    def measured(self, rows: Sequence[Placed]) -> Iterator[Measured]:
        return map(_measured, rows)

    def parts(self, placed: Placed) -> tuple[Part, ...]:
        """A part for each turn."""
        row = placed.row
        match row:
            case Dialogue():
                return tuple(
                    _part(turn.role, turn.content, "trained" if turn.role == "assistant" else "context")
                    for turn in row.messages
                )
            case SeedPrompt():
                return (_part("user", row.prompt, "context"),)
            case _:
                asked = [_part(turn.role, turn.content, "context") for turn in row.prompt]
                return (*asked, *(_part(name, text, "trained") for name, text in named_answers(row).items()))


def _part(name: str, text: str, mark: Mark) -> Part:
    return Part(name, (Span(text, mark),), None)


def _measured(placed: Placed) -> Measured:
    row = placed.row
    match row:
        case SeedPrompt():
            return Measured((Length(len(row.prompt), 0),))
        case Dialogue():
            taught = assistant_texts(row)
            lengths: tuple[Length, ...] = (
                Length(sum(len(turn.content) for turn in row.messages), sum(map(len, taught))),
            )
            empty = not any(text.strip() for text in taught)
        case _:
            asked = sum(len(turn.content) for turn in row.prompt)
            lengths = tuple(Length(asked + len(text), len(text)) for text in answers(row))
            empty = not all(text.strip() for text in answers(row))
    if empty:
        return Measured(lengths, "empty_answer", detail=placed.shown(), kept=False)
    if isinstance(row, Pair) and (row.chosen, row.chosen_finished) == (row.rejected, row.rejected_finished):
        return Measured(lengths, "identical_pair", detail=row.chosen, kept=False)
    return Measured(lengths)
