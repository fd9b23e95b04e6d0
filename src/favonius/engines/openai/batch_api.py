"""A provider's files and batches over HTTP; every call is tried again while that may help."""

from __future__ import annotations

import asyncio
import io
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, TypeVar

import aiohttp
import orjson

from favonius.engines.config import Endpoint, OpenAI
from favonius.engines.openai.calls import CONNECT_SECONDS, ERROR_BYTES, proxy_of, read_key
from favonius.engines.policy.retry import GaveUp, RetryRules, Sleep, attempts
from favonius.engines.policy.trouble import Trouble, trouble_of_status, without_secrets
from favonius.errors import FavoniusError

T = TypeVar("T")
LABEL = "favonius"
"""The metadata by which a batch is found again."""
PAGE = 100
DAY_SECONDS = 86_400.0
SLOWEST_UPLOAD = 100_000
"""Bytes per second."""
LONGEST_SETTLING = 10.0
"""Seconds that the provider is given to list a batch of whose creation nothing was heard."""
CROWDED = ("token_limit_exceeded", "request_limit_exceeded")
"""Codes of what says nothing about the file: too much of the account's waits already."""
LONGEST_QUOTE = 200
OVER = ("completed", "failed", "expired", "cancelled", "canceled")


class ProviderError(FavoniusError):
    """A call failed for good; what it was to do may have been done."""


class RefusedError(ProviderError):
    """The provider turned a call away and did nothing."""


class GoneError(RefusedError):
    """The provider does not know, or no longer has, what was asked for."""


class _TroubleError(Exception):
    def __init__(self, trouble: Trouble, status: int = 0) -> None:
        super().__init__(trouble.sentence)
        self.trouble, self.status = trouble, status


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch as its provider shows it."""

    id: str
    status: str
    total: int
    done: int
    """Requests that are answered or failed."""
    output_file: str | None
    error_file: str | None
    token: str | None
    created: float
    """Seconds since 1970."""
    problems: tuple[str, ...]
    """What validation found, a sentence each."""
    crowded: bool
    """It was turned away because too much of the account's waits already."""

    @property
    def over(self) -> bool:
        return self.status in OVER


