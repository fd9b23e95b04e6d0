"""The number that an answer ends in. Two readings, as is usual for GSM8K:

strict      the first line that goes `#### number`, with no other number on it
flexible    the strict one, else the last number anywhere

Of several such lines the first counts: a model that does not stop goes on with problems of its own. A fraction, a sum
(3 + 4 = 7) or a time on the line is more than one number. Numbers are compared by value: 1,200 is 1200.00.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

_LINE = re.compile(r"####[ \t*_`\\$£€]*(?=[-−.0-9])([^\n]*)")
# A minus sign is one only where nothing stands before it that could be subtracted from; digits within a word ("H2O",
# the 3 of "1.2.3") are no number.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]%])(?P<sign>[-−])\\?[$£€]?|(?<!\w)(?<![0-9]\.))(?P<digits>[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)"
)
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}(?:\.[0-9]+)?")


def strict(answer: str) -> Decimal | None:
    """None where no line is as asked for."""
    for line in _LINE.finditer(answer):
        found = list(numbers(line[1]))
        if len(found) == 1:
            return found[0]
    return None


def flexible(answer: str) -> Decimal | None:
    """None where there is no number at all."""
    found = strict(answer)
    return found if found is not None else next(iter(reversed(list(numbers(answer)))), None)


def numbers(text: str) -> Iterator[Decimal]:
    """All numbers in a text. Commas group digits (1,200 or 1,00,000) or else part numbers (3,4)."""
    for match in _NUMBER.finditer(text):
        digits = match["digits"].rstrip(",")
        pieces = [digits.replace(",", "")] if _GROUPED.fullmatch(digits) else [one for one in digits.split(",") if one]
        for place, piece in enumerate(pieces):
            value = Decimal(piece)
            yield -value if match["sign"] and place == 0 else value
