"""The scripted server does to its clients what its script says, and its journal tells it rightly."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import aiohttp
import pytest

from tests.openai_server import (
    ANSWERED,
    KINDS,
    LASTING,
    LOST,
    OVER_LIMIT,
    TRANSIENT,
    Fates,
    Journal,
    Kind,
    Limits,
    Server,
    serving,
)
from tests.openai_server.limiter import Limiter

HEADERS = {"Authorization": "Bearer test-key"}


def body(text: str, **others: Any) -> dict[str, Any]:
    return {"model": "test-model", "messages": [{"role": "user", "content": text}], **others}


async def post(session: aiohttp.ClientSession, server: Server, sent: dict[str, Any]) -> tuple[int, Any]:
    """Status and body; whatever breaks, breaks."""
    async with session.post(server.url + "/chat/completions", json=sent, headers=HEADERS) as response:
        return response.status, json.loads(await response.read())


def test_a_fate_depends_on_content_and_attempt_and_has_the_share_it_was_given() -> None:
    fates = Fates(seed=3, share=0.3, failures=3, lasting_share=0.1)
    met = {name: [fates.of(name, attempt) for attempt in range(5)] for name in map(str, range(2000))}
    assert met == {name: [fates.of(name, attempt) for attempt in range(5)] for name in met}
    counts = [sum(kind is not None for kind in kinds) for kinds in met.values()]
    assert 0.27 < sum(0 < count < 5 for count in counts) / 2000 < 0.33 and set(counts) == {0, 1, 2, 3, 5}
    assert 0.08 < counts.count(5) / 2000 < 0.12
    assert {kind for kinds in met.values() for kind in kinds} == {None, *TRANSIENT, *LASTING}
    assert all(kinds[0] is not None or set(kinds) == {None} for kinds in met.values()), "faults come first"


STATUS: dict[Kind, int] = {
    "limited": 429, "limited_seconds": 429, "limited_date": 429, "quota": 429, "server_error": 500, "bad_gateway": 502,
    "overloaded": 503, "context_length": 400, "unauthorized": 401, "not_found": 404,
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_fault_is_what_its_name_says(kind: Kind, stream: bool) -> None:
    async def meet() -> None:
        fates = Fates(share=1.0, kinds=(kind,), stall_seconds=0.05, retry_after=7)
        async with serving(fates) as server, aiohttp.ClientSession() as session:
            first = await raw(session, server, stream)
            right = await raw(session, server, stream)
            assert server.journal.outcomes[kind if kind != "stall" else ANSWERED] >= 1
            expect(kind, stream, first, right)
            assert (first == right) == (kind == "stall"), "the second attempt succeeds"

    asyncio.run(meet())


async def raw(session: aiohttp.ClientSession, server: Server, stream: bool) -> tuple[int, str, dict[str, str], str]:
    """Status, body as far as it came, Retry-After and type, and how it broke off."""
    got = b""
    try:
        async with session.post(
            server.url + "/chat/completions", json=body("fate", stream=stream), headers=HEADERS
        ) as response:
            said = {"wait": response.headers.get("Retry-After", ""), "type": response.content_type}
            async for piece in response.content.iter_any():
                got += piece
            return response.status, got.decode(), said, ""
    except aiohttp.ServerDisconnectedError:
        return 0, "", {}, "disconnected"
    except (aiohttp.ClientPayloadError, ConnectionResetError) as error:
        return response.status, got.decode(), said, type(error).__name__


def expect(kind: Kind, stream: bool, first: tuple[int, str, dict[str, str], str], right: tuple[Any, ...]) -> None:
    status, text, said, broken = first
    assert right[0] == 200 and right[3] == ""
    assert status == (0 if kind == "dropped" else STATUS.get(kind, 200))
    well_formed_early_end = kind == "half_body" and stream
    breaks = kind in ("dropped", "dropped_in_body", "half_body") and not well_formed_early_end
    assert bool(broken) == breaks
    if kind in ("limited_seconds", "overloaded"):
        assert said["wait"] == "7"
    elif kind == "limited_date":
        assert said["wait"].endswith(" GMT")
    elif status in (429, 503):
        assert said["wait"] == ""
    if kind in ("dropped_in_body", "half_body"):
        assert 0 < len(text) < len(right[1]) and right[1].startswith(text) and "[DONE]" not in text
    if not stream and kind == "invalid_json":
        with pytest.raises(ValueError):
            json.loads(text)
    if kind in ("no_choices", "empty_choices", "null_content", "empty_text", "length", "content_filter"):
        if stream:
            flawed_stream(kind, *events(text), events(right[1])[1])
        else:
            flawed(kind, json.loads(text), json.loads(right[1]))


def events(text: str) -> tuple[list[dict[str, Any]], str, str]:
    """A stream's chunks, the text that they carry, and the last finish_reason."""
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    said = "".join(choice["delta"].get("content") or "" for choice in choices)
    return chunks, said, next((choice["finish_reason"] for choice in choices[::-1] if choice["finish_reason"]), "")


def flawed_stream(kind: Kind, chunks: list[dict[str, Any]], said: str, finish: str, right: str) -> None:
    assert right.startswith(said) and said != right
    match kind:
        case "no_choices":
            assert "choices" not in chunks[-1] and chunks[-1]["error"] and not finish
        case "empty_choices":
            assert all(chunk["choices"] == [] for chunk in chunks)
        case "null_content" | "empty_text":
            assert said == "" and finish == "stop"
        case _:
            assert said and finish == kind


