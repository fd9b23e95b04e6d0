"""Many dialogues to token ids and masks at once: the same as one at a time, tens of times faster.

Three short cuts, each with a slower way beside it that is right for everything: texts by `chat.skeletons` (else Jinja),
ids by `chat.fast_tokens` (else `tokenizers`), masks by `chat.token_bytes` (else the tokenizer's offsets). Samples of
all that is encoded are compared with the slow way; one difference, and it is the only one from there on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from favonius.chat.encoded import Encoded, Ids, Opening, by_offsets
from favonius.chat.fast_tokens import FastTokens, UnsuitableError, exact_ids
from favonius.chat.rendering import Rendered, Renderer
from favonius.chat.skeletons import Skeletons
from favonius.chat.token_bytes import Spelling, TokenBytes, byte_spans
from favonius.errors import UserError
from favonius.types import Messages

CHUNK_CHARACTERS = 4_000_000
"""Text that is encoded at a time: enough to keep the cores busy, little beside a model."""
SAMPLE_EVERY = 512
"""Of so many dialogues of a chunk, one is encoded the slow way too, the first of them."""
FAST_FROM_CHARACTERS = 16_000_000
"""Opening the faster tokenizer pays from about here."""


Outcome = Encoded | UserError
"""What became of one dialogue of many: an error is raised by whom it concerns, not for all of them."""


@dataclass
class Ways:
    """How many dialogues went which way. Where `why` is not empty, it says why the faster tokenizer was not used."""

    dialogues: int = 0
    by_jinja: int = 0
    by_exact_tokenizer: int = 0
    by_offsets: int = 0
    one_by_one: int = 0
    compared: int = 0
    why: str = ""


class Batches:
    """The short cuts for one tokenizer and template.

    `reference` encodes one dialogue the slow way: see ChatFormat.encode.
    """

    def __init__(
        self,
        renderer: Renderer,
        reference: Callable[[Messages, bool, bool], Encoded],
        opening: Opening,
        fast_from: int = FAST_FROM_CHARACTERS,
    ) -> None:
        self._tokenizer = renderer.tokenizer
        self._backend = renderer.tokenizer.backend_tokenizer
        self._renderer, self._reference, self._opening = renderer, reference, opening
        self._skeletons = Skeletons(renderer)
        self._spelling = Spelling.of(self._backend)
        self._bytes = TokenBytes(self._tokenizer, self._spelling) if self._spelling is not None else None
        self._fast: FastTokens | None = None
        self._fast_from, self._read = fast_from, 0
        self._trusted = True
        self.ways = Ways()

    def encode(self, dialogues: Sequence[Messages], finished: Sequence[bool], only_last: bool) -> list[Outcome]:
        self._read += sum(len(message.content) for messages in dialogues for message in messages)
        if self._read >= self._fast_from and self._fast is None and not self.ways.why:
            self._open_fast()
        outcomes: list[Outcome] = []
        for begin, end in _chunks(dialogues):
            outcomes += self._chunk(dialogues[begin:end], finished[begin:end], only_last)
        return outcomes

    def _open_fast(self) -> None:
        try:
            if self._spelling is None or self._bytes is None:
                raise UnsuitableError("the tokenizer is of no kind that is known to spell text out")
            self._fast = FastTokens(self._backend, self._spelling, self._bytes.size)
        except UnsuitableError as error:
            self.ways.why = str(error)

    def _chunk(self, dialogues: Sequence[Messages], finished: Sequence[bool], only_last: bool) -> list[Outcome]:
        self.ways.dialogues += len(dialogues)
        if not self._trusted:
            return self._one_by_one(dialogues, finished, only_last)
        rendered = [self._render(*dialogue, only_last) for dialogue in zip(dialogues, finished, strict=True)]
        encoded = iter(self._encode([one for one in rendered if isinstance(one, Rendered)]))
        outcomes = [next(encoded) if isinstance(one, Rendered) else one for one in rendered]
        sample = range(0, len(dialogues), SAMPLE_EVERY)
        compared = self._one_by_one([dialogues[i] for i in sample], [finished[i] for i in sample], only_last)
        self.ways.compared += len(sample)
        if all(_same(outcomes[index], slow) for index, slow in zip(sample, compared, strict=True)):
            return outcomes
        warnings.warn(
            "encoding many dialogues at once gives other tokens than one at a time, which is done from here on and "
            "slower; please report the tokenizer and its chat template",
            stacklevel=2,
        )
        self._trusted = False
        return self._one_by_one(dialogues, finished, only_last)

    def _one_by_one(self, dialogues: Sequence[Messages], finished: Sequence[bool], only_last: bool) -> list[Outcome]:
        return [self._slowly(messages, ended, only_last) for messages, ended in zip(dialogues, finished, strict=True)]

    def _slowly(self, messages: Messages, finished: bool, only_last: bool) -> Outcome:
        self.ways.one_by_one += 1
        try:
            return self._reference(messages, finished, only_last)
        except UserError as error:
            return error.with_traceback(None)  # which would keep the whole chunk in memory

    def _render(self, messages: Messages, finished: bool, only_last: bool) -> Rendered | UserError:
        try:
            rendered = self._skeletons.dialogue(messages, finished, only_last)
            if rendered is None:
                self.ways.by_jinja += 1
                rendered = self._renderer.dialogue(messages, finished, only_last)
            return rendered
        except UserError as error:
            return error.with_traceback(None)

    def _encode(self, rendered: Sequence[Rendered]) -> list[Encoded]:
        if self._bytes is None or not rendered:
            self.ways.by_offsets += len(rendered)
            return by_offsets(self._tokenizer, rendered, self._opening)
        texts = [one.text for one in rendered]
        rows = self._rows(texts)
        places = self._bytes.places(rows, texts)
        marks = places.overlapping([byte_spans(one.text, one.spans) for one in rendered])
        ids = np.concatenate(rows)
        borders = zip(texts, places.first[:-1].tolist(), places.first[1:].tolist(), strict=True)
        encoded = [self._opening.before(text, ids[begin:end], marks[begin:end]) for text, begin, end in borders]
        self._correct(encoded, rendered, np.flatnonzero(~places.exact).tolist())
        return encoded

    def _rows(self, texts: Sequence[str]) -> list[Ids]:
        rows = [None] * len(texts) if self._fast is None else self._fast.ids(texts)
        left = [index for index, row in enumerate(rows) if row is None]
        self.ways.by_exact_tokenizer += len(left)
        exact = dict(zip(left, exact_ids(self._backend, [texts[index] for index in left]), strict=True))
        return [exact[index] if row is None else row for index, row in enumerate(rows)]

    def _correct(self, encoded: list[Encoded], rendered: Sequence[Rendered], inexact: Sequence[int]) -> None:
        """Encode anew those whose tokens' places are not known."""
        self.ways.by_offsets += len(inexact)
        anew = by_offsets(self._tokenizer, [rendered[index] for index in inexact], self._opening)
        for index, one in zip(inexact, anew, strict=True):
            encoded[index] = one


def _chunks(dialogues: Sequence[Messages]) -> Iterator[tuple[int, int]]:
    begin = size = 0
    for index, messages in enumerate(dialogues):
        size += sum(len(message.content) for message in messages)
        if size >= CHUNK_CHARACTERS:
            yield begin, index + 1
            begin, size = index + 1, 0
    if begin < len(dialogues):
        yield begin, len(dialogues)


def _same(one: Outcome, other: Outcome) -> bool:
    if isinstance(one, Encoded):
        return one == other
    return type(one) is type(other) and str(one) == str(other)