class BatchApi:
    """One endpoint's files and batches. Used within one event loop, over a session that is closed elsewhere.

    Servers that are down or busy are waited for as the config's `attempts` and `patience_seconds` say; then a call
    raises ProviderError. What it says never holds the key.
    """

    def __init__(self, config: OpenAI, endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
        self.config, self.name, self._session = config, endpoint.base_url, session
        self._key = read_key(endpoint)
        self._headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        self._proxy = proxy_of(endpoint.base_url)
        self._random = random.Random()

    async def probe(self) -> None:
        """ProviderError where this endpoint has no batches, or none for this key."""
        await self._persist(lambda: self._json("GET", "/batches", params={"limit": "1"}), "cannot be used for batches")

    async def upload(self, content: bytes, name: str) -> str:
        """The id of a new input file."""

        async def send() -> dict[str, Any]:
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", io.BytesIO(content), filename=name, content_type="application/jsonl")
            seconds = self.config.timeout_seconds + len(content) / SLOWEST_UPLOAD
            return await self._json("POST", "/files", seconds=seconds, data=form)

        answer = await self._persist(send, "did not take the batch's file")
        return str(answer.get("id"))

    async def create(self, file: str, url: str, token: str) -> BatchView:
        """A new batch. It is made once, even where the provider's reply is lost: `token` tells it apart."""
        body = {
            "input_file_id": file,
            "endpoint": url,
            "completion_window": "24h",
            "metadata": {LABEL: token},
        }
        started, sent = time.time(), 0

        async def send() -> BatchView:
            nonlocal sent
            if sent:
                await asyncio.sleep(min(self.config.poll_seconds, LONGEST_SETTLING))
                if (found := await self._find(token, started)) is not None:
                    return found
            sent += 1
            return _view(await self._json("POST", "/batches", json=body))

        try:
            return await self._persist(send, "did not take the batch")
        except RefusedError as error:
            if sent == 1:
                raise
            raise ProviderError(str(error)) from error  # the first one may have been made

    async def look(self, id: str) -> BatchView:
        """How far a batch is. GoneError where the provider knows none of this id."""
        return _view(await self._persist(lambda: self._json("GET", f"/batches/{id}"), f"does not show batch {id}"))

    async def find(self, token: str, created: float) -> BatchView | None:
        """The batch that was created with `token` not before `created`, if there is one."""
        return await self._persist(lambda: self._find(token, created), "does not list its batches")

    async def download(self, file: str) -> IO[bytes]:
        """A whole file, on this machine's disk until it is closed. GoneError where the provider has it no more."""
        return await self._persist(lambda: self._download(file), f"does not give file {file}")

    async def _persist(self, call: Callable[[], Awaitable[T]], said: str) -> T:
        rules = RetryRules(attempts=self.config.attempts, patience_seconds=self.config.patience_seconds)
        life = attempts(rules, self._random)
        action = next(life)
        try:
            while True:
                if isinstance(action, Sleep):
                    await asyncio.sleep(action.seconds)
                    action = life.send(None)
                    continue
                try:
                    return await call()
                except _TroubleError as error:
                    trouble = error.trouble
                    if trouble.kind == "rejected":
                        kind = GoneError if error.status == 404 else RefusedError
                        raise kind(f"{self.name} {said}: it {trouble.sentence}") from error
                    # Batches take hours: a server that is down for some minutes is waited for.
                    action = life.send(replace(trouble, outage=trouble.kind != "malformed"))
        except GaveUp as error:
            later = "run the same command again later: batches under way go on there"
            raise ProviderError(f"{self.name} {said}: it {error}; {later}") from error

    async def _find(self, token: str, created: float) -> BatchView | None:
        after: dict[str, str] = {}
        while True:
            answer = await self._json("GET", "/batches", params={"limit": str(PAGE), **after})
            listed = [_view(one) for one in answer.get("data") or ()]
            for view in listed:
                if view.token == token:
                    return view
            # Clocks differ, but not by a day.
            if not answer.get("has_more") or all(view.created < created - DAY_SECONDS for view in listed):
                return None
            if after.get("after") == listed[-1].id:  # a server that knows no pages
                return None
            after = {"after": listed[-1].id}

    async def _download(self, file: str) -> IO[bytes]:
        target = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            # Redirects lead to where the provider stores files; the key does not follow to another host.
            async with self._answer("GET", f"/files/{file}/content", allow_redirects=True) as response:
                async for chunk in response.content.iter_any():
                    target.write(chunk)
            target.seek(0)
        except BaseException:
            target.close()
            raise
        return target

    async def _json(self, method: str, path: str, seconds: float | None = None, **more: Any) -> dict[str, Any]:
        async with self._answer(method, path, seconds, **more) as response:
            text = await response.read()
        try:
            answer = orjson.loads(text)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise _TroubleError(Trouble("malformed", "answered what is no JSON object"))
        return answer

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, seconds: float | None = None, allow_redirects: bool = False, **more: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A success; _TroubleError where it is none or breaks off within the block."""
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=seconds or self.config.timeout_seconds)
        try:
            async with self._session.request(
                method, self.name + path, headers=self._headers, proxy=self._proxy, timeout=timeout,
                allow_redirects=allow_redirects, **more,
            ) as response:  # fmt: skip
                if response.status >= 300:
                    text = (await response.content.read(ERROR_BYTES)).decode("utf-8", "replace")
                    secrets = () if self._key is None else (self._key,)
                    trouble = trouble_of_status(response.status, text, response.headers, time.time(), secrets)
                    raise _TroubleError(trouble, response.status)
                yield response
        except TimeoutError:
            raise _TroubleError(Trouble("timeout", f"was silent for {timeout.sock_read:g} s")) from None
        except (aiohttp.ClientError, ConnectionError) as error:
            sentence = f"cannot be reached or broke the connection off ({type(error).__name__})"
            raise _TroubleError(Trouble("connection", sentence)) from error


def _view(shown: Mapping[str, Any]) -> BatchView:
    """Providers leave fields out, or make them null."""
    counts, metadata = shown.get("request_counts") or {}, shown.get("metadata") or {}
    found = (shown.get("errors") or {}).get("data") or ()
    return BatchView(
        id=str(shown.get("id") or ""),
        status=str(shown.get("status") or "").lower(),
        total=counts.get("total") or 0,
        done=(counts.get("completed") or 0) + (counts.get("failed") or 0),
        output_file=shown.get("output_file_id") or None,
        error_file=shown.get("error_file_id") or None,
        token=metadata.get(LABEL),
        created=float(shown.get("created_at") or 0.0),
        problems=tuple(map(_problem, found)),
        crowded=any(problem.get("code") in CROWDED for problem in found),
    )


def _problem(found: Mapping[str, Any]) -> str:
    line = f"line {found['line']}: " if found.get("line") is not None else ""
    said = without_secrets(" ".join(str(found.get("message") or found.get("code") or "no cause is given").split()))
    return f"{line}{said[:LONGEST_QUOTE]}"
