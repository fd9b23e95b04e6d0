"""Training rows that hold what a model will be measured on.

By the rule of an evaluation text:

prompt      in user and system turns, on `words.words`: any RUN_WORDS words in a row that the prompt holds too (Brown
            et al. 2020, appendix C). A prompt with fewer words must stand there as a whole; with fewer than
            PART_WORDS, it must be the whole turn, as "what is AI" is part of many a question that is not that one.
substring   in every turn: the text itself, lower case, with all white space made one space: the alignment handbook's
            rule for HumanEval's docstrings and solutions.

So answers are searched for HumanEval's texts only, and no row for the reference answers of the other benchmarks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from favonius.data.benchmarks_known import EvaluationText
from favonius.data.checks import Drops
from favonius.data.substrings import SubstringIndex
from favonius.data.word_runs import RUN_WORDS, RunIndex
from favonius.data.words import plain, words
from favonius.types import Message, Messages

PART_WORDS = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A turn that holds an evaluation text, or part of it; `matched` is that part in its normal form."""

    benchmark: str
    item: str
    matched: str
    place: str


class EvaluationIndex:
    """Evaluation texts made ready to be searched for."""

    def __init__(self, texts: Iterable[EvaluationText]) -> None:
        self.items: defaultdict[str, set[str]] = defaultdict(set)
        """Names of all items by benchmark."""
        self._long = _Group()
        self._parts = _Group()
        self._whole_turns = _Group()
        self._substrings = _Group()
        self._runs = RunIndex()
        for text in texts:
            self.items[text.benchmark].add(text.item)
            self._add(text)
        self._part_finder = SubstringIndex([f" {part} " for part in self._parts.forms])
        self._substring_finder = SubstringIndex(self._substrings.forms)

    def _add(self, text: EvaluationText) -> None:
        found = words(text.text)
        if text.rule == "substring":
            self._substrings.add(_collapsed(text.text), text)
        elif len(found) >= RUN_WORDS:
            if self._long.add(" ".join(found), text):
                self._runs.add(found)
        elif len(found) >= PART_WORDS:
            self._parts.add(" ".join(found), text)
        else:
            self._whole_turns.add(" ".join(found) or plain(text.text), text)

    def hits(self, messages: Messages) -> list[Hit]:
        """All evaluation texts in a conversation, once for each turn that holds them."""
        found: dict[tuple[str, str, int], Hit] = {}
        for number, message in enumerate(messages):
            for text, matched in self._in_turn(message):
                hit = Hit(text.benchmark, text.item, matched, f"messages[{number}]")
                found.setdefault((text.benchmark, text.item, number), hit)
        return list(found.values())

    def _in_turn(self, message: Message) -> Iterator[tuple[EvaluationText, str]]:
        if message.role != "assistant":
            yield from self._prompts_in(message.content)
        if self._substring_finder:
            for number in self._substring_finder.search(_collapsed(message.content)):
                yield from self._substrings.of(number)

    def _prompts_in(self, content: str) -> Iterator[tuple[EvaluationText, str]]:
        turn = words(content)
        for run in self._runs.search(turn):
            matched = " ".join(turn[run.begin : run.end])
            yield from ((text, matched) for text, _ in self._long.of(run.kept))
        joined = " ".join(turn)
        for number in self._part_finder.search(f" {joined} "):
            yield from self._parts.of(number)
        yield from self._whole_turns.same(joined or plain(content))


class _Group:
    """Texts by their normal form, which several may share; each form has a number."""

    def __init__(self) -> None:
        self.forms: list[str] = []
        self._numbers: dict[str, int] = {}
        self._texts: list[list[EvaluationText]] = []

    def add(self, form: str, text: EvaluationText) -> bool:
        """Whether the form is new."""
        number = self._numbers.setdefault(form, len(self.forms))
        if number < len(self.forms):
            self._texts[number].append(text)
            return False
        self.forms.append(form)
        self._texts.append([text])
        return True

    def of(self, number: int) -> Iterator[tuple[EvaluationText, str]]:
        return ((text, self.forms[number]) for text in self._texts[number])

    def same(self, form: str) -> Iterator[tuple[EvaluationText, str]]:
        number = self._numbers.get(form)
        return iter(()) if number is None else self.of(number)


@dataclass
class Contamination:
    """What was found in the rows of a data set, for its report: benchmark by benchmark."""

    index: EvaluationIndex
    rows: int = 0
    hit_rows: int = 0
    drops: Drops = field(default_factory=Drops)
    """A row counts once for each benchmark that it holds something of; the samples are one item each."""
    items: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, row: str, hits: Sequence[Hit]) -> None:
        """Count one row, named `row` in the samples, with what `EvaluationIndex.hits` said of it."""
        self.rows += 1
        self.hit_rows += bool(hits)
        firsts = {hit.benchmark: hit for hit in reversed(hits)}
        for benchmark, hit in firsts.items():
            self.drops.add(benchmark, f"{row}, {hit.place} holds of {hit.item}: {hit.matched}")
        for hit in hits:
            self.items[hit.benchmark].add(hit.item)

    def record(self) -> dict[str, Any]:
        """For stats.json. Benchmarks with no hit are in it, too: that nothing was found is a finding."""
        return {
            "rows": self.rows,
            "hit_rows": self.hit_rows,
            "benchmarks": {
                name: {
                    "items": len(items),
                    "items_hit": len(self.items.get(name, ())),
                    "rows_hit": self.drops.counts[name],
                    "samples": self.drops.samples.get(name, []),
                }
                for name, items in self.index.items.items()
            },
        }


def _collapsed(text: str) -> str:
    return " ".join(text.lower().split())
