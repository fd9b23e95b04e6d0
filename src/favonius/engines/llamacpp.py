"""llama.cpp in this process, through the xllamacpp wheel."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import xllamacpp

from favonius.chat.format import ChatFormat
from favonius.engines.config import LlamaCpp
from favonius.engines.prompting import Prompted, prompted
from favonius.engines.token_texts import token_texts, within
from favonius.engines.writing import Listener, Pieces, Written
from favonius.errors import FavoniusError, UserError
from favonius.files import read_json
from favonius.run import ModelSource
from favonius.types import Completion, Request, RequestError, TokenLogprob, digest

SLOTS_PER_SERVER = 4
"""A server with fewer does not keep its threads busy."""
SLOTS_PER_CORE = 12
PROMPT_CACHE_MIB = 1024
"""Of each server, for prompts that have lost their slot and may come back longer."""
BF16_BYTES = 2
HOME_TOKENS = 32
"""Of a prompt, those that tell which server knows its beginning."""
LOWEST = -3.4e38
"""Log-probs at or below it are llama.cpp's for a probability of nought."""


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
        self.context_tokens, self.prefix_cache = config.context_tokens, config.prefix_cache
        cores = os.cpu_count() or 1
        self.slots = _fitting_slots(source, config.context_tokens, cores) if config.slots == "auto" else config.slots
        count = max(1, min(cores, self.slots // SLOTS_PER_SERVER))
        each = math.ceil(self.slots / count)
        self._servers = [_server(source.gguf, config, each, cores // count) for _ in range(count)]
        self._free = [each] * count
        """Slots of each server that nothing is written in."""
        self._taking = threading.Lock()
        self._threads = ThreadPoolExecutor(each * count, "llamacpp")

    def check(self, request: Request) -> None:
        prompted(self.form, request, self.context_tokens)

    async def complete(self, request: Request) -> Completion:
        call = _call(prompted(self.form, request, self.context_tokens), self.prefix_cache)
        home = self._home(request.messages[0].content)
        answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, call, home)
        return completion(answer, self.form)

    async def write(self, prompted: Prompted) -> Pieces:
        """The answer as it comes, and at the end the whole. RequestError where the prompt's log-probs are wanted."""
        if prompted.echo:
            raise RequestError("llama.cpp gives no log-probs of a prompt; serve the model's weights with transformers")
        listener = Listener()
        call = _call(prompted, self.prefix_cache) | {"stream": True, "stream_options": {"include_usage": True}}
        home = self._home(self.form.decode(prompted.ids[:HOME_TOKENS]))
        self._threads.submit(self._write, call, home, listener)
        async with aclosing(listener.pieces()) as pieces:
            async for piece in pieces:
                yield piece

    def _home(self, opening: str) -> int:
        """The server of conversations that begin so: its cache knows the beginning."""
        return int(digest(opening)[:8], 16) % len(self._servers)

    def _ask(self, call: dict[str, Any], home: int) -> dict[str, Any]:
        """In a thread of the pool, which has as many as there are slots, so one is always free."""
        with self._borrowed(home) as server:
            return dict(server.handle_completions(call))

    def _write(self, call: dict[str, Any], home: int, listener: Listener) -> None:
        """As `_ask`, telling the listener of each piece."""
        heard = Heard(listener)
        try:
            with self._borrowed(home) as server:
                server.handle_completions(call, heard.take)
            if not listener.gone:
                listener.tell(Written(completion(heard.answer(), self.form)))
        except BaseException as error:  # the listener waits in another thread: it must hear of it
            listener.tell(error)

    @contextmanager
    def _borrowed(self, home: int) -> Iterator[Any]:
        """A server with a free slot: `home`, or the idlest."""
        with self._taking:
            taken = home if self._free[home] else self._free.index(max(self._free))
            self._free[taken] -= 1
        try:
            yield self._servers[taken]
        finally:
            with self._taking:
                self._free[taken] += 1

    def close(self) -> None:
        self._threads.shutdown()
        self._servers.clear()

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
    parameters.kv_unified = False
    parameters.cache_ram_mib = PROMPT_CACHE_MIB if config.prefix_cache else 0
    if not config.prefix_cache:
        _make_answers_independent(parameters)
    # The wheel always opens a local web server that lets any web page in: nobody knows this key.
    parameters.api_keys = [secrets.token_hex(32)]
    parameters.ui = parameters.endpoint_slots = False
    try:
        return xllamacpp.Server(parameters)
    except Exception as error:  # the wheel raises plain RuntimeErrors from C++
        raise FavoniusError(
            f"{gguf.name}: llama.cpp cannot load it ({error}); its architecture may be too new, or the file damaged"
        ) from error


def _make_answers_independent(parameters: Any) -> None:
    """Have an answer not depend on its neighbours (docs/decisions/0005).

    Kernels that llama.cpp picks by the number of rows round differently. BF16 keys and values keep flash attention off
    the tiled path (many rows) and the split one (a lone request, 512 or more cells); weights that are not repacked go
    through one kernel.
    """
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_BF16
    parameters.no_extra_bufts = True


def _fitting_slots(source: ModelSource, context_tokens: int, cores: int) -> int:
    """As many slots as keep the cores busy, and fewer where their caches would take a quarter of the memory."""
    shape = read_json(source.folder / "config.json")
    heads = shape["num_attention_heads"]
    width = shape.get("head_dim") or shape["hidden_size"] // heads
    cell = 2 * BF16_BYTES * shape["num_hidden_layers"] * (shape.get("num_key_value_heads") or heads) * width
    room = psutil.virtual_memory().total // 4 // (cell * context_tokens)
    return max(1, min(SLOTS_PER_CORE * cores, int(room)))


@dataclass
class Heard:
    """A streamed answer, piece by piece."""

    listener: Listener
    chunks: list[dict[str, Any]] = field(default_factory=list)

    def take(self, chunk: dict[str, Any]) -> bool:
        """What the server calls with each piece; True asks it to stop."""
        self.chunks.append(chunk)
        for choice in chunk.get("choices", ()):
            if choice.get("text"):
                self.listener.tell(choice["text"])
        return self.listener.gone

    def answer(self) -> dict[str, Any]:
        """The pieces as the one reply that the server would have given."""
        wrong = next((chunk for chunk in self.chunks if "choices" not in chunk), None)
        if wrong is not None:
            return wrong
        choices = [choice for chunk in self.chunks for choice in chunk["choices"]]
        entries = [entry for choice in choices for entry in (choice.get("logprobs") or {}).get("content", ())]
        last = next(choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason"))
        whole = {"text": "".join(choice["text"] for choice in choices), "finish_reason": last}
        usage = next(chunk["usage"] for chunk in reversed(self.chunks) if chunk.get("usage"))
        return {"choices": [{**whole, "logprobs": {"content": entries}}], "usage": usage}


def _call(prompted: Prompted, prefix_cache: bool) -> dict[str, Any]:
    """The completion call: token ids in, so that the template is ours, and no sampler but ours."""
    sampling = prompted.sampling
    # The log-probs that this asks for are of the model's own distribution, whatever the temperature and the samplers.
    likeliest = {"logprobs": prompted.logprobs} if prompted.logprobs else {}
    return {
        **likeliest,
        "prompt": list(prompted.ids),
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "samplers": ["temperature", "top_p"],
        "seed": prompted.seed,
        "stop": list(sampling.stop),
        "cache_prompt": prefix_cache,
    }


def completion(answer: dict[str, Any], form: ChatFormat) -> Completion:
    """What the server's reply says. RequestError where it answered with an error."""
    if "choices" not in answer:
        said = answer.get("error", answer)
        raise RequestError(f"llama.cpp: {said.get('message', said) if isinstance(said, dict) else said}")
    choice, usage = answer["choices"][0], answer["usage"]
    return Completion(
        text=choice["text"],
        finish="stop" if choice["finish_reason"] == "stop" else "length",
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        logprobs=_logprobs((choice.get("logprobs") or {}).get("content", ()), choice["text"], form),
    )


def _logprobs(entries: Sequence[dict[str, Any]], answer: str, form: ChatFormat) -> tuple[TokenLogprob, ...]:
    """What the server says of the answer's tokens, the end token left out."""
    entries = [entry for entry in entries if entry["id"] not in form.end_ids]
    found = [
        TokenLogprob(
            token=text,
            logprob=_number(entry["logprob"]),
            top=tuple((one["token"], _number(one["logprob"])) for one in entry["top_logprobs"]),
        )
        for text, entry in zip(_texts(entries, form), entries, strict=True)
    ]
    return within(found, answer)


def _texts(entries: Sequence[dict[str, Any]], form: ChatFormat) -> list[str]:
    """What may begin a stop text is held back by the server and said with a later token, or never: here each token has
    its own text again."""
    texts: list[str] = []
    held: list[int] = []
    for entry in entries:
        held.append(entry["id"])
        if said := entry["token"]:
            own = token_texts(form, held)
            # They differ where the first tokens of a character, of which the server says nothing, are missing.
            texts += own if "".join(own) == said else [*[""] * (len(held) - 1), said]
            held.clear()
    return [*texts, *token_texts(form, held)]


def _number(logprob: float) -> float:
    """Its own value, and minus infinity where llama.cpp writes the lowest float for it."""
    return -math.inf if logprob <= LOWEST else logprob
