"""Going through contests: printed one after another, or asked about one at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TextIO

from favonius.doctor.paint import Paint
from favonius.review import text
from favonius.review.agreement import verdicts
from favonius.review.choose import Deck
from favonius.review.contest import Contest
from favonius.review.labels import Labels, Verdict
from favonius.review.text import Sheet

MOVES = "Enter next · p previous · j N go to N · m all of the texts · q leave"
SAYING = "1 or 2 is better · t tie · s skip · v who says what"
SPOKEN: dict[str, Verdict] = {"1": "first", "2": "second", "t": "tie", "s": "skip"}
LEAST_LINES = 12
AROUND = 18
"""Lines of a screen that are not the answers': the prompt, the names, the opinions, the question."""


def print_all(deck: Deck, limit: int, labels: Labels | None, writing: TextIO, paint: Paint) -> None:
    """Everything, plainly, without asking."""
    sheet = Sheet(shutil.get_terminal_size().columns, None, paint)
    contests = deck.contests[:limit]
    _write(writing, text.opening(deck, len(contests), sheet))
    for number, contest in enumerate(contests, start=1):
        found = [voice.opinion(contest) for voice in deck.voices]
        _write(writing, text.head(contest, number, len(contests), sheet))
        _write(writing, text.answers(contest, sheet, named=True))
        verdict = labels.verdict(contest) if labels is not None else None
        if verdict is not None:
            _write(writing, text.verdict_line(verdict, found, sheet))
        _write(writing, text.opinions(found, sheet))
    _close(deck, labels, sheet, writing)


@dataclass
class Walk:
    """One person going through a deck. Where `labels` are to be made, the judges' words and the authors' names are
    shown once the person has spoken: whoever reads them first is no second opinion."""

    deck: Deck
    limit: int
    labels: Labels | None
    reading: TextIO
    writing: TextIO
    paint: Paint
    at: int = 0
    revealed: set[str] = field(default_factory=set)
    """Keys of contests whose words the person asked for before speaking."""

    @property
    def contests(self) -> tuple[Contest, ...]:
        return self.deck.contests[: self.limit]

    @property
    def _commands(self) -> str:
        return MOVES if self.labels is None else f"{SAYING}\n{MOVES}"

    def run(self) -> None:
        """Until the person leaves or nothing is left to look at."""
        self._write(text.opening(self.deck, len(self.contests), self._sheet()))
        self._tell(self._commands)
        self.at = self._unsaid(0) if self.labels is not None else 0
        if self.at == len(self.contests):
            self._tell("You have given your verdict on all of these.")
        while self.at < len(self.contests):
            self._show(self._sheet())
            if not self._ask():
                break
        _close(self.deck, self.labels, self._sheet(), self.writing)

    def _show(self, sheet: Sheet) -> None:
        contest = self.contests[self.at]
        said = self.labels.verdict(contest) if self.labels is not None else None
        is_open = self.labels is None or said is not None or contest.key in self.revealed
        self._write(text.head(contest, self.at + 1, len(self.contests), sheet))
        self._write(text.answers(contest, sheet, named=is_open))
        if is_open:
            self._words(contest, said, sheet)

    def _words(self, contest: Contest, said: Verdict | None, sheet: Sheet) -> None:
        found = [voice.opinion(contest) for voice in self.deck.voices]
        if said is not None:
            self._write(text.verdict_line(said, found, sheet))
        self._write(text.opinions(found, sheet))

    def _ask(self) -> bool:
        """Take commands until one leads to another contest. False where the person leaves."""
        while True:
            self.writing.write("> ")
            self.writing.flush()
            line = self.reading.readline()
            word = line.strip().lower()
            if not line or word in ("q", "quit"):
                return False
            if self._moves(word):
                return True

    def _moves(self, word: str) -> bool:
        """Do what `word` says; whether there is something else to show then."""
        contest = self.contests[self.at]
        number = word.removeprefix("jump").removeprefix("j").strip()
        if word in ("", "n", "next"):
            self.at = self.at + 1 if self.labels is None else self._unsaid(self.at + 1)
        elif word in ("p", "previous"):
            self.at = max(0, self.at - 1)
        elif word.startswith("j") and number.isdecimal() and 1 <= int(number) <= len(self.contests):
            self.at = int(number) - 1
        elif word in ("m", "more"):
            self._show(Sheet(self._sheet().width, None, self.paint))
            return False
        elif self.labels is not None and word in SPOKEN:
            self._say(self.labels, contest, SPOKEN[word])
        elif self.labels is not None and word in ("v", "view"):
            self.revealed.add(contest.key)
            self._words(contest, self.labels.verdict(contest), self._sheet())
            return False
        else:
            self._help(word)
            return False
        return True

    def _say(self, labels: Labels, contest: Contest, verdict: Verdict) -> None:
        """Write it down, show in brief what the others say, go on to what is still open."""
        labels.say(contest, verdict)
        found = [voice.opinion(contest) for voice in self.deck.voices]
        sheet = self._sheet()
        self._write(text.authors(contest, sheet))
        self._write(text.verdict_line(verdict, found, sheet))
        self._write([*text.table(found, sheet), ""])
        self.at = self._unsaid(self.at + 1)

    def _help(self, word: str) -> None:
        if word in SPOKEN:
            self._tell("Verdicts are written down with --labels FILE.")
        elif word not in ("?", "h", "help"):
            self._tell(f"There is no {word!r} here.")
        self._tell(self._commands)

    def _unsaid(self, start: int) -> int:
        """The first contest from `start` on without a verdict."""
        labels = self.labels
        waiting = (at for at in range(start, len(self.contests)) if not labels or not labels.verdict(self.contests[at]))
        return next(waiting, len(self.contests))

    def _sheet(self) -> Sheet:
        """The terminal may have been made wider meanwhile."""
        size = shutil.get_terminal_size()
        return Sheet(size.columns, max(LEAST_LINES, size.lines - AROUND), self.paint)

    def _tell(self, sentence: str) -> None:
        self._write([self.paint.aside(sentence)])

    def _write(self, lines: Iterable[str]) -> None:
        _write(self.writing, lines)


def _write(writing: TextIO, lines: Iterable[str]) -> None:
    writing.writelines(f"{line}\n" for line in lines)


def _close(deck: Deck, labels: Labels | None, sheet: Sheet, writing: TextIO) -> None:
    if labels is not None:
        found = verdicts(deck, labels)
        if found.said:
            _write(writing, text.closing(found, deck, sheet))
