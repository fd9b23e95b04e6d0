"""Answers in OpenAI's shapes."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from favonius.engines.writing import Written
from favonius.types import TokenLogprob

IMPOSSIBLE = -9999.0
"""What stands for minus infinity, which JSON has not; OpenAI's own."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Heading:
    """What all parts of one reply begin with."""

    model: str
    prefix: str
    fingerprint: str
    """Digest of the weights and template that answer."""
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def record(self, kind: str) -> Record:
        return {
            "id": f"{self.prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def chat_choice(index: int, written: Written, likeliest: int | None) -> Record:
    """`likeliest`: beside each token's log-prob, those of so many; None: no log-probs at all."""
    logprobs = None if likeliest is None else chat_logprobs(written.completion.logprobs, likeliest)
    return {
        "index": index,
        "message": {"role": "assistant", "content": written.completion.text, "refusal": None},
        "finish_reason": written.completion.finish,
        "logprobs": logprobs,
    }


def chat_logprobs(tokens: Iterable[TokenLogprob], likeliest: int) -> Record:
    content = [
        {**_token(one.token, one.logprob), "top_logprobs": [_token(*other) for other in one.top[:likeliest]]}
        for one in tokens
    ]
    return {"content": content, "refusal": None}


def text_choice(index: int, written: Written, likeliest: int | None, echo: Sequence[str] | None) -> Record:
    """`echo` are the prompt's text and the text of its first token, where the answer is to begin with the prompt."""
    completion, tokens = written.completion, list(written.completion.logprobs)
    text, first = completion.text, []
    if echo is not None:
        prompt, opening = echo
        text, tokens, first = prompt + text, list(written.read), [opening]
    return {
        "index": index,
        "text": text,
        "finish_reason": completion.finish,
        "logprobs": None if likeliest is None else text_logprobs(first, tokens, likeliest),
    }


def text_logprobs(first: list[str], tokens: Sequence[TokenLogprob], likeliest: int) -> Record:
    """The older shape: four lists side by side. A prompt's first token, where it is told, has no log-prob."""
    texts = [*first, *(one.token for one in tokens)]
    offsets = [0]
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    nothing: list[None] = [None] * len(first)
    top = [{token: _finite(logprob) for token, logprob in reversed(one.top[:likeliest])} for one in tokens]
    return {
        "tokens": texts,
        "token_logprobs": [*nothing, *(_finite(one.logprob) for one in tokens)],
        "top_logprobs": [*nothing, *top],
        "text_offset": offsets[:-1],
    }


def usage(read: int, written: Iterable[Written]) -> Record:
    """`read`: tokens of the prompts."""
    wrote = sum(one.completion.completion_tokens for one in written)
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


def model_record(name: str, created: int) -> Record:
    return {"id": name, "object": "model", "created": created, "owned_by": "favonius"}


def _token(token: str, logprob: float) -> Record:
    return {"token": token, "logprob": _finite(logprob), "bytes": list(token.encode("utf-8", "replace"))}


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else IMPOSSIBLE
