"""The ledger: what was acknowledged is there, money is never forgotten, and the command tells it all."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.cli import main
from favonius.engines import journal, ledger_schema
from favonius.engines import ledger as ledger_module
from favonius.engines.ledger import Answer, Ledger
from favonius.engines.ledger_books import DOLLAR, Selection
from favonius.engines.ledger_changes import REPEATED, RESENT, STOPPED, UNANSWERED, UNUSABLE
from favonius.errors import FavoniusError, UserError
from favonius.files import write_json
from favonius.run import locked
from favonius.types import Completion, Message, Request, Sampling, TokenLogprob, digest

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


# ---- machines fail


WORKER = """
import asyncio, sys
from pathlib import Path
from favonius.engines.ledger import Ledger
from tests.test_ledger import ask, said

async def worker(ledger, numbers):
    for number in numbers:
        await ledger.reserve(ask(number), 100)
        print("reserved", number, flush=True)
        await ledger.put(ask(number), said("word " * 200), 0.1, 60)
        print("put", number, flush=True)

async def work():
    with Ledger(Path(sys.argv[1]), "step") as ledger:
        numbers = iter(range(10**6))
        await asyncio.gather(*(worker(ledger, numbers) for _ in range(20)))
"""


def test_after_kill_9_every_acknowledged_row_is_there(path: Path) -> None:
    code = WORKER + "asyncio.run(work())\n"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = "".join(process.stdout.readline() for _ in range(1_500))
    process.send_signal(signal.SIGKILL)
    text += process.stdout.read()
    assert process.wait() == -signal.SIGKILL
    told = [line.split() for line in text[: text.rfind("\n")].splitlines()]  # the last may be cut off
    reserved = {int(number) for kind, number in told if kind == "reserved"}
    put = {int(number) for kind, number in told if kind == "put"}
    assert len(put) > 500
    with Ledger(path, "step") as ledger:
        answered = {int(row.request.messages[0].content) for row in ledger.rows()}
        assert put <= answered
        spent, lost = ledger.spent(), ledger.reclaim()
        assert len(reserved - answered) * 100 <= lost <= 20 * 100
        assert spent == ledger.spent() == 60 * len(answered) + lost
        assert ledger.reclaim() == 0
        number = next(iter(answered))
        done(ledger.put(ask(number), said("again"), 0.1, 60))
        assert ledger.get(ask(number).key()) == said("word " * 200)
    assert sum(in_file(path).values()) == spent + 60


def test_a_file_that_may_not_grow_is_one_error_for_all_and_keeps_what_was_told(path: Path) -> None:
    code = WORKER + (
        "import resource\n"
        "from favonius.errors import FavoniusError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
        "async def both():\n"
        "    ledger = Ledger(Path(sys.argv[1]), 'step')\n"
        "    numbers = iter(range(10**6))\n"
        "    errors = await asyncio.gather(*(worker(ledger, numbers) for _ in range(20)), return_exceptions=True)\n"
        "    assert all(type(error) is FavoniusError for error in errors), errors\n"
        "    assert len({str(error) for error in errors}) == 1, errors\n"
        "    for call in (ledger.reserve(ask(-1), 1), ledger.fail(ask(-1), 'x')):\n"
        "        try:\n            await call\n"
        "        except FavoniusError as error:\n            assert str(error) == str(errors[0])\n"
        "        else:\n            raise AssertionError\n"
        "    try:\n        ledger.close()\n"
        "    except FavoniusError as error:\n        print('error', error)\n"
        "asyncio.run(both())\n"
    )
    finished = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    *told, error = finished.stdout.splitlines()
    assert re.search(r"ledger\.sqlite: the ledger cannot be written .* what was answered is kept$", error)
    put = {line.split()[1] for line in told if line.startswith("put")}
    assert put
    with Ledger(path) as ledger:
        assert put <= {row.request.messages[0].content for row in ledger.rows()}
        done(ledger.put(ask("more"), said("a"), 0.1))


def test_a_full_disk_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(path: Path) -> sqlite3.Connection:
        database = ledger_schema.connect(path)
        database.execute("PRAGMA max_page_count = 30")
        return database

    monkeypatch.setattr(ledger_module, "connect", connect)
    ledger = Ledger(path)
    done(ledger.put(ask("small"), said("a"), 0.1))
    errors = do(*(ledger.put(ask(number), said("word " * 5_000), 0.1) for number in range(50)))
    assert {type(error) for error in errors} == {FavoniusError}
    [sentence] = {str(error) for error in errors}
    assert re.fullmatch(r"no space left on the disk that holds .*ledger\.sqlite; free some and run .*", sentence)
    with pytest.raises(FavoniusError, match="no space left"):
        ledger.close()
    with Ledger(path) as ledger:
        assert [row.request for row in ledger.rows()] == [ask("small")]


def test_a_ledger_that_another_program_locks_or_that_is_damaged_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_schema, "BUSY_SECONDS", 0.05)
    ledger, other = Ledger(path), sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    [error] = do(ledger.put(ask("q"), said("a"), 0.1))
    assert isinstance(error, FavoniusError) and "another program keeps the ledger locked" in str(error)
    for call in (ledger.reclaim, ledger.close):
        with pytest.raises(FavoniusError, match="keeps the ledger locked"):
            call()
    other.close()
    path.write_bytes(b"not a database at all" * 100)
    path.with_name("ledger.sqlite-wal").unlink(missing_ok=True)
    with pytest.raises(FavoniusError, match=r"ledger\.sqlite: the ledger is damaged"):
        Ledger(path)


def test_an_error_of_ours_reaches_the_callers_as_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(database: sqlite3.Connection, changes: object) -> None:
        raise ArithmeticError("a fault of ours")

    monkeypatch.setattr(ledger_module, "write", fail)
    ledger = Ledger(path)
    assert [type(error) for error in do(*(ledger.fail(ask(n), "x") for n in range(3)))] == [ArithmeticError] * 3
    with pytest.raises(ArithmeticError):
        ledger.close()


# ---- files of other versions


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


def test_a_file_of_schema_1_is_taken_over(path: Path) -> None:
    old_file(path, [(ask(n), said(n), float(n)) for n in range(700)], without=("stop",))
    old_file(path, [(ask(3), said("written later"), 900.0)])
    with Ledger(path, "step") as ledger:
        assert ledger.known(ask(n).key() for n in range(700)) == {ask(n).key(): said(n) for n in range(700)}
        [spend] = ledger.spend()
        assert (spend.step, spend.requests, spend.total, spend.seconds) == ("", 700, 0, 1050.0)
        assert {row.created for row in ledger.rows()} == {float(n) for n in range(700)}
        done(ledger.put(ask("new"), said("a"), 1.0, 5))
    with Ledger(path) as ledger:
        assert [(row.step, row.requests) for row in ledger.spend()] == [("", 700), ("step", 1)]


def test_taking_over_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    old_file(path, [(ask("good"), said("a"), 1.0)])
    database = sqlite3.connect(path)
    with database:
        database.execute("INSERT INTO completions VALUES ('k', 'm', '{}', '{}', 1, 1, 1.0, 2.0)")
    with pytest.raises(ValueError, match="messages"):
        Ledger(path)
    assert database.execute("PRAGMA user_version").fetchone() == (1,)
    assert database.execute("SELECT COUNT(*) FROM completions").fetchone() == (2,)
    with database:
        database.execute("DELETE FROM completions WHERE key = 'k'")
    database.close()
    with Ledger(path) as ledger:
        assert ledger.get(ask("good").key()) == said("a")


@pytest.mark.parametrize("version", [0, 1])
def test_a_file_killed_while_it_was_made_is_made_whole(path: Path, version: int) -> None:
    old_file(path, [])
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version={version}")
    database.close()
    with Ledger(path) as ledger:
        done(ledger.put(ask("q"), said("a"), 0.1))


def test_a_newer_file_is_refused(path: Path) -> None:
    Ledger(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(UserError, match=r"written by a newer favonius \(ledger schema 99\)"):
        Ledger(path)


# ---- the command


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose steps have asked two models, one of them for money."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_json(folder / "models.json", [{"name": "teacher", "digest": MODEL}])
    with Ledger(folder / "ledger.sqlite", "dialogues") as ledger:
        for number in range(30):
            done(ledger.put(ask(number), said(f"answer {number}"), 2.0, DOLLAR // 100))
        done(ledger.fail(ask("bad", sample=1), "teacher: 400 (too long)\nsecond line", attempts=2))
        done(ledger.fail(ask("worse"), "empty answer", cost=DOLLAR // 2))
        done(ledger.reserve(ask("flight"), DOLLAR))
        ledger.open_batch("token", "vendor", MODEL, [(ask("batch"), 2 * DOLLAR)])
        ledger.note_batch("token", "batch_17", "in_progress")
    with Ledger(folder / "ledger.sqlite", "answers") as ledger:
        done(ledger.put(ask("q", model="f" * 64), said("a"), 61.0))
        done(ledger.put(ask("worse"), said("a"), 1.0, DOLLAR))
    return folder


def out(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main(["ledger", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out if code == 0 else captured.err


def test_the_summary(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, run)
    assert text.splitlines()[0].endswith("MB, $4.80 spent")
    assert re.search(r"^answers    ffffffffffff +1 +3 +2 +1m01s$", text, re.MULTILINE)
    assert re.search(r"^dialogues  teacher +30 +1 +90 +60 +\$0\.3000 +\$0\.5000 +\$3\.00 +1m00s$", text, re.MULTILINE)
    assert re.search(r"^dialogues +teacher +1 +teacher: 400 \(too long\) second line$", text, re.MULTILINE)
    assert re.search(rf"^dialogues +teacher +1 +\$0\.5000  {UNUSABLE}$", text, re.MULTILINE)
    assert re.search(r"^dialogues +teacher  vendor +1  in_progress  \d{4}-.*  batch_17$", text, re.MULTILINE)
    told = json.loads(out(capsys, run, "--json", "--step", "dialogues"))
    assert told["dollars"] == pytest.approx(3.8)
    assert [(row["requests"], row["lost"], row["reserved"]) for row in told["spend"]] == [(30, 0.5, 3.0)]
    assert [row["waiting"] for row in told["batches"]] == [1]
    assert in_file(run / "ledger.sqlite")["reservations"] == 3 * DOLLAR, "looking reclaims nothing"


def test_failures_are_listed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, run, "--failures")
    assert re.search(
        r"^dialogues  teacher +2 +\$0\.00 .* bad +teacher: 400 \(too long\) second line$", text, re.MULTILINE
    )
    [row] = json.loads(out(capsys, run, "--failures", "--json"))
    assert row["request"]["sample"] == 1 and row["attempts"] == 2 and "\n" in row["cause"]
    assert out(capsys, run, "--failures", "--step", "answers") == "every request has an answer\n"


def test_export(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, packed = run / "rows.jsonl", run / "rows.jsonl.gz"
    assert out(capsys, run, "--export", plain) == f"32 rows: {plain}\n"
    rows = [json.loads(line) for line in plain.read_text(encoding="utf-8").splitlines()]
    assert {frozenset(row) for row in rows} == {
        frozenset({"step", "model", "request", "completion", "cost", "seconds", "created"})
    }
    assert {Request.model_validate(row["request"]) for row in rows} >= {ask(number) for number in range(30)}
    assert sum(row["cost"] for row in rows) == pytest.approx(1.3)
    told = json.loads(out(capsys, run, "--export", packed, "--step", "answers", "--model", "teacher", "--json"))
    [row] = [json.loads(line) for line in gzip.decompress(packed.read_bytes()).splitlines()]
    assert told["rows"] == 1
    assert (row["model"], row["completion"]["text"], row["cost"]) == ("teacher", "a", 1.0)
    assert "must end in .jsonl or .jsonl.gz" in out(capsys, run, "--export", run / "rows.csv", code=2)
    plain.with_suffix(".file").write_text("in the way")
    assert "cannot be written" in out(capsys, run, "--export", run / "rows.file" / "x.jsonl", code=2)


def test_pruning_wants_a_yes_keeps_the_money_counted_and_waits_for_a_run(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prune = (run, "--prune", "--step", "dialogues")
    assert "removes 30 answers and 1 failure that cost $0.3000; add --yes to do it" in out(capsys, *prune, code=2)
    with locked(run):
        assert "another run is at work in this folder" in out(capsys, *prune, "--yes", code=2)
    database = sqlite3.connect(run / "ledger.sqlite")
    with database:
        old = [(ask(number).key(),) for number in range(10)]
        database.executemany("UPDATE completions SET created = created - 100000 WHERE key = ?", old)
    database.close()
    assert out(capsys, *prune, "--yes", "--older-than", 2) == "removed 0 answers and 0 failures that cost $0.00\n"
    assert out(capsys, *prune, "--yes", "--older-than", 1) == "removed 10 answers and 0 failures that cost $0.1000\n"
    [spend] = json.loads(out(capsys, run, "--json", "--step", "dialogues"))["spend"]
    assert (spend["requests"], spend["cost"], spend["seconds"]) == (20, 0.2, 40.0)
    assert "removed 0 answers and 1 failure " in out(capsys, *prune, "--yes", "--failures-only")
    assert json.loads(out(capsys, *prune, "--yes", "--json")) == {"answers": 20, "failures": 0, "cost": 0.2}
    told = json.loads(out(capsys, run, "--json"))
    assert told["dollars"] == pytest.approx(4.8)
    with Ledger(run / "ledger.sqlite") as ledger:
        assert [row.request for row in ledger.rows(Selection(step="dialogues"))] == []
        assert len(list(ledger.rows())) == 2


def test_pruning_gives_room_back(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / "ledger.sqlite"
    with Ledger(file, "long") as ledger:
        done(ledger.put_many(Answer(ask(n, sample=9), said("word " * 2_000), 0.1) for n in range(100)))
    before = file.stat().st_size
    out(capsys, run, "--prune", "--step", "long", "--yes")
    assert file.stat().st_size < before / 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--step", "dialoges"], "--step dialoges: the ledger has no such step; did you mean dialogues?"),
        (["--model", "techer"], "--model techer: the ledger has no such model; did you mean teacher?"),
        (["--yes"], "--yes goes with --prune only"),
        (["--older-than", "3"], "--older-than goes with --prune only"),
        (["--prune", "--older-than", "-3"], "--older-than -3: must be a number of days, 0 or more"),
    ],
)
def test_mistakes_are_one_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert out(capsys, run, *arguments, code=2) == f"error: {sentence}\n"


def test_a_folder_without_a_ledger_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no ledger here" in out(capsys, tmp_path, code=2)
    assert list(tmp_path.iterdir()) == []


def test_models_go_by_the_beginning_of_their_digest_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(out(capsys, run, "--model", "ffff", "--json"))
    assert [row["requests"] for row in told["spend"]] == [1]


def test_help_lists_the_command_and_it_needs_no_torch(run: Path) -> None:
    code = (
        "import sys\nfrom favonius.cli import main\nassert main(['ledger', sys.argv[1]]) == 0\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'xllamacpp'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    finished = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
