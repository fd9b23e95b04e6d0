"""What MT-Bench takes a judge's reply to say: FastChat's rules, to the letter.

They share nothing with `judges.spoken.reading`, which reads our own judges and never guesses: it refuses a reply with
two scores that differ, where these take the first. Published numbers can only be repeated by the rule that made them.
"""

from __future__ import annotations

import re
from typing import Literal

Side = Literal["A", "B", "tie"]
RATING = re.compile(r"\[\[([0-9]+\.?[0-9]*)\]\]")
RATING_IN_SINGLE_BRACKETS = re.compile(r"\[([0-9]+\.?[0-9]*)\]")
VERDICTS: tuple[tuple[str, Side], ...] = (("[[A]]", "A"), ("[[B]]", "B"), ("[[C]]", "tie"))
"""In the order in which they are looked for: a reply that holds several says the first of these."""


def read_rating(reply: str) -> float | None:
    """The first number in double brackets, else the first in single ones; None where there is neither.

    It may lie outside the scale, as in [[85]]: the rule does not look.
    """
    found = RATING.search(reply) or RATING_IN_SINGLE_BRACKETS.search(reply)
    return None if found is None else float(found[1])


def read_verdict(reply: str) -> Side | None:
    """Which of the two shown answers is called better; None where no verdict stands in double brackets."""
    return next((side for mark, side in VERDICTS if mark in reply), None)
