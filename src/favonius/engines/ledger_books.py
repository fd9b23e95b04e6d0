"""Looking into a ledger and clearing it out: spend, rows, failures, charges; pruning.

Long tables are read a page at a time in the order of their keys, so that a million rows need no memory and no writer
waits for a reader.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from favonius.engines.ledger_changes import ADDED
from favonius.engines.ledger_schema import transaction
from favonius.types import Completion, Request

DOLLAR = 1_000_000_000
"""Nano-dollars, the ledger's unit of money."""
PAGE = 500
PRUNED = "answers that were pruned"


class Spend(NamedTuple):
    """What one model has cost one step. `total` is all of it."""

    step: str
    model: str
    requests: int
    """That were answered."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    failures: int
    """Requests that have no answer yet."""
    cost: int
    """Of the answers, in nano-dollars as all money here."""
    lost: int
    """Paid, and no answer stands for it."""
    reserved: int
    """The most that calls under way, or left by a run that was killed, may cost."""

    @property
    def total(self) -> int:
        return self.cost + self.lost + self.reserved


class Charge(NamedTuple):
    """Money that no completion stands for."""

    step: str
    model: str
    cause: str
    requests: int
    tokens: int
    cost: int


class Row(NamedTuple):
    """A request and its answer; `created` is in seconds since 1970."""

    step: str
    model: str
    request: Request
    completion: Completion
    cost: int
    seconds: float
    created: float


class FailedRequest(NamedTuple):
    """A request without an answer; `cost` and `tokens` are of its last run's attempts."""

    step: str
    model: str
    request: Request
    cause: str
    attempts: int
    tokens: int
    cost: int
    created: float


class Cause(NamedTuple):
    """Why requests have no answer, and how many."""

    step: str
    model: str
    cause: str
    requests: int


class Batch(NamedTuple):
    """Requests that a provider answers within days. `id` is the provider's, "" as long as it has given none."""

    token: str
    id: str
    endpoint: str
    model: str
    step: str
    state: str
    created: float


@dataclass(frozen=True)
class Selection:
    """Which rows are meant; None means all."""

    step: str | None = None
    model: str | None = None
    older_than_days: float | None = None

    def where(self) -> tuple[str, list[str | float]]:
        """An SQL condition and its values."""
        before = None if self.older_than_days is None else time.time() - self.older_than_days * 86_400
        given = {"step = ?": self.step, "model = ?": self.model, "created < ?": before}
        chosen = {condition: value for condition, value in given.items() if value is not None}
        return " AND ".join(["TRUE", *chosen]), list(chosen.values())


EVERYTHING = Selection()


class Pruning(NamedTuple):
    """What goes, or went: answers and failures with what they cost."""

    answers: int
    failures: int
    cost: int


def in_dollars(nano_dollars: int) -> str:
    """12_345_000_000 → `$12.35`; less than a dollar with four digits."""
    dollars = nano_dollars / DOLLAR
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.4f}"


def spend(database: sqlite3.Connection) -> list[Spend]:
    """Per step and model, in their alphabetical order."""
    query = """
    SELECT step, model, SUM(requests), SUM(read), SUM(written), SUM(seconds), SUM(failures), SUM(cost), SUM(lost),
      SUM(reserved)
    FROM (
      SELECT step, model, requests, prompt_tokens AS read, completion_tokens AS written, seconds, 0 AS failures, cost,
        0 AS lost, 0 AS reserved FROM totals
      UNION ALL SELECT step, model, 0, 0, 0, 0.0, 1, 0, cost, 0 FROM failures
      UNION ALL SELECT step, model, 0, 0, 0, 0.0, 0, 0, cost, 0 FROM charges
      UNION ALL SELECT step, model, 0, 0, 0, 0.0, 0, 0, 0, bound FROM reservations
    ) GROUP BY step, model ORDER BY step, model
    """
    return [Spend(*row) for row in database.execute(query)]


def charges(database: sqlite3.Connection) -> list[Charge]:
    query = "SELECT step, model, cause, requests, tokens, cost FROM charges ORDER BY step, model, cause"
    return [Charge(*row) for row in database.execute(query)]


def failure_causes(database: sqlite3.Connection) -> list[Cause]:
    query = "SELECT step, model, cause, COUNT(*) FROM failures GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3"
    return [Cause(*row) for row in database.execute(query)]


def rows(database: sqlite3.Connection, selection: Selection) -> Iterator[Row]:
    columns = "step, model, request, completion, cost, seconds, created"
    for step, model, request, completion, *rest in _pages(database, "completions", columns, selection):
        asked, answer = Request.model_validate_json(request), Completion.model_validate_json(completion)
        yield Row(step, model, asked, answer, *rest)


def failures(database: sqlite3.Connection, selection: Selection) -> Iterator[FailedRequest]:
    columns = "step, model, request, cause, attempts, tokens, cost, created"
    for step, model, request, *rest in _pages(database, "failures", columns, selection):
        yield FailedRequest(step, model, Request.model_validate_json(request), *rest)


def batches(database: sqlite3.Connection) -> list[Batch]:
    query = "SELECT token, id, endpoint, model, step, state, created FROM batches ORDER BY created, token"
    return [Batch(*row) for row in database.execute(query)]


def batch_requests(database: sqlite3.Connection, token: str) -> dict[str, Request]:
    query = "SELECT key, request FROM reservations WHERE batch = ?"
    return {key: Request.model_validate_json(text) for key, text in database.execute(query, (token,))}


def prunable(database: sqlite3.Connection, selection: Selection, failures_only: bool) -> Pruning:
    """What `prune` would remove."""
    counts = {"completions": (0, 0), "failures": (0, 0)}
    where, values = selection.where()
    for table in _pruned_tables(failures_only):
        query = f"SELECT COUNT(*), COALESCE(SUM(cost), 0) FROM {table} WHERE {where}"
        counts[table] = database.execute(query, values).fetchone()
    return Pruning(counts["completions"][0], counts["failures"][0], sum(cost for _, cost in counts.values()))


def prune(database: sqlite3.Connection, selection: Selection, failures_only: bool) -> Pruning:
    """Remove rows and give their room back to the disk. What they cost stays counted, as a charge."""
    where, values = selection.where()
    with transaction(database):
        gone = prunable(database, selection, failures_only)
        for table in _pruned_tables(failures_only):
            tokens = "tokens" if table == "failures" else "prompt_tokens + completion_tokens"
            database.execute(
                f"INSERT INTO charges SELECT step, model, ?, COUNT(*), SUM({tokens}), SUM(cost) FROM {table} "
                f"WHERE cost > 0 AND {where} GROUP BY step, model {ADDED}",
                (PRUNED, *values),
            )
            database.execute(f"DELETE FROM {table} WHERE {where}", values)
    database.execute("VACUUM")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return gone


def _pruned_tables(failures_only: bool) -> tuple[str, ...]:
    return ("failures",) if failures_only else ("completions", "failures")


def _pages(database: sqlite3.Connection, table: str, columns: str, selection: Selection) -> Iterator[list[Any]]:
    where, values = selection.where()
    query = f"SELECT key, {columns} FROM {table} WHERE key > ? AND {where} ORDER BY key LIMIT {PAGE}"
    last = ""
    while page := database.execute(query, (last, *values)).fetchall():
        last = page[-1][0]
        yield from (row[1:] for row in page)
