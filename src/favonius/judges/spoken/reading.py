"""What a judge's reply says: a score, the ratings of several texts, or which of two is better. No guess is ever made.

All of it is read from the raw text that the ledger keeps, so reading again costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from favonius.judges.spoken.numerals import Number, Scale, Unreadable, number_at, plain, stands_alone

MARKUP = r"[ \t*_`\"'“”#>]*"
NAMED_SCORE = re.compile(
    rf"\b(?P<whole>(?:overall|final|total)[\s_-]*)?(?:score|rating|grade)\b{MARKUP}"
    rf"(?P<note>[(\[][^()\[\]\n]*[)\]]{MARKUP}(?=[:=])|out of [0-9]+{MARKUP})?"
    r"(?:(?P<label>[:=]|[-–—](?=\s))|(?:is|of|was)\b)?",
    re.IGNORECASE,
)
NUMBER_FOLLOWS = re.compile(r"[\[(*_`\"'<]*[-−+~≈]?[0-9]")
BRACKETED = re.compile(r"\[\[(?=[^\]\n]*[0-9][^\]\n]*\]\])")
RATING = re.compile(
    rf"(?<!for )\brating{MARKUP}(?P<note>[(\[][^()\[\]\n]*[)\]]{MARKUP}|out of [0-9]+{MARKUP})?[:=]", re.IGNORECASE
)
NOT_APPLICABLE = re.compile(r"[\s*_`\[(]*(?:N\s?/\s?A|not applicable)\b", re.IGNORECASE)
HEADING = re.compile(
    r"^[ \t>#*_\-(\[]*(?:output for )?(?:text|answer|response)[ \t]*[<\[(#]?[ \t]*(?P<number>[0-9]+)"
    r"(?=[ \t*_)\]>]*(?:$|[:–—-]))",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Rated:
    """What was said of one text: its rating, None where none applies, and all that stands there, with the reasons."""

    rating: Number | None
    words: str


def read_score(reply: str, scale: Scale, cut_off: bool = False) -> tuple[Number, str]:
    """The score of a critique, and the critique without it.

    Read are "Overall Score: 8" and its kin, "[[8]]", or a reply that is a score and nothing else. What is called
    overall, final or total, or stands in double brackets, goes before other scores, and what is labelled ("Score: 8")
    before what is said in a sentence ("a score of 8"). Raises Unreadable.
    """
    text = plain(reply)
    for group in (_bracketed_or_overall, _overall_in_prose, _labelled, _in_prose):
        if (score := _agreed(group(text, scale, cut_off))) is not None:
            return score, _without_line(reply, score)
    score = _nothing_else(text, scale, cut_off)
    return score, _without_line(reply, score)


def read_ratings(reply: str, texts: int, scale: Scale, may_not_apply: bool, cut_off: bool = False) -> list[Rated]:
    """What was said of each of `texts` texts, in the order in which they were shown.

    Every part must be there, once, under its number; parts without any headings are taken as they come, where there
    are as many ratings as texts. Raises Unreadable where a part is missing, doubled or invented: none is ever shifted.
    """
    text = plain(reply)
    if not text.strip():
        raise Unreadable("an empty reply")
    found: list[Rated] = []
    for start, end in _parts(text, texts):
        ends_reply = cut_off and not text[end:].strip()
        rating = _rating(text, start, end, scale, may_not_apply, ends_reply)
        found.append(Rated(rating, reply[start:end].strip(" \t\n#*-")))
    return found


def _bracketed_or_overall(text: str, scale: Scale, cut_off: bool) -> Iterator[Number | None]:
    for match in BRACKETED.finditer(text):
        yield number_at(text, match.start(), scale, cut_off)
    yield from _scores(text, scale, cut_off, whole=True, labelled=True)


def _overall_in_prose(text: str, scale: Scale, cut_off: bool) -> Iterator[Number | None]:
    return _scores(text, scale, cut_off, whole=True, labelled=False)


def _labelled(text: str, scale: Scale, cut_off: bool) -> Iterator[Number | None]:
    return _scores(text, scale, cut_off, whole=False, labelled=True)


def _in_prose(text: str, scale: Scale, cut_off: bool) -> Iterator[Number | None]:
    return _scores(text, scale, cut_off, whole=False, labelled=False)


def _scores(text: str, scale: Scale, cut_off: bool, whole: bool, labelled: bool) -> Iterator[Number | None]:
    for match in NAMED_SCORE.finditer(text):
        value_at = _skip(text, match.end())
        below = "\n" in text[match.end() : value_at]
        if (match["whole"] is not None) is not whole or (match["label"] is not None or below) is not labelled:
            continue
        if match["label"] is None and not NUMBER_FOLLOWS.match(text, value_at):
            continue  # "the overall score reflects …"
        _refuse_other_scale(match["note"], scale)
        number = number_at(text, value_at, scale, cut_off)
        if number is not None and below and not stands_alone(text, number.end):
            raise Unreadable("no score is stated")  # a list that begins below the heading
        yield number


def _refuse_other_scale(note: str | None, scale: Scale) -> None:
    """So that "Score (1-5): 4" is no 4 on a scale to ten."""
    named = [float(number) for number in re.findall(r"[0-9]+(?:\.[0-9]+)?", note or "")]
    if named and max(named) != scale.high:
        raise Unreadable("the score is out of another total")


def _skip(text: str, at: int) -> int:
    while at < len(text) and (text[at].isspace() or text[at] in "*_`\"'"):
        at += 1
    return at


def _agreed(stated: Iterable[Number | None]) -> Number | None:
    """The one value of all statements; None where there are none."""
    statements = list(stated)
    numbers = [number for number in statements if number is not None]
    if len({number.value for number in numbers}) > 1:
        raise Unreadable("several scores that differ")
    if statements and not numbers:
        raise Unreadable("the scale is repeated and no score given")
    return min(numbers, key=lambda number: number.start) if numbers else None


def _nothing_else(text: str, scale: Scale, cut_off: bool) -> Number:
    if not text.strip():
        raise Unreadable("an empty reply")
    try:
        number = number_at(text, _skip(text, 0), scale, cut_off)
    except Unreadable:
        if re.fullmatch(r"\W*[0-9].{0,12}", text.strip()):
            raise
        raise Unreadable("no score is stated") from None
    if number is None:
        raise Unreadable("the scale is repeated and no score given")
    if not stands_alone(text.rstrip(), number.end) or "\n" in text.strip():
        raise Unreadable("no score is stated")
    return number


def _without_line(reply: str, score: Number) -> str:
    """A reply without the line in which its score stands."""
    start = reply.rfind("\n", 0, score.start) + 1
    end = reply.find("\n", score.end)
    return (reply[:start] + (reply[end + 1 :] if end >= 0 else "")).strip()


def _parts(text: str, texts: int) -> list[tuple[int, int]]:
    """Where what is said of each text begins and ends."""
    headings = list(HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)] * bool(headings)
    parts = [
        (int(heading["number"]), heading.end(), end)
        for heading, end in zip(headings, ends, strict=True)
        if re.search(r"\w", text[heading.end() : end])  # one heading may stand above another of the same text
    ]
    if not parts:
        return _headless(text, texts)
    numbers = [number for number, _, _ in parts]
    if len(set(numbers)) < len(numbers):
        raise Unreadable("a text is rated twice")
    if missing := set(range(1, texts + 1)) - set(numbers):
        raise Unreadable("no text is rated" if len(missing) == texts else "not every text is rated")
    if len(numbers) > texts:
        raise Unreadable("a text is rated that was not shown")
    return [(start, end) for _, start, end in sorted(parts)]


def _headless(text: str, texts: int) -> list[tuple[int, int]]:
    """Parts between blank lines, each with its rating."""
    blocks = [match.span() for match in re.finditer(r"(?:^[^\S\n]*\S[^\n]*\n?)+", text, re.MULTILINE)]
    rated = [(start, end) for start, end in blocks if RATING.search(text, start, end)]
    if len(rated) != texts or sum(1 for _ in RATING.finditer(text)) != texts:
        raise Unreadable("not every text is rated" if rated else "no text is rated")
    return rated


def _rating(text: str, start: int, end: int, scale: Scale, may_not_apply: bool, cut_off: bool) -> Number | None:
    stated: list[Number | None] = []
    for match in RATING.finditer(text, start, end):
        _refuse_other_scale(match["note"], scale)
        if NOT_APPLICABLE.match(text, match.end()):
            if not may_not_apply:
                raise Unreadable("a rating is not applicable")
            stated.append(None)
        elif (number := number_at(text[:end], _skip(text, match.end()), scale, cut_off)) is not None:
            stated.append(number)
    if not stated:
        raise Unreadable("not every text is rated")
    if len({None if number is None else number.value for number in stated}) > 1:
        raise Unreadable("several scores that differ")
    return stated[0]
