"""A GGUF file in llama.cpp, asked for what it makes of texts and tokens. For checks: one at a time, in fp32."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import xllamacpp

from favonius.chat.format import ChatFormat
from favonius.errors import FavoniusError
from favonius.export.probes import ANSWER_TOKENS
from favonius.types import Messages

FORCED = 1e6
"""Added to a token's logit so that greedy drawing takes it; the log-prob that is reported knows nothing of it."""


class LoadedBack:
    """A context manager; leaving it frees the model. FavoniusError where llama.cpp cannot load the file or refuses a
    question."""

    def __init__(self, file: Path, context: int) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(file)
        parameters.n_parallel, parameters.n_ctx = 1, context
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = torch.get_num_threads()
        parameters.n_gpu_layers = 0
        parameters.verbosity, parameters.warmup, parameters.ui = -1, False, False
        # What is measured is the file: no rounding of keys and values, one kernel for every number of rows.
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.no_extra_bufts = True
        self._key = secrets.token_hex(32)
        parameters.api_keys = [self._key]
        try:
            self._server = xllamacpp.Server(parameters)
        except Exception as error:  # the wheel raises plain RuntimeErrors from C++
            raise FavoniusError(f"llama.cpp cannot load {file.name} ({error})") from error

    def __enter__(self) -> LoadedBack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._server  # here, and not whenever the traceback of an error is forgotten

    def prompt_text(self, messages: Messages) -> str:
        """What llama.cpp's Jinja makes of the file's template; it leaves a leading begin token to `ids`."""
        return str(self._post("/apply-template", {"messages": _plain(messages)})["prompt"])

    def ids(self, text: str) -> list[int]:
        """A prompt's tokens, the begin token among them where the file says so."""
        return list(self._post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"])

    def chat_tokens(self, messages: Messages) -> int:
        """Tokens of the prompt that a chat begins with."""
        reply = self._post("/v1/chat/completions", {"messages": _plain(messages), "max_tokens": 1})
        return int(reply["usage"]["prompt_tokens"])

    def logps(self, ids: Sequence[int], places: Sequence[int]) -> list[float]:
        """Log-probs of the tokens at `places`, none of them 0, each after those before it.

        llama.cpp tells of tokens only that it draws, so each is drawn by force.
        """
        return [self._logp(ids[:place], ids[place]) for place in places]

    def answer(self, ids: Sequence[int], form: ChatFormat) -> tuple[int, ...]:
        """The greedy answer to a prompt, without its end token."""
        drawn = self._draw(ids, ANSWER_TOKENS, {})["tokens"]
        return tuple(token for token in drawn if token not in form.end_ids)

    def ends(self, ids: Sequence[int], token: int) -> bool:
        """Whether an answer to a prompt is over where `token` is drawn."""
        return bool(self._draw(ids, 2, {"logit_bias": [[token, FORCED]]})["stop_type"] == "eos")

    def _logp(self, before: Sequence[int], token: int) -> float:
        entry = self._draw(before, 1, {"n_probs": 1, "logit_bias": [[token, FORCED]]})["completion_probabilities"][0]
        if entry["id"] != token:
            raise FavoniusError(f"llama.cpp drew token {entry['id']} where {token} was forced")
        return float(entry["logprob"])

    def _draw(self, ids: Sequence[int], tokens: int, more: dict[str, Any]) -> dict[str, Any]:
        call = {"prompt": list(ids), "n_predict": tokens, "temperature": 0.0, "return_tokens": True}
        return self._post("/completion", {**call, "samplers": ["temperature"], **more})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(self._server.listening_address + path, json.dumps(body).encode(), headers)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=600) as reply:
                return dict(json.load(reply))
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise FavoniusError(f"llama.cpp refuses a question ({said})") from error


def _plain(messages: Messages) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
