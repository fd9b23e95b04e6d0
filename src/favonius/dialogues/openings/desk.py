"""Where one sector's openings are made: the teacher is asked, and usable openings are kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from favonius.data.checks import Drops
from favonius.data.near_duplicates import NearDuplicateIndex
from favonius.data.splits import share_of
from favonius.data.words import plain, words
from favonius.dialogues.asking import asks
from favonius.dialogues.draws import drawn
from favonius.dialogues.openings.config import OpeningsConfig
from favonius.dialogues.openings.lists import bare, items_of
from favonius.dialogues.openings.rules import MOST_WORDS, fault
from favonius.engines.asked import Failure
from favonius.engines.interview import Interview
from favonius.types import Completion, Message, Messages, SeedPrompt, digest

T = TypeVar("T")


class Desk:
    """One sector's: asks the teacher at most `left` times; what is lost is counted by cause in `drops`.

    `taken` holds the words of every opening of the stage so far, and is added to.
    """

    def __init__(
        self, sector: str, teacher: Interview, config: OpeningsConfig, left: int, taken: set[str], drops: Drops
    ) -> None:
        self.sector, self.teacher, self.config = sector, teacher, config
        self.left, self.taken, self.drops = left, taken, drops
        self.asked = 0

    def pool(self, wanted: int, similarity: float | None = None, known: Sequence[str] = ()) -> Pool:
        return Pool(wanted, self, similarity, known)

    def opening(self, prompt: str, **fields: Any) -> SeedPrompt:
        """Its name follows from the text: the same opening has it in every run."""
        return SeedPrompt(id=f"{self.sector}-{digest(prompt)[:12]}", prompt=prompt, sector=self.sector, **fields)

    def draw(self, found: Iterable[T], count: int, purpose: str, text: Callable[[T], str] = str) -> list[T]:
        """`count` of them, in an order of this sector's own (see `drawn`)."""
        return drawn(found, count, text, f"{self.sector} {self.config.seed} {purpose}")

    def sample(self, found: Sequence[T], count: int, purpose: str) -> list[T]:
        """As `draw`, from what lies in a fixed order: much quicker where many draws are made from many things."""
        order = random.Random(f"{self.sector} {self.config.seed} {purpose}")
        return order.sample(found, min(count, len(found)))

    def chance(self, text: str, purpose: str) -> float:
        """A number in [0, 1) that depends on sector, seed, purpose and text."""
        return share_of(f"{self.sector} {self.config.seed} {purpose}", text)

    def shown(self, prompt: str, example: tuple[str, str]) -> Messages:
        """The prompt behind one that was answered well, which small models need to keep to a form, and sometimes
        copy. An example in English would make them write English."""
        if self.config.language is not None:
            return turns(prompt)
        self.taken.update(normal(item) for item in items_of(example[1]))
        return turns(*example, prompt)

    def lists(self, prompts: Sequence[Messages], label: str, sample: int = 0) -> list[list[str]]:
        """The items that each prompt brings: none where the teacher fails, or where no request is left."""
        return [[] if reply is None else self._items(reply) for reply in self._ask(prompts, label, sample)]

    def texts(self, prompts: Sequence[Messages], label: str, sample: int = 0) -> list[str | None]:
        """The one text that each prompt brings, without quotes around it: None likewise, and where it is cut off."""
        found: list[str | None] = []
        for reply in self._ask(prompts, label, sample):
            if reply is not None and reply.finish == "length":
                self.drops.add("cut off by max_tokens", reply.text)
            found.append(bare(reply.text) if reply is not None and reply.finish == "stop" else None)
        return found

    def _items(self, reply: Completion) -> list[str]:
        found = items_of(reply.text, cut_off=reply.finish == "length")
        if not found:
            self.drops.add("reply without a list", reply.text)
        return found

    def _ask(self, prompts: Sequence[Messages], label: str, sample: int) -> list[Completion | None]:
        """Replies in the order of the prompts; those for which no request is left are not asked."""
        asked = prompts[: self.left]
        self.left -= len(asked)
        self.asked += len(asked)
        named = {str(index): self._worded(prompt) for index, prompt in enumerate(asked)}
        replies = self.teacher.ask(named, self.config.sampling, f"  {label}", sample) if named else {}
        found: list[Completion | None] = []
        for reply in replies.values():
            if isinstance(reply, Failure):
                self.drops.add("teacher failed", reply.cause)
            found.append(None if isinstance(reply, Failure) else reply)
        return found + [None] * (len(prompts) - len(asked))

    def _worded(self, prompt: Messages) -> Messages:
        if self.config.language is None:
            return prompt
        text = f"{prompt[-1].content}\nWrite in {self.config.language}."
        return (*prompt[:-1], Message(role="user", content=text))

    def is_new(self, text: str) -> bool:
        """Whether no opening said this before; from now on one does."""
        form = normal(text)
        if form in self.taken:
            return False
        self.taken.add(form)
        return True

    def fault(self, said: str, most_words: int) -> str | None:
        """What is wrong with an opening that the teacher wrote. Whether it asks for something is seen in English."""
        found = fault(said, most_words)
        return found or ("asks for nothing" if self.config.language is None and not asks(said) else None)


class Pool:
    """Usable openings, until there are `wanted`.

    With `similarity`, an opening that
    shares so large a part of its words with an earlier one of this pool, or with a text of `known`, is no new one.
    """

    def __init__(self, wanted: int, desk: Desk, similarity: float | None, known: Sequence[str]) -> None:
        self.wanted, self.desk = wanted, desk
        self.kept: list[SeedPrompt] = []
        self._alike = None if similarity is None else NearDuplicateIndex(similarity, shingle_words=1)
        if self._alike is not None:
            for text in known:
                self._alike.add(text, "")

    @property
    def missing(self) -> int:
        return max(0, self.wanted - len(self.kept))

    def waves(self) -> Iterator[int]:
        """0, 1, 2 …, while openings are missing and the last wave brought some."""
        before, number = -1, 0
        while self.missing and len(self.kept) > before:
            before = len(self.kept)
            yield number
            number += 1

    def add(self, opening: SeedPrompt, said: str | None = None, most_words: int = MOST_WORDS) -> bool:
        """Keep an opening, or count why not. `said` is what the teacher wrote of it, where that is not all."""
        cause = self.desk.fault(said or opening.prompt, most_words)
        if cause is not None:
            self.desk.drops.add(cause, said or opening.prompt)
            return False
        return self.add_given(opening)

    def add_given(self, opening: SeedPrompt) -> bool:
        """Keep an opening of the user's own, whatever it says, unless it was there before."""
        cause = self._repeats(opening.prompt)
        if cause is not None:
            self.desk.drops.add(cause, opening.prompt)
            return False
        self.kept.append(opening)
        return True

    def _repeats(self, text: str) -> str | None:
        """Which earlier text this one repeats; from now on it is one of them."""
        if not self.desk.is_new(text):
            return "said before"
        is_like = self._alike is not None and self._alike.first_like_or_add(text, "") is not None
        return "like one said before" if is_like else None


def normal(text: str) -> str:
    """Equal for texts that differ in case, spaces and punctuation only."""
    return " ".join(words(text)) or plain(text)


def turns(*texts: str) -> Messages:
    """User, assistant, user …"""
    return tuple(Message(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(texts))
