"""Answers as server-sent events, in OpenAI's chunks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from favonius.engines.writing import Writer, Written
from favonius.serve import replies
from favonius.serve.asking import Asked, prompt_tokens, write_along
from favonius.serve.problems import ApiError
from favonius.serve.wire import Body, ChatBody, CompletionBody

BEGUN = web.RequestKey("begun", web.StreamResponse)
"""Where a request keeps the answer that its client has the beginning of."""
LAST_WORDS_SECONDS = 5.0

Record = dict[str, Any]
Chunks = AsyncGenerator[Record, None]


async def stream(request: web.Request, chunks: Chunks) -> web.StreamResponse:
    """Send the chunks. An error before the first leaves the request unanswered; after it, `begun` knows the answer.

    If the client leaves, the writing is cancelled with its handler.
    """
    async with aclosing(chunks):
        first = await anext(chunks)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        request[BEGUN] = response
        await response.write(_event(json.dumps(first)))
        async for chunk in chunks:
            await response.write(_event(json.dumps(chunk)))
        await response.write(_event("[DONE]"))
    await response.write_eof()
    return response


def begun(request: web.Request) -> web.StreamResponse | None:
    """The answer to `request`, where the client has its beginning already."""
    return request.get(BEGUN)


async def broken_off(request: web.Request, response: web.StreamResponse, why: ApiError) -> web.StreamResponse:
    """End a stream by saying `why`. A client that does not even read that is cut off."""
    try:
        async with asyncio.timeout(LAST_WORDS_SECONDS):
            await response.write(_event(json.dumps(why.record())) + _event("[DONE]"))
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    return response


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


async def chat_chunks(engine: Writer, asked: Sequence[Asked], body: ChatBody, heading: replies.Heading) -> Chunks:
    """Of each choice: who speaks, its pieces, how it ended. With log-probs they are its tokens, once all are known."""

    def piece(one: Asked, delta: Record, finish: str | None = None, logprobs: Record | None = None) -> Record:
        return {"index": one.index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}

    def end(one: Asked, written: Written) -> Iterator[Record]:
        for token in written.completion.logprobs if body.logprobs else ():
            yield piece(one, {"content": token.token}, logprobs=replies.chat_logprobs([token], body.top_logprobs or 0))
        yield piece(one, {}, written.completion.finish)

    opened: set[int] = set()
    finished: list[Written] = []
    async with aclosing(write_along(engine, asked)) as writing:
        async for one, heard in writing:
            if one.index not in opened:
                opened.add(one.index)
                yield _chunk(heading, "chat.completion.chunk", body, piece(one, {"role": "assistant", "content": ""}))
            if isinstance(heard, Written):
                finished.append(heard)
                for choice in end(one, heard):
                    yield _chunk(heading, "chat.completion.chunk", body, choice)
            elif not body.logprobs:
                yield _chunk(heading, "chat.completion.chunk", body, piece(one, {"content": heard}))
    for chunk in _used(heading, "chat.completion.chunk", body, asked, finished):
        yield chunk


async def text_chunks(engine: Writer, asked: Sequence[Asked], body: CompletionBody, heading: replies.Heading) -> Chunks:
    """Of each choice its pieces, and how it ended. With an echo or log-probs it comes whole, in one chunk."""
    whole = body.echo or body.logprobs is not None or body.max_tokens == 0
    finished: list[Written] = []
    async with aclosing(write_along(engine, asked)) as writing:
        async for one, heard in writing:
            if isinstance(heard, Written):
                finished.append(one.told(heard))
                choice = replies.text_choice(one.index, finished[-1], body.logprobs, one.echo)
                yield _chunk(heading, "text_completion", body, choice if whole else choice | {"text": ""})
            elif not whole:
                choice = {"index": one.index, "text": heard, "finish_reason": None, "logprobs": None}
                yield _chunk(heading, "text_completion", body, choice)
    for chunk in _used(heading, "text_completion", body, asked, finished):
        yield chunk


def _chunk(heading: replies.Heading, kind: str, body: Body, choice: Record) -> Record:
    """Where the usage is wanted, every chunk before it says that it holds none."""
    return {**heading.record(kind), "choices": [choice], **({"usage": None} if body.wants_usage else {})}


def _used(
    heading: replies.Heading, kind: str, body: Body, asked: Sequence[Asked], finished: Sequence[Written]
) -> Iterator[Record]:
    if body.wants_usage:
        used = replies.usage(prompt_tokens(asked, body.n), finished)
        yield {**heading.record(kind), "choices": [], "usage": used}
