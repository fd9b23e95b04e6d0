"""Which of two answers a judge's reply calls better."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from favonius.judges.spoken.numerals import Unreadable, plain
from favonius.types import Noun

Side = Literal["first", "second", "tie"]
PREFERENCE: dict[Side, float] = {"first": 1.0, "second": 0.0, "tie": 0.5}
NOUNS = r"(?:(?:answer|assistant|response|output|option|model|text)[ \t]+)?"
BETTER = r"(?:better|preferred|best)(?:[ \t]+(?:answer|assistant|response|output|option|model|text|one))?"
LABELS = rf"\b(?:verdict|winner|decision|judge?ment|preference|{BETTER})\b"
SOFT = r"[ \t*_`\"'“”(\[]*"
HARD = r"[ \t*_`\"'“”)\].!]*"


class Names(Noun):
    """What a prompt calls the answer that it shows first, the one that it shows second, and neither being better.

    Case counts: AlpacaEval 2 calls them m and M. Without `tie` the judge has to choose.
    """

    first: str = Field(default="A", pattern=r"^\w+$")
    second: str = Field(default="B", pattern=r"^\w+$")
    tie: str | None = Field(default="C", pattern=r"^\w+$")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len({self.first, self.second, self.tie}) < 3:
            raise ValueError("the names of verdicts must differ")
        return self

    def sides(self) -> dict[str, Side]:
        sides: dict[str, Side] = {self.first: "first", self.second: "second"}
        return sides if self.tie is None else {**sides, self.tie: "tie"}


@dataclass(frozen=True)
class Said:
    """A verdict, and where its name stands in the reply."""

    side: Side
    start: int
    end: int


def read_verdict(reply: str, names: Names, alone: bool = True, cut_off: bool = False) -> Said:
    """The verdict of a reply. Names in brackets, [[A]] or [A], go before a labelled one ("Verdict: A", or A alone on
    the line below the word), and that before a reply that is a name. `alone`: no more than the verdict was asked for,
    so that a reply may also begin with it and go on. Raises Unreadable, also where verdicts of one form differ.
    """
    text = plain(reply)
    if not text.strip():
        raise Unreadable("an empty reply")
    for form in (_bracketed(text, names, 2), _bracketed(text, names, 1), _labelled(text, names, cut_off)):
        verdicts = list(form)
        if len({said.side for said in verdicts}) > 1:
            raise Unreadable("several verdicts that differ")
        if verdicts:
            return verdicts[0]
    return _leading(text, names, alone, cut_off)


def _name(names: Names) -> str:
    found = sorted(map(re.escape, names.sides()), key=len, reverse=True)
    return rf"(?<!\w)(?P<name>{'|'.join(found)}{'' if names.tie is None else '|[Tt]ie'})(?!\w)"


def _said(match: re.Match[str], names: Names) -> Said:
    return Said(names.sides().get(match["name"], "tie"), match.start("name"), match.end("name"))


def _bracketed(text: str, names: Names, brackets: int) -> Iterator[Said]:
    pattern = r"\[" * brackets + r"[ \t]*" + NOUNS + _name(names) + r"[ \t]*" + r"\]" * brackets
    yield from (_said(match, names) for match in re.finditer(pattern, text))


def _labelled(text: str, names: Names, cut_off: bool) -> Iterator[Said]:
    pattern = rf"(?i:{LABELS}){SOFT}(?::|=|\bis\b){SOFT}(?i:{NOUNS}){_name(names)}(?P<rest>[^\n]*)"
    goes_on = rf"{HARD}(?:$|[:(]|[–—-]\s|[,;](?!\s*{_name(names)})|(?<=[.!] )|(?:because|since|as)\b)"
    for match in re.finditer(pattern, text):
        if cut_off and not text[match.end("name") :].strip(" .*"):
            raise Unreadable("cut off by max_tokens")
        if not re.match(goes_on, match["rest"]):
            continue  # "the better answer is A good one", "better: A or B"
        yield _said(match, names)
    yield from _below(text, names, cut_off)


def _below(text: str, names: Names, cut_off: bool) -> Iterator[Said]:
    """A name alone on the line below a heading ("### Verdict"); one of several that stand there is none."""
    name = rf"{SOFT}(?i:{NOUNS}){_name(names)}{HARD}"
    heading = rf"^[ \t#*_>]*(?:\w+[ \t]+)?(?i:{LABELS})[ \t*_:=]*\n"
    for match in re.finditer(rf"{heading}\s*{name}$", text, re.MULTILINE):
        if cut_off and not text[match.end() :].strip():
            raise Unreadable("cut off by max_tokens")
        if not re.match(rf"\s*{name}(?:$|[:.])", text[match.end() :], re.MULTILINE):
            yield _said(match, names)


def _leading(text: str, names: Names, alone: bool, cut_off: bool) -> Said:
    """A reply that is a name; or, where `alone`, whose first line is one or begins as lists do: "A. It is shorter"."""
    name = rf"{SOFT}(?i:{NOUNS}){_name(names)}"
    start = re.search(r"\S", text).start()  # type: ignore[union-attr]  # it is not empty
    match = re.compile(name + HARD + r"\s*\Z").match(text, start)
    if match is None and alone:
        match = re.compile(rf"{name}(?:{HARD}\n|[*_`\"')\]]*[.)][*_]*\s)").match(text, start)
    if match is None:
        raise Unreadable("cut off by max_tokens" if cut_off else "no verdict is given")
    said = _said(match, names)
    if cut_off and match.end() == len(text) and text.strip() != match["name"]:
        raise Unreadable("cut off by max_tokens")
    for line in re.finditer(rf"^{name}[*_`\"')\] \t]*(?:[.:)]|$)", text, re.MULTILINE):
        if _said(line, names).side != said.side:
            raise Unreadable("several verdicts that differ")
    return said
