"""`favonius ledger`: the summary, failures, export, pruning, and its errors as sentences."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from favonius.cli import main
from favonius.engines.ledger import Answer, Ledger
from favonius.engines.ledger_books import DOLLAR, Selection
from favonius.engines.ledger_changes import UNUSABLE
from favonius.engines.ledger_view import UnreadableError, looked_into
from favonius.files import write_json
from favonius.run import locked
from favonius.types import Request
from tests.ledgers import MODEL, ask, done, in_file, old_file, said


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
    assert "a file stands where a folder is needed" in out(
        capsys, run, "--export", run / "rows.file" / "x.jsonl", code=2
    )


def test_looking_needs_nothing_but_to_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a read-only disk, on which SQLite cannot make a log either, and no lock can be taken."""

    def connected(address: str, **settings: Any) -> sqlite3.Connection:
        assert "mode=ro&immutable=1" in address
        return connect(address, **settings)

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    (run / "ledger.sqlite.lock").unlink()
    before = {path: path.read_bytes() for path in run.iterdir()}
    monkeypatch.setattr(sqlite3, "connect", connected)
    for arguments in ((), ("--json",), ("--failures",), ("--export", tmp_path / "rows.jsonl")):
        assert out(capsys, run, *arguments)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_looking_sees_what_a_run_at_work_has_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger(run / "ledger.sqlite", "answers") as ledger:
        done(ledger.put(ask("late"), said("in the log alone"), 1.0))
        assert "34 rows" not in out(capsys, run, "--export", run / "rows.jsonl")
        assert "in the log alone" in (run / "rows.jsonl").read_text(encoding="utf-8")


def test_what_was_written_while_it_was_read_is_told(run: Path) -> None:
    path = run / "ledger.sqlite"
    for first in (True, False):
        with pytest.raises(UnreadableError, match=r"ledger\.sqlite: a run wrote into it while it was read; look again"):
            with looked_into(path) as ledger:
                assert ledger.spend()
                with Ledger(path, "late") as writer:
                    done(writer.put(ask("more", sample=first), said("word " * 2_000), 0.1))
                if first:
                    raise UnreadableError(path, "it cannot be read (database disk image is malformed)")


def test_a_ledger_in_whose_making_a_run_was_killed_is_empty(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "ledger.sqlite").write_bytes(b"")
    assert "$0.00 spent" in out(capsys, run) and (run / "ledger.sqlite").read_bytes() == b""


def test_older_ledgers_are_brought_up_to_date_and_newer_ones_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old_file(run / "old.sqlite", [(ask(number), said(number), 1.0) for number in range(3)])
    (run / "old.sqlite").rename(run / "ledger.sqlite")
    assert [row["requests"] for row in json.loads(out(capsys, run, "--json"))["spend"]] == [3]
    database = sqlite3.connect(run / "ledger.sqlite")
    database.execute("PRAGMA user_version=99")
    database.close()
    assert "written by a newer favonius" in out(capsys, run, code=2)


def test_a_damaged_ledger_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "ledger.sqlite").write_bytes(b"no database, whatever it says " * 100)
    said = out(capsys, run, code=1)
    assert re.fullmatch(r"error: .*ledger\.sqlite: it cannot be read \(file is not a database\); [^\n]+\n", said)


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
