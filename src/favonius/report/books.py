"""What the ledger of a run says of requests and money, read without touching it.

A run may be at work in the folder: nothing is locked, brought up to date, reclaimed or left behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from favonius.engines.ledger_books import Cause, Charge, Spend, charges, failure_causes, spend
from favonius.engines.ledger_schema import SCHEMA
from favonius.errors import FavoniusError, brief

WAIT_SECONDS = 5.0
REPLY = "SELECT json_extract(completion, '$.text') FROM completions WHERE key = ?"


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
        with closing(_open_to_read(file)) as database:
            if not database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
                return Books()  # a run was killed as it made the ledger
            if trouble := _unreadable(database):
                return Books(trouble=trouble)
            database.execute("BEGIN")  # all sums are of one moment
            return Books(tuple(spend(database)), tuple(charges(database)), tuple(failure_causes(database)))
    except (sqlite3.Error, OSError) as error:
        return Books(trouble=f"it cannot be read ({brief(error)})")


def read_replies(run: Path, keys: Iterable[str]) -> dict[str, str]:
    """By key, the texts of those requests that have an answer in the ledger of the run folder `run`.

    FavoniusError where the ledger cannot be read.
    """
    file = run / "ledger.sqlite"
    try:
        with closing(_open_to_read(file)) as database:
            if trouble := _unreadable(database):
                raise FavoniusError(f"{file}: {trouble}")
            found = ((key, database.execute(REPLY, (key,)).fetchone()) for key in keys)
            return {key: row[0] for key, row in found if row is not None}
    except sqlite3.Error as error:
        raise FavoniusError(f"{file}: it cannot be read ({brief(error)})") from error


def _open_to_read(file: Path) -> sqlite3.Connection:
    """Without a write-ahead log the file alone is the truth; asked for one, SQLite would make it and leave it lying."""
    log = file.with_name(f"{file.name}-wal")
    alone = "" if log.is_file() and log.stat().st_size else "&immutable=1"
    address = f"{file.resolve().as_uri()}?mode=ro{alone}"
    return sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS, isolation_level=None)


def _unreadable(database: sqlite3.Connection) -> str:
    """Why this ledger's tables are not those that are known here."""
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA:
        return "a newer Favonius wrote it"
    if version < SCHEMA:
        return "an older Favonius wrote it, and `favonius ledger` brings it up to date"
    return ""
