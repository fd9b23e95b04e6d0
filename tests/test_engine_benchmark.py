"""What the engine benchmark stands on: its requests, its stub, and its one call into the product."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import aiohttp
import pytest
from benchmarks.engine_path import SERVED, Sample, drive, engine_config, memory
from benchmarks.engine_rows import PER_BEGINNING, requests
from benchmarks.stub_server import ANSWER_TOKENS, HOST, stub

from favonius.engines.openai.live import answering
from favonius.types import Completion


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with stub() as found:
        yield found


def test_requests_are_made_as_they_are_taken_differ_and_share_their_beginnings() -> None:
    first = list(islice(requests(10**12, "model"), 2 * PER_BEGINNING))
    assert len({request.key() for request in first}) == len(first)
    assert len({request.messages[0] for request in first}) == 2
    assert list(requests(5, "model", start=PER_BEGINNING - 2)) == first[PER_BEGINNING - 2 : PER_BEGINNING + 3]


def test_the_stub_answers_each_body_alike_however_it_arrives(url: str) -> None:
    async def whole(session: aiohttp.ClientSession, text: str) -> str:
        async with session.post(f"{url}/chat/completions", json={"text": text}) as response:
            answer = await response.json()
            assert answer["usage"]["completion_tokens"] == ANSWER_TOKENS
            return str(answer["choices"][0]["message"]["content"])

    async def in_pieces(pieces: tuple[bytes, ...]) -> bytes:
        reader, writer = await asyncio.open_connection(HOST, int(url.split(":")[2].split("/")[0]))
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return answer

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            one, other, again = [await whole(session, text) for text in ("one", "other", "one")]
        assert one == again != other and len(one.split()) == ANSWER_TOKENS
        head = await in_pieces((b"POST / HTTP/1.1\r\ncontent-le", b"ngth: 4\r\n\r", b"\nab", b"cd"))
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")

    asyncio.run(ask())


def test_the_products_path_answers_all_requests_and_asks_none_again(url: str, tmp_path: Path) -> None:
    asked = list(requests(60, answering(engine_config(url, 8), SERVED)))
    replies = list(drive(asked, url, tmp_path, 8, len(asked)))
    assert all(isinstance(reply, Completion) for reply in replies)
    assert len({reply.text for reply in replies if isinstance(reply, Completion)}) == 60
    # Nobody listens there: what is answered comes from the ledger.
    again = list(drive(asked, f"http://{HOST}:1/v1", tmp_path, 8, len(asked)))
    assert sorted(map(str, again)) == sorted(map(str, replies))


def test_memory_is_flat_or_it_is_not() -> None:
    def samples(*mebibytes: int) -> list[Sample]:
        return [Sample(number, number / 1, number / 1, size * 2**20, 0) for number, size in enumerate(mebibytes)]

    assert memory(samples(101, 101, 100, 104, 101, 101)) == {
        "peak_rss_bytes": 104 * 2**20,
        "rss_growth": 1.0,
        "rss_flat": True,
    }
    assert memory(samples(100, 100, 150, 150, 200, 200))["rss_flat"] is False
    with pytest.raises(SystemExit, match="more --requests"):
        memory(samples(100, 100))
