"""What can go wrong with one call to a server, and what its status and headers mean."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal

from favonius.phrases import shortened

Kind = Literal["rate_limited", "overloaded", "connection", "timeout", "malformed", "empty", "rejected"]

WORDLESS: tuple[Kind, ...] = ("malformed", "empty")
"""What only a server can say that is there: no outage that could be waited out."""
LONGEST_QUOTE = 200
LONGEST_READ = 2000
"""Characters of a message that are searched for secrets and then quoted from."""
TURNED_AWAY = {
    401: "its key is missing or wrong",
    402: "the account has no credit",
    403: "the key may not use this model",
    404: "no such model or address; look at base_url and the model's name",
    405: "no such address; look at base_url",
    410: "the model or address is gone",
}
"""Statuses that every further request would get as well, and what to look at."""
NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
"""Codes of a 429 that no waiting ends."""
NO_ENTRY = ("model_not_found", "invalid_api_key", "API key not valid")
"""What some servers say of the model or the key with a 400."""
ABOUT_THE_TEXT = ("moderation", "flagged", "content policy", "content_policy", "content_filter")
"""A 403 that is about this one prompt, not about the caller."""

_SECRETS = re.compile(
    r"(?<=//)[^/\s@]+(?=@)"  # https://user:password@host
    r"|(?<=[Bb]earer )\S+"
    r"|\b(?:sk|pk|rk|gsk|xai|hf|nvapi|key)[-_][\w*.-]{6,}"  # how providers' keys begin
    r"|\b(?=\w*\d)(?=\w*[A-Za-z])\w{28,}"  # as long and as mixed as no word is
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why one call brought no answer."""

    kind: Kind
    """`rejected`: this request would fail again. `overloaded`: the server answered that it cannot now. `malformed`: it
    answered what is no answer. `empty`: it answered, without a word. The others are what they are called."""
    sentence: str
    """What the user reads, said of the server (`answered 500 …`), with no key and no password in it."""
    retry_after: float | None = None
    """Seconds that the server asked to be left alone."""
    paid: bool = False
    """The provider may have billed the attempt: half a body came, or an answer of no use."""
    closes: bool = False
    """Not the request but the caller was rejected (key, credit, model, address): others would fare no better there."""
    outage: bool = False
    """The endpoint is known to be out of service, so this says nothing about the request. Set by `Fleet.failed`."""


def trouble_of_status(
    status: int, body: str, headers: Mapping[str, str], now: float, secrets: Sequence[str] = ()
) -> Trouble:
    """What a response that is no success means.

    `now` is the time of day (seconds since 1970), against which dates in headers are read. The server's own words are
    quoted in short, without `secrets` (the key that was sent) and anything else that looks like one.
    """
    said, code = _said(body)
    kind, closes = _meaning(status, f"{code} {said}")
    names = {name.lower(): value for name, value in headers.items()}
    wait = None if kind == "rejected" else _retry_after(names, now)
    if wait is None and kind == "rate_limited":
        wait = _used_up_until(names)
    hint = f"; {TURNED_AWAY[status]}" if closes and status in TURNED_AWAY else ""
    quote = shortened(without_secrets(_on_one_line(said[:LONGEST_READ]), secrets), LONGEST_QUOTE)
    sentence = f"answered {status} ({_phrase(status)}{hint})" + (f": {quote}" if quote else "")
    return Trouble(kind, sentence, wait, closes=closes)


def without_secrets(text: str, secrets: Sequence[str] = ()) -> str:
    """`text` with each of `secrets`, passwords in addresses, and what looks like a key replaced by ***."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _SECRETS.sub("***", text)


def _meaning(status: int, said: str) -> tuple[Kind, bool]:
    """The kind of trouble, and whether it is the caller who was turned away."""
    if status == 429:
        return ("rejected", True) if any(code in said for code in NO_CREDIT) else ("rate_limited", False)
    if status in (408, 504):
        return "timeout", False
    if status in (409, 425) or status >= 500:
        return "overloaded", False
    if status == 403 and any(word in said.lower() for word in ABOUT_THE_TEXT):
        return "rejected", False
    moved = status < 400  # redirects are not followed
    return "rejected", moved or status in TURNED_AWAY or (status == 400 and any(text in said for text in NO_ENTRY))


def _said(body: str) -> tuple[str, str]:
    """The message in an error's body and its code, in the forms that servers use; a web page says nothing."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ("", "") if body.lstrip().startswith("<") else (body, "")
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        inner = value.get("error", value)
        if isinstance(inner, dict):
            message = inner.get("message") or inner.get("detail") or ""
            return _text(message), f"{inner.get('code')} {inner.get('type')}"
        return _text(inner), ""
    return _text(value), ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _on_one_line(text: str) -> str:
    """Without what would steer a terminal or cannot be stored (half a character, which JSON may hold)."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return "overloaded" if status == 529 else "no usual status"


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds by retry-after-ms or Retry-After (seconds or an HTTP date, RFC 9110 §10.2.3); None where neither says."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is not None or not text:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _used_up_until(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limits that are used up are whole again, by OpenAI's x-ratelimit headers.

    A limit with something left asks for no wait: its reset is the time until it is full, far more than is needed.
    """
    waits = [
        _duration(headers.get(f"x-ratelimit-reset-{limit}", ""))
        for limit in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{limit}", "0").strip() in ("0", "0.0", "")
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _duration(text: str) -> float | None:
    """`1s`, `6m0s`, `20ms`, `1h2m3.5s` or plain seconds; None for anything else."""
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text.strip():
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return _number(text)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None
