"""The least server that a client of OpenAI's API can be measured against: every request gets an answer of 60 tokens.

    python -m benchmarks.stub_server --latency 0.05      # prints its URL, serves until it is ended
    python -m benchmarks.stub_server --measure 3         # how many requests/s it answers, asked by a bare client

HTTP/1.1 with keep-alive, no pipelining, no chunked requests. With a latency, answers wait side by side.
The answer names a checksum of the request's body, so that different requests are answered differently.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

HOST = "127.0.0.1"
ANSWER_TOKENS = 60
_PLACE = "CHECKSUM"
_BODY = json.dumps(
    {
        "id": "stub",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "stub",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": " ".join([_PLACE] + ["wind"] * (ANSWER_TOKENS - 1))},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 40, "completion_tokens": ANSWER_TOKENS, "total_tokens": 40 + ANSWER_TOKENS},
    }
).encode()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
_BEFORE, _AFTER = (_HEAD + _BODY).split(_PLACE.encode())


class Stub(asyncio.Protocol):
    """One connection."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.loop = asyncio.get_running_loop()
        self.transport = asyncio.Transport()
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.waiting:
            data = self.waiting + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            stop = end + 4 + _content_length(data[:end])
            if len(data) < stop:
                break
            self._answer(crc32(data[end + 4 : stop]))
            data = data[stop:]
        self.waiting = data

    def _answer(self, checksum: int) -> None:
        answer = b"%b%08x%b" % (_BEFORE, checksum, _AFTER)
        if self.latency:
            self.loop.call_later(self.latency, self.transport.write, answer)
        else:
            self.transport.write(answer)


def _content_length(head: bytes) -> int:
    place = head.find(b"Content-Length: ")
    if place < 0:
        head = head.lower()
        place = head.find(b"content-length: ")
    return 0 if place < 0 else int(head[place + 16 :].split(b"\r", 1)[0])


async def serve(port: int, latency: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Stub(latency), HOST, port, backlog=4096)
    print(f"http://{HOST}:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


@contextmanager
def stub(latency: float = 0.0) -> Iterator[str]:
    """A stub in a process of its own; its base_url."""
    command = [sys.executable, "-m", "benchmarks.stub_server", "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def bare_rate(url: str, seconds: float, connections: int = 64) -> float:
    """Requests/s that a client without any HTTP library gets answered."""
    port = int(url.split(":")[2].split("/")[0])
    body = json.dumps({"model": "stub", "messages": [{"role": "user", "content": "measure " * 30}]}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    began, done = time.perf_counter(), 0

    async def ask() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.perf_counter() - began < seconds:
            writer.write(request)
            await reader.readexactly(len(_HEAD) + len(_BODY))
            done += 1
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stub_server", description=__doc__.split("\n")[0])
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer (0)")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--measure", type=float, metavar="SECONDS", help="ask a stub for so long, and say its rate")
    arguments = parser.parse_args()
    if arguments.measure:
        with stub(arguments.latency) as url:
            print(f"{asyncio.run(bare_rate(url, arguments.measure)):,.0f} requests/s")
    else:
        asyncio.run(serve(arguments.port, arguments.latency))


if __name__ == "__main__":
    main()
