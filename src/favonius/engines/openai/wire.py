"""Requests as the bodies that OpenAI-compatible servers take, and their answers as completions. No I/O.

Field names are those of OpenAI's API reference (chat completions, completions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import orjson

from favonius.engines.config import OpenAI
from favonius.engines.policy.trouble import Kind
from favonius.engines.seeding import request_seed
from favonius.types import Completion, Messages, Request, TokenLogprob

BYTES_PER_TOKEN = 4
"""Of prompts, for rate limits; a bound on money takes every byte for a token."""
TOKENS_PER_MESSAGE = 8


class Usage(NamedTuple):
    """What a server bills. `cached`: of the prompt's tokens, those that it need not read again."""

    prompt: int
    completion: int
    cached: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion


class MalformedError(Exception):
    """A server's answer is none. `usage` is what it bills, where it says so."""

    kind: ClassVar[Kind] = "malformed"

    def __init__(self, sentence: str, usage: Usage | None = None) -> None:
        super().__init__(sentence)
        self.usage = usage


class WithheldError(MalformedError):
    """The provider keeps the answer back, and will do so again."""

    kind = "rejected"


class EmptyError(MalformedError):
    """The answer is whole and blank."""

    kind = "empty"


def path(config: OpenAI) -> str:
    return "/chat/completions" if config.api == "chat" else "/completions"


def body(config: OpenAI, served_as: str, request: Request, samples: int = 1) -> dict[str, Any]:
    """What is sent. With `samples` above 1 the server draws that many answers of the one question."""
    sampling = request.sampling
    fields: dict[str, Any] = {"model": served_as, **config.extra}
    if config.api == "chat":
        fields["messages"] = [{"role": message.role, "content": message.content} for message in request.messages]
    else:
        fields["prompt"] = plain_text(request.messages)
    fields |= {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        config.max_tokens_field: sampling.max_tokens,
    }
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if config.send_seed:
        fields["seed"] = request_seed(request)
    if samples > 1:
        fields["n"] = samples
    if request.logprobs:
        fields |= {"logprobs": True, "top_logprobs": request.logprobs} if config.api == "chat" else {
            "logprobs": request.logprobs
        }  # fmt: skip
    if config.stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return fields


def plain_text(messages: Messages) -> str:
    return "\n\n".join(message.content for message in messages)


def prompt_bytes(messages: Messages) -> int:
    """An upper bound of a prompt's tokens: no byte is more than one."""
    return sum(len(message.content.encode()) + TOKENS_PER_MESSAGE for message in messages)


def completions(payload: bytes | str, messages: Messages, samples: int = 1) -> list[Completion]:
    """The answers in a response's body. The prompt's tokens are counted with the first.

    A server that reports no usage is taken to have spent a token for every byte, so that no money goes uncounted.
    MalformedError where it is no JSON, no completion, or fewer answers than were asked for.
    """
    try:
        answer = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the answer is no whole JSON ({error})") from None
    return from_object(answer, messages, samples)


def from_object(answer: Any, messages: Messages, samples: int = 1) -> list[Completion]:
    usage = _usage(answer)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != samples or not all(isinstance(one, dict) for one in choices):
        raise MalformedError(f"the answer holds no {samples} choice{'s' if samples > 1 else ''}", usage)
    ordered = sorted(choices, key=lambda choice: choice.get("index") or 0)
    read = [_choice(choice, usage) for choice in ordered]
    sizes = [len(text.encode()) for text, _, _ in read]
    billed = usage or Usage(prompt_bytes(messages), sum(sizes))
    shares = _shares(billed.completion, sizes)
    return [
        Completion(
            text=text,
            finish=finish,  # type: ignore[arg-type]
            prompt_tokens=0 if index else billed.prompt,
            cached_tokens=0 if index else billed.cached,
            completion_tokens=shares[index],
            logprobs=logprobs,
        )
        for index, (text, finish, logprobs) in enumerate(read)
    ]


def _choice(choice: Mapping[str, Any], usage: Usage | None) -> tuple[str, str, tuple[TokenLogprob, ...]]:
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        raise WithheldError("the provider's content filter withheld the answer", usage)
    if not isinstance(text, str):
        raise MalformedError("the answer's text is missing", usage)
    if not text.strip():
        raise EmptyError("the answer is empty", usage)
    if reason not in ("stop", "length"):
        raise MalformedError(f"the answer ended for an unknown reason ({str(reason)[:40]})", usage)
    return text, reason, _logprobs(choice.get("logprobs"))


def _logprobs(found: Any) -> tuple[TokenLogprob, ...]:
    if not isinstance(found, dict):
        return ()
    if isinstance(found.get("content"), list):  # chat
        return tuple(
            TokenLogprob(
                token=str(item["token"]),
                logprob=float(item["logprob"]),
                top=tuple((str(top["token"]), float(top["logprob"])) for top in item.get("top_logprobs") or ()),
            )
            for item in found["content"]
        )
    tokens, values = found.get("tokens") or (), found.get("token_logprobs") or ()
    tops: Iterable[Any] = found.get("top_logprobs") or [{}] * len(tokens)
    return tuple(
        TokenLogprob(token=token, logprob=value, top=tuple((top or {}).items()))
        for token, value, top in zip(tokens, values, tops, strict=False)
        if value is not None
    )


def _usage(answer: Any) -> Usage | None:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    found = Usage(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0, cached or 0)
    return found if found.prompt and all(isinstance(count, int) for count in found) else None


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """A whole number cut in proportion to `weights`; the parts add up to it."""
    rest, left = total, sum(weights)
    parts = []
    for weight in weights:
        part = round(rest * weight / left) if left else rest
        parts.append(part)
        rest, left = rest - part, left - weight
    return parts


class StreamedAnswer:
    """Server-sent events of one streamed chat completion, put together: `take` lines, then `whole`."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.logprobs: list[Any] = []
        self.finish: str | None = None
        self.usage: Any = None
        self.done = False

    def take(self, line: bytes) -> None:
        """One line of the response. MalformedError where an event is no JSON or an error."""
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.done = True
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise MalformedError(f"an event of the stream is no whole JSON ({error})") from None
        if not isinstance(event, dict) or "error" in event:
            raise MalformedError("the stream broke off with an error of the server")
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices") or ():
            self.texts.append((choice.get("delta") or {}).get("content") or "")
            self.logprobs += (choice.get("logprobs") or {}).get("content") or ()
            self.finish = choice.get("finish_reason") or self.finish

    def whole(self, messages: Messages) -> Completion:
        """The answer. MalformedError where the stream ended before its end."""
        if not self.done or self.finish is None:
            raise MalformedError("the stream ended before the answer did")
        choice = {"text": "".join(self.texts), "finish_reason": self.finish, "logprobs": {"content": self.logprobs}}
        return from_object({"choices": [choice], "usage": self.usage}, messages)[0]
