"""What the report is told of a dialogues step, gathered while the dialogues pass."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from statistics import fmean
from typing import Any

from favonius.data.checks import Drops
from favonius.data.splits import share_of
from favonius.data.words import words
from favonius.dialogues.conversation import Conversation
from favonius.dialogues.diversity import coverage, variety
from favonius.dialogues.draws import spread
from favonius.types import Dialogue

MEASURED = 1000
"""Dialogues, drawn by their text, whose words are kept to measure variety."""
SHOWN = 6


class Record:
    """Counts of what was asked, dropped and kept."""

    def __init__(self) -> None:
        self.drops = Drops()
        self.asked = 0
        self.kept: Counter[str] = Counter()
        """By split."""
        self.rounds: Counter[int] = Counter()
        self.sources: Counter[str | None] = Counter()
        self.topics: Counter[str | None] = Counter()
        self.words: defaultdict[str, list[int]] = defaultdict(list)
        """Of every turn, by role."""
        self.answer_tokens: list[int] = []
        self._drawn: list[tuple[float, str, Dialogue]] = []

    def add(self, conversation: Conversation) -> None:
        """What became of an opening."""
        self.asked += 1
        if conversation.cause is not None:
            self.drops.add(conversation.cause, f"{conversation.opening.id}: {conversation.sample}")
        self.answer_tokens += conversation.answer_tokens

    def passing(self, rows: Iterable[Dialogue]) -> Iterator[Dialogue]:
        """The rows as they are, on their way to be written."""
        for row in rows:
            self._keep(row)
            yield row

    def _keep(self, dialogue: Dialogue) -> None:
        self.kept[dialogue.split] += 1
        self.rounds[len(dialogue.messages) // 2] += 1
        self.sources[dialogue.source] += 1
        self.topics[dialogue.topic] += 1
        for message in dialogue.messages:
            self.words[message.role].append(len(words(message.content)))
        entry = (-share_of("measured", dialogue.messages[0].content), dialogue.id, dialogue)
        (heapq.heappush if len(self._drawn) < MEASURED else heapq.heappushpop)(self._drawn, entry)

    def stats(self) -> dict[str, Any]:
        drawn = [dialogue for _, _, dialogue in sorted(self._drawn, key=lambda entry: (-entry[0], entry[1]))]
        texts = {
            role: [m.content for d in drawn for m in d.messages if m.role == role] for role in ("user", "assistant")
        }
        return {
            "kept": self.kept.total(),
            **self.drops.record(),
            "seeds": self.asked,
            "held out": self.kept["test"],
            "with a second turn": sum(count for rounds, count in self.rounds.items() if rounds > 1),
            "rounds": {str(number): self.rounds[number] for number in sorted(self.rounds)},
            "words of a turn": {role: round(fmean(counts), 1) for role, counts in self.words.items()},
            "tokens of an answer": round(fmean(self.answer_tokens), 1) if self.answer_tokens else None,
            "sectors": coverage(self.sources),
            "topics": coverage(self.topics),
            "variety": {role: variety(found) for role, found in texts.items()},
            "shown": [_shown(dialogue) for dialogue in spread(drawn, SHOWN, lambda dialogue: dialogue.source)],
        }


def _shown(dialogue: Dialogue) -> dict[str, Any]:
    return dialogue.model_dump(mode="json", exclude={"split"})
