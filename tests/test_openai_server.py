"""The scripted server keeps to the API, as the `openai` client sees it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.openai_server import ANSWERED, REFUSED, BatchFates, Fates, Journal, Server, server_thread

KEY = "test-key"
MODEL = "test-model"


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def body(text: str, **others: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": messages(text), **others}


def client(server: Server, key: str = KEY) -> Any:
    return openai.OpenAI(base_url=server.url, api_key=key, max_retries=0, timeout=20)


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    with server_thread() as server:
        yield server


# The API, through its own client.


def test_chat_is_a_function_of_messages_seed_and_index(plain: Server) -> None:
    ask = client(plain).chat.completions.create
    first = ask(model=MODEL, messages=messages("hello there"), n=3, seed=5)
    again = ask(model=MODEL, messages=messages("hello there"), n=3, seed=5, stream=False)
    other = ask(model=MODEL, messages=messages("hello there"), n=3, seed=6)
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices] and len(set(texts)) == 3
    assert texts != [choice.message.content for choice in other.choices]
    assert [choice.finish_reason for choice in first.choices] == ["stop"] * 3
    assert first.usage.completion_tokens == sum(len(text.split()) for text in texts)
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    assert [model.id for model in client(plain).models.list()] == [MODEL]


def test_stop_and_token_limits_cut_the_same_answer(plain: Server) -> None:
    ask = client(plain).chat.completions.create
    text = ask(model=MODEL, messages=messages("a long one"), seed=1).choices[0].message.content
    words = text.split()
    for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        cut = ask(model=MODEL, messages=messages("a long one"), seed=1, **limit)
        assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == (" ".join(words[:3]), "length")
        assert cut.usage.completion_tokens == 3
    stopped = ask(model=MODEL, messages=messages("a long one"), seed=1, stop=["never said", words[2][1:]])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == (
        text[: text.index(words[2][1:])],
        "stop",
    )


def test_a_stream_says_what_the_whole_answer_says(plain: Server) -> None:
    asked = {"model": MODEL, "messages": messages("stream"), "seed": 2, "n": 2, "logprobs": True, "top_logprobs": 2}
    whole = client(plain).chat.completions.create(**asked)
    told, finishes, logprobs, usage = ["", ""], ["", ""], 0, None
    stream = client(plain).chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            told[choice.index] += choice.delta.content or ""
            finishes[choice.index] = choice.finish_reason or finishes[choice.index]
            logprobs += len(choice.logprobs.content) if choice.logprobs else 0
    assert told == [choice.message.content for choice in whole.choices] and finishes == ["stop", "stop"]
    assert usage == whole.usage and logprobs == whole.usage.completion_tokens
    assert 2 in plain.journal.answered.values(), "streamed or not, it is the same request"


def test_plain_completions_have_several_prompts_and_logprobs_in_their_own_shape(plain: Server) -> None:
    ask = client(plain).completions.create
    both = ask(model=MODEL, prompt=["one", "two"], n=2, logprobs=3)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert both.choices[2].text == ask(model=MODEL, prompt="two").choices[0].text
    for choice in both.choices:
        assert "".join(choice.logprobs.tokens) == choice.text
        assert len(choice.logprobs.token_logprobs) == len(choice.logprobs.top_logprobs) == len(choice.text.split())
        assert all(len(top) == 3 for top in choice.logprobs.top_logprobs)
    streamed = "".join(chunk.choices[0].text for chunk in ask(model=MODEL, prompt="two", stream=True))
    assert streamed == both.choices[2].text
    assert ask(model=MODEL, prompt=[1, 2, 3]).choices[0].text


def test_chat_logprobs_name_the_token_first_and_fall(plain: Server) -> None:
    asked = client(plain).chat.completions.create(
        model=MODEL, messages=messages("judge"), logprobs=True, top_logprobs=5, max_tokens=1
    )
    [token] = asked.choices[0].logprobs.content
    tops = [top.logprob for top in token.top_logprobs]
    assert token.token == asked.choices[0].message.content == token.top_logprobs[0].token
    assert len(tops) == 5 and tops == sorted(tops, reverse=True) and tops[0] <= 0


def test_what_no_server_would_answer_is_refused(plain: Server) -> None:
    with pytest.raises(openai.AuthenticationError, match=r"Incorrect API key provided: wrong\."):
        client(plain, "wrong").models.list()
    cases: list[tuple[type[Exception], dict[str, Any]]] = [
        (openai.NotFoundError, {"model": "other"}),
        (openai.BadRequestError, {"messages": [{"role": "wizard", "content": "hi"}]}),
        (openai.BadRequestError, {"extra_body": {"top_k": 5}}),
    ]
    for error, others in cases:
        with pytest.raises(error):
            client(plain).chat.completions.create(**(body("hi") | others))
    assert plain.journal.outcomes[REFUSED] == 4
    assert set(plain.journal.keys) == {KEY, "wrong"} and plain.journal.strays == []
    client(plain).chat.completions.create(model=MODEL, messages=messages(f"is {KEY} a key?"))
    assert plain.journal.strays == ["/v1/chat/completions: body"]
    plain.journal.strays.clear()


# Its life.


def test_a_server_comes_back_by_itself_and_from_another_thread() -> None:
    with server_thread(Fates(dead_seconds=0.05)) as server:
        server.do(server.die())
        deadline = time.monotonic() + 20
        while not server.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client(server).chat.completions.create(model=MODEL, messages=messages("back?")).choices


def test_as_a_process_it_prints_its_url_and_its_journal_outlives_it(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    fates = Fates(share=1.0, kinds=("server_error",), failures=1)
    command = [sys.executable, "-m", "tests.openai_server", "--fates", fates.model_dump_json(), "--journal", str(file)]
    outcomes = []
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            asked: Any = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0).chat.completions.create
            try:
                asked(model=MODEL, messages=messages("hi"))
                outcomes.append(ANSWERED)
            except openai.InternalServerError:
                outcomes.append("server_error")
            process.kill()
    journal = Journal(file)
    assert outcomes == ["server_error", ANSWERED] == [event.outcome for event in journal.events]
    assert [event.path for event in journal.events] == ["/v1/chat/completions"] * 2
    assert list(journal.attempts.values()) == [2]


# The Batch API.


def submit(ask: Any, lines: list[dict[str, Any]] | bytes, **others: Any) -> Any:
    content = lines if isinstance(lines, bytes) else b"\n".join(json.dumps(line).encode() for line in lines)
    file = ask.files.create(file=("in.jsonl", io.BytesIO(content)), purpose="batch")
    return ask.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **others)


def lines(count: int, **others: Any) -> list[dict[str, Any]]:
    return [
        {
            "custom_id": f"r{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body(f"q{number}", **others),
        }
        for number in range(count)
    ]


def watched(ask: Any, batch: Any) -> tuple[Any, list[str]]:
    """The batch when it is over, and the states that it went through."""
    states = [batch.status]
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        batch = ask.batches.retrieve(batch.id)
        states += [batch.status] if states[-1] != batch.status else []
    return batch, states


def read(ask: Any, file: str | None) -> list[dict[str, Any]]:
    return [] if file is None else [json.loads(line) for line in ask.files.content(file).text.splitlines()]


def test_a_batch_goes_through_its_states_and_answers_as_the_chat_does(plain: Server) -> None:
    ask = client(plain)
    batch, states = watched(ask, submit(ask, lines(20), metadata={"run": "r1"}))
    assert states == ["validating", "in_progress", "finalizing", "completed"]
    assert batch.metadata == {"run": "r1"} and batch.request_counts.completed == 20 and batch.error_file_id is None
    output = read(ask, batch.output_file_id)
    assert sorted(line["custom_id"] for line in output) == sorted(line["custom_id"] for line in lines(20))
    assert [line["custom_id"] for line in output] != [line["custom_id"] for line in lines(20)], "out of order"
    [seven] = [line["response"]["body"] for line in output if line["custom_id"] == "r7"]
    assert seven == ask.chat.completions.create(model=MODEL, messages=messages("q7")).model_dump(exclude_unset=True)
    newer = [submit(ask, lines(1)) for _ in range(3)]
    listed = [one.id for one in ask.batches.list(limit=2)]  # the client turns the pages itself
    assert listed[:4] == [one.id for one in reversed(newer)] + [batch.id]


def test_batches_that_fail_expire_or_are_cancelled() -> None:
    with server_thread(Fates(batches=BatchFates(polls_per_state=0, invalid=(0,), expired=(1,)))) as server:
        ask = client(server)
        failed, states = watched(ask, submit(ask, lines(3)))
        assert states == ["validating", "failed"] and failed.errors.data[0].code and failed.output_file_id is None
        expired, states = watched(ask, submit(ask, lines(30)))
        assert states[-1] == "expired"
        answered, unanswered = read(ask, expired.output_file_id), read(ask, expired.error_file_id)
        assert answered and {line["error"]["code"] for line in unanswered} == {"batch_expired"}
        assert len(answered) + len(unanswered) == 30
        asked = submit(ask, lines(30))
        assert ask.batches.cancel(asked.id).status == "cancelling"
        assert watched(ask, asked)[0].status == "cancelled"
        for wrong in (lines(1) * 2, b"{half a line", lines(1, stream=True), [{**lines(1)[0], "url": "/v1/embeddings"}]):
            assert watched(ask, submit(ask, wrong))[0].status == "failed"


def test_a_batchs_requests_meet_their_fates_in_the_error_file() -> None:
    fates = Fates(share=0.5, kinds=("limited", "half_body", "empty_text"), batches=BatchFates(polls_per_state=0))
    with server_thread(fates) as server:
        ask = client(server)
        batch, _ = watched(ask, submit(ask, lines(60)))
        output, errors = read(ask, batch.output_file_id), read(ask, batch.error_file_id)
        assert {line["response"]["status_code"] for line in errors} == {429, 500} and len(output) + len(errors) == 60
        assert any(line["response"]["body"]["choices"][0]["message"]["content"] == "" for line in output)
        assert (batch.request_counts.completed, batch.request_counts.failed) == (len(output), len(errors))
        again, _ = watched(ask, submit(ask, lines(60)))
        assert again.request_counts.completed == 60, "the second attempt succeeds, be it in another batch"


def test_calls_fail_and_a_batch_whose_creation_was_not_heard_of_is_found_by_its_metadata() -> None:
    with server_thread(Fates(batches=BatchFates(lost_replies=1, failing_calls=1))) as server:
        ask = client(server)
        with pytest.raises(openai.InternalServerError):
            ask.batches.list()
        with pytest.raises(openai.APIConnectionError):
            submit(ask, lines(2), metadata={"run": "r9"})
        [found] = [one for one in ask.batches.list() if one.metadata == {"run": "r9"}]
        assert watched(ask, found)[0].request_counts.completed == 2
