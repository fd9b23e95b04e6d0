"""The ledger: what was acknowledged is there, and money is never forgotten."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.engines import journal, ledger_schema
from favonius.engines import ledger as ledger_module
from favonius.engines.ledger import Answer, Ledger
from favonius.engines.ledger_books import Selection
from favonius.engines.ledger_changes import REPEATED, RESENT, STOPPED, UNANSWERED, UNUSABLE
from favonius.types import Sampling, TokenLogprob
from tests.ledgers import MODEL, ask, done, in_file, said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting, where only sums are looked at."""
    monkeypatch.setattr(journal, "LINGER_SECONDS", 0.0)
    real = ledger_schema.connect

    def connect(path: Path) -> sqlite3.Connection:
        database = real(path)
        database.execute("PRAGMA synchronous=OFF")
        return database

    monkeypatch.setattr(ledger_schema, "connect", connect)
    monkeypatch.setattr(ledger_module, "connect", connect)


# ---- what is written is there


def test_answers_come_back_whole_from_every_reader(path: Path) -> None:
    odd = said('tab\t, quote ", null \0, emoji 🌬', logprobs=(TokenLogprob(token="a", logprob=-math.inf),))
    requests = [ask(n, sampling=Sampling(stop=("\n",)), sample=n, logprobs=n % 3) for n in range(2_345)]
    with Ledger(path, "step") as ledger:
        done(ledger.put_many(Answer(request, odd, 0.5, 7) for request in requests))
        assert ledger.get(requests[7].key()) == odd and ledger.get(ask("other").key()) is None
        keys = [request.key() for request in requests]
        assert ledger.known([*keys, ask("other").key()]) == dict.fromkeys(keys, odd)
        rows = {row.request.key(): row for row in ledger.rows()}
        assert {key: row.request for key, row in rows.items()} == dict(zip(keys, requests, strict=True))
        assert {(row.completion, row.cost, row.seconds, row.step) for row in rows.values()} == {(odd, 7, 0.5, "step")}
        assert list(ledger.rows(Selection(step="other"))) == []
        [spend] = ledger.spend()
        assert (spend.requests, spend.prompt_tokens, spend.completion_tokens, spend.cost) == (2345, 7035, 4690, 16415)


def test_a_burst_and_many_waiters(path: Path) -> None:
    async def worker(ledger: Ledger, numbers: Iterator[int]) -> None:
        for number in numbers:
            await ledger.reserve(ask(number), 100)
            await ledger.put(ask(number), said(number), 0.1, 60)

    with Ledger(path, "step") as ledger:
        done(*(ledger.put(ask(number), said(number), 0.1, 60) for number in range(20_000)))
        numbers = iter(range(20_000, 22_000))
        done(*(worker(ledger, numbers) for _ in range(300)))
        assert len(ledger.known(ask(number).key() for number in range(22_000))) == 22_000
        assert ledger.spent() == 22_000 * 60
    assert in_file(path) == {"completions": 22_000 * 60, "failures": 0, "charges": 0, "reservations": 0}


def test_what_was_awaited_is_seen_by_other_connections_and_a_cancelled_put_is_written(path: Path) -> None:
    async def cancelled(ledger: Ledger) -> None:
        task = asyncio.create_task(ledger.put(ask("cancelled"), said("!"), 0.1, 5))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Ledger(path) as ledger, Ledger(path) as other:
        done(ledger.put(ask("q"), said("a"), 0.1))
        assert other.get(ask("q").key()) == said("a")
        asyncio.run(cancelled(ledger))  # its loop is closed before the row is durable
        asyncio.run(other.put(ask("r"), said("b"), 0.1))
    with Ledger(path) as ledger:
        assert [ledger.get(ask(text).key()) for text in ("q", "r", "cancelled")] == [said("a"), said("b"), said("!")]


def test_one_ledger_serves_several_event_loops(path: Path) -> None:
    with Ledger(path) as ledger, asyncio.Runner() as first, asyncio.Runner() as second:
        for number in range(6):
            (first if number % 2 else second).run(ledger.put(ask(number), said(number), 0.1))
        assert [spend.requests for spend in ledger.spend()] == [6]


def test_many_open_a_new_file_at_once(path: Path) -> None:
    errors: list[BaseException] = []

    def open_and_put(number: int) -> None:
        try:
            with Ledger(path, f"step {number}") as ledger:
                done(ledger.put(ask(number), said(number), 0.1))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=open_and_put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Ledger(path) as ledger:
        assert sum(spend.requests for spend in ledger.spend()) == 8


# ---- money


def test_a_failure_is_kept_with_its_cause_until_an_answer_comes_and_its_cost_stays(path: Path) -> None:
    with Ledger(path, "first") as ledger:
        done(ledger.fail(ask("q"), "500: overloaded", attempts=6))
        done(ledger.fail(ask("r"), "empty answer", attempts=1, tokens=12, cost=40))
    with Ledger(path, "second") as ledger:
        assert ledger.get(ask("r").key()) is None
        assert ledger.spent("first") == 40 and ledger.spent("second") == 0
        done(ledger.fail(ask("r"), "empty again", attempts=2, tokens=9, cost=30))
        told = {row.request: row for row in ledger.failures()}
        assert (told[ask("q")].cause, told[ask("q")].attempts, told[ask("q")].step) == ("500: overloaded", 6, "first")
        assert (told[ask("r")].cause, told[ask("r")].attempts, told[ask("r")].cost) == ("empty again", 3, 30)
        done(ledger.put(ask("r"), said("a"), 1.0, 50), ledger.put(ask("q"), said("a"), 1.0))
        assert list(ledger.failures()) == []
        charges = [(row.step, row.cause, row.requests, row.tokens, row.cost) for row in ledger.charges()]
        assert charges == [("first", UNUSABLE, 1, 12, 40), ("second", UNUSABLE, 1, 9, 30)]
        assert (ledger.spent(), ledger.spent("first"), ledger.spent("second")) == (120, 40, 80)


