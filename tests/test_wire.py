"""Bodies for OpenAI-compatible servers, and what is taken from their answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from favonius.engines.config import OpenAI
from favonius.engines.openai.wire import MalformedError, StreamedAnswer, WithheldError, body, completions, prompt_bytes
from favonius.types import Message, Request, Sampling

MESSAGES = (Message(role="system", content="Be brief."), Message(role="user", content="Why is the sky blue?"))
REQUEST = Request(model="m", messages=MESSAGES, sampling=Sampling(stop=("\n\n",), max_tokens=9), logprobs=2)
USAGE = {"prompt_tokens": 12, "completion_tokens": 5}


def engine(**changes: Any) -> OpenAI:
    return OpenAI.model_validate({"endpoints": ["http://127.0.0.1:1/v1"], **changes})


def chat(text: Any = "Because.", reason: str = "stop", **more: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason, **more}


def answer(*choices: dict[str, Any], usage: Any = USAGE) -> str:
    return json.dumps({"choices": choices, "usage": usage})


def test_a_chat_body_says_all_that_the_request_does() -> None:
    found = body(engine(extra={"top_k": 40}, max_tokens_field="max_completion_tokens"), "gpt", REQUEST, samples=3)
    assert found.pop("seed") >= 0
    assert found == {
        "model": "gpt",
        "top_k": 40,
        "messages": [{"role": message.role, "content": message.content} for message in MESSAGES],
        "temperature": 0.7,
        "top_p": 0.95,
        "max_completion_tokens": 9,
        "stop": ["\n\n"],
        "n": 3,
        "logprobs": True,
        "top_logprobs": 2,
    }


def test_plain_completions_take_one_text_and_no_seed_where_none_is_wanted() -> None:
    found = body(engine(api="completions", send_seed=False), "base", REQUEST)
    assert found["prompt"] == "Be brief.\n\nWhy is the sky blue?"
    assert found["logprobs"] == 2
    assert "seed" not in found and "messages" not in found


def test_samples_come_in_their_order_and_share_what_is_billed() -> None:
    two = completions(answer(chat("second one", index=1), chat("first", index=0)), MESSAGES, samples=2)
    assert [one.text for one in two] == ["first", "second one"]
    assert [one.prompt_tokens for one in two] == [12, 0]
    assert sum(one.completion_tokens for one in two) == 5


def test_log_probs_of_both_apis() -> None:
    of_chat = {"content": [{"token": "B", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1}]}]}
    [one] = completions(answer(chat(logprobs=of_chat)), MESSAGES)
    assert [(token.token, token.logprob, token.top) for token in one.logprobs] == [("B", -0.5, (("b", -1.0),))]
    plain = {"tokens": ["B", "c"], "token_logprobs": [None, -2.0], "top_logprobs": [None, {"d": -3.0}]}
    choice = {"index": 0, "text": "Bc", "finish_reason": "length", "logprobs": plain}
    [one] = completions(answer(choice), MESSAGES)
    assert one.finish == "length"
    assert [(token.token, token.top) for token in one.logprobs] == [("c", (("d", -3.0),))]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (answer(chat())[:-20], "no whole JSON"),
        ("[]", "no 1 choice"),
        ('{"error": {"message": "no"}}', "no 1 choice"),
        (answer(), "no 1 choice"),
        (answer(chat(), chat()), "no 1 choice"),
        (answer(chat(None)), "text is missing"),
        (answer(chat("  \n")), "is empty"),
        (answer(chat(reason="tool_calls")), "unknown reason"),
        (json.dumps({"choices": ["x"]}), "no 1 choice"),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(payload: str, said: str) -> None:
    with pytest.raises(MalformedError, match=said):
        completions(payload, MESSAGES)


def test_a_withheld_answer_is_paid_and_will_not_come() -> None:
    with pytest.raises(WithheldError) as caught:
        completions(answer(chat("", reason="content_filter")), MESSAGES)
    assert caught.value.usage == (12, 5, 0)


def test_a_server_that_reports_no_usage_is_taken_to_bill_every_byte() -> None:
    [one] = completions(answer(chat("né"), usage=None), MESSAGES)
    assert (one.prompt_tokens, one.completion_tokens) == (prompt_bytes(MESSAGES), 3)


@given(st.text(min_size=1).filter(str.strip), st.integers(1, 5))
def test_a_stream_is_the_answer_that_it_was_cut_from(text: str, size: int) -> None:
    stream = StreamedAnswer()
    for start in range(0, len(text), size):
        stream.take(b"data: " + json.dumps({"choices": [{"delta": {"content": text[start : start + size]}}]}).encode())
        stream.take(b"")
    with pytest.raises(MalformedError, match="ended before"):
        stream.whole(MESSAGES)
    stream.take(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}')
    stream.take(b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}')
    stream.take(b": a comment")
    stream.take(b"data: [DONE]")
    whole = stream.whole(MESSAGES)
    assert (whole.text, whole.finish, whole.prompt_tokens, whole.completion_tokens) == (text, "stop", 3, 4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"endpoints": ["ftp://host/v1"]}, "must be an http"),
        ({"endpoints": ["https://user:secret@host/v1"]}, "no user, password"),
        ({"endpoints": [{"base_url": "https://host", "key_env": "sk-abcdef"}]}, "name of an environment variable"),
        ({"endpoints": []}, "at least 1"),
        ({"extra": {"model": "other"}}, "may not set model"),
        ({"stream": True, "api": "completions"}, "stream is for"),
    ],
)
def test_configs_that_cannot_work_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        engine(**wrong)
