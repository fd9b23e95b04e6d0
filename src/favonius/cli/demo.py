"""`favonius demo`: a web page to talk to a run's models, and to vote on their answers."""

from __future__ import annotations

import argparse
import asyncio
import secrets
from pathlib import Path

from favonius.cli.serve import models_of
from favonius.errors import UserError
from favonius.phrases import counted
from favonius.pipeline.saved import saved_recipe
from favonius.progress import Progress
from favonius.serve.app import Limits
from favonius.serve.demo import votes
from favonius.serve.demo.client import Client
from favonius.serve.demo.server import Page, require_gradio, serving_page
from favonius.serve.server import listening, read_key, stop_signal

VOTES = "votes.jsonl"
LOOPBACK = "127.0.0.1"
SHORTEST_PASSWORD = 12


def run(options: argparse.Namespace) -> None:
    """Serve the page until told to stop. UserError where the run or what the page needs is not there."""
    require_gradio()
    if not options.run.is_dir():
        raise UserError(f"{options.run}: there is no such run folder")
    if options.api_key_file is not None and options.server is None:
        raise UserError("--api-key-file holds the key of another server; name that with --server")
    asyncio.run(_over_theirs(options) if options.server is not None else _over_ours(options))


async def _over_ours(options: argparse.Namespace) -> None:
    """Over a server of the run's models in this process, which answers the page alone."""
    saved_recipe(options.run)  # refuses what is no run: a folder that is itself a model would be served
    models = models_of([str(options.run)], "own", options.slots, options.context_tokens)
    key = secrets.token_urlsafe(32)
    async with listening(models, LOOPBACK, 0, Limits(), key) as address:
        await _page(options, Client(address, key))


async def _over_theirs(options: argparse.Namespace) -> None:
    """Over a server that runs already."""
    key = None if options.api_key_file is None else read_key(options.api_key_file, least=1)
    await _page(options, Client(options.server.rstrip("/"), key))


async def _page(options: argparse.Namespace, client: Client) -> None:
    path: Path = options.run / VOTES
    say, stop = Progress().say, stop_signal()
    locked = options.password_file is not None
    password = read_key(options.password_file, "--password-file", SHORTEST_PASSWORD) if locked else None
    stored = votes.Reading()
    count = len(list(votes.read(path, stored))) if path.exists() else 0
    models = await client.models()
    if not models:
        raise UserError(f"{client.address}: the server has no models")
    page = Page(options.run.resolve().name, client, tuple(models), path)
    async with serving_page(page, options.host, options.port, password) as address:
        say(f"{address} chats with {', '.join(models)}; Ctrl-C ends it")
        torn = f" and {counted(stored.torn, 'torn line')}" if stored.torn else ""
        say(f"votes go to {path}, which holds {counted(count, 'vote')}{torn}")
        await stop.wait()
