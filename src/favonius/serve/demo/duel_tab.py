"""The tab where two models answer the same message, nobody knows which is which, and one votes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from favonius.errors import FavoniusError
from favonius.serve.asking import SEEDS
from favonius.serve.demo import votes
from favonius.serve.demo.client import Client, Heard
from favonius.serve.demo.duel import Duel, draw_sides, fight
from favonius.serve.demo.looks import table_of_wins
from favonius.serve.demo.markdown import without_html
from favonius.serve.demo.settings import Fields, opening_of, sampling_of, settings_fields
from favonius.serve.demo.standings import standings
from favonius.types import Message

ANY = "drawn at random"
VERDICTS: dict[votes.Verdict, str] = {"a": "A is better", "b": "B is better", "tie": "Tie", "both_bad": "Both bad"}
SAID: dict[votes.Verdict, str] = {"a": "A is better", "b": "B is better", "tie": "a tie", "both_bad": "both bad"}
INVITATION = "Two models will answer; which is which is told after your vote."
WRITING = "Both are writing …"
VOTE_NOW = "Which answer is better?"

Updates = AsyncGenerator[dict[Any, Any], None]


class DuelTab:
    """Built where the page is being built. Whose answers they are stays on our side until the vote is cast."""

    def __init__(self, client: Client, models: Sequence[str], path: Path) -> None:
        self._client, self._models, self._path = client, models, path
        self.duel = gr.State(None)
        self.box = gr.Textbox(
            "", show_label=False, label="Message", placeholder="A message to both models", submit_btn=True, lines=1,
            max_lines=8, elem_id="duel-message",
        )  # fmt: skip
        with gr.Row():
            self.heads, self.texts = zip(*(self._side(name) for name in "ab"), strict=True)
        self.note = gr.Markdown(INVITATION, elem_id="note", elem_classes="note")
        with gr.Row():
            self.buttons = {
                verdict: gr.Button(words, interactive=False, min_width=140, elem_id=f"vote-{verdict}")
                for verdict, words in VERDICTS.items()
            }
        self.wins = gr.HTML(visible=False, elem_id="wins", padding=False)
        with gr.Accordion("Settings", open=False):
            with gr.Row():
                self.picks = [
                    gr.Dropdown([ANY, *models], value=ANY, label=f"{which} model", interactive=True, min_width=200)
                    for which in ("One", "Other")
                ]
            self.settings: Fields = settings_fields()
        self._connect()

    def _side(self, name: str) -> tuple[Any, Any]:
        with gr.Column(min_width=280, elem_classes="side", elem_id=f"side-{name}"):
            return (
                gr.HTML(_head(name, "", Heard()), elem_id=f"head-{name}", padding=False),
                gr.Markdown("", elem_classes="answer", elem_id=f"answer-{name}", line_breaks=True, container=False),
            )

    def _connect(self) -> None:
        outputs = [self.duel, self.box, *self.heads, *self.texts, self.note, *self.buttons.values(), self.wins]
        how: dict[str, Any] = {"outputs": outputs, "api_visibility": "private", "show_progress": "hidden"}
        writing = self.box.submit(self._fight, [self.box, *self.picks, *self.settings], concurrency_limit=None, **how)
        self.box.stop(self._stop, [self.duel], cancels=[writing], **how)
        for verdict, button in self.buttons.items():
            # One at a time: of two quick clicks the second finds that the vote is cast.
            button.click(partial(self._vote, verdict), [self.duel], concurrency_id="vote", **how)

    async def _fight(self, text: str, one: str, other: str, system: str, temperature: float, longest: float) -> Updates:
        if not text.strip():
            return
        rng = random.Random()
        try:
            sides = draw_sides(self._models, [name for name in (one, other) if name != ANY], rng)
        except FavoniusError as error:
            gr.Warning(escape(str(error)))
            return
        prompt = (*opening_of(system), Message(role="user", content=text))
        duel = Duel(prompt, sampling_of(temperature, longest, rng.randrange(SEEDS)), sides)
        yield self._page(duel, writing=True)
        async with aclosing(fight(duel, self._client)) as rounds:
            async for duel in rounds:
                yield self._page(duel, writing=True)
        yield self._page(duel, writing=False)

    def _stop(self, duel: Duel | None) -> dict[Any, Any]:
        return dict(gr.skip()) if duel is None else self._page(duel, writing=False)

    async def _vote(self, verdict: votes.Verdict, duel: Duel | None) -> dict[Any, Any]:
        if duel is None or not duel.open:
            return dict(gr.skip())
        try:
            await asyncio.to_thread(votes.add, self._path, duel.vote(verdict))
        except FavoniusError as error:
            gr.Warning(escape(str(error)))
            return dict(gr.skip())
        told = f"You said: {SAID[verdict]}. The vote is stored."
        return self._page(replace(duel, revealed=True), writing=False, note=told) | {
            self.wins: gr.update(visible=True, value=await asyncio.to_thread(self._table))
        }

    def _table(self) -> str:
        reading = votes.Reading()
        try:
            return table_of_wins(standings(votes.read(self._path, reading)), reading.torn)
        except FavoniusError as error:  # somebody edited the file
            return f"<p>{escape(str(error))}</p>"

    def _page(self, duel: Duel, *, writing: bool, note: str | None = None) -> dict[Any, Any]:
        """The whole tab, but for the table of wins, as it looks at this point of a duel."""
        names = duel.models if duel.revealed else ("", "")
        heads = [_head(*side) for side in zip("ab", names, duel.heard, strict=True)]
        usual = WRITING if writing else VOTE_NOW if duel.open else INVITATION
        return {
            self.duel: duel,
            self.box: gr.update(submit_btn=not writing, stop_btn=writing),
            **dict(zip(self.heads, heads, strict=True)),
            **dict(zip(self.texts, map(_text, duel.heard), strict=True)),
            self.note: note or usual,
            **{button: gr.update(interactive=duel.open and not writing) for button in self.buttons.values()},
        }


def _head(side: str, name: str, heard: Heard) -> str:
    cut = " · cut off" if heard.finish == "length" else ""
    return f"<h3>{side.upper()}{f' · {escape(name)}' if name else ''}{cut}</h3>"


def _text(heard: Heard) -> str:
    text = without_html(heard.text)
    if heard.trouble:
        return f"{text}\n\n*{without_html(heard.trouble)}*"
    return text if text.strip() or not heard.done else "*(an empty answer)*"
