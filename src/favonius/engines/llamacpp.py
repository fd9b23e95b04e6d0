"""llama.cpp in this process, through the xllamacpp wheel."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import xllamacpp

from favonius.chat.format import ChatFormat
from favonius.engines.config import LlamaCpp
from favonius.engines.prompting import request_ids, request_seed
from favonius.errors import FavoniusError, UserError
from favonius.run import ModelSource
from favonius.types import Completion, Request, RequestError

SLOTS_PER_SERVER = 4
"""A server with fewer does not keep its threads busy."""


class LlamaCppEngine:
    """One GGUF model with `slots` requests at once. A context manager; leaving it frees the model.

    The slots are spread over several llama.cpp servers with few threads each, one server per core where there are
    enough slots: threads of different servers never wait for each other. On two cores, two servers of one thread wrote
    245 tokens/s where one of two threads wrote 119. Weights are mapped from the file and shared.
    """

    def __init__(self, source: ModelSource, config: LlamaCpp) -> None:
        if source.gguf is None:
            raise UserError(f"model {source.name} is no GGUF file, which engine llamacpp needs; use kind: transformers")
        self.model = source.digest
        self.form = ChatFormat.load(source)
        self.context_tokens = config.context_tokens
        cores = os.cpu_count() or 1
        count = max(1, min(cores, config.slots // SLOTS_PER_SERVER))
        slots = math.ceil(config.slots / count)
        self._idle = [_server(source.gguf, config, slots, cores // count) for _ in range(count)] * slots
        """A server as often as it has free slots."""
        self._threads = ThreadPoolExecutor(len(self._idle), "llamacpp")

    def check(self, request: Request) -> None:
        request_ids(self.form, request, self.context_tokens)

    async def complete(self, request: Request) -> Completion:
        ids = request_ids(self.form, request, self.context_tokens)
        answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, _call(ids, request))
        return _completion(answer)

    def _ask(self, call: dict[str, Any]) -> dict[str, Any]:
        """In a thread of the pool, which has as many as there are free slots, so one is always there to take."""
        server = self._idle.pop(0)
        try:
            return dict(server.handle_completions(call))
        finally:
            self._idle.append(server)

    def close(self) -> None:
        self._threads.shutdown()
        self._idle.clear()

    def __enter__(self) -> LlamaCppEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _server(gguf: Path, config: LlamaCpp, slots: int, threads: int) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.n_parallel = slots
    parameters.n_ctx = slots * config.context_tokens
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.cont_batching = True
    parameters.warmup = False
    parameters.verbosity = -1
    # Each slot keeps its own cells, and nothing is taken over from earlier prompts: an answer must not depend on what
    # else was asked, or a run that was killed would end with other rows (docs/decisions/0005).
    parameters.kv_unified = False
    parameters.cache_ram_mib = 0
    # Kernels that llama.cpp picks by the number of rows round differently. BF16 keys and values keep flash attention
    # off the tiled path (many rows) and the split one (a lone request, 512 or more cells); weights that are not
    # repacked go through one kernel.
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_BF16
    parameters.no_extra_bufts = True
    # The wheel always opens a local web server that lets any web page in: nobody knows this key.
    parameters.api_keys = [secrets.token_hex(32)]
    parameters.ui = parameters.endpoint_slots = False
    try:
        return xllamacpp.Server(parameters)
    except Exception as error:  # the wheel raises plain RuntimeErrors from C++
        raise FavoniusError(
            f"{gguf.name}: llama.cpp cannot load it ({error}); its architecture may be too new, or the file damaged"
        ) from error


def _call(ids: list[int], request: Request) -> dict[str, Any]:
    """The completion call: token ids in, so that the template is ours, and no sampler but ours."""
    sampling = request.sampling
    return {
        "prompt": ids,
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "samplers": ["temperature", "top_p"],
        "seed": request_seed(request),
        "cache_prompt": False,
    }


def _completion(answer: dict[str, Any]) -> Completion:
    """RequestError where the server answered with an error."""
    if "choices" not in answer:
        said = answer.get("error", answer)
        raise RequestError(f"llama.cpp: {said.get('message', said) if isinstance(said, dict) else said}")
    choice, usage = answer["choices"][0], answer["usage"]
    return Completion(
        text=choice["text"],
        finish="stop" if choice["finish_reason"] == "stop" else "length",
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
    )
