"""What every local engine does with a request before it decodes: its ids, and whether there is room for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from favonius.chat.format import ChatFormat
from favonius.engines.seeding import request_seed
from favonius.errors import UserError
from favonius.types import Request, RequestError, Sampling


@dataclass(frozen=True)
class Prompted:
    """A prompt as token ids, and all that fixes what is drawn after it."""

    ids: Sequence[int]
    sampling: Sampling
    seed: int
    logprobs: int = 0
    """Of so many likeliest tokens, the log-probs are wanted for every token drawn; 0 wants none."""
    echo: bool = False
    """The log-probs of the prompt's own tokens are wanted too."""


def prompted(form: ChatFormat, request: Request, context_tokens: int) -> Prompted:
    """The request's prompt as token ids. RequestError where it cannot be rendered or leaves its answer no room."""
    try:
        ids = form.prompt_ids(request.messages)
    except UserError as error:
        raise RequestError(str(error)) from error
    refuse_too_long(len(ids), request.sampling, context_tokens, request.messages[-1].content)
    return Prompted(ids, request.sampling, request_seed(request), request.logprobs)


def refuse_too_long(tokens: int, sampling: Sampling, context_tokens: int, text: str) -> None:
    """RequestError where a prompt of so many tokens, with its answer, is longer than a slot."""
    if tokens + sampling.max_tokens > context_tokens:
        opening = " ".join(text.split()[:6])
        raise RequestError(
            f"the prompt “{opening} …” has {tokens} tokens, which with max_tokens {sampling.max_tokens} "
            f"is more than context_tokens {context_tokens}; raise context_tokens or shorten the prompt"
        )
