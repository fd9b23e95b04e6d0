"""What `favonius ledger` prints, as plain text; rows come from `cli.ledger`, money in dollars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from favonius.cli.tables import table
from favonius.engines.ledger_books import DOLLAR, Pruning, in_dollars
from favonius.phrases import counted, shortened
from favonius.progress import clock

Records = Sequence[Mapping[str, Any]]
CAUSES_SHOWN = 10
CAUSE_LENGTH = 100


def summary(told: Mapping[str, Any]) -> str:
    """Spend per step and model, then what is missing, lost or under way."""
    parts = [f"{told['ledger']}: {told['bytes'] / 1e6:,.1f} MB, {_dollars(told['dollars'])} spent"]
    if told["spend"]:
        parts.append(_spend(told["spend"]))
    if told["failures"]:
        parts.append(_causes(told["failures"]))
    if told["charges"]:
        parts.append(_charges(told["charges"]))
    if told["batches"]:
        parts.append(_batches(told["batches"]))
    return "\n\n".join(parts)


def failures(rows: Records) -> str:
    """Every request without an answer."""
    if not rows:
        return "every request has an answer"
    head = ("step", "model", "attempts", "dollars", "last", "the question", "cause")
    cells = [
        [
            _step(row),
            row["model"],
            row["attempts"],
            _dollars(row["cost"]),
            row["created"],
            _short(row["request"]["messages"][-1]["content"], 40),
            _short(row["cause"], CAUSE_LENGTH),
        ]
        for row in rows
    ]
    return table(head, cells, (3,))


def pruning(going: Pruning) -> str:
    """`12 answers and 1 failure that cost $0.34`."""
    gone = f"{counted(going.answers, 'answer')} and {counted(going.failures, 'failure')}"
    return f"{gone} that cost {in_dollars(going.cost)}"


def _spend(rows: Records) -> str:
    head = ("step", "model", "answers", "failed", "tokens read", "tokens written", "cost", "lost", "in flight", "took")
    cells = [
        [
            _step(row),
            row["model"],
            row["requests"],
            row["failures"],
            row["prompt_tokens"],
            row["completion_tokens"],
            *(_dollars(row[name]) if row[name] else "" for name in ("cost", "lost", "reserved")),
            clock(row["seconds"]),
        ]
        for row in rows
    ]
    return table(head, cells, (6, 7, 8, 9))


def _causes(rows: Records) -> str:
    shown = [[_step(row), row["model"], row["requests"], _short(row["cause"], CAUSE_LENGTH)] for row in rows]
    text = table(("failed in step", "model", "requests", "cause"), shown[:CAUSES_SHOWN])
    more = len(shown) - CAUSES_SHOWN
    return text if more <= 0 else f"{text}\n{more:,} more causes: --failures lists every request"


def _charges(rows: Records) -> str:
    cells = [
        [_step(row), row["model"], row["requests"], row["tokens"], _dollars(row["cost"]), row["cause"]] for row in rows
    ]
    return table(("lost in step", "model", "requests", "tokens", "cost", "cause"), cells, (4,))


def _batches(rows: Records) -> str:
    cells = [
        [_step(row), row["model"], row["endpoint"], row["waiting"], row["state"], row["created"], row["id"]]
        for row in rows
    ]
    return table(("batch of step", "model", "endpoint", "waiting", "state", "since", "id"), cells)


def _step(row: Mapping[str, Any]) -> str:
    """Rows of an old favonius say no step."""
    return str(row["step"] or "unknown")


def _dollars(amount: float) -> str:
    return in_dollars(round(amount * DOLLAR))


def _short(text: str, most: int) -> str:
    return shortened(" ".join(text.split()), most)
