"""Ledgers on machines that fail, and files of other versions: what was told stays, and errors are sentences."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from favonius.engines import ledger as ledger_module
from favonius.engines import ledger_schema
from favonius.engines.ledger import Ledger
from favonius.errors import FavoniusError, UserError
from tests.ledgers import ask, do, done, in_file, old_file, said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


WORKER = """
import asyncio, sys
from pathlib import Path
from favonius.engines.ledger import Ledger
from tests.ledgers import ask, said

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