def test_the_first_answer_stays_and_the_second_is_counted(path: Path) -> None:
    with Ledger(path) as ledger:
        done(ledger.put(ask("q"), said("first"), 1.0, 50), ledger.put(ask("q"), said("second"), 1.0, 20))
        done(ledger.fail(ask("q"), "too late", cost=5))
        assert ledger.get(ask("q").key()) == said("first")
        assert list(ledger.failures()) == []
        assert [(row.cause, row.requests, row.cost) for row in ledger.charges()] == [(REPEATED, 2, 25)]
        assert ledger.spent() == 75


def test_reservations_count_until_they_are_settled_or_reclaimed_once(path: Path) -> None:
    with Ledger(path, "step") as ledger:
        done(*(ledger.reserve(ask(number), 100) for number in range(4)))
        done(ledger.put(ask(0), said("a"), 1.0, 60), ledger.fail(ask(1), "429"))
        assert ledger.spent() == 260
        done(ledger.reserve(ask(2), 90))
        assert ledger.spent() == 350, "what came of the first call is not known"
    with Ledger(path, "next") as ledger:
        assert ledger.spent() == ledger.spent("step") == 350, "looking reclaims nothing"
        assert ledger.reclaim() == 190
        assert ledger.reclaim() == 0
        assert {row.cause: row.cost for row in ledger.charges()} == {RESENT: 100, STOPPED: 190}
        done(ledger.put(ask(2), said("a"), 1.0, 70))
        assert (ledger.spent("step"), ledger.spent("next")) == (350, 70)
        [step] = [row for row in ledger.spend() if row.step == "step"]
        assert (step.cost, step.lost, step.reserved, step.total) == (60, 290, 0, 350)


def test_a_batch_is_found_again_after_days(path: Path) -> None:
    with Ledger(path, "step") as ledger:
        ledger.open_batch("token-1", "vendor", MODEL, [(ask(number), 50) for number in range(3)])
        ledger.note_batch("token-1", "batch_17", "in_progress")
        ledger.open_batch("token-2", "vendor", MODEL, [])
    with Ledger(path, "step") as ledger:
        assert ledger.reclaim() == 0 and ledger.spent() == 150
        first, second = ledger.batches()
        assert (first.token, first.id, first.state, first.step) == ("token-1", "batch_17", "in_progress", "step")
        assert (second.token, second.id, second.endpoint, second.state) == ("token-2", "", "vendor", "submitting")
        assert ledger.batch_requests("token-1") == {ask(number).key(): ask(number) for number in range(3)}
        done(ledger.put_many([Answer(ask(0), said("a"), 0.0, 20)]), ledger.fail(ask(1), "expired"))
        assert list(ledger.batch_requests("token-1").values()) == [ask(2)]
        ledger.close_batch("token-1")
        assert [batch.token for batch in ledger.batches()] == ["token-2"]
        assert [(row.cause, row.cost) for row in ledger.charges()] == [(UNANSWERED, 50)]
        done(ledger.put(ask(2), said("late"), 0.0, 30))
        assert ledger.spent() == 20 + 50 + 30
    assert sum(in_file(path).values()) == 100


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["reserve"] * 4 + ["put"] * 3 + ["fail"] * 4 + ["batch", "close", "reopen", "reclaim", "prune"]
        ),
        st.integers(0, 2),
        st.integers(0, 9),
    ),
    min_size=10,
    max_size=40,
)


@pytest.mark.usefixtures("unsynced")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_no_money_is_ever_forgotten(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("money") / "ledger.sqlite"
    ledger, paid, settled = Ledger(path, "step 0"), 0, 0
    for number, (action, key, amount) in enumerate(actions):
        before = ledger.spent()
        match action:
            case "reserve":
                done(ledger.reserve(ask(key), amount))
            case "put":
                done(ledger.put(ask(key), said(number), 1.0, amount))
                paid += amount
            case "fail":
                done(ledger.fail(ask(key), f"cause {amount}", cost=amount))
                paid += amount
            case "batch":
                ledger.open_batch(f"batch {number}", "vendor", MODEL, [(ask(n), amount) for n in range(key)])
            case "close" if ledger.batches():
                ledger.close_batch(ledger.batches()[0].token)
            case "reopen":
                ledger.close()
                ledger = Ledger(path, f"step {key}")
            case "reclaim":
                ledger.reclaim()
            case "prune":
                ledger.prune(Selection(step=f"step {key}"), failures_only=amount % 2 == 0)
        parts = in_file(path)
        assert ledger.spent() == sum(parts.values()) == sum(row.total for row in ledger.spend())
        assert all(row.total == ledger.spent(row.step) for row in ledger.spend())
        now = sum(parts.values()) - parts["reservations"]
        assert now >= settled and now >= paid
        if action in ("reopen", "reclaim", "close", "prune"):
            assert ledger.spent() == before
        settled = now
    for row in ledger.spend():
        rows = list(ledger.rows(Selection(row.step, row.model)))
        assert (row.requests, row.cost) == (len(rows), sum(one.cost for one in rows))
    ledger.close()
