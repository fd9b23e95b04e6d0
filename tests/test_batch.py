"""The Batch API as a mode of the openai engine: nothing paid is lost, nothing submitted twice, whatever dies when."""

from __future__ import annotations

import io
import json
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.engines.asked import Failure
from favonius.engines.config import OpenAI
from favonius.engines.interview import Interview, Interviews, Reply, Talk, interviews
from favonius.engines.ledger import Ledger
from favonius.engines.openai import batch as module
from favonius.engines.openai.batch_lines import outcome_of, read_line, request_line
from favonius.engines.openai.calls import Unanswered
from favonius.errors import FavoniusError
from favonius.pipeline.work import Parts, run_recipe
from favonius.progress import Progress
from favonius.recipe import load_recipe
from favonius.run import Budget, Context, ServedModel
from favonius.types import Completion, Message, Messages, Price, Request, Sampling
from tests.openai_server import BatchFates, Fates, Server, server_thread
from tests.openai_server.batches import OVER, Batch
from tests.test_faults import count_stored, start, stored, write_recipe

QUIET = Progress(io.StringIO())
SAMPLING = Sampling(max_tokens=50)
PRICE = Price(prompt=1.0, completion=2.0)
MODEL = ServedModel("teacher", "test-model", "digest", PRICE)
DAY = 86_400.0


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "test-key")


def engine(*servers: Server, **changes: Any) -> OpenAI:
    endpoints = [{"base_url": server.url, "key_env": "TEST_KEY"} for server in servers]
    fields = {"endpoints": endpoints, "mode": "batch", "poll_seconds": 0.02, "patience_seconds": 1, "attempts": 3}
    return OpenAI.model_validate(fields | changes)


class Run:
    """One process's life over a run folder."""

    def __init__(self, folder: Path, config: OpenAI, dollars: float | None = None) -> None:
        self.told = io.StringIO()
        budget = None if dollars is None else Budget(dollars=dollars)
        self.context = Context(folder, Progress(self.told), "step", budget)
        self.config = config
        self.spent = 0
        """What the ledger reckoned, at the end."""

    @contextmanager
    def opened(self) -> Iterator[tuple[Interviews, Interview]]:
        with interviews(self.context) as opened:
            yield opened, opened.open(self.config, MODEL)

    def ask(self, texts: Sequence[str]) -> dict[str, Reply]:
        with self.opened() as (_, model):
            replies = model.ask({text: talk(text) for text in texts}, SAMPLING, "  ask")
            self.spent = model.interviews.ledger.spent()
            return replies


def talk(text: str) -> Messages:
    return (Message(role="user", content=text),)


def texts(count: int) -> list[str]:
    return [f"Tell me about number {number}." for number in range(count)]


def live(folder: Path, server: Server, count: int) -> dict[str, Reply]:
    return Run(folder / "live", engine(server, mode="live")).ask(texts(count))


def nothing_is_open(folder: Path) -> Ledger:
    with Ledger(folder / "ledger.sqlite", "step") as ledger:
        assert ledger.batches() == [] and sum(spend.reserved for spend in ledger.spend()) == 0
    return ledger


def billed(server: Server) -> int:
    """In nano-dollars."""
    return 1_000 * server.journal.prompt_tokens + 2_000 * server.journal.completion_tokens


def test_a_step_goes_as_one_batch_and_its_rows_are_those_of_a_live_run(tmp_path: Path) -> None:
    with server_thread() as server:
        expected = live(tmp_path, server, 60)
    with server_thread(Fates(batches=BatchFates(polls_per_state=2))) as server:
        run = Run(tmp_path / "run", engine(server), dollars=1.0)
        assert run.ask(texts(60)) == expected
        assert Run(tmp_path / "run", engine(server), dollars=1.0).ask(texts(60)) == expected
        assert set(server.journal.answered.values()) == {1} and len(server.batches.batches) == 1
        [batch] = server.batches.batches.values()
        assert list(batch.metadata) == ["favonius"]
        assert nothing_is_open(tmp_path / "run").spent() == billed(server)
    states = re.findall(
        r"^  batch batch_0000: ([a-z ]+), (\d+) of 60 done, waiting since \d+s$", run.told.getvalue(), re.M
    )
    assert [state for state, _ in states] == ["validating", "in progress", "finalizing", "completed"]
    assert states[-1][1] == "60" and run.context.left_open == []


