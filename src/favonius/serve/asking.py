"""From a request's body to prompts for an engine, and from an engine's pieces to what was written."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from favonius.engines.prompting import Prompted, refuse_too_long
from favonius.engines.writing import Writer, Written
from favonius.errors import UserError
from favonius.serve.problems import ApiError
from favonius.serve.wire import MOST_ANSWERS, ChatBody, CompletionBody
from favonius.types import RequestError

SEEDS = 2**31


@dataclass(frozen=True)
class Asked:
    """One choice that is wanted. `echo` are the prompt's text and that of its first token, where they are wanted;
    `silent`: an answer of no token, which cannot be drawn. One is drawn, and nobody is told of it."""

    index: int
    prompted: Prompted
    echo: tuple[str, str] | None = None
    silent: bool = False

    def told(self, written: Written) -> Written:
        """What the client is to hear of what was written."""
        if not self.silent:
            return written
        nothing = {"text": "", "completion_tokens": 0, "logprobs": ()}
        return Written(written.completion.model_copy(update=nothing), written.read[: len(self.prompted.ids) - 1])


def of_chat(body: ChatBody, engine: Writer) -> list[Asked]:
    """ApiError where the talk cannot be rendered or leaves the answer no room."""
    try:
        ids = engine.form.prompt_ids(body.talk)
    except UserError as error:
        raise ApiError(400, str(error), param="messages") from None
    wanted = body.max_completion_tokens or body.max_tokens
    return _choices(body, engine, ids, wanted, body.likeliest, 0, body.messages[-1].content)


def of_completion(body: CompletionBody, engine: Writer) -> list[Asked]:
    """All prompts, `n` choices of each. ApiError where there are none or too many, and where one is empty or leaves its
    answer no room."""
    if not 1 <= len(body.prompts) * body.n <= MOST_ANSWERS:
        raise ApiError(400, f"prompt: one request may want 1 to {MOST_ANSWERS} answers", param="prompt")
    found: list[Asked] = []
    for prompt in body.prompts:
        ids = list(engine.form.tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else prompt
        if not ids or not all(0 <= token < len(engine.form.tokenizer) for token in ids):
            raise ApiError(400, "prompt: must hold text, or token ids of this model's vocabulary", param="prompt")
        text = prompt if isinstance(prompt, str) else engine.form.decode(ids)
        own = _choices(body, engine, ids, max(1, body.max_tokens), _likeliest(body), len(found), text)
        echo = (text, engine.form.decode(ids[:1])) if body.echo else None
        found += [
            replace(asked, prompted=replace(asked.prompted, echo=body.echo), echo=echo, silent=body.max_tokens == 0)
            for asked in own
        ]
    return found


def prompt_tokens(asked: Sequence[Asked], each: int) -> int:
    """Of all prompts, counted once however many choices (`each`) they have."""
    return sum(len(one.prompted.ids) for one in asked[::each])


def _likeliest(body: CompletionBody) -> int:
    return 0 if body.logprobs is None and not body.echo else max(1, body.logprobs or 0)


def _choices(
    body: ChatBody | CompletionBody, engine: Writer, ids: Sequence[int], wanted: int | None, likeliest: int,
    first: int, text: str,
) -> list[Asked]:  # fmt: skip
    sampling = body.sampling(wanted or max(1, engine.context_tokens - len(ids)))
    try:
        refuse_too_long(len(ids), sampling, engine.context_tokens, text)
    except RequestError as error:
        raise ApiError(400, str(error), code="context_length_exceeded") from None
    seed = secrets.randbelow(SEEDS) if body.seed is None else body.seed % SEEDS
    seeds = [(seed + number * 7919) % SEEDS for number in range(body.n)]
    return [Asked(first + number, Prompted(ids, sampling, own, likeliest)) for number, own in enumerate(seeds)]


async def write_all(engine: Writer, asked: Sequence[Asked]) -> list[Written]:
    """Every choice, whole; all at once. If one fails or the caller leaves, the others stop."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_whole(engine, one)) for one in asked]
    return [task.result() for task in tasks]


async def _whole(engine: Writer, asked: Asked) -> Written:
    async with aclosing(engine.write(asked.prompted)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Written):
                return piece
    raise AssertionError("the writing ended without the whole")


async def write_along(engine: Writer, asked: Sequence[Asked]) -> AsyncGenerator[tuple[Asked, str | Written], None]:
    """Pieces of all choices as they come; closing it stops them all."""
    heard: asyncio.Queue[tuple[Asked, str | Written | BaseException]] = asyncio.Queue()

    async def follow(one: Asked) -> None:
        try:
            async with aclosing(engine.write(one.prompted)) as pieces:
                async for piece in pieces:
                    heard.put_nowait((one, piece))
        except Exception as error:  # it is raised where the pieces are read
            heard.put_nowait((one, error))

    tasks = [asyncio.create_task(follow(one)) for one in asked]
    try:
        left = len(tasks)
        while left:
            one, piece = await heard.get()
            if isinstance(piece, BaseException):
                raise piece
            left -= isinstance(piece, Written)
            yield one, piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
