"""OpenAI's API over the models of a run: /v1/models, /v1/chat/completions, /v1/completions, /healthz.

There are no CORS headers and bodies must say that they are JSON, so that no page in somebody's browser can talk to a
server on the same machine.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from favonius.serve import replies
from favonius.serve.asking import of_chat, of_completion, prompt_tokens, write_all
from favonius.serve.models import Models
from favonius.serve.problems import ApiError, busy, no_such_model, too_slow
from favonius.serve.streaming import chat_chunks, stream, text_chunks
from favonius.serve.wire import ChatBody, CompletionBody, read_body
from favonius.types import RequestError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Limits:
    """What one client can take from the others."""

    bytes: int = 2**21
    """Of a request's body."""
    at_once: int = 64
    """Requests that are being answered or wait for it; more are told to come back."""
    seconds: float = 600.0
    """That one may take."""


def application(models: Models, limits: Limits = Limits(), key: str | None = None) -> web.Application:
    """`key`: what every request but /healthz must bear; None: nobody is asked for one."""
    server = Server(models, limits)
    app = web.Application(client_max_size=limits.bytes, middlewares=[_spoken_errors, _locked(key)])
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
    """Every error in the API's shape."""
    try:
        return await handler(request)
    except ApiError as error:
        wait = {"Retry-After": "1"} if error.status == 429 else {}
        return web.json_response(error.record(), status=error.status, headers=wait)
    except web.HTTPException as error:
        told = ApiError(error.status, f"{request.method} {request.path}: {error.reason.lower()}")
        return web.json_response(told.record(), status=error.status)
    except RequestError as error:  # an engine could not answer
        return web.json_response(ApiError(400, str(error)).record(), status=400)


def _locked(key: str | None) -> Any:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if key is not None and request.path != "/healthz" and not hmac.compare_digest(given, key.encode()):
            raise ApiError(401, "the API key is missing or wrong", "authentication_error", code="invalid_api_key")
        return await handler(request)

    return check


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
        body = read_body(await _json(request), ChatBody)
        return await self._within_limits(lambda: self._chat(request, body))

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = read_body(await _json(request), CompletionBody)
        return await self._within_limits(lambda: self._complete(request, body))

    async def _within_limits(self, answer: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        if self._inside >= self.limits.at_once:
            raise busy(self.limits.at_once)
        self._inside += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await answer()
        except TimeoutError:
            raise too_slow(self.limits.seconds) from None
        except ExceptionGroup as group:  # of several choices, the first that failed
            raise group.exceptions[0] from None
        finally:
            self._inside -= 1

    async def _chat(self, request: web.Request, body: ChatBody) -> web.StreamResponse:
        engine = await self.models.get(body.model)
        asked = of_chat(body, engine)
        heading = replies.Heading(body.model, "chatcmpl", engine.model)
        if body.stream:
            return await stream(request, chat_chunks(engine, asked, body, heading))
        written = await write_all(engine, asked)
        choices = [
            replies.chat_choice(one.index, own, bool(body.logprobs)) for one, own in zip(asked, written, strict=True)
        ]
        used = replies.usage(prompt_tokens(asked, body.n), written)
        return web.json_response({**heading.record("chat.completion"), "choices": choices, "usage": used})

    async def _complete(self, request: web.Request, body: CompletionBody) -> web.StreamResponse:
        engine = await self.models.get(body.model)
        asked = of_completion(body, engine)
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


async def _json(request: web.Request) -> Any:
    if request.content_type != "application/json":
        raise ApiError(415, "the body must be JSON; send the header Content-Type: application/json")
    try:
        return json.loads(await request.text())
    except (ValueError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is no JSON ({error})") from None