def test_faults_lines_that_failed_and_expired_batches_change_no_row(tmp_path: Path) -> None:
    kinds = ("limited", "server_error", "no_choices", "empty_text", "null_content", "length", "half_body")
    fates = Fates(share=0.4, kinds=kinds, batches=BatchFates(expired=(0, 1), failing_calls=2))
    with server_thread() as server:
        expected = live(tmp_path, server, 80)
    with server_thread(fates) as server:
        run = Run(tmp_path / "run", engine(server, attempts=6), dollars=1.0)
        assert run.ask(texts(80)) == expected
        assert set(server.journal.answered.values()) == {1}
        assert 3 <= len(server.batches.batches) <= 6
        ledger = nothing_is_open(tmp_path / "run")
        assert ledger.spent() >= billed(server)
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        assert not list(ledger.failures())


def test_requests_that_fail_for_good_are_rows_with_their_causes(tmp_path: Path) -> None:
    fates = Fates(lasting_share=0.5, lasting=("context_length", "quota", "content_filter", "empty_text"))
    with server_thread(fates) as server:
        replies = Run(tmp_path / "run", engine(server)).ask(texts(60))
        failures = {reply.cause: reply.lasting for reply in replies.values() if isinstance(reply, Failure)}
        assert {cause.split(":")[0]: lasting for cause, lasting in failures.items()} == {
            "answered 400 (bad request)": True,
            "answered 429 (too many requests)": False,
            "the provider's content filter withheld the answer": True,
            "the answer is empty; tried 3 times": False,
        }
        assert len(server.batches.batches) == 3
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        assert sorted(row.cause for row in ledger.failures()) == sorted(
            reply.cause for reply in replies.values() if isinstance(reply, Failure)
        )
        assert {row.attempts for row in ledger.failures() if "empty" in row.cause} == {3}


def test_live_requests_leave_a_step_open_only_where_their_causes_may_pass(tmp_path: Path) -> None:
    fates = Fates(lasting_share=0.5, lasting=("context_length", "content_filter", "server_error"))
    with server_thread(fates) as server:
        run = Run(tmp_path, engine(server, mode="live", attempts=2))
        failures = [reply for reply in run.ask(texts(30)).values() if isinstance(reply, Failure)]
    assert {reply.cause.split(":")[0]: reply.lasting for reply in failures} == {
        "answered 400 (bad request)": True,
        "the provider's content filter withheld the answer": True,
        "answered 500 (internal server error)": False,
    }
    passing = sum(not reply.lasting for reply in failures)
    assert [left.sentence for left in run.context.left_open] == [
        f"{passing} requests failed and are asked again in the next run"
    ]


def test_every_attempt_counts_once_whether_it_was_paid_or_not(tmp_path: Path) -> None:
    fates = Fates(lasting_share=0.5, lasting=("context_length", "empty_text", "server_error"))
    with server_thread(fates) as server:
        Run(tmp_path, engine(server, mode="live")).ask(texts(30))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        rows = list(ledger.failures())
    said = [int(tried[1]) if (tried := re.search(r"tried (\d+) times", row.cause)) else 1 for row in rows]
    assert [row.attempts for row in rows] == said and {1, 3} <= set(said)


@pytest.mark.parametrize("mode", ["batch", "live"])
@pytest.mark.parametrize("attempts", [1, 3])
def test_an_answer_that_is_always_cut_off_is_taken_and_paid_as_often_as_it_came(
    tmp_path: Path, mode: str, attempts: int
) -> None:
    with server_thread(Fates(lasting_share=1.0, lasting=("length",))) as server:
        replies = Run(tmp_path, engine(server, mode=mode, attempts=attempts), dollars=1.0).ask(texts(6)).values()
        assert {reply.finish for reply in replies if isinstance(reply, Completion)} == {"length"} and len(replies) == 6
        assert set(server.journal.attempts.values()) == {min(2, attempts)}
        assert nothing_is_open(tmp_path).spent() == billed(server)


def test_a_batch_that_fails_validation_is_one_sentence_and_costs_nothing(tmp_path: Path) -> None:
    with server_thread(Fates(batches=BatchFates(most_requests=8))) as server:
        with pytest.raises(
            FavoniusError, match=r"refused batch batch_0000: The file must hold 1 to 8 requests\.; nothing"
        ):
            Run(tmp_path, engine(server), dollars=1.0).ask(texts(20))
        assert nothing_is_open(tmp_path).spent() == 0
        replies = Run(tmp_path, engine(server, batch_requests=8), dollars=1.0).ask(texts(20))
        assert all(isinstance(reply, Completion) for reply in replies.values())
        assert [len(batch.lines) for batch in server.batches.batches.values()] == [20, 8, 8, 4]


