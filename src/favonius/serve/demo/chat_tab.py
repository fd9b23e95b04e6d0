"""The tab for a talk with one model."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from favonius.serve.asking import SEEDS
from favonius.serve.demo.client import Client
from favonius.serve.demo.markdown import without_html
from favonius.serve.demo.settings import Fields, opening_of, sampling_of, settings_fields
from favonius.types import Message, Messages, RequestError

THINKING = "…"
"""Stands for an answer of which nothing has come yet."""

Updates = AsyncGenerator[dict[Any, Any], None]


class ChatTab:
    """Built where the page is being built. The talk is kept on our side, without the system message."""

    def __init__(self, client: Client, models: Sequence[str]) -> None:
        self._client = client
        self.talk = gr.State(())
        self.model = gr.Dropdown(list(models), value=models[-1], label="Model", interactive=True)
        self.shown = gr.Chatbot(
            label="Talk", show_label=False, height="max(240px, 46vh)", buttons=["copy"], placeholder="Say something.",
            elem_id="talk", allow_tags=False, layout="bubble",
        )  # fmt: skip
        self.box = gr.Textbox(
            "", show_label=False, label="Message", placeholder="Your message", submit_btn=True, lines=1, max_lines=8,
            elem_id="chat-message", autofocus=True,
        )  # fmt: skip
        with gr.Row():
            self.again = gr.Button("Regenerate", size="sm", interactive=False, min_width=120, elem_id="regenerate")
            self.clear = gr.Button("Clear", size="sm", min_width=120, elem_id="clear")
        with gr.Accordion("Settings", open=False):
            self.settings: Fields = settings_fields()
        self._connect()

    def _connect(self) -> None:
        outputs = [self.talk, self.shown, self.box, self.again]
        how: dict[str, Any] = {
            "outputs": outputs, "api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden",
        }  # fmt: skip
        asked = [self.talk, self.model, *self.settings]
        writing = [
            self.box.submit(self._answer, [self.box, *asked], **how),
            self.again.click(partial(self._answer, None), asked, **how),
        ]
        self.box.stop(self._stop, [self.talk], cancels=writing, **how)
        for cleared in (self.clear.click, self.shown.clear):
            cleared(self._clear, [], cancels=writing, **how)

    async def _answer(
        self, text: str | None, talk: Messages, model: str, system: str, temperature: float, longest: float
    ) -> Updates:
        """The answer to a new message, or without one another to the last, as it grows."""
        asked = _asked(text, talk)
        if not asked:
            return
        yield self._page(asked, writing=True, text="")
        sampling = sampling_of(temperature, longest, random.randrange(SEEDS))
        told = asked
        try:
            async with aclosing(self._client.answer(model, (*opening_of(system), *asked), sampling)) as answer:
                async for heard in answer:
                    told = (*asked, Message(role="assistant", content=heard.text))
                    yield self._page(told, writing=True)
        except RequestError as error:
            gr.Warning(escape(str(error)))
            if told is asked:  # nothing came: the talk is as it was, and a new message is given back
                yield self._page(talk, writing=False, text=text or "")
                return
        yield self._page(told, writing=False)

    def _stop(self, talk: Messages) -> dict[Any, Any]:
        if talk and talk[-1].role == "user":  # stopped before anything came
            return self._page(talk[:-1], writing=False, text=talk[-1].content)
        return self._page(talk, writing=False)

    def _clear(self) -> dict[Any, Any]:
        return self._page((), writing=False, text="")

    def _page(self, talk: Messages, *, writing: bool, text: str | None = None) -> dict[Any, Any]:
        """The whole tab as it looks at this point of the talk; `text`: what the box is to hold."""
        shown = [{"role": message.role, "content": without_html(message.content)} for message in talk]
        if writing and shown[-1]["role"] == "user":  # the model may have to be loaded first
            shown.append({"role": "assistant", "content": THINKING})
        box: dict[str, Any] = {"submit_btn": not writing, "stop_btn": writing}
        return {
            self.talk: talk,
            self.shown: shown,
            self.box: gr.update(**box) if text is None else gr.update(value=text, **box),
            self.again: gr.update(interactive=bool(talk) and not writing),
        }


def _asked(text: str | None, talk: Messages) -> Messages:
    """What is to be answered; nothing where there is no message."""
    if text is None:
        return talk[:-1]
    return (*talk, Message(role="user", content=text)) if text.strip() else ()
