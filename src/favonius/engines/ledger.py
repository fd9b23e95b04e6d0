"""The ledger: every completion of a run, durable the moment it arrives. What was paid once is never paid again."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from favonius.errors import FavoniusError, UserError
from favonius.types import Completion, Engine, Request

SCHEMA = 1
TABLE = """
CREATE TABLE IF NOT EXISTS completions (
  key TEXT PRIMARY KEY,
  model TEXT NOT NULL,
  request TEXT NOT NULL,
  completion TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  seconds REAL NOT NULL,
  created REAL NOT NULL
) WITHOUT ROWID
"""


class Spend(NamedTuple):
    """What one model has cost a run."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class Ledger:
    """One SQLite database per run. A context manager; all calls from one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = sqlite3.connect(path, timeout=60)
        # WAL with NORMAL: a commit survives the death of the process; only the machine's can take the last ones.
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            self._database.close()
            raise UserError(
                f"{path}: written by a newer favonius (ledger schema {version}); use that one, or another --out"
            )
        if version < SCHEMA:
            with self._database as database:
                database.execute(TABLE)
                database.execute(f"PRAGMA user_version={SCHEMA}")

    def get(self, key: str) -> Completion | None:
        row = self._database.execute("SELECT completion FROM completions WHERE key = ?", (key,)).fetchone()
        return None if row is None else Completion.model_validate_json(row[0])

    def put(self, request: Request, completion: Completion, seconds: float) -> None:
        """Store and commit. FavoniusError where the disk is full; what is stored stays."""
        row = (
            request.key(), request.model, request.model_dump_json(), completion.model_dump_json(),
            completion.prompt_tokens, completion.completion_tokens, seconds, time.time(),
        )  # fmt: skip
        try:
            with self._database as database:
                database.execute("INSERT OR REPLACE INTO completions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.OperationalError as error:
            raise FavoniusError(f"{self.path}: cannot be written ({error}); free some space and run again") from error

    def spend(self) -> list[Spend]:
        query = (
            "SELECT model, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens), SUM(seconds) "
            "FROM completions GROUP BY model ORDER BY model"
        )
        return [Spend(*row) for row in self._database.execute(query)]

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Ledgered:
    """An engine behind a ledger: asks only what is not written there, and identical requests in flight once."""

    def __init__(self, engine: Engine, ledger: Ledger) -> None:
        self.engine, self.ledger = engine, ledger
        self.model = engine.model
        self._in_flight: dict[str, asyncio.Task[Completion]] = {}

    def check(self, request: Request) -> None:
        self.engine.check(request)

    async def complete(self, request: Request) -> Completion:
        key = request.key()
        known = self.ledger.get(key)
        if known is not None:
            return known
        task = self._in_flight.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(key, request))
            self._in_flight[key] = task
        return await task

    async def _ask(self, key: str, request: Request) -> Completion:
        started = time.monotonic()
        try:
            completion = await self.engine.complete(request)
            self.ledger.put(request, completion, time.monotonic() - started)
        finally:
            del self._in_flight[key]
        return completion
