"""The server's life: it listens, says where, and on SIGTERM or Ctrl-C lets what is being answered end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from favonius.errors import UserError
from favonius.serve.app import Limits, application
from favonius.serve.guards import is_loopback
from favonius.serve.models import Models

DRAIN_SECONDS = 60.0
LEAST_KEY = 16


def serve(models: Models, host: str, port: int, say: Callable[[str], None], limits: Limits, key: str | None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what has begun, for a minute at most.

    `port` 0 takes a free one. UserError where the address is taken, or is not this machine's alone and there is no key.
    """
    if key is None and not is_loopback(host):
        raise UserError(f"--host {host}: others can reach it, so name a file that holds a key with --api-key-file")
    asyncio.run(_serve(models, host, port, say, limits, key))


async def _serve(
    models: Models, host: str, port: int, say: Callable[[str], None], limits: Limits, key: str | None
) -> None:
    stop = stop_signal()
    async with listening(models, host, port, limits, key) as address:
        say(f"{address} serves {', '.join(models.names)}; Ctrl-C ends it")
        await stop.wait()
        say("no new requests; what has begun is answered (once more ends it at once)")


def stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT from now on; the next one ends the program. Only in the main thread."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    names = (signal.SIGTERM, signal.SIGINT)

    def hear() -> None:
        stop.set()
        for name in names:
            loop.remove_signal_handler(name)

    for name in names:
        loop.add_signal_handler(name, hear)
    return stop


@asynccontextmanager
async def listening(models: Models, host: str, port: int, limits: Limits, key: str | None) -> AsyncGenerator[str, None]:
    """The address of a server that answers within the block, such as http://127.0.0.1:8000/v1; at its end what has
    begun is answered and the models are closed. UserError where the address is taken."""
    # Handlers are cancelled where their client has left, which stops the writing.
    app = application(models, limits, key, host)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=DRAIN_SECONDS, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise UserError(f"--port {port}: {host} cannot be listened at ({error.strerror}); take another") from None
        yield f"http://{named(host)}:{_port(runner)}/v1"
    finally:
        await runner.cleanup()
        models.close()


def read_key(file: Path, option: str = "--api-key-file", least: int = LEAST_KEY) -> str:
    """The key alone in a file. UserError where there is none, or with fewer letters than `least` it can be guessed."""
    try:
        key = file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option} {file}: cannot be read ({type(error).__name__})") from None
    if len(key) < least or any(letter.isspace() for letter in key):
        raise UserError(f"{option} {file}: must hold one key of {least} characters or more, and nothing else")
    return key


def named(host: str) -> str:
    """As it stands in an address."""
    return f"[{host}]" if ":" in host else host


def _port(runner: web.AppRunner) -> int:
    address = runner.addresses[0]
    assert isinstance(address, tuple) or socket.AF_UNIX
    return int(address[1])
