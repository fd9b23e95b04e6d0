"""The settings that both tabs have, as fields of the page and as what they mean."""

from __future__ import annotations

from typing import Any

import gradio as gr

from favonius.types import Message, Messages, Sampling

MOST_TOKENS = 4096
HOT = 2.0
"""The highest temperature that OpenAI's API takes."""

Fields = list[Any]
"""System message, temperature, longest answer: what handlers get in this order."""


def settings_fields() -> Fields:
    """Put the fields where the page is being built."""
    usual = Sampling(max_tokens=512)
    system = gr.Textbox("", label="System message", placeholder="none", lines=1, max_lines=4)
    with gr.Row():
        temperature = gr.Slider(0.0, HOT, usual.temperature, step=0.1, label="Temperature", info="0 is greedy")
        longest = gr.Slider(16, MOST_TOKENS, usual.max_tokens, step=16, label="Longest answer, in tokens")
    return [system, temperature, longest]


def opening_of(system: str) -> Messages:
    """What stands before the talk."""
    return (Message(role="system", content=system.strip()),) if system.strip() else ()


def sampling_of(temperature: float, longest: float, seed: int) -> Sampling:
    return Sampling(temperature=temperature, max_tokens=int(longest), seed=seed)