def test_a_line_that_the_provider_cannot_take_is_named(tmp_path: Path) -> None:
    with server_thread(Fates(models=("another-model",))) as server:
        with pytest.raises(FavoniusError, match=r"line 1: body must name a model of ours .* and 3 more; nothing"):
            Run(tmp_path, engine(server)).ask(texts(4))


def test_a_batch_that_came_too_early_waits_for_another_to_end(tmp_path: Path) -> None:
    with server_thread(Fates(batches=BatchFates(invalid=(1,), seconds_per_state=0.1))) as server:
        run = Run(tmp_path, engine(server, batch_requests=10))
        assert all(isinstance(reply, Completion) for reply in run.ask(texts(20)).values())
        assert [batch.status for batch in server.batches.batches.values()] == ["completed", "failed", "completed"]
        assert set(server.journal.answered.values()) == {1}
    assert "batch_0001 is submitted again after another has ended" in run.told.getvalue()
    with server_thread(Fates(batches=BatchFates(invalid=(0,)))) as server:
        with pytest.raises(FavoniusError, match=r"Enqueued token limit reached.*set a smaller `batch_requests`"):
            Run(tmp_path / "alone", engine(server)).ask(texts(20))


def test_a_batch_whose_creation_nobody_heard_of_is_not_made_again(tmp_path: Path) -> None:
    with server_thread(Fates(batches=BatchFates(lost_replies=1))) as server:
        replies = Run(tmp_path, engine(server)).ask(texts(20))
        assert all(isinstance(reply, Completion) for reply in replies.values())
        assert len(server.batches.batches) == 1 and set(server.journal.answered.values()) == {1}


def test_servers_that_are_down_for_long_end_the_run_and_lose_nothing(tmp_path: Path) -> None:
    with server_thread(Fates(batches=BatchFates(failing_calls=1_000))) as server:
        with pytest.raises(FavoniusError, match=r"cannot be used for batches: it answered 500.*tried"):
            Run(tmp_path, engine(server, patience_seconds=0, attempts=2), dollars=1.0).ask(texts(3))
    assert nothing_is_open(tmp_path).spent() == 0


def test_no_cap_is_passed_and_raising_it_goes_on(tmp_path: Path) -> None:
    with server_thread() as server:
        answered = []
        for dollars in (0.0012, 0.0012, 1.0):  # a request may cost 0.000132 and costs about 0.00005
            run = Run(tmp_path, engine(server), dollars)
            replies = run.ask(texts(40)).values()
            answered.append(sum(isinstance(reply, Completion) for reply in replies))
            unasked = sum(isinstance(reply, Failure) and not reply.asked for reply in replies)
            assert answered[-1] + unasked == 40
            assert billed(server) == nothing_is_open(tmp_path).spent() <= dollars * 1e9
            assert bool(unasked) == any("is spent" in left.sentence for left in run.context.left_open)
        assert 15 < answered[0] == answered[1] < 40 == answered[2]
        assert set(server.journal.answered.values()) == {1}


def converse(models: Sequence[Interview], text: str) -> Talk[list[str]]:
    """Each model in turn is asked what the last one said."""
    said: list[str] = []
    for model in models:
        reply = yield model.question(talk(text), SAMPLING)
        assert isinstance(reply, Completion)
        text = f"{text} {reply.text}"
        said.append(reply.text)
    return said


def test_the_turns_of_many_talks_go_in_rounds_though_a_live_user_answers_one_by_one(tmp_path: Path) -> None:
    with server_thread(Fates(latency=(0.0, 0.4))) as user_server, server_thread() as server:
        found = []
        for config in (engine(server), engine(server, mode="live")):
            run = Run(tmp_path / config.mode, config)
            with run.opened() as (opened, teacher):
                user = opened.open(engine(user_server, mode="live"), ServedModel("user", "test-model", "user"))
                jobs = (converse([teacher, user, teacher][: 1 + n % 3], f"q{n % 20}") for n in range(40))
                found.append(dict(opened.conduct(jobs, "  talks", 40)))
        assert found[0] == found[1] and len(found[0]) == 40
        assert [len(batch.lines) for batch in server.batches.batches.values()] == [20, 13]


# What a run that died left behind.


