"""A model behind a fleet of endpoints, asked live: the driver that gives the pure policy its clock and its network."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace

import aiohttp

from favonius.engines.account import Account
from favonius.engines.config import Endpoint, OpenAI
from favonius.engines.openai import wire
from favonius.engines.openai.calls import Caller, Unanswered, cut_off, is_cut
from favonius.engines.policy.endpoint import EndpointRules, Flight
from favonius.engines.policy.fleet import Dead, Fleet, Wait
from favonius.engines.policy.retry import GaveUp, RetryRules, Sleep, attempts
from favonius.engines.policy.trouble import Trouble
from favonius.errors import FavoniusError
from favonius.run import ServedModel
from favonius.types import Completion, Request, digest


class LiveEngine:
    """The `Engine` seam over HTTP. Used within one event loop; `aclose` ends its connections there."""

    def __init__(self, config: OpenAI, model: ServedModel, account: Account) -> None:
        self.config, self.served_as, self.account = config, model.served_as, account
        self.model = answering(config, model)
        self.slots = config.slots
        self._random = random.Random()
        rules = [_rules(endpoint) for endpoint in config.endpoints]
        self._fleet = Fleet(rules, time.monotonic(), self._random, config.patience_seconds)
        self._callers: list[Caller] = []
        self._session: aiohttp.ClientSession | None = None
        self._gate = asyncio.Lock()
        """Held by the one request that chooses an endpoint; the others stand in line behind it."""
        self._news = asyncio.Event()
        self._groups: dict[str, list[tuple[Request, asyncio.Future[Completion]]]] = {}

    def check(self, request: Request) -> None:
        """Only the server knows what it can answer."""

    async def complete(self, request: Request) -> Completion:
        """Answer, after as many attempts as the config allows.

        RequestError where they failed, SpentError where there is no money for one, FavoniusError where every endpoint
        is dead.
        """
        if not self.config.group_samples:
            return (await self._answers([request]))[0]
        return await self._with_its_group(request)

    async def _with_its_group(self, request: Request) -> Completion:
        """Requests that differ in their sample only, and are asked in one turn of the loop, go in one call."""
        group = request.model_copy(update={"sample": 0}).key()
        waiting = self._groups.setdefault(group, [])
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        waiting.append((request, future))
        if len(waiting) > 1:
            return await future
        await asyncio.sleep(0)
        members = self._groups.pop(group)
        try:
            answers = await self._answers([member for member, _ in members])
        except BaseException as error:
            for _, other in members[1:]:
                if isinstance(error, asyncio.CancelledError):
                    other.cancel()
                elif not other.done():
                    other.set_exception(error)
            raise
        for (_, other), answer in zip(members[1:], answers[1:], strict=True):
            if not other.done():
                other.set_result(answer)
        return answers[0]

    async def _answers(self, requests: Sequence[Request]) -> list[Completion]:
        """One body for all of them, through the life of one request: send, sleep, send again."""
        request = requests[0]
        body = wire.body(self.config, self.served_as, request, len(requests))
        life = attempts(_retries(self.config), self._random)
        cut: list[Completion] | None = None
        avoid: int | None = None
        try:
            action = next(life)
            while True:
                if isinstance(action, Sleep):
                    await asyncio.sleep(action.seconds)
                    action = life.send(None)
                    continue
                await self.account.open(requests)
                endpoint, outcome = await self._send(body, requests, avoid)
                avoid = endpoint
                if not isinstance(outcome, Unanswered) and cut is None and is_cut(outcome, request):
                    cut, outcome = outcome, cut_off(outcome)  # once: a full context cuts it off again
                if not isinstance(outcome, Unanswered):
                    return outcome
                if outcome.trouble.paid:
                    await self.account.paid(requests, outcome.usage, outcome.trouble.sentence)
                action = life.send(outcome.trouble)
        except GaveUp:
            if cut is not None:
                return cut
            raise

    async def _send(
        self, body: dict[str, object], requests: Sequence[Request], avoid: int | None
    ) -> tuple[int, list[Completion] | Unanswered]:
        """The endpoint that was asked, and what came of it."""
        sampling = requests[0].sampling
        read = wire.prompt_bytes(requests[0].messages) // wire.BYTES_PER_TOKEN
        tokens = read + sampling.max_tokens * len(requests)
        hint = hash(requests[0].messages[0].content)
        flight = await self._take_off(tokens, avoid, hint)
        outcome: list[Completion] | Unanswered = Unanswered(Trouble("connection", "was left before it answered"))
        try:
            outcome = await self._caller(flight.endpoint).call(body, requests[0].messages, len(requests))
        finally:
            now = time.monotonic()
            if isinstance(outcome, Unanswered):
                outcome = replace(outcome, trouble=self._fleet.failed(flight, now, outcome.trouble))
            else:
                self._fleet.answered(flight, now, sum(one.prompt_tokens + one.completion_tokens for one in outcome))
            self._news.set()
        return flight.endpoint, outcome

    async def _take_off(self, tokens: int, avoid: int | None, hint: int) -> Flight:
        """To the endpoint that takes the next call, as soon as one may. FavoniusError where all are dead."""
        async with self._gate:
            while True:
                self._news.clear()
                choice = self._fleet.choose(time.monotonic(), tokens, avoid, hint)
                if isinstance(choice, Dead):
                    raise FavoniusError(choice.sentence)
                if not isinstance(choice, Wait):
                    return self._fleet.started(choice, time.monotonic(), tokens)
                try:
                    async with asyncio.timeout(choice.seconds):
                        await self._news.wait()
                except TimeoutError:
                    continue

    def _caller(self, endpoint: int) -> Caller:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)
            self._session = aiohttp.ClientSession(connector=connector)
            self._callers = [Caller(self.config, one, self._session) for one in self.config.endpoints]
        return self._callers[endpoint]

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


def answering(config: OpenAI, model: ServedModel) -> str:
    """Digest of the model as it answers: what else a request's body says belongs to it, and no address does."""
    return digest({"model": model.digest, "api": config.api, "extra": config.extra})


def _rules(endpoint: Endpoint) -> EndpointRules:
    return EndpointRules(
        name=endpoint.base_url,
        concurrency=endpoint.concurrency,
        requests_per_minute=endpoint.requests_per_minute,
        tokens_per_minute=endpoint.tokens_per_minute,
    )


def _retries(config: OpenAI) -> RetryRules:
    return RetryRules(attempts=config.attempts, patience_seconds=config.patience_seconds)
