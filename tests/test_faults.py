"""A whole step against servers that fail: everything right is stored once, nothing known is asked again, no cap passed.

The command `favonius run` in a process of its own, over HTTP, against `tests.openai_server`.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from favonius.engines.ledger import Ledger
from favonius.run import StepFolder
from tests.openai_server import Fates, Journal, Server, server_thread

PROMPT_PRICE, COMPLETION_PRICE = 0.5, 2.0
"""Dollars for a million tokens."""
REQUESTS = 2_000
CONCURRENCY = 64


def write_recipe(folder: Path, servers: Sequence[Server], dollars: float, requests: int, **engine: Any) -> Path:
    seeds = (json.dumps({"id": f"s{n}", "prompt": f"Tell me about number {n}."}) + "\n" for n in range(requests))
    (folder / "seeds.jsonl").write_text("".join(seeds))
    endpoints = [{"base_url": server.url, "key_env": "TEST_KEY", "concurrency": CONCURRENCY} for server in servers]
    price = {"prompt": PROMPT_PRICE, "completion": COMPLETION_PRICE}
    step = {
        "stage": "dialogues",
        "seeds": "seeds.jsonl",
        "teacher": "teacher",
        "engine": {"kind": "openai", "endpoints": endpoints, "timeout_seconds": 2, **engine},
        "rounds": {"1": 1.0},
        "sampling": {"max_tokens": 96},
    }
    recipe = {
        "name": "faults",
        "models": {"teacher": {"source": "api://test-model", "price": price}},
        "budget": {"dollars": dollars},
        "steps": {"dialogues": step},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML
    return path


def start(recipe: Path, run: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "favonius", "run", str(recipe), "--out", str(run), *arguments]
    environment = {**os.environ, "TEST_KEY": "test-key"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(recipe: Path, run: Path, *arguments: str, expected: int = 0) -> str:
    process = start(recipe, run, *arguments)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == expected, errors
    return errors


def stored(run: Path) -> dict[str, str]:
    """By key, the text of every answer in the ledger."""
    with Ledger(run / "ledger.sqlite") as ledger:
        return {row.request.key(): row.completion.text for row in ledger.rows()}


def count_stored(run: Path) -> int:
    try:
        with sqlite3.connect(f"file:{run / 'ledger.sqlite'}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT COUNT(*) FROM completions").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


def kill_after(process: subprocess.Popen[str], run: Path, answers: int) -> None:
    while count_stored(run) < answers:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def billed(journal: Journal) -> float:
    return (journal.prompt_tokens * PROMPT_PRICE + journal.completion_tokens * COMPLETION_PRICE) / 1e6


@contextmanager
def serving(fates: Fates, journal: Journal | None = None) -> Iterator[Server]:
    with server_thread(fates, journal) as server:
        yield server


def test_faults_and_a_kill_change_no_row_and_cost_no_answer(tmp_path: Path) -> None:
    (tmp_path / "quiet").mkdir()
    with serving(Fates()) as server:
        finish(write_recipe(tmp_path / "quiet", [server], 100.0, REQUESTS), tmp_path / "undisturbed")
        assert max(server.journal.answered.values()) == 1

    kinds = (*Fates().kinds, "length")
    fates = Fates(share=0.3, kinds=kinds, failures=1, retry_after=0.2, latency=(0.0, 0.03), stall_seconds=60)
    run = tmp_path / "run"
    with serving(fates) as server:
        recipe = write_recipe(tmp_path, [server], 100.0, REQUESTS)
        kill_after(start(recipe, run), run, REQUESTS // 2)
        known = stored(run)
        answered_before, arrived_before = server.journal.answered.copy(), len(server.journal.events)
        finish(recipe, run)
        after = server.journal.events[arrived_before:]
        faulty = sum(server.journal.outcomes[kind] for kind in kinds)

    made = (run / "dialogues" / "dialogues.jsonl").read_bytes()
    assert made == (tmp_path / "undisturbed" / "dialogues" / "dialogues.jsonl").read_bytes()
    assert stored(run) == stored(tmp_path / "undisturbed") and len(stored(run)) == REQUESTS
    assert faulty > 0.2 * REQUESTS
    # What the ledger had is not asked again: all that is answered twice was on its way when the process died.
    twice = [digest for digest, count in server.journal.answered.items() if count > 1]
    assert all(count <= 2 for count in server.journal.answered.values()) and len(twice) <= CONCURRENCY
    again = {event.digest for event in after} & answered_before.keys()
    assert len(known) >= REQUESTS // 2
    assert len(again) <= sum(answered_before.values()) - len(known) <= CONCURRENCY
    with Ledger(run / "ledger.sqlite") as ledger:
        assert ledger.spent() / 1e9 >= billed(server.journal) > 0  # never less than what was billed
        assert not list(ledger.failures())
    assert server.journal.keys.keys() == {"test-key"} and not server.journal.strays


def test_the_cap_holds_through_faults_and_kills_and_raising_it_goes_on(tmp_path: Path) -> None:
    requests, cap = 300, 0.012
    run = tmp_path / "run"
    fates = Fates(share=0.3, kinds=("empty_text", "half_body", "server_error", "limited"), retry_after=0.1)
    with serving(fates.model_copy(update={"latency": (0.0, 0.02)})) as server:
        recipe = write_recipe(tmp_path, [server], cap, requests)
        kill_after(start(recipe, run), run, 20)
        said = finish(recipe, run, expected=1)
        assert "the budget of $0.012" in said and "raise the budget" in said
        with Ledger(run / "ledger.sqlite") as ledger:
            assert billed(server.journal) <= ledger.spent() / 1e9 <= cap
        manifest = StepFolder(run / "dialogues").manifest()
        assert manifest is not None and manifest.left_open
        rows = (run / "dialogues" / "dialogues.jsonl").read_text().splitlines()
        assert 20 <= len(rows) < requests
        finish(recipe, run, "--set", "budget.dollars=100")
    assert len((run / "dialogues" / "dialogues.jsonl").read_text().splitlines()) == len(stored(run)) == requests
    assert sum(count > 1 for count in server.journal.answered.values()) <= CONCURRENCY


def test_a_fleet_goes_on_without_the_server_that_dies(tmp_path: Path) -> None:
    journal = Journal()
    with serving(Fates(die_after=60), journal) as dying, serving(Fates(latency=(0.0, 0.01)), journal) as lasting:
        finish(write_recipe(tmp_path, [dying, lasting], 100.0, 400), tmp_path / "run")
        assert not dying.alive
    assert len(stored(tmp_path / "run")) == 400
    assert journal.servers[lasting.name] >= 340 and journal.servers[dying.name] >= 60


def test_a_fleet_that_is_dead_ends_the_run_and_another_goes_on_with_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with serving(Fates(die_after=50)) as server:
        recipe = write_recipe(tmp_path, [server], 100.0, 120, patience_seconds=2, attempts=3)
        said = finish(recipe, run, expected=1)
    assert "no server can be used" in said and "nothing answered is lost" in said
    known = stored(run)
    assert 0 < len(known) <= 50  # what was on its way to us when the server died is gone
    with serving(Fates()) as server:
        finish(write_recipe(tmp_path, [server], 100.0, 120), run)
        assert sum(server.journal.answered.values()) == 120 - len(known)
    assert len(stored(run)) == 120 and known.items() <= stored(run).items()


@pytest.mark.parametrize("mode", [{"stream": True}, {"api": "completions"}])
def test_other_ways_of_asking_meet_the_same_faults(tmp_path: Path, mode: dict[str, Any]) -> None:
    with serving(Fates(share=0.3, retry_after=0.1, stall_seconds=60)) as server:
        finish(write_recipe(tmp_path, [server], 100.0, 100, **mode), tmp_path / "run")
        assert max(server.journal.answered.values()) == 1
    assert len(stored(tmp_path / "run")) == 100


def test_a_key_that_is_refused_is_one_sentence_without_the_key(tmp_path: Path) -> None:
    with serving(Fates(key="another-key")) as server:
        recipe = write_recipe(tmp_path, [server], 100.0, 20, patience_seconds=1)
        said = finish(recipe, tmp_path / "run", expected=1)
    assert "401" in said and "test-key" not in said
    for file in (tmp_path / "run").rglob("*"):
        assert not file.is_file() or b"test-key" not in file.read_bytes(), file
