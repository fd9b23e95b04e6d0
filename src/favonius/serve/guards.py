"""Who may ask: with a key whoever bears it, without one this machine alone."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from favonius.serve.problems import not_ours, wrong_key

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. Names other than localhost could be anybody's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def locked(key: str) -> Any:
    """A middleware: every request but those for /healthz must bear `key`."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        bears = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), key.encode())
        if request.path != "/healthz" and not (bears and scheme.lower() == "bearer"):
            raise wrong_key()
        return await handler(request)

    return check


@web.middleware
async def for_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer to this machine's names only: a page of another host may have its name lead here, and its requests still
    bear that name."""
    named = request.headers.get("Host", "localhost")
    name = named[1:].partition("]")[0] if named.startswith("[") else named.partition(":")[0]
    if not is_loopback(name.lower()):
        raise not_ours(name)
    return await handler(request)