def submitted(folder: Path, server: Server, count: int, *, listed: int = 0) -> tuple[str, list[Request], Batch]:
    """A batch that the provider has and the ledger has no id of, with `listed` younger ones before it."""
    requests = []
    with Run(folder, engine(server)).opened() as (opened, model):
        requests = [model.question(talk(text), SAMPLING).request for text in texts(count)]
        token = uuid.uuid4().hex
        opened.ledger.open_batch(token, server.url, model.engine.model, [(request, 200_000) for request in requests])
    content = b"".join(request_line(engine(server), "test-model", request) for request in requests)
    file = server.batches.keep(content)
    batch = server.batches.create("/v1/chat/completions", file, {"favonius": token})
    for _ in range(listed):
        server.batches.create("/v1/chat/completions", file, {"favonius": "another"})
    return token, requests, batch


def ended(server: Server, batch: Batch) -> Batch:
    while batch.status not in OVER:
        server.batches.poll(batch)
    return batch


def test_killed_before_the_provider_had_the_batch(tmp_path: Path) -> None:
    with server_thread() as server:
        submitted(tmp_path, server, 10)
        server.batches.batches.clear()
        run = Run(tmp_path, engine(server), dollars=0.003)  # enough only with what was set aside for the dead batch
        assert all(isinstance(reply, Completion) for reply in run.ask(texts(20)).values())
        assert [len(batch.lines) for batch in server.batches.batches.values()] == [20]
        assert nothing_is_open(tmp_path).spent() == run.spent == billed(server)


@pytest.mark.parametrize("noted", [False, True])
def test_killed_after_the_provider_had_it(tmp_path: Path, noted: bool) -> None:
    with server_thread() as server:
        token, _, batch = submitted(tmp_path, server, 10, listed=250)
        if noted:
            with Ledger(tmp_path / "ledger.sqlite") as ledger:
                ledger.note_batch(token, batch.id, "in_progress")
        replies = Run(tmp_path, engine(server), dollars=1.0).ask(texts(20))
        assert all(isinstance(reply, Completion) for reply in replies.values())
        assert set(server.journal.answered.values()) == {1}
        assert [len(batch.lines) for batch in server.batches.batches.values()][251:] == [10]
        assert nothing_is_open(tmp_path).spent() == billed(server)


def test_killed_while_it_was_collected_and_asked_for_less_than_was_paid(tmp_path: Path) -> None:
    with server_thread() as server:
        _, requests, batch = submitted(tmp_path, server, 10)
        content = server.batches.files[str(ended(server, batch).output_file_id)]
        with Run(tmp_path, engine(server)).opened() as (opened, _):
            by_key = {request.key(): request for request in requests}
            for line in content.splitlines()[:4]:
                key, value = read_line(line) or ("", {})
                found = outcome_of(value, by_key[key].messages)
                assert isinstance(found, Completion)
                cost = 1_000 * found.prompt_tokens + 2_000 * found.completion_tokens
                opened._runner.run(opened.ledger.put(by_key[key], found, 1.0, cost))
        keys = set(stored(tmp_path))
        wanted = [request.messages[0].content for request in requests if request.key() not in keys][:2]
        assert len(Run(tmp_path, engine(server), dollars=1.0).ask(wanted)) == 2
        assert len(stored(tmp_path)) == 10, "answers that nobody asks for any more are kept too"
        assert len(server.batches.batches) == 1
        assert nothing_is_open(tmp_path).spent() == billed(server)


def test_results_that_the_provider_has_deleted_are_failures_and_count_as_paid(tmp_path: Path) -> None:
    with server_thread() as server:
        _, _, batch = submitted(tmp_path, server, 10)
        del server.batches.files[str(ended(server, batch).output_file_id)]
        run = Run(tmp_path, engine(server), dollars=1.0)
        replies = run.ask(texts(10)).values()
        assert {reply.cause for reply in replies if isinstance(reply, Failure)} == {
            "was answered, but the provider has deleted the batch's results"
        }
        assert len(replies) == 10 and len(server.batches.batches) == 1
        assert [left.sentence for left in run.context.left_open] == [
            "10 requests failed and are asked again in the next run"
        ]
        assert nothing_is_open(tmp_path).spent() == 10 * 200_000 >= billed(server)
        again = Run(tmp_path, engine(server), dollars=1.0).ask(texts(10)).values()
        assert all(isinstance(reply, Completion) for reply in again)


