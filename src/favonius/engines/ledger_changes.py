"""What is written to a ledger while requests are answered: calls sent, answers and failures, many at a time.

Statements work on a whole group of rows: the writing thread would otherwise have to win Python's lock back from the
event loop for every row.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

STOPPED = "in flight when the run was stopped"
RESENT = "sent again before an answer came"
UNUSABLE = "answers that could not be used, asked again"
UNANSWERED = "of a batch that ended without an answer to them"
REPEATED = "answered again though an answer was there"

KEYS = "(SELECT value FROM json_each(?))"
ADDED = (
    "ON CONFLICT (step, model, cause) DO UPDATE SET requests = requests + excluded.requests, "
    "tokens = tokens + excluded.tokens, cost = cost + excluded.cost"
)


class Reserved(NamedTuple):
    """A row of `reservations`: a call that is about to be sent, and the most that it may cost."""

    key: str
    model: str
    step: str
    bound: int
    created: float
    batch: str = ""
    request: str = ""


class Answered(NamedTuple):
    """A row of `completions`."""

    key: str
    model: str
    step: str
    prompt_tokens: int
    completion_tokens: int
    cost: int
    seconds: float
    created: float
    request: str
    completion: str

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Failed(NamedTuple):
    """A row of `failures`; attempts of earlier runs are added to those it says."""

    key: str
    model: str
    step: str
    attempts: int
    tokens: int
    cost: int
    created: float
    cause: str
    request: str


Change = Reserved | Answered | Failed


def write(database: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """Apply `changes` in their order. No money that was ever written gets lost: it moves to `charges`."""
    for group in _each_key_once(changes):
        reserve(database, [change for change in group if isinstance(change, Reserved)])
        _settle(database, {change.key: change for change in group if not isinstance(change, Reserved)})


def reserve(database: sqlite3.Connection, calls: Sequence[Reserved]) -> None:
    """Where a key is reserved already, nobody knows what came of that call: it counts as paid."""
    if calls:
        charge_reservations(database, RESENT, f"key IN {KEYS}", json.dumps([call.key for call in calls]))
        database.executemany("INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?, ?)", calls)


def charge_reservations(database: sqlite3.Connection, cause: str, where: str, *values: str) -> None:
    """Turn reservations into money spent for nothing."""
    database.execute(
        "INSERT INTO charges SELECT step, model, ?, COUNT(*), 0, SUM(bound) FROM reservations "
        f"WHERE bound > 0 AND {where} GROUP BY step, model {ADDED}",
        (cause, *values),
    )
    database.execute(f"DELETE FROM reservations WHERE {where}", values)


def _settle(database: sqlite3.Connection, outcomes: dict[str, Answered | Failed]) -> None:
    if not outcomes:
        return
    keys = (json.dumps(list(outcomes)),)
    database.execute(f"DELETE FROM reservations WHERE key IN {KEYS}", keys)
    database.execute(
        "INSERT INTO charges SELECT step, model, ?, COUNT(*), SUM(tokens), SUM(cost) FROM failures "
        f"WHERE cost > 0 AND key IN {KEYS} GROUP BY step, model {ADDED}",
        (UNUSABLE, *keys),
    )
    known = {key for (key,) in database.execute(f"SELECT key FROM completions WHERE key IN {KEYS}", keys)}
    new = [outcome for key, outcome in outcomes.items() if key not in known]
    answers = [outcome for outcome in new if isinstance(outcome, Answered)]
    database.execute(f"DELETE FROM failures WHERE key IN {KEYS}", (json.dumps([answer.key for answer in answers]),))
    database.executemany("INSERT INTO completions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", answers)
    database.executemany(
        "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET step = excluded.step, "
        "attempts = attempts + excluded.attempts, tokens = excluded.tokens, cost = excluded.cost, "
        "created = excluded.created, cause = excluded.cause",
        [outcome for outcome in new if isinstance(outcome, Failed)],
    )
    repeated = (outcomes[key] for key in known)
    database.executemany(
        f"INSERT INTO charges VALUES (?, ?, ?, 1, ?, ?) {ADDED}",
        [(row.step, row.model, REPEATED, row.tokens, row.cost) for row in repeated if row.cost],
    )


def _each_key_once(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """`changes` in pieces that hold no key twice, so that those of a piece may be written kind by kind."""
    piece: list[Change] = []
    keys: set[str] = set()
    for change in changes:
        if change.key in keys:
            yield piece
            piece, keys = [], set()
        piece.append(change)
        keys.add(change.key)
    yield piece
