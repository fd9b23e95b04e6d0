"""What a judge said word for word, from the ledger of the run that asked it."""

from __future__ import annotations

from dataclasses import dataclass

from favonius.errors import FavoniusError
from favonius.report.books import read_replies
from favonius.review.contest import Opinion
from favonius.types import JudgeCall


@dataclass(frozen=True)
class Reply:
    """`title` says what was asked. Where `text` is None, `trouble` says why."""

    request: str
    title: str
    text: str | None
    trouble: str = ""


def replies(opinion: Opinion) -> tuple[Reply, ...]:
    """A reply for each call behind `opinion`; none where its file lies in no run folder."""
    if opinion.run is None or opinion.places is None or not opinion.calls:
        return ()
    titles = {call.request: _title(call, opinion.places) for call in opinion.calls}
    try:
        texts, trouble = read_replies(opinion.run, titles), "it is not in the run's ledger any more"
    except FavoniusError as error:  # the scores can be looked at all the same
        texts, trouble = {}, str(error)
    found = ((key, title, texts.get(key)) for key, title in titles.items())
    return tuple(Reply(key, title, text, trouble if text is None else "") for key, title, text in found)


def _title(call: JudgeCall, places: tuple[int, int]) -> str:
    """Which aspect was asked, and as the how-manieth each of the two answers was shown to the judge."""
    about = [call.aspect.replace("_", " ")] if call.aspect is not None else []
    if len(call.order) > 1:
        order = [f"{side} as its {ordinal(call.order.index(place))}" for side, place in _shown(call, places)]
        about.append(f"saw {' and '.join(order)}")
    else:
        about += [f"on {side}" for side, _ in _shown(call, places)]
    return ", ".join(about)


def _shown(call: JudgeCall, places: tuple[int, int]) -> list[tuple[int, int]]:
    return [(side, place) for side, place in enumerate(places, start=1) if place in call.order]


def ordinal(index: int) -> str:
    """0 → 1st."""
    number = index + 1
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
