"""One HTTP call to one endpoint: an answer, or a `Trouble` that says what became of it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson

from favonius.engines.config import Endpoint, OpenAI
from favonius.engines.openai import wire
from favonius.engines.policy.trouble import Trouble, trouble_of_status
from favonius.errors import UserError
from favonius.types import Completion, Messages, Request

CONNECT_SECONDS = 30.0
ERROR_BYTES = 4096
"""How much of an error's body is read."""


def read_key(endpoint: Endpoint) -> str | None:
    """The endpoint's key. UserError where it is named and not there."""
    if endpoint.key_env is not None:
        if not (key := os.environ.get(endpoint.key_env, "").strip()):
            raise UserError(f"{endpoint.base_url}: the environment has no {endpoint.key_env}; set it to the key")
        return key
    if endpoint.key_file is not None:
        try:
            key = endpoint.key_file.expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"{endpoint.base_url}: key_file cannot be read ({error.strerror})") from error
        if not key or len(key.split()) > 1:
            raise UserError(f"{endpoint.base_url}: key_file must hold the key alone")
        return key
    return None


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A call that brought no answer; `usage` is what was billed for it, where the server says so."""

    trouble: Trouble
    usage: wire.Usage | None = None


def is_cut(answers: Sequence[Completion], request: Request) -> bool:
    """Whether the server stopped an answer short of the tokens that it was allowed."""
    return any(one.finish == "length" and one.completion_tokens < request.sampling.max_tokens for one in answers)


def cut_off(answers: Sequence[Completion]) -> Unanswered:
    """Such answers as a call that was billed and brought nothing."""
    counts = ((one.prompt_tokens, one.completion_tokens, one.cached_tokens) for one in answers)
    usage = wire.Usage(*map(sum, zip(*counts, strict=True)))
    return Unanswered(Trouble("malformed", "cut an answer off before max_tokens", paid=True), usage)


class Caller:
    """Calls one endpoint over one session. What it says of failures never holds the key."""

    def __init__(self, config: OpenAI, endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
        self.config, self.endpoint, self.session = config, endpoint, session
        self._key = read_key(endpoint)
        self._url = endpoint.base_url + wire.path(config)
        self._headers = {"Content-Type": "application/json"} | self.authorization
        # Looked up once: aiohttp's own trust_env asks a thread for it at every call.
        self._proxy = proxy_of(endpoint.base_url)

    @property
    def authorization(self) -> dict[str, str]:
        return {} if self._key is None else {"Authorization": f"Bearer {self._key}"}

    async def call(self, body: dict[str, Any], messages: Messages, samples: int) -> list[Completion] | Unanswered:
        """The answers to one body, or what went wrong; raises nothing that a network can do."""
        try:
            timeout = self._timeout()
            async with self.session.post(
                self._url, data=orjson.dumps(body), headers=self._headers, timeout=timeout, proxy=self._proxy,
                allow_redirects=False,  # the redirected call would be a GET
            ) as response:  # fmt: skip
                if response.status != 200:
                    text = (await response.content.read(ERROR_BYTES)).decode("utf-8", "replace")
                    secrets = () if self._key is None else (self._key,)
                    return Unanswered(trouble_of_status(response.status, text, response.headers, time.time(), secrets))
                if self.config.stream:
                    return [await _streamed(response, messages)]
                return wire.completions(await response.read(), messages, samples)
        except wire.MalformedError as error:
            return Unanswered(Trouble(error.kind, str(error), paid=True), error.usage)
        except TimeoutError:
            return Unanswered(Trouble("timeout", f"gave no answer within {self.config.timeout_seconds:g} s", paid=True))
        except (aiohttp.ClientError, ConnectionError, OSError) as error:
            unreached = isinstance(error, aiohttp.ClientConnectorError)
            sentence = "cannot be reached" if unreached else "broke the connection off"
            # Whatever was reached may have answered and billed.
            return Unanswered(Trouble("connection", f"{sentence} ({type(error).__name__})", paid=not unreached))

    def _timeout(self) -> aiohttp.ClientTimeout:
        seconds = self.config.timeout_seconds
        if self.config.stream:
            return aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=seconds)
        return aiohttp.ClientTimeout(sock_connect=min(CONNECT_SECONDS, seconds), total=seconds)


async def _streamed(response: aiohttp.ClientResponse, messages: Messages) -> Completion:
    answer = wire.StreamedAnswer()
    async for line in response.content:
        answer.take(line)
        if answer.done:
            break
    return answer.whole(messages)
