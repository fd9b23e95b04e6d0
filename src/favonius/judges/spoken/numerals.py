"""One score in a judge's reply, read strictly.

UltraFeedback as first published read "1" as 10 (zephyr-spec §4.7). Here whatever could be meant in two ways is refused,
and asked again by whoever asked: "8,5", "7-8", "8 or 9", "4/5" on a scale to ten, "8½", and a "1" at which the reply
was cut off, for a 0 may have been coming.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPENING = re.compile(r"[ \t\[({*_`\"'$“]*(?:<(?=[0-9.]+>))?[ \t]*")
CLOSING = r"[ \t\])}>*_`\"'$”]*"
NUMERAL = re.compile(r"(?P<sign>[-−–+~≈<>±]?)[ \t]*(?P<digits>(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)")
RANGE = re.compile(CLOSING + r"(?:-|–|—|~|…|\.\.+|\bto\b|\bthrough\b)[ \t\[({*_`<]*([0-9]+(?:\.[0-9]+)?)")
TOTAL = re.compile(CLOSING + r"\(?(?:/|\bout of\b|\bof\b)[ \t]*([0-9]+(?:\.[0-9]+)?)", re.IGNORECASE)
GOES_ON = re.compile(r"[0-9A-Za-z%½¼¾+^×/]|[.,:'’][0-9]|[ \t]+[0-9½¼¾%]")
HEDGE = re.compile(
    CLOSING + r"(?:[,;&|][ \t]*[0-9]|[^\w\n]*(?:or|and|but|maybe|perhaps|possibly|if|though|although)\b[^\n.]*[0-9])",
    re.IGNORECASE,
)
REST = re.compile(CLOSING + r"[.!]?" + CLOSING + r"$", re.MULTILINE)
FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
BLANKS = dict.fromkeys(map(ord, "\r\xa0\xad\u2007\u2009\u200a\u200b\u200c\u200d\u202f\u2060\u3000\ufe0f\ufeff"), " ")
"""Also those without a width: behind a 1 they must not hide the 0."""
SAME_LENGTH: dict[int, int | str] = {**FULL_WIDTH, **BLANKS}


class Unreadable(Exception):  # noqa: N818 (a reply is unreadable; nothing has gone wrong)
    """A reply does not say, or not clearly, what it was asked for. The message is one of a few fixed causes, to count
    by."""


@dataclass(frozen=True)
class Scale:
    """Scores from `low` to `high`, both whole."""

    low: int
    high: int


@dataclass(frozen=True)
class Number:
    """A score, and where its digits stand in the reply."""

    value: float
    start: int
    end: int


def plain(text: str) -> str:
    """A reply of the same length, its full-width letters and digits as ASCII, unusual blanks as plain ones, and its
    thinking (`<think>`) blanked."""
    text = text.translate(SAME_LENGTH)
    thought = text.rfind("</think>")
    if thought >= 0:
        end = thought + len("</think>")
        return " " * end + text[end:]
    return " " * len(text) if text.lstrip().startswith("<think>") else text


def number_at(text: str, at: int, scale: Scale, cut_off: bool) -> Number | None:
    """The score that begins at `at`; None where only the scale itself stands there ("1-10", an echo of the prompt).

    `cut_off`: the reply was ended by the token limit. Raises Unreadable.
    """
    numeral = NUMERAL.match(text, OPENING.match(text, at).end())  # type: ignore[union-attr]  # it matches nothing too
    if numeral is None:
        raise Unreadable("the score is not a number")
    end, digits = numeral.end(), numeral["digits"]
    if (other := RANGE.match(text, end)) is not None:
        if not numeral["sign"] and (digits, other[1]) == (str(scale.low), str(scale.high)):
            return None
        raise Unreadable("the score is a range")
    if numeral["sign"]:
        raise Unreadable("the score has a sign")
    after = _after_total(text, end, scale)
    _refuse_more(text, after, cut_off)
    value = float(digits)
    if not scale.low <= value <= scale.high:
        raise Unreadable("the score is outside the scale")
    return Number(value, numeral.start("digits"), end)


def _after_total(text: str, end: int, scale: Scale) -> int:
    """Where "/10" or "out of 10" ends, or `end` where there is none."""
    total = TOTAL.match(text, end)
    if total is None:
        return end
    if float(total[1]) != scale.high:
        raise Unreadable("the score is out of another total")
    return total.end()


def _refuse_more(text: str, end: int, cut_off: bool) -> None:
    """What follows a score must not make it another one."""
    if cut_off and text[end:].strip() in ("", ".", ","):
        raise Unreadable("cut off by max_tokens")
    if GOES_ON.match(text, end):
        raise Unreadable("the score is no plain number")
    if HEDGE.match(text, end):
        raise Unreadable("several scores that differ")


def stands_alone(text: str, end: int) -> bool:
    """Whether nothing but closing marks follows on the line of what ended at `end`, "/10" aside."""
    total = TOTAL.match(text, end)
    return REST.match(text, total.end() if total else end) is not None
