"""What every local engine does with a request before it decodes: its ids, and whether there is room for it."""

from __future__ import annotations

from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.types import Request, RequestError


def request_ids(form: ChatFormat, request: Request, context_tokens: int) -> list[int]:
    """The request's prompt as token ids. RequestError where it cannot be rendered or leaves its answer no room."""
    try:
        ids = form.prompt_ids(request.messages)
    except UserError as error:
        raise RequestError(str(error)) from error
    if len(ids) + request.sampling.max_tokens > context_tokens:
        opening = " ".join(request.messages[-1].content.split()[:6])
        raise RequestError(
            f"the prompt “{opening} …” has {len(ids)} tokens, which with max_tokens {request.sampling.max_tokens} "
            f"is more than context_tokens {context_tokens}; raise context_tokens or shorten the prompt"
        )
    return ids
