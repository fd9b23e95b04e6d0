"""The server itself: routes, keys, limits, and connections that break where the script says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web

from tests.openai_server.answers import Asked, error, refusal, usage
from tests.openai_server.batches import Batches
from tests.openai_server.fates import Fates
from tests.openai_server.journal import ANSWERED, LOST, OVER_LIMIT, REFUSED, Event, Journal
from tests.openai_server.limiter import Limiter
from tests.openai_server.replies import Reply, json_reply, reply_to

HOST = "127.0.0.1"
MOST_BYTES = 256 * 2**20
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Started and closed by `serving`, or in a thread of its own by `server_thread`."""

    def __init__(self, fates: Fates, journal: Journal) -> None:
        self.fates, self.journal = fates, journal
        self.batches = Batches(fates.batches, fates.models, self._batched)
        self.port = 0
        self.loop = asyncio.get_running_loop()
        self._limiter = Limiter(fates.limits)
        self._left = fates.die_after
        self._lost_replies, self._failing_calls = fates.batches.lost_replies, fates.batches.failing_calls
        self._site: web.TCPSite | None = None
        self._revival: asyncio.TimerHandle | None = None
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[self._guarded])
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        """What a client takes as base_url."""
        return f"http://{self.name}/v1"

    @property
    def name(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def alive(self) -> bool:
        return self._site is not None

    async def start(self, port: int = 0) -> None:
        await self._runner.setup()
        self.port = port
        await self.revive()

    async def revive(self) -> None:
        """Listen, on the same port as before."""
        if self._site is None:
            self._site = web.TCPSite(self._runner, HOST, self.port, reuse_address=True)
            await self._site.start()
            self.port = self._runner.addresses[0][1]

    async def die(self) -> None:
        """Close the listener and every connection, with whatever is under way on it."""
        site, self._site = self._site, None
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()
        if site is not None:
            await site.stop()
        if self.fates.dead_seconds is not None:
            self._revival = self.loop.call_later(self.fates.dead_seconds, lambda: asyncio.ensure_future(self.revive()))

    async def close(self) -> None:
        if self._revival is not None:
            self._revival.cancel()
        await self._runner.cleanup()

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """`server.do(server.revive())`: from another thread than the server's."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/models", self._models),
            web.post("/v1/chat/completions", self._generate),
            web.post("/v1/completions", self._generate),
            web.post("/v1/files", self._upload),
            web.get("/v1/files/{id}/content", self._content),
            web.post("/v1/batches", self._create_batch),
            web.get("/v1/batches", self._list_batches),
            web.get("/v1/batches/{id}", self._retrieve_batch),
            web.post("/v1/batches/{id}/cancel", self._cancel_batch),
        ]

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keys are noted and checked; file and batch calls fail first, where the script wants it."""
        given = request.headers.get("Authorization", "")
        self.journal.keys[given.removeprefix("Bearer ")] += 1
        await self._note_strays(request)
        if self.fates.key is not None and given != f"Bearer {self.fates.key}":
            said = f"Incorrect API key provided: {given.removeprefix('Bearer ')}."
            return await self._refuse(request, 401, "invalid_api_key", said)
        if handler != self._generate and handler != self._models and self._failing_calls:
            self._failing_calls -= 1
            return await _send(request, json_reply(500, error("The server had an error.", None, "server_error")))
        return await handler(request)

    async def _note_strays(self, request: web.Request) -> None:
        key = self.fates.key
        if key is None:
            return
        places = {"url": request.raw_path, **{n: v for n, v in request.headers.items() if n != "Authorization"}}
        if request.content_type != "multipart/form-data":
            places["body"] = (await request.read()).decode(errors="replace")
        self.journal.strays += [f"{request.path}: {place}" for place, text in places.items() if key in text]

    async def _models(self, request: web.Request) -> web.StreamResponse:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in self.fates.models]
        return web.json_response({"object": "list", "data": models})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        if self._left == 0:
            self._left = None
            await self.die()
        if not self.alive:
            return await _send(request, Reply(200, (), breaks="before"))
        if self._left is not None:
            self._left -= 1
        arrived = time.time()
        try:
            asked = Asked(request.path.endswith("/chat/completions"), json.loads(await request.read()))
        except ValueError:
            return await self._refuse(request, 400, "invalid_json", "We could not parse the JSON body.")
        refused = self._refusal(asked)
        if refused is not None:
            return await self._refuse(request, *refused)
        choices = asked.choices()
        spent = usage(asked, choices)
        headers = self._limiter.refuses(spent["total_tokens"], time.monotonic())
        if headers is not None:
            self._note(request.path, asked.digest, OVER_LIMIT, arrived)
            return await _send(request, json_reply(429, error("Rate limit reached", "rate_limit_exceeded"), headers))
        attempt = self.journal.attempt(asked.digest)
        kind = self.fates.of(asked.digest, attempt)
        reply = reply_to(asked, choices, kind, self.fates)

        def note(present: bool) -> None:
            right = kind is None or kind == "stall"
            outcome = (ANSWERED if present else LOST) if right else str(kind)
            self._note(request.path, asked.digest, outcome, arrived, reply)

        self._limiter.at_once += 1
        try:
            await asyncio.sleep(self.fates.delay(asked.digest, attempt))
            return await _send(request, reply, note)
        finally:
            self._limiter.at_once -= 1

    async def _refuse(self, request: web.Request, status: int, code: str, message: str) -> web.StreamResponse:
        self._note(request.path, "", REFUSED, time.time())
        return await _send(request, json_reply(status, error(message, code)))

    def _refusal(self, asked: Asked) -> tuple[int, str, str] | None:
        return refusal(asked, self.fates.models, self.fates.unsupported)

    def _note(self, path: str, digest: str, outcome: str, arrived: float, reply: Reply | None = None) -> None:
        prompt, written = (reply.prompt_tokens, reply.completion_tokens) if reply is not None else (0, 0)
        self.journal.add(Event(self.name, path, digest, outcome, arrived, time.time(), prompt, written))

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        file = form.get("file")
        if form.get("purpose") != "batch" or not isinstance(file, web.FileField):
            return await _send(request, json_reply(400, error("file and purpose=batch are needed", None)))
        content = file.file.read()
        name = self.batches.keep(content)
        shown = {"id": name, "object": "file", "bytes": len(content), "created_at": int(time.time())}
        return web.json_response({**shown, "filename": file.filename, "purpose": "batch", "status": "processed"})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        content = self.batches.files.get(request.match_info["id"])
        if content is None:
            return await _send(request, json_reply(404, error("No such File object", None)))
        return web.Response(body=content, content_type="application/octet-stream")

    async def _create_batch(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("input_file_id") not in self.batches.files or body.get("completion_window") != "24h":
            return await _send(request, json_reply(400, error("Invalid input_file_id or completion_window", None)))
        batch = self.batches.create(body["endpoint"], body["input_file_id"], body.get("metadata") or {})
        if self._lost_replies:
            self._lost_replies -= 1
            return await _send(request, Reply(200, (), breaks="before"))
        return web.json_response(batch.shown())

    async def _list_batches(self, request: web.Request) -> web.StreamResponse:
        after, limit = request.query.get("after"), int(request.query.get("limit", "20"))
        return web.json_response(self.batches.page(after, limit))

    async def _retrieve_batch(self, request: web.Request) -> web.StreamResponse:
        batch = self.batches.batches.get(request.match_info["id"])
        if batch is None:
            return await _send(request, json_reply(404, error("No batch found", None)))
        self.batches.poll(batch)
        return web.json_response(batch.shown())

    async def _cancel_batch(self, request: web.Request) -> web.StreamResponse:
        batch = self.batches.batches.get(request.match_info["id"])
        if batch is None:
            return await _send(request, json_reply(404, error("No batch found", None)))
        self.batches.cancel(batch)
        return web.json_response(batch.shown())

    def _batched(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A batch's request: the same fates, but what would break a connection is a 500."""
        arrived = time.time()
        asked = Asked(path.endswith("/chat/completions"), body)
        refused = self._refusal(asked)
        if refused is not None:
            self._note("/v1/batches", "", REFUSED, arrived)
            return refused[0], error(refused[2], refused[1])
        kind = self.fates.of(asked.digest, self.journal.attempt(asked.digest))
        reply = reply_to(asked, asked.choices(), kind, self.fates)
        if reply.breaks != "no" or reply.content_type != "application/json" or kind == "invalid_json":
            reply = json_reply(500, error("The server had an error.", None, "server_error"))
        self._note("/v1/batches", asked.digest, ANSWERED if kind in (None, "stall") else str(kind), arrived, reply)
        return reply.status, json.loads(reply.pieces[0])


@asynccontextmanager
async def serving(
    fates: Fates | None = None, journal: Journal | None = None, port: int = 0
) -> AsyncIterator[Server]:  # fmt: skip
    """A server in this event loop, at `server.url`. Several may share a journal: a fleet."""
    server = Server(fates or Fates(), journal or Journal())
    await server.start(port)
    try:
        yield server
    finally:
        await server.close()


@contextmanager
def server_thread(fates: Fates | None = None, journal: Journal | None = None, port: int = 0) -> Iterator[Server]:
    """A server with an event loop and a thread of its own, for tests that block."""
    ready, over = threading.Event(), asyncio.Event()
    found: list[Server] = []

    async def main() -> None:
        async with serving(fates, journal, port) as server:
            found.append(server)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="openai server", daemon=True)
    thread.start()
    if not ready.wait(30):
        raise RuntimeError("the server did not start")
    try:
        yield found[0]
    finally:
        found[0].loop.call_soon_threadsafe(over.set)
        thread.join()


async def _send(
    request: web.Request, reply: Reply, note: Callable[[bool], None] = lambda present: None
) -> web.StreamResponse:
    """Write the reply as far as it goes. A client that has left is no error.

    `note` is called before the last piece, with whether the client is still there: whoever has the answer finds it in
    the journal.
    """
    transport = request.transport
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    response.content_type = reply.content_type
    if reply.breaks == "no" and reply.content_type != "text/event-stream":
        response.content_length = sum(map(len, reply.pieces))
    *pieces, last = reply.pieces or (b"",)
    try:
        if pieces:
            await response.prepare(request)
        for piece in pieces[: len(pieces) // 2]:
            await response.write(piece)
        await asyncio.sleep(reply.stall_seconds)
        for piece in pieces[len(pieces) // 2 :]:
            await response.write(piece)
    except ConnectionError:
        note(False)
        return response
    note(request.transport is not None and not request.transport.is_closing())
    with contextlib.suppress(ConnectionError):
        if reply.breaks != "before":
            await response.prepare(request)
            await response.write(last)
        if reply.breaks == "no":
            await response.write_eof()
    if reply.breaks != "no" and transport is not None:
        transport.close()
    return response
