"""A ledger looked into: what it says of requests and money, read without touching it.

A run may be at work in the folder, or the folder lie where nothing can be written: nothing is locked, made, brought up
to date, reclaimed or left behind.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import islice
from pathlib import Path

from favonius.engines import ledger_books as books
from favonius.engines.ledger_changes import KEYS
from favonius.engines.ledger_schema import SCHEMA, bring_up_to_date
from favonius.errors import FavoniusError, brief
from favonius.types import Completion, Request

KEYS_AT_ONCE = 1_000
WAIT_SECONDS = 5.0
NEWER = "a newer Favonius wrote it"
OLDER = "an older Favonius wrote it, and `favonius ledger` brings it up to date"
CHANGED = "a run wrote into it while it was read; look again"


class UnreadableError(FavoniusError):
    """A ledger that cannot be looked into. `why` is for the middle of a sentence that has named it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.why = why


class LedgerView:
    """What a ledger says, over a connection to it. Every method raises FavoniusError where it cannot be read."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path, self._database = path, database

    def get(self, key: str) -> Completion | None:
        with self._failures():
            row = self._database.execute("SELECT completion FROM completions WHERE key = ?", (key,)).fetchone()
        return None if row is None else Completion.model_validate_json(row[0])

    def known(self, keys: Iterable[str]) -> dict[str, Completion]:
        """Those of `keys` that have been answered."""
        found: dict[str, Completion] = {}
        query, left = f"SELECT key, completion FROM completions WHERE key IN {KEYS}", iter(keys)
        while some := list(islice(left, KEYS_AT_ONCE)):
            with self._failures():
                page = self._database.execute(query, (json.dumps(some),)).fetchall()
            found.update((key, Completion.model_validate_json(completion)) for key, completion in page)
        return found

    def spend(self) -> list[books.Spend]:
        """Per step and model, as it is in the file."""
        with self._failures():
            return books.spend(self._database)

    def charges(self) -> list[books.Charge]:
        """Money that no completion stands for, per step, model and cause."""
        with self._failures():
            return books.charges(self._database)

    def rows(self, selection: books.Selection = books.EVERYTHING) -> Iterator[books.Row]:
        """Requests and answers, in the order of their keys, a page in memory at a time."""
        with self._failures():
            yield from books.rows(self._database, selection)

    def failures(self, selection: books.Selection = books.EVERYTHING) -> Iterator[books.FailedRequest]:
        """Requests that have no answer, and why."""
        with self._failures():
            yield from books.failures(self._database, selection)

    def failure_causes(self) -> list[books.Cause]:
        """How many requests failed for which cause, the commonest first."""
        with self._failures():
            return books.failure_causes(self._database)

    def batches(self) -> list[books.Batch]:
        """Those that have not been closed, the oldest first."""
        with self._failures():
            return books.batches(self._database)

    def batch_requests(self, token: str) -> dict[str, Request]:
        """By key, a batch's requests that are neither put nor failed."""
        with self._failures():
            return books.batch_requests(self._database, token)

    def _failures(self) -> AbstractContextManager[None]:
        return _unreadable(self.path)


def is_of_now(path: Path) -> bool:
    """Whether the ledger's tables are those that are known here. UnreadableError."""
    with _unreadable(path), closing(_opened(path, _is_alone(path))) as database:
        return _version(database) == SCHEMA


@contextmanager
def looked_into(path: Path) -> Iterator[LedgerView]:
    """The ledger as it is at one moment. UnreadableError, within the block too, where it cannot be read or is of
    another version, and where a run that has just begun wrote over what was read."""
    with _unreadable(path):
        is_alone, before = _is_alone(path), _stamp(path)
        database = _opened(path, is_alone)
    with closing(database):
        try:
            with _unreadable(path):
                _refuse_other_versions(path, database)
                database.execute("BEGIN")  # all that is read is of one moment
            yield LedgerView(path, database)
        except UnreadableError as error:
            if is_alone and _stamp(path) != before:
                raise UnreadableError(path, CHANGED) from error
            raise
    if is_alone and _stamp(path) != before:
        raise UnreadableError(path, CHANGED)


def _is_alone(path: Path) -> bool:
    """Whether the file is the whole truth, and not a write-ahead log beside it too."""
    log = path.with_name(f"{path.name}-wal")
    return not (log.is_file() and log.stat().st_size)


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _opened(path: Path, is_alone: bool) -> sqlite3.Connection:
    """Asked for a log that is not there, SQLite would make it and leave it lying, and fail where it cannot; told that
    the file never changes, it asks for none, and sees no change either."""
    address = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if is_alone else ''}"
    database = sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        [tables] = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except BaseException:
        database.close()
        raise
    return database if tables else _empty(path, database)


def _empty(path: Path, database: sqlite3.Connection) -> sqlite3.Connection:
    """In the place of a ledger in whose making a run was killed."""
    database.close()
    empty = sqlite3.connect(":memory:", isolation_level=None)
    bring_up_to_date(empty, path)
    return empty


def _version(database: sqlite3.Connection) -> int:
    [version] = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _refuse_other_versions(path: Path, database: sqlite3.Connection) -> None:
    version = _version(database)
    if version != SCHEMA:
        raise UnreadableError(path, NEWER if version > SCHEMA else OLDER)


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        why = f"it cannot be read ({brief(error)}); mend its rights, or put a whole copy in its place"
        raise UnreadableError(path, why) from error
