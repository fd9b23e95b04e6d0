"""The page: two tabs over one server."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr

from favonius.serve.demo.chat_tab import ChatTab
from favonius.serve.demo.client import Client
from favonius.serve.demo.duel_tab import DuelTab


def blocks_of(name: str, client: Client, models: Sequence[str], votes: Path) -> gr.Blocks:
    """As Gradio builds it. With one model there are no duels."""
    # Gradio's telemetry and its question for a newer version are both off with this.
    with gr.Blocks(analytics_enabled=False, title=f"{name} · favonius") as blocks:
        gr.HTML(f"<h1>{escape(name)}</h1><p>{escape(', '.join(models))}</p>", elem_id="title", padding=False)
        with gr.Tab("Chat"):
            ChatTab(client, models)
        if len(models) > 1:
            with gr.Tab("Side by side"):
                DuelTab(client, models, votes)
    return blocks
