"""What a model is tried with before and after it is exported."""

from __future__ import annotations

from dataclasses import dataclass

from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.types import Message, Messages

ANSWER_TOKENS = 24
DIALOGUES = (
    (
        ("user", "What is the capital of France, and how many people lived there in 2019?"),
        ("assistant", "Paris. In 2019 about 2.1 million people lived in the city, and 12 million around it."),
        ("user", "Thanks! And of Italy?"),
        ("assistant", "Rome, with 2.8 million."),
    ),
    (
        ("system", "You answer briefly."),
        ("user", "Write a function that adds two numbers.\n\n    def add(a, b):"),
        ("assistant", "```python\ndef add(a, b):\n    return a + b\n```\n\nadd(17, 2500) gives 2517."),
    ),
    (
        ("user", "Translate “Grüße aus Köln” – it’s 20 °C – into English & 日本語 🙂."),
        ("assistant", "“Greetings from Cologne”; ケルンからの挨拶 🙂"),
    ),
)
"""Two turns, a system message, code, indents, digits, and scripts of several kinds."""


@dataclass(frozen=True)
class Probe:
    """A dialogue and its ids; `prompts` are the messages up to each of the assistant's turns."""

    messages: Messages
    ids: tuple[int, ...]
    prompts: tuple[Messages, ...]


def probes(form: ChatFormat, context: int) -> list[Probe]:
    """Those that the template accepts and that leave room for an answer within `context` tokens.

    UserError where there are none: nothing could be checked then.
    """
    found = []
    for texts in DIALOGUES:
        messages = tuple(Message(role=role, content=text) for role, text in texts)  # type: ignore[arg-type]
        try:
            ids = tuple(form.encode(messages).ids)
        except UserError:  # many templates know no system message
            continue
        if len(ids) + ANSWER_TOKENS <= context:
            turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
            found.append(Probe(messages, ids, tuple(messages[:index] for index in turns)))
    if not found:
        raise UserError(
            f"the model's template rejects every dialogue that an export is checked with, or its context of {context} "
            "tokens is too short for them"
        )
    return found
