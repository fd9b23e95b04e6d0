"""Where tokens stand in a text, from the number of bytes that each stands for.

The tokens of byte-level and byte-fallback vocabularies are pieces of the text, end to end, so that their lengths added
up are their places, and the slow path of `tokenizers` that keeps offsets is not needed. The result is what its offsets
say: `Places.exact` is False for texts where the lengths do not add up (a character that the vocabulary cannot spell,
a normaliser that changed something), whose offsets must be asked for.
"""

from __future__ import annotations

import json
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel

from favonius.chat.encoded import Ids, Marks
from favonius.chat.rendering import Span

SPACE = "▁"
"""What SentencePiece writes for a space."""
IMPOSSIBLE = 1 << 24
"""The length of a token that stands for anything: no text adds up with it."""
Dummy = Literal["none", "text", "segments"]
"""Where SentencePiece puts a space that the text has not: nowhere, at its begin, or also after every added token."""


@dataclass(frozen=True)
class Spelling:
    """How a tokenizer spells text, of the kinds whose tokens are pieces of it."""

    byte_level: bool
    """Every character of a token is a byte; else it is text with SPACE for a space, or a byte as <0x0A>."""
    dummy: Dummy = "none"
    composes: bool = False
    """Texts are NFC-normalised first."""
    trims: bool = False
    """Offsets leave out the spaces around a token."""

    @classmethod
    def of(cls, backend: Any) -> Spelling | None:
        """None for a kind that is not known here."""
        model = backend.model
        if type(model).__name__ != "BPE" or model.continuing_subword_prefix or model.end_of_word_suffix:
            return None
        steps = [*_steps(backend.normalizer), *_steps(backend.pre_tokenizer)]
        kinds = {step["type"] for step in steps}
        processors = [step for step in _steps(backend.post_processor) if step["type"] == "ByteLevel"]
        trims = any(step["trim_offsets"] for step in processors)
        if kinds <= {"NFC", "Split", "Digits", "Punctuation", "ByteLevel"} and "ByteLevel" in kinds:
            if any(step.get("add_prefix_space") for step in steps) or _removes(steps):
                return None
            if trims and any(step["add_prefix_space"] for step in processors):
                return None
            return cls(byte_level=True, composes="NFC" in kinds, trims=trims)
        dummy = _dummy(steps)
        return None if dummy is None or processors or _removes(steps) else cls(byte_level=False, dummy=dummy)


@dataclass(frozen=True)
class Places:
    """Where the tokens of several texts stand, in bytes, one text after the other."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first: NDArray[np.int64]
    """Index of each text's first token, and the number of tokens."""
    base: NDArray[np.int64]
    """Where each text begins."""
    exact: NDArray[np.bool_]
    """For each text, whether its tokens' places are known."""

    def overlapping(self, spans: Sequence[Sequence[Span]]) -> Marks:
        """For every token, whether it overlaps one of its text's `spans`, which are in bytes."""
        owners = [index for index, own in enumerate(spans) for _ in own]
        borders = np.array([span for own in spans for span in own], dtype=np.int64).reshape(-1, 2)
        borders += self.base[owners][:, None]
        begins = np.searchsorted(self.ends, borders[:, 0], side="right")
        stops = np.searchsorted(self.starts, borders[:, 1], side="left")
        marks = np.zeros(len(self.ends), dtype=np.bool_)
        first = self.first.tolist()
        for begin, stop, owner in zip(begins.tolist(), stops.tolist(), owners, strict=True):
            marks[max(begin, first[owner]) : min(stop, first[owner + 1])] = True
        return marks


