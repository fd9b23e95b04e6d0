"""The SQLite file behind `trees.store`: bytes by key. What it holds can always be computed again.

A damaged file is therefore no end of a run: it is set aside, said so, and an empty one takes its place. Several
processes may read and write at once (WAL); the same key gets the same values, whoever writes it last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from filelock import FileLock

from favonius.errors import FavoniusError, brief
from favonius.progress import Progress

BUSY_SECONDS = 60.0
TABLE = "CREATE TABLE IF NOT EXISTS trees (key TEXT PRIMARY KEY, sums BLOB NOT NULL, tokens BLOB) WITHOUT ROWID"
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
MACHINE = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
)  # fmt: skip
Result = TypeVar("Result")


class Row(NamedTuple):
    """One tree's values; `tokens` is None where they were not stored."""

    sums: bytes
    tokens: bytes | None = None


class DamagedError(Exception):
    """SQLite cannot read the file, or a row has another length than it was written with."""


class LogpsFile:
    """Opened at the first call. All calls from one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: sqlite3.Connection | None = None
        self._inode = 0

    def read(self, keys: Sequence[str], tokens: bool, sizes: Sequence[tuple[int, int]]) -> dict[int, Row]:
        """Rows that are there, by index of their key, which may be given twice.

        `sizes` are the bytes that each row's sums and tokens have. With `tokens`, rows without them are left out;
        otherwise no row's tokens are read.
        """
        column = "tokens" if tokens else "NULL"
        query = f"SELECT sums, {column} FROM trees WHERE key = ?" + (" AND tokens IS NOT NULL" if tokens else "")

        def read(database: sqlite3.Connection) -> dict[int, Row]:
            found = {}
            for index, (key, size) in enumerate(zip(keys, sizes, strict=True)):
                values = database.execute(query, (key,)).fetchone()
                if values is not None:
                    found[index] = _checked(Row(*values), size)
            return found

        return self._mending(read)

    def write(self, rows: Mapping[str, Row]) -> None:
        """Store rows in one transaction, in place of what their keys had."""

        def write(database: sqlite3.Connection) -> None:
            with database:
                values = [(key, *row) for key, row in rows.items()]
                database.executemany("INSERT OR REPLACE INTO trees VALUES (?, ?, ?)", values)

        self._mending(write)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _mending(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `action`; where the file turns out damaged, once more on an empty one."""
        try:
            return self._run(action)
        except DamagedError as error:
            self._set_aside(error)
        return self._run(action)

    def _run(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """FavoniusError where disk, rights or another process stand in the way; earlier transactions are kept."""
        try:
            return action(self._connection())
        except (sqlite3.DatabaseError, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bytes say more than is needed
            if code in DAMAGED:
                raise DamagedError(str(error)) from error
            if code not in MACHINE and not isinstance(error, OSError):
                raise
            raise FavoniusError(
                f"{self.path}: log-probs cannot be kept here ({brief(error)}); free some space, or let FAVONIUS_CACHE "
                "name a folder that can be written, and run again: what was stored stays"
            ) from error

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite does not wait for another process that is just turning a new file to WAL.
            with FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=BUSY_SECONDS):
                self._database = sqlite3.connect(self.path, timeout=BUSY_SECONDS)
                self._inode = self.path.stat().st_ino
                # WAL with NORMAL: a commit survives the death of the process; only the machine's can take the last.
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=NORMAL")
                self._database.execute(TABLE)
        return self._database

    def _set_aside(self, error: Exception) -> None:
        self.close()
        # Another process may have met the same damage and begun a new file already; that one stays.
        if self.path.exists() and self.path.stat().st_ino == self._inode:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            for suffix in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.replace(aside.with_name(aside.name + suffix))
            Progress().say(f"{self.path} is damaged ({error}); it is kept as {aside.name}, and a new one is begun")


def _checked(row: Row, size: tuple[int, int]) -> Row:
    sums, tokens = size
    if len(row.sums) != sums or (row.tokens is not None and len(row.tokens) != tokens):
        raise DamagedError("a row has a wrong length")
    return row