def flawed(kind: Kind, answer: dict[str, Any], right: dict[str, Any]) -> None:
    text = right["choices"][0]["message"]["content"]
    match kind:
        case "no_choices":
            assert "choices" not in answer and answer["error"]["message"]
        case "empty_choices":
            assert answer["choices"] == []
        case "null_content":
            assert answer["choices"][0]["message"]["content"] is None
        case "empty_text":
            assert answer["choices"][0]["message"]["content"] == ""
            assert answer["usage"]["completion_tokens"] == 0 < answer["usage"]["prompt_tokens"]
        case _:
            [choice] = answer["choices"]
            assert choice["finish_reason"] == kind and 0 < len(choice["message"]["content"]) < len(text)


def test_thousands_of_faults_end_in_the_fault_free_answers_and_the_journal_adds_up() -> None:
    async def ask(server: Server) -> dict[str, tuple[str, int]]:
        """Stubbornly, 32 at once: the text and its tokens per question."""
        gate = asyncio.Semaphore(32)

        async def one(session: aiohttp.ClientSession, text: str) -> tuple[str, int]:
            async with gate:
                while True:
                    try:
                        status, answer = await post(session, server, body(text))
                        said = answer["choices"][0]["message"]["content"] if status == 200 else None
                    except (aiohttp.ClientError, ConnectionError, ValueError, KeyError, IndexError):
                        continue
                    if said:
                        return said, answer["usage"]["total_tokens"]

        names = [f"question {number}" for number in range(300)]
        async with aiohttp.ClientSession() as session:
            return dict(zip(names, await asyncio.gather(*(one(session, name) for name in names)), strict=True))

    async def both() -> None:
        async with serving(Fates(latency=(0.0, 0.01))) as calm:
            right = await ask(calm)
        async with serving(Fates(seed=1, share=0.5, failures=2, stall_seconds=0.02)) as server:
            assert await ask(server) == right
        journal = server.journal
        assert set(journal.answered.values()) == {1} and len(journal.answered) == 300
        assert journal.outcomes[ANSWERED] == 300 and len(journal.outcomes) == len(TRANSIENT)
        assert journal.prompt_tokens + journal.completion_tokens > sum(tokens for _, tokens in right.values())
        assert 1 < journal.most_at_once() <= 32

    asyncio.run(both())


def test_a_client_that_leaves_during_a_stall_is_billed_and_its_answer_is_lost() -> None:
    async def leave() -> None:
        async with serving(Fates(share=1.0, kinds=("stall",), stall_seconds=0.2)) as server:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(0.05)) as session:
                with pytest.raises(TimeoutError):
                    await post(session, server, body("slow"))
            await asyncio.sleep(0.3)
            assert server.journal.outcomes == {LOST: 1} and server.journal.completion_tokens > 0
            assert not server.journal.answered

    asyncio.run(leave())


def test_own_limits_of_requests_tokens_and_requests_at_once() -> None:
    async def statuses(limits: Limits, latency: float = 0.0) -> tuple[Counter[int], Journal]:
        fates = Fates(limits=limits, latency=(latency, latency))
        async with serving(fates) as server, aiohttp.ClientSession() as session:
            asked = (post(session, server, body(f"q{number}", max_tokens=4)) for number in range(6))
            return Counter(status for status, _ in await asyncio.gather(*asked)), server.journal

    async def all_three() -> None:
        found, journal = await statuses(Limits(requests=4))
        assert found == {200: 4, 429: 2} and journal.outcomes[OVER_LIMIT] == 2
        assert journal.most_requests_within(60) == 6 and len(journal.attempts) == 4
        found, journal = await statuses(Limits(tokens=40))
        assert 0 < found[200] < 6 and 0 < journal.most_tokens_within(60) <= 40
        found, _ = await statuses(Limits(at_once=2), latency=1.0)
        assert found == {200: 2, 429: 4}

    asyncio.run(all_three())


def test_limits_are_of_a_window_that_slides() -> None:
    limiter = Limiter(Limits(requests=2, tokens=100))
    asked = ((0, 60), (10, 40), (20, 1), (59, 1), (60, 50), (61, 1), (70, 51), (71, 50))
    refused = [limiter.refuses(tokens, now) for now, tokens in asked]
    assert [None if one is None else float(one["Retry-After"]) for one in refused] == [
        None, None, 40.0, 1.0, None, 9.0, 50.0, None,
    ]  # fmt: skip


def test_a_fleet_shares_a_journal_and_an_endpoint_dies_and_comes_back() -> None:
    async def fleet() -> None:
        journal = Journal()
        async with (
            serving(Fates(die_after=3), journal) as mortal,
            serving(Fates(), journal) as other,
            aiohttp.ClientSession() as session,
        ):
            for number in range(3):
                assert (await post(session, mortal, body(f"q{number}")))[0] == 200
            with pytest.raises(aiohttp.ClientError):
                await post(session, mortal, body("q3"))
            with pytest.raises(aiohttp.ClientConnectorError):
                await post(session, mortal, body("q3"))
            assert not mortal.alive and (await post(session, other, body("q3")))[0] == 200
            await mortal.revive()
            assert mortal.alive and (await post(session, mortal, body("q4")))[0] == 200
            assert journal.servers == {mortal.name: 4, other.name: 1} and set(journal.answered.values()) == {1}

    asyncio.run(fleet())
