"""The ledger's file: its tables, how it is opened, made and brought up to date, and what its errors mean.

Money is kept in whole nano-dollars: a price per million tokens times tokens is then a whole number for prices down to
a tenth of a cent, and sums are exact.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from favonius.errors import FavoniusError, UserError, brief
from favonius.types import Request

SCHEMA = 2
BUSY_SECONDS = 60.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
MACHINE = (
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
)  # fmt: skip

# Columns that are long stand last, so that a scan over the others leaves their pages unread.
TABLES = (
    """
    CREATE TABLE IF NOT EXISTS completions (
      key TEXT PRIMARY KEY, model TEXT NOT NULL, step TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
      completion_tokens INTEGER NOT NULL, cost INTEGER NOT NULL, seconds REAL NOT NULL, created REAL NOT NULL,
      request TEXT NOT NULL, completion TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS failures (
      key TEXT PRIMARY KEY, model TEXT NOT NULL, step TEXT NOT NULL, attempts INTEGER NOT NULL, tokens INTEGER NOT NULL,
      cost INTEGER NOT NULL, created REAL NOT NULL, cause TEXT NOT NULL, request TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    # Calls that are under way, with the most that each may cost; those of a batch keep their request too.
    """
    CREATE TABLE IF NOT EXISTS reservations (
      key TEXT PRIMARY KEY, model TEXT NOT NULL, step TEXT NOT NULL, bound INTEGER NOT NULL, created REAL NOT NULL,
      batch TEXT NOT NULL, request TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    # Money that no completion stands for.
    """
    CREATE TABLE IF NOT EXISTS charges (
      step TEXT NOT NULL, model TEXT NOT NULL, cause TEXT NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL,
      cost INTEGER NOT NULL, PRIMARY KEY (step, model, cause)
    ) WITHOUT ROWID
    """,
    # `token` goes to the provider as the batch's metadata before it has given its id.
    """
    CREATE TABLE IF NOT EXISTS batches (
      token TEXT PRIMARY KEY, id TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL, step TEXT NOT NULL,
      state TEXT NOT NULL, created REAL NOT NULL
    ) WITHOUT ROWID
    """,
    # Sums over completions, kept by the two triggers: a ledger of a million rows opens at once.
    """
    CREATE TABLE IF NOT EXISTS totals (
      step TEXT NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
      completion_tokens INTEGER NOT NULL, cost INTEGER NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (step, model)
    ) WITHOUT ROWID
    """,
    """
    CREATE TRIGGER IF NOT EXISTS completion_added AFTER INSERT ON completions BEGIN
      INSERT INTO totals VALUES
        (NEW.step, NEW.model, 1, NEW.prompt_tokens, NEW.completion_tokens, NEW.cost, NEW.seconds)
      ON CONFLICT (step, model) DO UPDATE SET requests = requests + 1,
        prompt_tokens = prompt_tokens + NEW.prompt_tokens, cost = cost + NEW.cost, seconds = seconds + NEW.seconds,
        completion_tokens = completion_tokens + NEW.completion_tokens;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS completion_removed AFTER DELETE ON completions BEGIN
      UPDATE totals SET requests = requests - 1, prompt_tokens = prompt_tokens - OLD.prompt_tokens,
        completion_tokens = completion_tokens - OLD.completion_tokens, cost = cost - OLD.cost,
        seconds = seconds - OLD.seconds WHERE step = OLD.step AND model = OLD.model;
      DELETE FROM totals WHERE step = OLD.step AND model = OLD.model AND requests = 0;
    END
    """,
)


def open_ledger(path: Path) -> sqlite3.Connection:
    """A connection to the ledger at `path`, made or brought to this schema where need be.

    UserError where a newer favonius wrote it; FavoniusError where it is damaged or cannot be written.
    """
    with ledger_failures(path):
        # SQLite does not wait for another process that is just turning a new file to WAL.
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=BUSY_SECONDS):
            database = connect(path)
            try:
                bring_up_to_date(database, path)
            except BaseException:
                database.close()
                raise
    return database


def connect(path: Path) -> sqlite3.Connection:
    """Another connection to a ledger that has been opened. Transactions are begun and ended by hand."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    # WAL with FULL: what is committed outlives the process and the machine's power.
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that the block writes, or nothing of it."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        # A full disk may have ended it already.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


@contextmanager
def ledger_failures(path: Path) -> Iterator[None]:
    """Turn what a machine or another program does to the ledger inside the block into a FavoniusError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        told = explained(path, error)
        if told is error:
            raise
        raise told from error


def explained(path: Path, error: Exception) -> Exception:
    """A FavoniusError for an error of the disk, its rights or another program; `error` itself where it is our fault."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bytes say more than is needed
    kept = "and run the same command again: what was answered is kept"
    if code == sqlite3.SQLITE_FULL:
        return FavoniusError(f"no space left on the disk that holds {path}; free some {kept}")
    if code in DAMAGED:
        said = f"the ledger is damaged ({brief(error)}); put a copy of it back, or move it away and start anew"
        return FavoniusError(f"{path}: {said}")
    if code == sqlite3.SQLITE_BUSY or isinstance(error, Timeout):
        return FavoniusError(f"{path}: another program keeps the ledger locked; end it {kept}")
    if code in MACHINE or isinstance(error, OSError):
        said = f"the ledger cannot be written ({brief(error)}); free space or mend the folder's rights {kept}"
        return FavoniusError(f"{path}: {said}")
    return error


def bring_up_to_date(database: sqlite3.Connection, path: Path) -> None:
    """One transaction: a process killed within it leaves the file as it was."""
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA:
        raise UserError(
            f"{path}: written by a newer favonius (ledger schema {version}); use that one, or another --out"
        )
    if version == SCHEMA:
        return
    with transaction(database):
        columns = {row[1] for row in database.execute("PRAGMA table_info(completions)")}
        old = bool(columns) and "step" not in columns
        if old:
            database.execute("ALTER TABLE completions RENAME TO completions_of_schema_1")
        for statement in TABLES:
            database.execute(statement)
        if old:
            _take_over(database)
            database.execute("DROP TABLE completions_of_schema_1")
        database.execute(f"PRAGMA user_version={SCHEMA}")


def _take_over(database: sqlite3.Connection) -> None:
    """Rows of schema 1, which knew neither steps nor costs and keyed requests with their defaults.

    Two of them may be one request now, written before and after a field with a default was added: the first stays.
    """
    query = (
        "SELECT model, prompt_tokens, completion_tokens, seconds, created, request, completion "
        "FROM completions_of_schema_1 ORDER BY created"
    )
    for model, read, written, seconds, created, text, completion in database.execute(query):
        request = Request.model_validate_json(text)
        key = request.key()
        if database.execute("SELECT 1 FROM completions WHERE key = ?", (key,)).fetchone() is None:
            row = (key, model, "", read, written, 0, seconds, created, request.model_dump_json(), completion)
            database.execute("INSERT INTO completions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
