"""From a fate and a request to the bytes that go out, the place where they break off, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from time import time
from typing import Any, Literal

from tests.openai_server.answers import Asked, Choice, error, events, usage, whole
from tests.openai_server.fates import Fates, Kind

BREAKING: tuple[Kind, ...] = ("dropped", "dropped_in_body", "half_body")


@dataclass(frozen=True)
class Reply:
    """`pieces` are written one after another; a stall comes in their middle."""

    status: int
    pieces: tuple[bytes, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    breaks: Literal["no", "before", "within", "short"] = "no"
    """The connection closes: before anything, within the chunked pieces, or short of the Content-Length."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    stall_seconds: float = 0.0


def reply_to(asked: Asked, choices: list[Choice], kind: Kind | None, fates: Fates) -> Reply:
    """The right answer where there is no `kind`."""
    refused = _refusing(kind, fates)
    if refused is not None:
        return refused
    if kind == "empty_text":
        choices = [Choice((), "stop") for _ in choices]
    elif kind in ("length", "content_filter"):
        choices = [choice.halved(kind) for choice in choices]
    spent = usage(asked, choices)
    streamed = bool(asked.body.get("stream"))
    return replace(
        _streamed(asked, choices, kind) if streamed else _at_once(asked, choices, kind),
        prompt_tokens=spent["prompt_tokens"],
        completion_tokens=spent["completion_tokens"],
        stall_seconds=fates.stall_seconds if kind == "stall" else 0.0,
    )


def json_reply(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, (json.dumps(body).encode(),), headers or {})


def _refusing(kind: Kind | None, fates: Fates) -> Reply | None:
    """The replies that cost nothing."""
    busy = error("Rate limit reached for requests", "rate_limit_exceeded", "requests")
    match kind:
        case "limited":
            return json_reply(429, busy)
        case "limited_seconds":
            return json_reply(429, busy, {"Retry-After": f"{fates.retry_after:g}"})
        case "limited_date":
            return json_reply(429, busy, {"Retry-After": formatdate(time() + fates.retry_after, usegmt=True)})
        case "quota":
            return json_reply(
                429, error("You exceeded your current quota.", "insufficient_quota", "insufficient_quota")
            )
        case "server_error":
            return json_reply(500, error("The server had an error.", None, "server_error"))
        case "bad_gateway":
            return Reply(502, (b"<html><h1>502 Bad Gateway</h1></html>",), content_type="text/html")
        case "overloaded":
            overloaded = error("The engine is overloaded.", None, "overloaded_error")
            return json_reply(503, overloaded, {"Retry-After": f"{fates.retry_after:g}"})
        case "context_length":
            return json_reply(400, error("This model's maximum context length is 4096.", "context_length_exceeded"))
        case "unauthorized":
            return json_reply(401, error(f"Incorrect API key provided: {fates.key}.", "invalid_api_key"))
        case "not_found":
            return json_reply(404, error("The model does not exist.", "model_not_found"))
        case "dropped":
            return Reply(200, (), breaks="before")
    return None


def _at_once(asked: Asked, choices: list[Choice], kind: Kind | None) -> Reply:
    value = whole(asked, choices)
    if kind == "no_choices":
        del value["choices"]
        value.update(error("The upstream provider failed.", None, "server_error"))
    elif kind == "empty_choices":
        value["choices"] = []
    elif kind == "null_content":
        for choice in value["choices"]:
            choice.update({"message": {"role": "assistant", "content": None}} if asked.chat else {"text": None})
    body = json.dumps(value).encode()
    half = len(body) // 2
    if kind == "invalid_json":
        return Reply(200, (body[:half],))
    if kind == "dropped_in_body":
        return Reply(200, (body[:half],), breaks="within")
    if kind == "half_body":
        return Reply(200, (body[:half],), {"Content-Length": str(len(body))}, breaks="short")
    return Reply(200, (body,))


def _streamed(asked: Asked, choices: list[Choice], kind: Kind | None) -> Reply:
    listed = list(events(asked, choices))
    if kind == "no_choices":
        listed = [*listed[: len(listed) // 2], error("The upstream provider failed.", None, "server_error")]
    elif kind == "empty_choices":
        listed = [{**one, "choices": []} for one in listed]
    elif kind == "null_content":
        listed = [_silenced(one) for one in listed]
    pieces = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in listed] + [b"data: [DONE]\n\n"]
    half = len(pieces) // 2
    if kind in BREAKING:
        pieces = pieces[:half]
    elif kind == "invalid_json":
        pieces[half] = pieces[half][: len(pieces[half]) // 2] + b"\n\n"
    breaks: Literal["no", "within"] = "within" if kind == "dropped_in_body" else "no"
    return Reply(200, tuple(pieces), content_type="text/event-stream", breaks=breaks)


def _silenced(event: dict[str, Any]) -> dict[str, Any]:
    """The chunk without its text."""
    silent = [
        {**choice, **({"delta": {**choice["delta"], "content": None}} if "delta" in choice else {"text": None})}
        for choice in event["choices"]
    ]
    return {**event, "choices": silent}
