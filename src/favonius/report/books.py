"""What the ledger of a run says of requests and money."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from favonius.engines.ledger_books import Cause, Charge, Spend
from favonius.engines.ledger_view import UnreadableError, looked_into


@dataclass(frozen=True)
class Books:
    """Per step and model what was asked, lost and left unanswered; empty where nothing was asked."""

    spend: tuple[Spend, ...] = ()
    charges: tuple[Charge, ...] = ()
    causes: tuple[Cause, ...] = ()
    trouble: str = ""
    """Why the ledger could not be read, for the middle of a sentence."""

    def of(self, *steps: str) -> tuple[Spend, ...]:
        return tuple(row for row in self.spend if row.step in steps)


def read_books(run: Path) -> Books:
    """The books of the run folder `run`. A ledger that cannot be read is told of, and no reason to refuse the page."""
    file = run / "ledger.sqlite"
    if not file.is_file():
        return Books()
    try:
        with looked_into(file) as ledger:
            return Books(tuple(ledger.spend()), tuple(ledger.charges()), tuple(ledger.failure_causes()))
    except UnreadableError as error:
        return Books(trouble=error.why)


def read_replies(run: Path, keys: Iterable[str]) -> dict[str, str]:
    """By key, the texts of those requests that have an answer in the ledger of the run folder `run`.

    FavoniusError where the ledger cannot be read.
    """
    with looked_into(run / "ledger.sqlite") as ledger:
        return {key: completion.text for key, completion in ledger.known(keys).items()}
