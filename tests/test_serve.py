"""The server: OpenAI's own client against tiny models, its limits, its errors, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openai
import pytest
import torch
from aiohttp import web
from transformers import AutoModelForCausalLM

from favonius.cli import main
from favonius.cli.named_models import named
from favonius.engines.config import Transformers
from favonius.engines.transformers_engine import TransformersEngine
from favonius.errors import UserError
from favonius.run import ModelSource
from favonius.serve.app import Limits, application
from favonius.serve.guards import is_loopback
from favonius.serve.models import Models
from favonius.serve.server import read_key
from tests.tiny import save_tiny

KEY = "a key of many letters"
ASKED: Any = [{"role": "user", "content": "What is the sky?"}]
CONTEXT = 1024


@contextmanager
def served(
    models: Models,
    limits: Limits = Limits(),  # noqa: B008
    key: str | None = None,
    host: str = "",
) -> Iterator[str]:
    """The address of a server in a thread of its own."""
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []
    ready = threading.Event()

    async def live() -> None:
        runner = web.AppRunner(application(models, limits, key, host), handler_cancellation=True, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stop = asyncio.Event()
        started.append((asyncio.get_running_loop(), stop, runner.addresses[0][1]))
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert ready.wait(30)
    loop, stop, port = started[0]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSource]:
    folder = tmp_path_factory.mktemp("models")
    return {
        name: ModelSource(name, save_tiny(folder / name, family), name)
        for name, family in (("a", "llama"), ("b", "qwen3"))
    }


@pytest.fixture(scope="module")
def models(sources: dict[str, ModelSource]) -> Iterator[Models]:
    config = Transformers(slots=2, context_tokens=CONTEXT)
    opened = Models({name: partial(TransformersEngine, source, config) for name, source in sources.items()})
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def address(models: Models) -> Iterator[str]:
    with served(models) as address:
        yield address


@pytest.fixture
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60)


def chat(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(**{"model": "a", "messages": ASKED, "max_tokens": 12, "seed": 5, **options})


def test_several_models_stand_behind_one_address(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["a", "b"]
    assert client.models.retrieve("b").id == "b"
    texts = {name: chat(client, model=name, temperature=0).choices[0].message.content for name in "ab"}
    assert texts["a"] != texts["b"]


def test_an_answer_is_the_engines_and_a_seed_fixes_it(client: openai.OpenAI) -> None:
    first, again, other = chat(client), chat(client), chat(client, seed=6)
    assert first.choices[0].message.content == again.choices[0].message.content != other.choices[0].message.content
    assert first.choices[0].finish_reason in ("stop", "length")
    assert first.usage.completion_tokens <= 12 and first.usage.total_tokens > first.usage.prompt_tokens
    assert chat(client, seed=None).choices[0].message.content != chat(client, seed=None).choices[0].message.content


def test_streamed_pieces_are_the_whole(client: openai.OpenAI) -> None:
    whole = chat(client, n=2, stop="~~")
    texts = {0: "", 1: ""}
    roles, ends, used = [], {}, None
    for chunk in chat(client, n=2, stop="~~", stream=True, stream_options={"include_usage": True}):
        used = chunk.usage or used
        for choice in chunk.choices:
            roles += [choice.delta.role] if choice.delta.role else []
            texts[choice.index] += choice.delta.content or ""
            ends |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
    assert roles == ["assistant"] * 2
    assert [texts[0].strip(), texts[1].strip()] == [choice.message.content.strip() for choice in whole.choices]
    assert ends == {choice.index: choice.finish_reason for choice in whole.choices}
    assert used == whole.usage


def test_log_probs_are_the_models(client: openai.OpenAI, sources: dict[str, ModelSource]) -> None:
    found = chat(client, temperature=0, logprobs=True, top_logprobs=3).choices[0]
    tokens = found.logprobs.content
    assert "".join(token.token for token in tokens) == found.message.content
    assert all(len(token.top_logprobs) == 3 and token.top_logprobs[0].logprob == token.logprob for token in tokens)
    alone = chat(client, temperature=0, logprobs=True).choices[0].logprobs.content
    assert [token.logprob for token in alone] == [token.logprob for token in tokens]
    assert not any(token.top_logprobs for token in alone)
    streamed = [
        token.logprob
        for chunk in chat(client, temperature=0, logprobs=True, top_logprobs=3, stream=True)
        for token in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else ())
    ]
    assert streamed == [token.logprob for token in tokens]


def test_completions_read_the_prompts_own_log_probs(client: openai.OpenAI, sources: dict[str, ModelSource]) -> None:
    ids = [5, 9, 33, 7, 120, 64]
    found = client.completions.create(
        model="a", prompt=[ids], max_tokens=1, echo=True, logprobs=1, temperature=0, seed=1
    ).choices[0]
    model = AutoModelForCausalLM.from_pretrained(sources["a"].folder)
    logps = model(torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
    expected = logps.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
    assert found.logprobs.token_logprobs[0] is None and len(found.logprobs.tokens) == len(ids) + 1
    assert found.logprobs.token_logprobs[1:-1] == pytest.approx(expected, abs=0.15)  # the engine is in bfloat16
    silent = client.completions.create(model="a", prompt=[ids], max_tokens=0, echo=True, logprobs=1)
    assert silent.choices[0].logprobs.token_logprobs == found.logprobs.token_logprobs[:-1]
    assert silent.usage.completion_tokens == 0
    several = client.completions.create(model="a", prompt=["one", "two"], n=2, max_tokens=4, seed=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    pieces = client.completions.create(model="a", prompt="one", max_tokens=4, seed=3, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == several.choices[0].text


def test_lm_evals_api_model_works_unchanged(address: str, sources: dict[str, ModelSource]) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    tokenizer = str(sources["a"].folder)
    api = LocalCompletionsAPI(
        base_url=f"{address}/v1/completions", model="a", tokenizer=tokenizer, max_length=CONTEXT, batch_size=1
    )
    reference = HFLM(pretrained=tokenizer, device="cpu", batch_size=1, dtype="float32", add_bos_token=False)
    pairs = [("The sky is", " blue"), ("Two and two are", " four, I think")]
    asked = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    ours, theirs = api.loglikelihood(asked), reference.loglikelihood(asked)
    assert [one[0] for one in ours] == pytest.approx([one[0] for one in theirs], abs=0.3)
    assert [one[1] for one in ours] == [one[1] for one in theirs]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "c"}, 404, "there is no model c; served are a, b"),
        ({"messages": []}, 400, "messages: list should have at least 1 item"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "a </s> b"}]}, 400, "</s>"),
        ({"temperature": 3}, 400, "temperature: "),
        ({"max_tokens": CONTEXT}, 400, f"more than context_tokens {CONTEXT}"),
        ({"tools": [{"type": "function"}]}, 400, "tools is not supported"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format is not supported"),
    ],
)
def test_a_bad_request_is_told_in_the_apis_shape(address: str, change: Any, status: int, words: str) -> None:
    body = {"model": "a", "messages": ASKED, "max_tokens": 4, **change}
    found, told = post(address, json.dumps(body).encode())
    assert found == status and words in told["error"]["message"] and told["error"]["type"] == "invalid_request_error"


def post(address: str, body: bytes, **headers: str) -> tuple[int, Any]:
    given = {"Content-Type": "application/json", **headers}
    try:
        with urlopen(Request(f"{address}/v1/chat/completions", body, given), timeout=60) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        return error.code, json.load(error)


JSON = {"Content-Type": "application/json"}


def asked(**options: Any) -> bytes:
    return json.dumps({"model": "a", "messages": ASKED, "max_tokens": 4, **options}).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" * 100_000, "the body is no JSON"),
        (asked(messages=[{"role": "user", "content": "\ud800"}]), "the body is no JSON"),
        (asked(seed=None).replace(b"null", b"NaN"), "the body is no JSON"),
        (asked(top_logprobs=2), "top_logprobs: goes with logprobs: true"),
        (asked(stop=[1]), "stop: input should be a valid string"),
        (asked(stop=["a"] * 17), "stop: at most 16 texts"),
        (asked(top_k=40), "top_k is not supported"),
        (asked(best_of=3), "best_of is not supported"),
    ],
)
def test_what_could_do_harm_or_would_be_ignored_is_refused(address: str, body: bytes, words: str) -> None:
    status, told = post(address, body)
    assert status == 400 and words in told["error"]["message"]
    # What says nothing is let pass.
    assert post(address, asked(top_k=0, best_of=1, tools=[], tool_choice="none", top_logprobs=0))[0] == 200


def test_one_request_may_not_want_thousands_of_answers(client: openai.OpenAI) -> None:
    for prompt in ([], ["a"] * 100):
        with pytest.raises(openai.BadRequestError, match="1 to 1024 answers"):
            client.completions.create(model="a", prompt=prompt, n=16, max_tokens=1)


def test_a_page_of_another_host_is_not_answered(models: Models) -> None:
    """Though its name leads here: its script could read what the server says."""
    with served(models, host="127.0.0.1") as address:
        assert post(address, asked())[0] == 200
        assert post(address, asked(), Host="[::1]:80")[0] == 200
        status, told = post(address, asked(), Host="evil.example:80")
        assert status == 403 and "not to evil.example" in told["error"]["message"]
    with served(models, key=KEY, host="127.0.0.1") as address:  # behind a proxy of the same machine, say
        assert post(address, asked(), Host="mine.example", Authorization=f"bearer {KEY}")[0] == 200


def test_a_body_that_trickles_in_is_given_up(models: Models) -> None:
    """Else whoever sends nothing more keeps a place for as long as an answer may take."""
    with served(models, Limits(at_once=1, sending_seconds=0.2)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as line:
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            line.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            told = line.recv(65536).decode()
        assert told.startswith("HTTP/1.1 408 ") and "did not arrive within 0.2 seconds" in told
        assert post(address, asked())[0] == 200


def test_what_is_no_json_is_refused(address: str) -> None:
    assert post(address, b"{")[0] == 400
    assert post(address, b"[]")[1]["error"]["message"] == "the body must be a JSON object"
    # A web page can send a form to any address, but no JSON without being asked about it first.
    assert post(address, b"{}", **{"Content-Type": "text/plain"})[0] == 415
    assert post(address, b" " * 2**22)[0] == 413
    with pytest.raises(HTTPError) as caught:
        urlopen(f"{address}/v1/chat/completions", timeout=60)
    assert caught.value.code == 405 and json.load(caught.value)["error"]["message"]


def health(address: str) -> dict[str, Any]:
    with urlopen(f"{address}/healthz", timeout=60) as reply:
        return dict(json.load(reply))


def test_a_key_is_asked_for_where_there_is_one(models: Models) -> None:
    with served(models, key=KEY) as address:
        for given, status in ((None, 401), ("wrong", 401), ("\xff\xfe", 401), (KEY, 200)):
            headers = {} if given is None else {"Authorization": f"Bearer {given}"}
            body = json.dumps({"model": "a", "messages": ASKED, "max_tokens": 2}).encode()
            assert post(address, body, **headers)[0] == status
        assert health(address)["status"] == "ok"


def endless(client: openai.OpenAI) -> Any:
    """A stream that goes on for long: no end token is likely, and there is room for many."""
    return chat(client, max_tokens=CONTEXT - 64, stream=True, temperature=2, extra_body={"top_p": 1})


def test_a_client_that_leaves_stops_its_answer(models: Models) -> None:
    with served(models, Limits(at_once=1)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        stream = endless(client)
        next(iter(stream))
        assert health(address)["requests"] == 1
        with pytest.raises(openai.RateLimitError, match="ask again later"):
            chat(client)
        stream.close()
        deadline = time.monotonic() + 20
        while health(address)["requests"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert health(address)["requests"] == 0
        assert chat(client, max_tokens=2).choices


def test_an_answer_that_takes_too_long_is_given_up(models: Models) -> None:
    with served(models, Limits(seconds=0.002)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.InternalServerError, match=r"longer than 0\.002 seconds"):
            chat(client, max_tokens=CONTEXT - 64, temperature=2, stop="\u2603")


def test_a_stream_that_takes_too_long_says_so_at_its_end(models: Models) -> None:
    """In the events of its own answer, and not with a second answer in the middle of the first."""
    with served(models) as address:
        post(address, asked())  # the model is opened
    with served(models, Limits(seconds=1)) as address:
        body = asked(max_tokens=CONTEXT - 64, stream=True, temperature=2, n=16)
        reply = urlopen(Request(f"{address}/v1/chat/completions", body, JSON), timeout=60)
        events = [json.loads(line[6:]) for line in reply.read().split(b"\n\n")[:-2]]
        assert "choices" in events[0]
        assert events[-1]["error"]["code"] == "timeout" and "1 seconds" in events[-1]["error"]["message"]


class Slow:
    """An engine that takes its time to be opened, and may fail."""

    def __init__(self, fails: int = 0) -> None:
        self.opened, self.fails = 0, fails
        self.may = threading.Event()

    def __call__(self) -> Any:
        assert self.may.wait(60)
        self.opened += 1
        if self.opened <= self.fails:
            raise UserError("a file of /home/me is damaged")
        return nullcontext(object())


def test_while_a_model_is_opened_others_are_answered_and_it_is_opened_once() -> None:
    slow = Slow()
    with served(Models({"slow": slow}), Limits(seconds=0.2)) as address:
        # Who asked has not the patience that opening takes; the model is opened all the same.
        assert [post(address, asked(model="slow"))[0] for _ in range(2)] == [504, 504]
        assert health(address)["status"] == "ok"
        slow.may.set()
        while post(address, asked(model="slow"))[0] == 504:  # an `object` cannot answer
            time.sleep(0.01)
        assert slow.opened == 1


def test_a_model_that_cannot_be_opened_is_told_and_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    broken = Slow(fails=1)
    broken.may.set()
    with served(Models({"broken": broken})) as address:
        status, told = post(address, asked(model="broken"))
        assert status == 500 and told["error"]["type"] == "server_error" and "/home/me" not in str(told)
        assert capfd.readouterr().err == "error: a file of /home/me is damaged\n"
        assert post(address, asked(model="broken"))[0] == 500
        assert broken.opened == 2


def test_only_this_machine_is_listened_to_without_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")
    folder = save_tiny(tmp_path / "tiny")
    assert main(["serve", str(folder), "--host", "0.0.0.0", "--template", "zephyr"]) == 2
    assert "name a file that holds a key with --api-key-file" in capsys.readouterr().err
    (tmp_path / "key").write_text("short\n")
    with pytest.raises(UserError, match="one key of 16 characters or more"):
        read_key(tmp_path / "key")
    (tmp_path / "key").write_text(f"{'k' * 20}\n")
    assert read_key(tmp_path / "key") == "k" * 20


def test_sigterm_lets_what_has_begun_end(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    command = [sys.executable, "-m", "favonius", "serve", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert server.stderr is not None
        said = next(line for line in server.stderr if "serves" in line)
        address = re.search(r"http://[0-9.:]+", said).group()  # type: ignore[union-attr]
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=120)
        stream = chat(client, model="tiny", max_tokens=300, stream=True)
        chunks = [next(iter(stream))]
        server.send_signal(signal.SIGTERM)
        chunks += list(stream)
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--slots", "0", "0 is no whole number of 1 or more"),
        ("--context-tokens", "4", "4 is no whole number of 16 or more"),
        ("--port", "99999", "99999 is no whole number from 0 to 65535"),
        ("--at-once", "few", "few is no whole number of 1 or more"),
        ("--seconds", "nan", "nan is no number of seconds above 0"),
    ],
)
def test_limits_that_let_nothing_through_are_refused(
    option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "model", option, value])
    assert stopped.value.code == 2 and f"argument {option}: {words}" in capsys.readouterr().err


def test_a_recipe_beside_weights_makes_no_run_of_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny(tmp_path / "tiny")
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    assert named("tiny").config is not None
