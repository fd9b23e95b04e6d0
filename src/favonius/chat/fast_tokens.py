"""A faster tokenizer beside the exact one, believed only as far as it was seen to be the same.

`gigatoken` (extra `fast`) keeps the ids of words it has seen and reads text by SIMD: ten times and more the speed of
`tokenizers`. Where the two are known to differ, the exact one is asked:
- characters that Unicode got lately: their tables are of different years. Those that the running Python does not know
  are left out, and those on which a comparison of all others found a difference;
- vocabularies without some bytes (SmolLM2's): `tokenizers` drops these, gigatoken refuses the vocabulary. Here they
  get ids above the vocabulary, and a text in which one turns up goes to the exact one;
- texts that normalising to NFC would change.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel

from favonius.chat import probe_texts
from favonius.chat.encoded import Ids
from favonius.chat.token_bytes import Spelling
from favonius.errors import brief

CODE_POINTS = 0x110000
REOPEN_BYTES = 1 << 30
"""After so much text gigatoken is opened anew: its memory of words grows with the text (7 bytes a byte at worst)."""


class UnsuitableError(Exception):
    """There is no faster tokenizer that is the same as this one; the message says why."""


def exact_ids(backend: Any, texts: Sequence[str]) -> list[Ids]:
    """By `tokenizers`, on all cores, without offsets."""
    rows = backend.encode_batch_fast(list(texts), add_special_tokens=False)
    return [np.array(row.ids, dtype=np.uint32) for row in rows]


class FastTokens:
    """gigatoken for one tokenizer. Opening takes a second or two, and compares the two on probe texts.

    UnsuitableError where it is not installed, does not know this kind of tokenizer, or differs from it.
    """

    def __init__(self, backend: Any, spelling: Spelling, size: int) -> None:
        """`size` is one more than the largest id."""
        self._backend, self._spelling, self._size = backend, spelling, size
        self._json = _with_all_bytes(backend.to_str(), size) if spelling.byte_level else backend.to_str()
        self._open()
        self._settled = np.array([unicodedata.category(chr(code)) != "Cn" for code in range(CODE_POINTS)])
        codes = probe_texts.characters()
        self._settled[codes] = self._same_characters(codes)
        texts = probe_texts.texts([token.content for token in backend.get_added_tokens_decoder().values()])
        if different := sum(not same for same in self._same(texts)):
            raise UnsuitableError(f"gigatoken differs from tokenizers on {different} of {len(texts)} probe texts")

    def ids(self, texts: Sequence[str]) -> list[Ids | None]:
        """None for a text that only the exact tokenizer may be asked about."""
        if self._read > REOPEN_BYTES:
            self._open()
        certain = [index for index, text in enumerate(texts) if text.isascii() or self._is_certain(text)]
        rows: list[Ids | None] = [None] * len(texts)
        for index, row in zip(certain, self._rows([texts[index] for index in certain]), strict=True):
            rows[index] = row if not len(row) or row.max() < self._size else None
        return rows

    def _open(self) -> None:
        try:
            import gigatoken
        except ImportError as error:
            raise UnsuitableError("gigatoken is not installed: pip install 'favonius[fast]'") from error
        try:
            self._tokenizer = gigatoken.Tokenizer.from_json(self._json)
        except Exception as error:  # of its own kinds, for what it does not support
            raise UnsuitableError(f"gigatoken does not read this tokenizer ({brief(error)})") from error
        self._read = 0

    def _is_certain(self, text: str) -> bool:
        codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        return bool(self._settled[codes].all()) and (
            not self._spelling.composes or unicodedata.is_normalized("NFC", text)
        )

    def _rows(self, texts: list[str]) -> list[Ids]:
        if not texts:
            return []
        self._read += sum(map(len, texts))
        layout = self._tokenizer.encode_batch(texts).layout
        ids: Ids = layout.content.data
        offsets: NDArray[np.int64] = layout.offsets.data
        return [ids[begin:end] for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]

    def _same(self, texts: list[str]) -> list[bool]:
        """For each text, whether both give the same ids, or only the exact one would be asked."""
        exact = exact_ids(self._backend, texts)
        return [row is None or np.array_equal(row, other) for row, other in zip(self.ids(texts), exact, strict=True)]

    def _same_characters(self, codes: Sequence[int]) -> list[bool]:
        """`_same` for characters: in groups of 16, those of a group that differs one by one."""
        texts = [probe_texts.around(code) for code in codes]
        if self._spelling.composes:  # others are never asked of gigatoken
            texts = [unicodedata.normalize("NFC", text) for text in texts]
        groups = self._same(["".join(texts[begin : begin + 16]) for begin in range(0, len(codes), 16)])
        same = [groups[index // 16] for index in range(len(codes))]
        doubted = [index for index, equal in enumerate(same) if not equal]
        for index, equal in zip(doubted, self._same([texts[index] for index in doubted]), strict=True):
            same[index] = equal
        return same


def _with_all_bytes(tokenizer: str, size: int) -> str:
    """A byte-level tokenizer.json in which every byte has a token: those that have none get ids from `size` on."""
    parsed = json.loads(tokenizer)
    vocabulary = parsed["model"]["vocab"]
    missing = sorted(character for character in ByteLevel.alphabet() if character not in vocabulary)
    vocabulary.update(zip(missing, count(size), strict=False))
    return json.dumps(parsed) if missing else tokenizer
