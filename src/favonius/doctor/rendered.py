"""Rows as stretches of text that the model only reads, that it learns, and that it reads of an assistant unlearned."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from favonius.data.convert import Row
from favonius.doctor.diagnosis import Mark, Part, Span
from favonius.doctor.views import Answered, named_answers
from favonius.train.rows import Encoder
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Dialogue, LabelledAnswer, Message, Messages, Pair, SeedPrompt

Style = tuple[Mark, bool]


class Renderings:
    """Of rows that the encoder keeps."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self._form = encoder, encoder.form
        added = self._form.tokenizer.added_tokens_decoder
        self._special = frozenset(id for id, token in added.items() if token.special)

    def parts(self, row: Row) -> tuple[Part, ...]:
        match row:
            case Dialogue():
                encoded = self._form.encode(row.messages)
                sequence = self._encoder.dialogue(row, encoded, "assistant")
                return (
                    self._part("dialogue", sequence.ids, self._styles(sequence, row.messages), 0, len(sequence.ids)),
                )
            case SeedPrompt():
                ids = self._form.prompt_ids((Message(role="user", content=row.prompt),))
                return (self._part("prompt", ids, [("context", id in self._special) for id in ids], 0, len(ids)),)
            case _:
                return self._answered(row)

    def _answered(self, row: Answered) -> tuple[Part, ...]:
        """The prompt once, what the answers have in common once, then each from where they part."""
        named = named_answers(row)
        sequences = [self._sequence(row, name, text) for name, text in named.items()]
        styles = [
            self._styles(sequence, (*row.prompt, Message(role="assistant", content=text)))
            for sequence, text in zip(sequences, named.values(), strict=True)
        ]
        asked = sequences[0].scored.index(True)
        parted = max(asked, Tree.of(*sequences).prefix) if len(sequences) > 1 else asked
        parts = [self._part("prompt", sequences[0].ids, styles[0], 0, asked)]
        if parted > asked:
            parts.append(self._part("both begin", sequences[0].ids, styles[0], asked, parted))
        for name, sequence, style in zip(named, sequences, styles, strict=True):
            parts.append(self._part(name, sequence.ids, style, parted, len(sequence.ids)))
        return tuple(parts)

    def _sequence(self, row: Answered, name: str, text: str) -> TokenSequence:
        finished = True
        match row:
            case Pair():
                finished = row.chosen_finished if name == "chosen" else row.rejected_finished
            case LabelledAnswer():
                finished = row.finished
        (encoded,) = self._encoder.answers([(row.prompt, text, finished)])
        return self._encoder.fit(self._encoder.answer(text, encoded))

    def _styles(self, sequence: TokenSequence, messages: Messages) -> list[Style]:
        """For each token its mark; the assistant's are found by encoding the dialogue as if all were learned."""
        assistant = self._form.encode(messages).marks.tolist()
        marks: list[Style] = []
        for id, scored, spoken in zip(sequence.ids, sequence.scored, assistant, strict=False):
            mark: Mark = "trained" if scored else "masked" if spoken else "context"
            marks.append((mark, id in self._special))
        return marks

    def _part(self, name: str, ids: Sequence[int], styles: Sequence[Style], begin: int, end: int) -> Part:
        spans = []
        for (mark, special), run in groupby(range(begin, end), key=lambda index: styles[index]):
            indices = list(run)
            spans.append(Span(self._text(ids, indices[0], indices[-1] + 1), mark, special))
        return Part(name, tuple(spans), end - begin)

    def _text(self, ids: Sequence[int], begin: int, end: int) -> str:
        """Of tokens `begin` to `end`. Decoded with those before them, as some tokenizers drop a first space."""
        before = self._form.decode(ids[:begin])
        return self._form.decode(ids[:end])[len(before) :]
