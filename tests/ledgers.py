"""Requests and answers for ledgers, many calls at once, and a look at the money past the Ledger."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from favonius.types import Completion, Message, Request, digest

MODEL = "0123456789abcdef" * 4
OLD_TABLE = """
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


def ask(text: object, model: str = MODEL, **fields: Any) -> Request:
    return Request(model=model, messages=(Message(role="user", content=str(text)),), **fields)


def said(text: object, **fields: Any) -> Completion:
    return Completion(text=str(text), finish="stop", **{"prompt_tokens": 3, "completion_tokens": 2, **fields})


def do(*work: Coroutine[Any, Any, object]) -> list[Any]:
    """All at once, in an event loop of their own; errors as values."""

    async def together() -> list[Any]:
        return list(await asyncio.gather(*work, return_exceptions=True))

    return asyncio.run(together())


def done(*work: Coroutine[Any, Any, object]) -> None:
    assert do(*work) == [None] * len(work)


def in_file(path: Path) -> dict[str, int]:
    """Every part of the spend, read past the Ledger."""
    database = sqlite3.connect(path)
    parts = {"completions": "cost", "failures": "cost", "charges": "cost", "reservations": "bound"}
    sums = {
        table: database.execute(f"SELECT COALESCE(SUM({column}), 0) FROM {table}").fetchone()[0]
        for table, column in parts.items()
    }
    database.close()
    return sums


def old_file(path: Path, rows: list[tuple[Request, Completion, float]], without: tuple[str, ...] = ()) -> None:
    """What favonius 0.1 wrote: keys over all fields; `without` names fields of Sampling it did not know yet."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(OLD_TABLE)
    database.execute("PRAGMA user_version=1")
    for request, completion, created in rows:
        told = request.model_dump(mode="json", exclude={"logprobs": True, "sampling": set(without)})
        row = (digest(told), request.model, json.dumps(told), completion.model_dump_json(), 3, 2, 1.5, created)
        database.execute("INSERT INTO completions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    database.commit()
    database.close()
