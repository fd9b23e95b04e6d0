"""Numbers as a well-set page shows them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from favonius.progress import clock
from favonius.report.gather import Estimate

NONE = "—"
FEW_LINES = 4
"""So few more short lines are not folded away."""
DECIMALS = {"%": 1, "tokens": 0, "words": 0, "characters": 0, "nats/token": 3, "nats": 3, "grade": 2}


def count(number: int | float | None) -> str:
    """12345 → `12,345`."""
    return NONE if number is None else minus(f"{number:,.0f}")


def duration(seconds: float | None) -> str:
    """75 → `1m15s`; less than a second → `<1s`."""
    if seconds is None:
        return NONE
    return "<1s" if 0 < seconds < 1 else clock(seconds)


def decimal(number: float | None, digits: int = 4) -> str:
    """A number to so many significant digits, never in e-notation for what a reader can take in at a glance."""
    if number is None or not math.isfinite(number):
        return NONE
    if number == 0:
        return "0"
    exponent = math.floor(math.log10(abs(number)))
    if exponent < -4:
        mantissa = f"{number / 10**exponent:.{digits - 1}f}".rstrip("0").rstrip(".")
        return minus(f"{mantissa}e{exponent}")
    places = max(digits - 1 - exponent, 0)
    text = f"{number:,.{places}f}"
    return minus(text.rstrip("0").rstrip(".") if "." in text else text)


def measure(number: float | None, unit: str) -> str:
    """A metric's value in its unit; `%` is kept as a fraction and shown in hundredths. The unit is not repeated."""
    if number is None or not math.isfinite(number):
        return NONE
    if unit not in DECIMALS:
        return decimal(number)
    return minus(f"{number * (100 if unit == '%' else 1):,.{DECIMALS[unit]}f}")


def share(fraction: float | None) -> str:
    """0.463 → `46.3 %`."""
    return NONE if fraction is None else f"{measure(fraction, '%')} %"


def interval(estimate: Estimate, unit: str) -> str:
    """`48.2–71.9`, or nothing where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    joint = " to " if estimate.low < 0 else "–"
    return joint.join((measure(estimate.low, unit), measure(estimate.high, unit)))


def short(digest: str | None) -> str:
    """The first twelve digits of a digest."""
    return digest[:12] if digest else NONE


def words(name: str) -> str:
    """`mean_chosen_words` → `mean chosen words`."""
    return name.replace("_", " ")


def fact(name: str, value: Any) -> str:
    """A stage's own number, mapping or text as one line."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return share(value) if name.endswith("share") else decimal(value)
    if isinstance(value, Mapping):
        return " · ".join(f"{words(str(key))} {fact(name, item)}" for key, item in value.items()) or NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def minus(text: str) -> str:
    return text.replace("-", "−")


def fold(text: str, limit: int = 700, lines: int = 24) -> tuple[str, str]:
    """`text` cut in two at a blank near `limit` characters, or behind so many lines where they are short.

    The second part is empty where it all fits.
    """
    ends = [found.end() for found in islice(re.finditer("\n", text), lines)]
    if len(ends) == lines and ends[-1] < limit and text[ends[-1] :].count("\n") > FEW_LINES:
        return text[: ends[-1]], text[ends[-1] :]
    if len(text) <= limit * 1.15:
        return text, ""
    cut = max(text.rfind(blank, limit - 80, limit) for blank in (" ", "\n")) + 1 or limit
    return text[:cut], text[cut:]
