"""The page's life: it listens, and on SIGTERM or Ctrl-C it ends.

The page needs nothing from elsewhere and may not ask for it: its content security policy lets a browser load from this
server alone, so that neither the page nor a picture in an answer can call home.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from favonius.errors import UserError
from favonius.serve.demo.client import Client
from favonius.serve.guards import is_loopback
from favonius.serve.server import named

CLOSING_SECONDS = 5
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Page:
    """What the page is of: `models` are those of the client's server, one at least; votes are added to `votes`."""

    name: str
    client: Client
    models: tuple[str, ...]
    votes: Path


def require_gradio() -> None:
    """UserError where it is not installed."""
    if find_spec("gradio") is None:
        raise UserError("the web chat is a Gradio page; run pip install 'favonius[demo]'")


def listening_socket(host: str, port: int) -> socket.socket:
    """`port` 0 takes a free one. UserError where the address is taken."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"--port {port}: {host} cannot be listened at ({error.strerror}); take another") from None


@asynccontextmanager
async def serving_page(page: Page, host: str, port: int, password: str | None) -> AsyncGenerator[str, None]:
    """The address of the page, which is answered within the block.

    UserError where others can reach it and there is no password, and where the address is taken.
    """
    if password is None and not is_loopback(host):
        raise UserError(f"--host {host}: others can reach it, so name a file that holds a password: --password-file")
    with closing(listening_socket(host, port)) as listening:
        app = application(page, host, password)
        server = _server(app)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://{named(host)}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            app.routes[-1].app.stop_event.set()  # Gradio's; open pages hold streams that would not end by themselves
            await serving


def _server(app: Any) -> Any:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=CLOSING_SECONDS))
    # Whoever opened the page listens for signals; uvicorn would raise them once more when it has ended.
    server.capture_signals = nullcontext
    return server


def application(page: Page, host: str, password: str | None) -> Any:
    """The page as an ASGI application that is reached by `host`."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from favonius.serve.demo.looks import CSS, FONTS, MONO_FONTS
    from favonius.serve.demo.page import blocks_of

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(CORSMiddleware, allow_origins=[])  # instead of Gradio's, which lets in any other origin
    if is_loopback(host):  # a name of somebody else's may lead here too
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", named(host)])
    app.add_middleware(_Headed)
    return gr.mount_gradio_app(
        app,
        blocks_of(page.name, page.client, page.models, page.votes),
        path="/",
        auth=None if password is None else lambda _, given: hmac.compare_digest(given.encode(), password.encode()),
        auth_message="Any name will do.",
        theme=gr.themes.Default(font=FONTS, font_mono=MONO_FONTS),
        css=CSS,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        max_file_size=1,  # bytes: nothing is uploaded here
    )


class _Headed:
    """An ASGI application whose answers carry `HEADERS`."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def headed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
            await send(message)

        await self._app(scope, receive, headed)
