"""How long near-duplicate removal takes on short prompts, how much memory, and what it finds of what was planted.

    python -m benchmarks.near_duplicates --prompts 1000000

The prompts (10 to 40 words) are made from templates and a seeded list of made-up words, drawn by Zipf's law. One in
ten repeats one of the prompts before it with words changed, taken out or put in; it counts as planted where its exact
similarity to that prompt reaches the threshold. Making the prompts is not timed.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import NamedTuple

from favonius.data.near_duplicates import SHINGLE_WORDS, THRESHOLD, NearDuplicateIndex, shingles_of

SHARE_PLANTED = 0.1
RECENT = 10_000
"""A planted prompt repeats one of so many before it, so that the maker needs to remember no more."""
SYLLABLES = tuple(head + tail for head in "bdfghklmnprstvz" for tail in ("a", "e", "i", "o", "u", "an", "er", "ol"))


class Prompt(NamedTuple):
    text: str
    planted: bool


@dataclass(frozen=True)
class Maker:
    """Prompts without end, the same for the same seed."""

    seed: int = 0
    words: int = 50_000
    templates: int = 200

    def prompts(self) -> Iterator[Prompt]:
        draw = random.Random(self.seed)
        vocabulary = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(self.words)]
        zipf = list(accumulate(1 / rank for rank in range(1, self.words + 1)))
        templates = [draw.choices(vocabulary, cum_weights=zipf, k=draw.randint(3, 10)) for _ in range(self.templates)]
        recent: deque[str] = deque(maxlen=RECENT)
        while True:
            if recent and draw.random() < SHARE_PLANTED:
                origin = draw.choice(recent)
                text = edited(origin, draw, vocabulary)
                yield Prompt(text, similarity(origin, text) >= THRESHOLD)
                continue
            opening = draw.choice(templates)
            rest = draw.choices(vocabulary, cum_weights=zipf, k=max(10 - len(opening), draw.randint(5, 30)))
            text = " ".join([*opening, *rest]).capitalize() + draw.choice("?.")
            recent.append(text)
            yield Prompt(text, False)


def edited(text: str, draw: random.Random, vocabulary: list[str]) -> str:
    """Up to a tenth of the words, or none but case and stop, changed."""
    words = text.rstrip("?.").lower().split()
    for _ in range(draw.randint(0, max(1, len(words) // 10))):
        place = draw.randrange(len(words))
        words[place : place + draw.randint(0, 1)] = draw.choices(vocabulary, k=draw.randint(0, 1))
    return " ".join(words)


def similarity(one: str, other: str) -> float:
    left, right = shingles_of(one), shingles_of(other)
    return len(left & right) / len(left | right)


def measure(count: int, seed: int) -> dict[str, object]:
    """Seconds of one core, peak memory of the process, share of the planted that were found."""
    index = NearDuplicateIndex()
    source = islice(Maker(seed).prompts(), count)
    seconds = 0.0
    planted = found = unplanted = 0
    while batch := list(islice(source, 10_000)):
        began = time.perf_counter()
        likes = [index.first_like_or_add(prompt.text, "") for prompt in batch]
        seconds += time.perf_counter() - began
        for prompt, like in zip(batch, likes, strict=True):
            planted += prompt.planted
            found += prompt.planted and like is not None
            unplanted += not prompt.planted and like is not None
    return {
        "prompts": count,
        "threshold": THRESHOLD,
        "shingle_words": SHINGLE_WORDS,
        "seconds": round(seconds, 1),
        "prompts_per_second": round(count / seconds),
        "peak_memory_GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit() / 2**30, 2),
        "planted": planted,
        "recall": round(found / max(1, planted), 4),
        "others_dropped": unplanted,
        "kept": len(index),
    }


def unit() -> int:
    """Of ru_maxrss, in bytes."""
    return 1 if sys.platform == "darwin" else 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.prompts, arguments.seed), indent=2))


if __name__ == "__main__":
    main()