class TokenBytes:
    """The lengths of all tokens of a tokenizer (transformers' fast one) whose spelling is `spelling`."""

    def __init__(self, tokenizer: Any, spelling: Spelling) -> None:
        self.spelling = spelling
        backend = tokenizer.backend_tokenizer
        pieces = {index: token for token, index in backend.get_vocab(with_added_tokens=False).items()}
        added = {index: token.content for index, token in tokenizer.added_tokens_decoder.items()}
        self.size = size = max([*pieces, *added]) + 1
        self._lengths = np.full(size, IMPOSSIBLE, dtype=np.int64)
        alphabet = frozenset(ByteLevel.alphabet())
        for index, piece in pieces.items():
            self._lengths[index] = self._length(piece, alphabet)
        for index, content in added.items():
            self._lengths[index] = len((content if spelling.byte_level else content.replace(SPACE, " ")).encode())
        self._added = np.zeros(size, dtype=np.bool_)
        self._added[list(added)] = True
        if backend.model.unk_token is not None:
            self._lengths[backend.token_to_id(backend.model.unk_token)] = IMPOSSIBLE
        self._spaces = _spaces({**pieces, **added}, size) if spelling.trims else None

    def _length(self, piece: str, alphabet: frozenset[str]) -> int:
        if self.spelling.byte_level:
            return len(piece) if alphabet.issuperset(piece) else IMPOSSIBLE
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return 1
        return len(piece.replace(SPACE, " ").encode())

    def places(self, rows: Sequence[Ids], texts: Sequence[str]) -> Places:
        """Of the tokens of each text. All ids must be below the vocabulary's size."""
        first = np.cumsum([0, *map(len, rows)])
        ids = np.concatenate(rows)
        lengths = self._lengths[ids]
        opening = self._dummies(ids, first, texts)
        lengths[opening] -= 1
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        starts, ends = bounds[:-1], bounds[1:].copy()
        # A token that is nothing but the dummy space has the place of the character that follows it.
        ends[opening] += lengths[opening] == 0
        if self._spaces is not None:
            leading, trailing = self._spaces
            starts = np.minimum(starts + leading[ids], ends)
            ends = np.maximum(ends - trailing[ids], starts)
        base = bounds[first]
        sizes = np.array([byte_length(text) for text in texts], dtype=np.int64)
        exact = (np.diff(base) == sizes) & np.array([self._unchanged(text) for text in texts], dtype=np.bool_)
        return Places(starts, ends, first, base[:-1], exact)

    def _dummies(self, ids: Ids, first: NDArray[np.int64], texts: Sequence[str]) -> NDArray[np.int64]:
        """Indices of the tokens that open with a space which is not in the text."""
        openings = np.zeros(len(ids), dtype=np.bool_)
        if self.spelling.dummy != "none":
            opened = [self.spelling.dummy == "segments" or not text.startswith((" ", SPACE)) for text in texts]
            openings[first[:-1][np.diff(first) * opened > 0]] = True
        if self.spelling.dummy == "segments":
            openings[1:] |= self._added[ids[:-1]]
        return np.flatnonzero(openings & ~self._added[ids])

    def _unchanged(self, text: str) -> bool:
        return not self.spelling.composes or text.isascii() or unicodedata.is_normalized("NFC", text)


def byte_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def byte_spans(text: str, spans: Sequence[Span]) -> Sequence[Span]:
    """Spans of characters as spans of bytes. They are in order and do not overlap."""
    if text.isascii():
        return spans
    found = []
    seen = position = 0
    for start, end in spans:
        begin = position + byte_length(text[seen:start])
        seen, position = end, begin + byte_length(text[start:end])
        found.append((begin, position))
    return found


def _steps(component: Any) -> list[dict[str, Any]]:
    """A normaliser's, pre-tokenizer's or post-processor's steps as tokenizer.json writes them."""
    if component is None:
        return []
    state = json.loads(component.__getstate__())
    if state["type"] != "Sequence":
        return [state]
    return next(steps for steps in state.values() if isinstance(steps, list))


def _removes(steps: Sequence[dict[str, Any]]) -> bool:
    """Whether the text between two pieces is lost."""
    return any(step.get("behavior") == "Removed" for step in steps)


def _dummy(steps: Sequence[dict[str, Any]]) -> Dummy | None:
    """Where the dummy space stands for one of the known ways to write SPACE for a space; None for others."""
    kinds = tuple(step["type"] for step in steps if step["type"] != "Split")
    *_, last = [step for step in steps if step["type"] != "Split"] or [{}]
    replaces = last.get("pattern") == {"String": " "} and last.get("content") == SPACE
    if kinds == ("Replace",) and replaces:
        return "none"
    if kinds == ("Prepend", "Replace") and replaces and steps[0]["prepend"] == SPACE:
        return "segments"
    if kinds == ("Metaspace",) and last["replacement"] == SPACE:
        # Where the scheme is "always", the text after an added token decides, which is not looked at here.
        schemes: dict[str, Dummy] = {"first": "text", "never": "none"}
        return schemes.get(last["prepend_scheme"])
    return None


def _spaces(pieces: dict[int, str], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many spaces each token begins and ends with."""
    leading, trailing = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    spaces = "Ġ" + string.whitespace
    for index, piece in pieces.items():
        leading[index] = len(piece) - len(piece.lstrip(spaces))
        trailing[index] = len(piece) - len(piece.rstrip(spaces))
    return leading, trailing
