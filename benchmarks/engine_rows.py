"""The engine benchmark's requests: made as they are taken, all different, with beginnings that many share."""

from __future__ import annotations

from collections.abc import Iterator

from favonius.types import Message, Request, Sampling

TOPICS = ("sailing", "bread", "bees", "bridges", "glass", "rain", "clocks", "maps", "chess", "wool")
ASPECTS = ("history", "tools", "mistakes of beginners", "words that one must know", "people who live from it")
PER_BEGINNING = 1000
"""Requests in a row that begin alike, as those of one step do."""


def requests(count: int, model: str, max_tokens: int = 64, start: int = 0) -> Iterator[Request]:
    """Requests `start` … `start + count - 1` of an endless list that is the same on every machine."""
    sampling = Sampling(temperature=0.7, max_tokens=max_tokens)
    system, beginning = Message(role="system", content="-"), -1
    for number in range(start, start + count):
        if number // PER_BEGINNING != beginning:
            beginning = number // PER_BEGINNING
            system = Message(role="system", content=_system(beginning))
        topic, aspect = TOPICS[number % len(TOPICS)], ASPECTS[number // len(TOPICS) % len(ASPECTS)]
        asked = f"Question {number}: what should somebody know about {topic}, above all about its {aspect}? Be brief."
        yield Request(model=model, messages=(system, Message(role="user", content=asked)), sampling=sampling)


def _system(beginning: int) -> str:
    return (
        f"You are guide number {beginning}. Answer the question clearly, in plain words and in two to four sentences; "
        "say so where something is not known, and make nothing up."
    )
