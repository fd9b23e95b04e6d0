"""How varied texts are: topics covered, different runs of words, lexical diversity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from favonius.data.words import words

GRAMS = (1, 2, 3)
MTLD_SHARE = 0.72
"""Of types to tokens, at which a factor is full (McCarthy and Jarvis 2010)."""


def coverage(labels: Iterable[str | None]) -> dict[str, Any]:
    """How many texts each label has, the most frequent first (a Counter of labels is taken as it is), and the evenness:
    the entropy as a share of the highest that so many labels allow. Empty where no text has a label."""
    counts = Counter(labels)
    counts.pop(None, None)
    if not counts:
        return {}
    total = counts.total()
    entropy = -sum(count / total * math.log2(count / total) for count in counts.values())
    return {
        "different": len(counts),
        "entropy_bits": round(entropy, 3),
        "evenness": round(entropy / math.log2(len(counts)), 3) if len(counts) > 1 else 1.0,
        "counts": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
    }


def variety(texts: Sequence[str]) -> dict[str, float]:
    """`distinct_n`: different runs of n words / all of them (Li et al. 2016); `mtld` of all texts in a row."""
    found = [words(text) for text in texts]
    measures = {f"distinct_{n}": round(_distinct(found, n), 4) for n in GRAMS}
    return {**measures, "mtld": round(mtld([word for text in found for word in text]), 1)}


def _distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    grams = Counter(tuple(text[start : start + n]) for text in texts for start in range(len(text) - n + 1))
    return len(grams) / grams.total() if grams else 0.0


def mtld(found: Sequence[str]) -> float:
    """Mean length of runs of words whose share of different words stays above 0.72, forwards and backwards: higher is
    more varied, and unlike the share itself hardly dependent on length. UltraChat's is 74.3; without words it is 0."""
    return (_factor_length(found) + _factor_length(found[::-1])) / 2


def _factor_length(found: Sequence[str]) -> float:
    factors, types, tokens = 0.0, set[str](), 0
    for word in found:
        types.add(word)
        tokens += 1
        if len(types) / tokens <= MTLD_SHARE:
            factors, types, tokens = factors + 1, set(), 0
    if tokens:
        factors += (1 - len(types) / tokens) / (1 - MTLD_SHARE)
    return len(found) / factors if factors else float(len(found))