def test_a_batch_that_its_provider_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server_thread() as server:
        token, _, _ = submitted(tmp_path, server, 10)
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            ledger.note_batch(token, "batch_of_another", "in_progress")
        with pytest.raises(FavoniusError, match=r"batch_of_another.*404.*10 requests were asked in it: use the key of"):
            Run(tmp_path, engine(server)).ask(texts(10))
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            assert len(ledger.batches()) == 1
        monkeypatch.setattr(module, "KEPT_DAYS", 0)
        replies = Run(tmp_path, engine(server)).ask(texts(10))
        assert all(isinstance(reply, Failure) and not reply.lasting for reply in replies.values())
    nothing_is_open(tmp_path)


def test_a_batch_at_an_endpoint_that_the_recipe_no_longer_names(tmp_path: Path) -> None:
    with server_thread() as old, server_thread() as server:
        submitted(tmp_path, old, 3)
        with pytest.raises(FavoniusError, match=f"a batch waits at {old.url}; name it among"):
            Run(tmp_path, engine(server)).ask(texts(3))
        replies = Run(tmp_path, engine(server, old)).ask(texts(3))
        assert all(isinstance(reply, Completion) for reply in replies.values()) and not server.batches.batches


# Endpoints.


def test_batches_go_to_the_first_endpoint_that_takes_them(tmp_path: Path) -> None:
    with server_thread(Fates(key="another")) as locked, server_thread() as server:
        run = Run(tmp_path, engine(locked, server))
        assert all(isinstance(reply, Completion) for reply in run.ask(texts(5)).values())
        assert len(server.batches.batches) == 1
    with server_thread(Fates(key="another")) as locked:
        with pytest.raises(FavoniusError, match=r"cannot be used for batches: it answered 401 .*; mend that") as caught:
            Run(tmp_path / "locked", engine(locked), dollars=1.0).ask(texts(5))
        assert "test-key" not in str(caught.value) and "\n" not in str(caught.value)
    with server_thread() as server:
        wrong = engine(server, endpoints=[{"base_url": server.url + "/none", "key_env": "TEST_KEY"}])
        with pytest.raises(FavoniusError, match=r"answered 404 .*set `mode: live`: nothing answered is lost"):
            Run(tmp_path / "wrong", wrong).ask(texts(5))
    nothing_is_open(tmp_path / "wrong")


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 600) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["custom_id", "response", "error", "status_code", "body", "choices", "message", "code"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_a_line_says_it_is_an_outcome_or_no_result(value: Any) -> None:
    found = read_line(json.dumps(value).encode())
    if found is not None:
        assert found[0] == value["custom_id"]
        assert isinstance(outcome_of(found[1], talk("Hi")), Unanswered)


# Killed as a process.


def run_here(recipe: Path, run: Path) -> bytes:
    """Run a recipe in this process, and return the rows."""
    run_recipe(load_recipe(recipe), recipe, run, QUIET, parts=Parts(report=lambda run: run))
    return (run / "dialogues" / "dialogues.jsonl").read_bytes()


def test_kills_at_any_point_submit_nothing_twice_and_change_no_row(tmp_path: Path) -> None:
    count, run = 120, tmp_path / "run"
    with server_thread() as server:
        made = run_here(write_recipe(tmp_path, [server], 100.0, count), tmp_path / "live")
    with server_thread(Fates(batches=BatchFates(seconds_per_state=0.3))) as server:
        recipe = write_recipe(tmp_path, [server], 100.0, count, mode="batch", poll_seconds=0.05, batch_requests=50)
        points: list[tuple[int, Callable[[], bool]]] = [
            (signal.SIGKILL, lambda: len(server.batches.files) > 0),
            (signal.SIGKILL, lambda: len(server.batches.batches) > 0),
            (signal.SIGINT, lambda: len(server.batches.batches) > 2),
            (signal.SIGKILL, lambda: count_stored(run) > 0),
        ]
        for how, reached in points:
            process = start(recipe, run)
            while not reached():
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.0005)
            process.send_signal(how)
            _, errors = process.communicate(timeout=60)
            if how == signal.SIGINT:
                assert process.returncode == 130
                assert re.search(r"batches go on at the provider: batch_\d+.*run the same command again", errors)
        assert run_here(recipe, run) == made
        asked = [line["custom_id"] for batch in server.batches.batches.values() for line in batch.lines]
        assert len(asked) == len(set(asked)) == count
        assert set(server.journal.answered.values()) == {1} and len(server.journal.answered) == count
    assert stored(run) == stored(tmp_path / "live")
    with Ledger(run / "ledger.sqlite") as ledger:
        assert ledger.batches() == [] and not ledger.charges() and not list(ledger.failures())
