"""Asking a server by OpenAI's API, streamed: all that the page knows of models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from favonius.errors import FavoniusError, brief
from favonius.types import Messages, RequestError, Sampling

SILENCE_SECONDS = 600.0
"""After which a server that says nothing is taken for dead; it may be loading a model."""
LINE_BYTES = 2**20


@dataclass(frozen=True)
class Heard:
    """How far an answer has come."""

    text: str = ""
    finish: str | None = None
    """`stop`, `length` or a server's own word; None while it is being written."""
    fingerprint: str | None = None
    trouble: str = ""
    """Why there is no more of it."""

    @property
    def done(self) -> bool:
        """Whether it has come to its end, and not to grief."""
        return self.finish is not None and not self.trouble


@dataclass(frozen=True)
class Client:
    """`address` is what stands before /chat/completions, such as http://127.0.0.1:8000/v1."""

    address: str
    key: str | None = None

    async def models(self) -> list[str]:
        """FavoniusError where the server cannot be reached, or does not say what it has."""
        try:
            async with self._session() as session, session.get(f"{self.address}/models") as response:
                await _refuse_errors(response)
                listed = await response.json()
                return [str(model["id"]) for model in listed["data"]]
        except RequestError as error:
            raise FavoniusError(f"{self.address}: {error}") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise FavoniusError(f"{self.address}: cannot be reached ({brief(error)})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise FavoniusError(f"{self.address}: does not list its models as OpenAI's API does") from error

    async def answer(self, model: str, messages: Messages, sampling: Sampling) -> AsyncGenerator[Heard, None]:
        """The answer as it grows, at the end whole. Closing it stops the writing.

        RequestError, one sentence, where the server will not or cannot answer.
        """
        heard = Heard()
        try:
            async with self._session() as session:
                body = _body(model, messages, sampling)
                async with session.post(f"{self.address}/chat/completions", json=body) as response:
                    await _refuse_errors(response)
                    async with aclosing(_events(response)) as events:
                        async for event in events:
                            heard = _grown(heard, event)
                            yield heard
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RequestError(f"the server cannot be reached ({brief(error)})") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise RequestError("the server does not answer as OpenAI's API does") from error
        if heard.finish is None:
            raise RequestError("the server broke off")

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[aiohttp.ClientSession, None]:
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        patience = aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=SILENCE_SECONDS)
        async with aiohttp.ClientSession(headers=headers, timeout=patience, read_bufsize=LINE_BYTES) as session:
            yield session


def _body(model: str, messages: Messages, sampling: Sampling) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "stream": True,
    }


async def _refuse_errors(response: aiohttp.ClientResponse) -> None:
    if response.status == 200:
        return
    try:
        told = (await response.json(content_type=None))["error"]["message"]
    except (ValueError, KeyError, TypeError):
        told = f"the server answers {response.status} {response.reason}"
    raise RequestError(str(told))


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[Mapping[str, Any], None]:
    async for line in response.content:
        data = line.decode().removeprefix("data:").strip() if line.startswith(b"data:") else ""
        if data == "[DONE]":
            return
        if data:
            yield json.loads(data)


def _grown(heard: Heard, event: Mapping[str, Any]) -> Heard:
    if "error" in event:
        raise RequestError(str(event["error"]["message"]))
    fingerprint = event.get("system_fingerprint") or heard.fingerprint
    if not event["choices"]:  # what it used
        return replace(heard, fingerprint=fingerprint)
    choice = event["choices"][0]
    text = heard.text + (choice["delta"].get("content") or "")
    return replace(heard, text=text, finish=choice.get("finish_reason") or heard.finish, fingerprint=fingerprint)


async def side_by_side(answers: Sequence[AsyncGenerator[Heard, None]]) -> AsyncGenerator[tuple[Heard, ...], None]:
    """How far each of several answers has come, whenever one of them has grown; closing it stops them all.

    One that cannot be had ends with its `trouble`, and the others go on.
    """
    heard = [Heard() for _ in answers]
    grown = asyncio.Event()

    async def follow(place: int, answer: AsyncGenerator[Heard, None]) -> None:
        try:
            async with aclosing(answer):
                async for heard[place] in answer:
                    grown.set()
        except RequestError as error:
            heard[place] = replace(heard[place], trouble=str(error))
        finally:
            grown.set()

    tasks = [asyncio.create_task(follow(place, answer)) for place, answer in enumerate(answers)]
    try:
        while not all(task.done() for task in tasks):
            await grown.wait()
            grown.clear()
            yield tuple(heard)
            await asyncio.sleep(0)
        for task in tasks:
            task.result()  # a fault of ours is raised
        yield tuple(heard)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
