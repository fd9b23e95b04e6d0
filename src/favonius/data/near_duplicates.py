"""Texts that were there before, to the letter or nearly.

Two texts are alike when their sets of shingles (runs of `shingle_words` words, see `words.terms`) overlap: shared
shingles / all shingles ≥ `threshold`, the Jaccard similarity. Candidates come from MinHash with banding (Broder 1997;
Indyk and Motwani 1998) by rensa; each is then compared exactly, on 64-bit hashes of its shingles, so that nothing is
called alike that is not. What the bands miss: about 3 % of the pairs just at the threshold, next to none well above.

The first wins: a text is compared with the texts *kept* before it. The outcome is the same on every machine, and
depends on the order of the texts, as likeness does not carry over: a ~ b and b ~ c do not make a ~ c.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from hashlib import blake2b

from rensa import RMinHash, RMinHashLSH

from favonius.data.outlines import Outlines
from favonius.data.words import plain, terms

THRESHOLD = 0.7
SHINGLE_WORDS = 3
BANDS = 32
MOST_ROWS = 16
"""Of a band: keeps signatures short where the threshold is near 1."""
MISSED = 0.03
SEED = 1
FEW = 8
"""Candidates that are compared at once. More come of prompts from one template, nearly alike by the thousand."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """The kept text that another one is like: the name it was kept under, and their similarity in (0, 1]."""

    name: str
    similarity: float


class ExactDuplicateIndex:
    """Texts kept so far, told apart by everything but case, white space and width of letters (`words.plain`).

    Holds a 16-byte digest and the name of each: about 200 bytes a text.
    """

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def first_like(self, text: str) -> Likeness | None:
        """The kept text that this one repeats."""
        return self._likeness(_digest(text))

    def add(self, text: str, name: str) -> None:
        """Keep a text; the name of an equal one that was kept before stays."""
        self._names.setdefault(_digest(text), name)

    def first_like_or_add(self, text: str, name: str) -> Likeness | None:
        """`first_like`; where there is none, the text is kept."""
        key = _digest(text)
        found = self._likeness(key)
        if found is None:
            self._names[key] = name
        return found

    def _likeness(self, key: bytes) -> Likeness | None:
        name = self._names.get(key)
        return None if name is None else Likeness(name, 1.0)


class NearDuplicateIndex:
    """Texts kept so far, by likeness. About 3 kB a text, and 8 bytes more for each of its shingles.

    A text of fewer than `shingle_words` words is alike only to one of the same words. ValueError where `threshold` is
    not in [0.2, 1] or `shingle_words` is below 1.
    """

    def __init__(self, threshold: float = THRESHOLD, shingle_words: int = SHINGLE_WORDS) -> None:
        if not 0.2 <= threshold <= 1 or shingle_words < 1:
            raise ValueError(f"threshold {threshold} and shingle_words {shingle_words} must be in [0.2, 1] and ≥ 1")
        self.threshold, self.shingle_words = threshold, shingle_words
        self._slots = BANDS * rows_of_band(threshold)
        self._bands = RMinHashLSH(threshold=threshold, num_perm=self._slots, num_bands=BANDS)
        self._outlines = Outlines()
        self._names: list[str] = []
        self._hashes = array("Q")
        """Shingles of all kept texts, one after another; those of text `i` end at `_ends[i + 1]`."""
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._names)

    def first_like(self, text: str) -> Likeness | None:
        """The earliest kept text that this one is like."""
        return self._search(self._sketch(text))

    def add(self, text: str, name: str) -> None:
        """Keep a text, whatever it is like."""
        self._keep(self._sketch(text), name)

    def first_like_or_add(self, text: str, name: str) -> Likeness | None:
        """`first_like`; where there is none, the text is kept."""
        sketch = self._sketch(text)
        found = self._search(sketch)
        if found is None:
            self._keep(sketch, name)
        return found

    def _sketch(self, text: str) -> _Sketch:
        shingles = shingles_of(text, self.shingle_words)
        signature = RMinHash(num_perm=self._slots, seed=SEED)
        signature.update(shingles)
        (hashes,) = RMinHash.hash_token_sets([shingles])
        return _Sketch(frozenset(hashes), signature)

    def _search(self, sketch: _Sketch) -> Likeness | None:
        candidates = self._bands.query(sketch.signature)
        if len(candidates) > FEW:
            candidates = self._outlines.possible(sketch.hashes, candidates, self.threshold)
        for kept in sorted(candidates):
            similarity = self._similarity(sketch.hashes, kept)
            if similarity >= self.threshold:
                return Likeness(self._names[kept], similarity)
        return None

    def _similarity(self, hashes: frozenset[int], kept: int) -> float:
        theirs = self._hashes[self._ends[kept] : self._ends[kept + 1]]
        shared = len(hashes.intersection(theirs))
        return shared / (len(hashes) + len(theirs) - shared)

    def _keep(self, sketch: _Sketch, name: str) -> None:
        self._bands.insert(len(self._names), sketch.signature)
        self._outlines.add(sketch.hashes)
        self._names.append(name)
        self._hashes.extend(sketch.hashes)
        self._ends.append(len(self._hashes))


@dataclass(frozen=True, slots=True)
class _Sketch:
    hashes: frozenset[int]
    signature: RMinHash


def shingles_of(text: str, shingle_words: int = SHINGLE_WORDS) -> set[str]:
    """Runs of words; all words where they are fewer; the text itself where there is none (an emoji, "???")."""
    found = terms(text) or [plain(text)]
    runs = max(1, len(found) - shingle_words + 1)
    return {" ".join(found[start : start + shingle_words]) for start in range(runs)}


def rows_of_band(threshold: float) -> int:
    """The most rows a band may have so that a pair at the threshold shares one of BANDS bands with probability ≥ 97 %.

    A band of r rows agrees with probability s^r: 1 - (1 - s^r)^BANDS ≥ 1 - MISSED. More rows make fewer candidates.
    """
    if threshold == 1:
        return MOST_ROWS
    agrees = 1 - MISSED ** (1 / BANDS)
    return max(1, min(MOST_ROWS, int(math.log(agrees) / math.log(threshold))))


def _digest(text: str) -> bytes:
    return blake2b(plain(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
