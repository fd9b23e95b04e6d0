"""Local engines side by side: the same requests, in turns, so that what slows the machine slows all of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

import xllamacpp

from benchmarks.engine_rows import requests
from favonius.chat.format import ChatFormat
from favonius.engines.config import LlamaCpp, Transformers
from favonius.engines.llamacpp import LlamaCppEngine
from favonius.engines.prompting import prompted
from favonius.engines.seeding import request_seed
from favonius.engines.transformers_engine import TransformersEngine
from favonius.progress import Progress
from favonius.run import ModelSource
from favonius.types import Engine, Request

CONTEXT_TOKENS = 512
WAVES = 3
"""Requests of a round, as a multiple of the slots: enough for slots to fall free at different times."""
Side = Callable[[Sequence[Request]], int]
"""Answers all requests and says how many tokens it wrote."""


def against_bare_server(source: ModelSource, slots: int, tokens: int, rounds: int, say: Progress) -> dict[str, Any]:
    """Favonius' llamacpp engine and one bare llama.cpp server with its own defaults, `slots` requests at once each."""
    with LlamaCppEngine(source, LlamaCpp(slots=slots, context_tokens=CONTEXT_TOKENS)) as engine:
        with bare_server(source, slots) as bare:
            sides = {"favonius": engine_side(engine, slots), "bare": bare}
            speeds = in_turns(sides, source.digest, slots, tokens, rounds, say)
    return {"kind": "llamacpp", "model": source.name, **_found(speeds, slots, tokens, "favonius", "bare")}


def transformers_against_llamacpp(
    source: ModelSource, slots: int, tokens: int, rounds: int, say: Progress
) -> dict[str, Any]:
    """Both of Favonius' local engines on one student: its folder, and the GGUF file made of it."""
    with ExitStack() as stack:
        both: dict[str, Engine] = {
            "transformers": stack.enter_context(
                TransformersEngine(replace(source, gguf=None), Transformers(slots=slots, context_tokens=CONTEXT_TOKENS))
            ),
            "llamacpp": stack.enter_context(
                LlamaCppEngine(source, LlamaCpp(slots=slots, context_tokens=CONTEXT_TOKENS))
            ),
        }
        sides = {name: engine_side(engine, slots) for name, engine in both.items()}
        speeds = in_turns(sides, source.digest, slots, tokens, rounds, say)
    return {"kind": "student", "model": source.name, **_found(speeds, slots, tokens, "llamacpp", "transformers")}


def in_turns(
    sides: Mapping[str, Side], model: str, slots: int, tokens: int, rounds: int, say: Progress
) -> dict[str, list[float]]:
    """Tokens/s of each side in each round. A round before them is not counted; who begins changes."""
    each = WAVES * slots
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        asked = list(requests(each, model, tokens, start=round_ * each))
        for name in sorted(sides, reverse=bool(round_ % 2)):
            began = perf_counter()
            written = sides[name](asked)
            speed = written / (perf_counter() - began)
            say.say(f"{slots} slots, {f'round {round_}' if round_ else 'warm-up'}  {name}: {speed:.1f} tokens/s")
            if round_:
                speeds[name].append(speed)
    return speeds


def engine_side(engine: Engine, slots: int) -> Side:
    async def all_of(asked: Sequence[Request]) -> int:
        gate = asyncio.Semaphore(slots)

        async def one(request: Request) -> int:
            async with gate:
                return (await engine.complete(request)).completion_tokens

        return sum(await asyncio.gather(*map(one, asked)))

    return lambda asked: asyncio.run(all_of(asked))


@contextmanager
def bare_server(source: ModelSource, slots: int) -> Iterator[Side]:
    """llama.cpp's server as it comes: only the file, the slots, their room and the number of threads are said."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(source.gguf)
    parameters.n_parallel = slots
    parameters.n_ctx = slots * CONTEXT_TOKENS
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = os.cpu_count() or 1
    parameters.verbosity = -1
    server, form = xllamacpp.Server(parameters), ChatFormat.load(source)

    def ask(request: Request) -> int:
        answer = server.handle_completions(
            {
                "prompt": prompted(form, request, CONTEXT_TOKENS).ids,
                "n_predict": request.sampling.max_tokens,
                "temperature": request.sampling.temperature,
                "top_p": request.sampling.top_p,
                "seed": request_seed(request),
            }
        )
        return int(answer["usage"]["completion_tokens"])

    with ThreadPoolExecutor(slots) as threads:
        yield lambda asked: sum(threads.map(ask, asked))


def _found(speeds: Mapping[str, Sequence[float]], slots: int, tokens: int, over: str, under: str) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(speeds[over], speeds[under], strict=True)]
    return {
        "slots": slots,
        "max_tokens": tokens,
        "rounds": len(ratios),
        "requests_per_round": WAVES * slots,
        "tokens_per_s": {name: round(median(values), 1) for name, values in speeds.items()},
        "ratio": round(median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
    }
