"""The lines of a batch's files: requests that go up, results that come down. No I/O.

Field names are those of OpenAI's API reference (Batch: request input and request output objects).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from favonius.engines.config import OpenAI
from favonius.engines.openai import wire
from favonius.engines.openai.calls import Unanswered
from favonius.engines.policy.trouble import Trouble, trouble_of_status, without_secrets
from favonius.types import Completion, Messages, Request

UNFINISHED = ("batch_expired", "batch_cancelled", "expired", "cancelled")
"""Codes of requests that a batch ended without."""
LONGEST_QUOTE = 200


def url(config: OpenAI) -> str:
    """What the requests of a batch ask, as the provider calls it; base_url's path does not matter here."""
    return "/v1" + wire.path(config)


def request_line(config: OpenAI, served_as: str, request: Request) -> bytes:
    """One line of an input file; its custom_id is the request's key."""
    body = wire.body(config, served_as, request)
    line = {"custom_id": request.key(), "method": "POST", "url": url(config), "body": body}
    return orjson.dumps(line) + b"\n"


def read_line(line: bytes) -> tuple[str, Mapping[str, Any]] | None:
    """A result and the key of its request; None where the line is no result."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    key = value.get("custom_id") if isinstance(value, dict) else None
    return (key, value) if isinstance(key, str) else None


def outcome_of(value: Mapping[str, Any], messages: Messages) -> Completion | Unanswered:
    """What a result says of its request."""
    response = value.get("response")
    if not isinstance(response, dict):
        return Unanswered(_unserved(value.get("error")))
    status, body = response.get("status_code", 200), response.get("body")
    if status != 200:
        status = status if isinstance(status, int) else 500
        return Unanswered(trouble_of_status(status, orjson.dumps(body).decode(), {}, 0.0))
    try:
        return wire.from_object(body, messages)[0]
    except wire.MalformedError as error:
        return Unanswered(Trouble(error.kind, str(error), paid=True), error.usage)


def _unserved(error: Any) -> Trouble:
    code, message = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, error)
    if code in UNFINISHED:
        return Trouble("timeout", "was not answered before the batch ended")
    said = without_secrets(" ".join(f"{code or ''} {message or ''}".split()))
    return Trouble("overloaded", f"was not answered ({said[:LONGEST_QUOTE] or 'no cause is given'})")
