"""OpenAI's API over the models of a run: /v1/models, /v1/chat/completions, /v1/completions, /healthz.

There are no CORS headers, bodies must say that they are JSON, and a server that asks for no key answers to the names of
this machine alone, so that no page in somebody's browser can talk to a server on the same machine.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from favonius.errors import FavoniusError
from favonius.serve import replies
from favonius.serve.asking import of_chat, of_completion, prompt_tokens, write_all
from favonius.serve.guards import Handler, for_this_machine, is_loopback, locked
from favonius.serve.models import Models
from favonius.serve.problems import ApiError, busy, failed, no_such_model, too_slow, too_slow_to_send
from favonius.serve.streaming import begun, broken_off, chat_chunks, stream, text_chunks
from favonius.serve.wire import ChatBody, CompletionBody, read_body
from favonius.types import RequestError


@dataclass(frozen=True)
class Limits:
    """What one client can take from the others."""

    bytes: int = 2**21
    """Of a request's body."""
    at_once: int = 64
    """Requests that are being answered or wait for it; more are told to come back."""
    seconds: float = 600.0
    """That one may take."""
    sending_seconds: float = 60.0
    """That its body may take to arrive: whoever trickles it would keep others out."""


def application(models: Models, limits: Limits = Limits(), key: str | None = None, host: str = "") -> web.Application:
    """`key`: what every request but /healthz must bear; None: nobody is asked for one. `host` is listened to."""
    server = Server(models, limits)
    guards = [locked(key)] if key is not None else [for_this_machine] if is_loopback(host) else []
    app = web.Application(client_max_size=limits.bytes, middlewares=[_spoken_errors, *guards])
    app.add_routes(
        [
            web.get("/healthz", server.health),
            web.get("/v1/models", server.models_list),
            web.get("/v1/models/{name:.+}", server.model),
            web.post("/v1/chat/completions", server.chat),
            web.post("/v1/completions", server.complete),
        ]
    )
    return app


@web.middleware
async def _spoken_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in the API's shape; of an answer that is being streamed it is the last event."""
    try:
        return await handler(request)
    except ConnectionError:  # nobody is there to be told
        raise
    except Exception as error:
        told = _told(request, error)
    if (response := begun(request)) is not None:
        return await broken_off(request, response, told)
    return web.json_response(told.record(), status=told.status, headers=told.headers)


def _told(request: web.Request, error: Exception) -> ApiError:
    """What the client hears. What is no fault of its own is printed here: it may name files of this machine."""
    match error:
        case ApiError():
            return error
        case web.HTTPException():
            return ApiError(error.status, f"{request.method} {request.path}: {error.reason.lower()}")
        case RequestError():  # an engine could not answer
            return ApiError(400, str(error))
        case FavoniusError():
            print(f"error: {error}", file=sys.stderr)
        case _:
            traceback.print_exception(error)
    return failed()


class Server:
    """The handlers, and how many requests are in them."""

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self._inside = 0

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "models": self.models.names, "requests": self._inside})

    async def models_list(self, request: web.Request) -> web.Response:
        data = [replies.model_record(name, self.models.created) for name in self.models.names]
        return web.json_response({"object": "list", "data": data})

    async def model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.models.names:
            raise no_such_model(name, self.models.names)
        return web.json_response(replies.model_record(name, self.models.created))

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self._within_limits(self._chat(request))

    async def complete(self, request: web.Request) -> web.StreamResponse:
        return await self._within_limits(self._complete(request))

    async def _within_limits(self, answer: Coroutine[Any, Any, web.StreamResponse]) -> web.StreamResponse:
        if self._inside >= self.limits.at_once:
            answer.close()
            raise busy(self.limits.at_once)
        self._inside += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await answer
        except TimeoutError:
            raise too_slow(self.limits.seconds) from None
        except ExceptionGroup as group:  # of several choices, the first that failed
            raise group.exceptions[0] from None
        finally:
            self._inside -= 1

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = read_body(await self._json(request), ChatBody)
        engine = await self.models.get(body.model)
        asked = await asyncio.to_thread(of_chat, body, engine)
        heading = replies.Heading(body.model, "chatcmpl", engine.model)
        if body.stream:
            return await stream(request, chat_chunks(engine, asked, body, heading))
        written = await write_all(engine, asked)
        choices = [replies.chat_choice(one.index, own, body.told) for one, own in zip(asked, written, strict=True)]
        used = replies.usage(prompt_tokens(asked, body.n), written)
        return web.json_response({**heading.record("chat.completion"), "choices": choices, "usage": used})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = read_body(await self._json(request), CompletionBody)
        engine = await self.models.get(body.model)
        asked = await asyncio.to_thread(of_completion, body, engine)
        heading = replies.Heading(body.model, "cmpl", engine.model)
        if body.stream:
            return await stream(request, text_chunks(engine, asked, body, heading))
        written = [one.told(own) for one, own in zip(asked, await write_all(engine, asked), strict=True)]
        choices = [
            replies.text_choice(one.index, own, body.logprobs, one.echo)
            for one, own in zip(asked, written, strict=True)
        ]
        used = replies.usage(prompt_tokens(asked, body.n), written)
        return web.json_response({**heading.record("text_completion"), "choices": choices, "usage": used})

    async def _json(self, request: web.Request) -> Any:
        if request.content_type != "application/json":
            raise ApiError(415, "the body must be JSON; send the header Content-Type: application/json")
        try:
            async with asyncio.timeout(self.limits.sending_seconds):
                body = await request.read()
        except TimeoutError:
            raise too_slow_to_send(self.limits.sending_seconds) from None
        try:
            return orjson.loads(body)
        except ValueError as error:
            raise ApiError(400, f"the body is no JSON ({error})") from None
