"""The simulated user: what a model is told that speaks in the user's place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from favonius.data.splits import share_of
from favonius.dialogues.textfiles import built_in
from favonius.types import Manner, Message, Messages, SeedPrompt

QUESTION_TOKENS = 48
REQUEST_TOKENS = 80

PLAIN = "Write one short follow-up question that this person could ask next. Write only the question."
WORLD = (
    "The person is {persona}. They want to know more about {subject}. "
    "Write one short question that this person could ask next. Write only the question."
)
# The goal is said again in every round, or the simulated user begins to talk about the text instead.
WRITING = (
    "The person is {persona}. They still want one finished text, the one that they asked for first. Write one short "
    "request in which they ask for a change in this text, or an addition to it. Write only the request."
)
MATERIAL = (
    "The person is {persona}. They want to get more out of the text that they gave. Write one short question or task "
    "about this text that they could send next. Write only this question or task."
)


@dataclass(frozen=True)
class Example:
    """A turn well written, in another conversation."""

    opening: str
    answer: str
    persona: str
    subject: str
    turn: str


EXAMPLES: dict[Manner, Example] = {
    "world": Example(
        opening="Why are storms stronger over warm water?",
        answer="Warm water evaporates, and the vapour carries heat up into the storm. Over land this supply ends, and "
        "the storm grows weak within a day or two.",
        persona="a cautious person who asks about risks",
        subject="storms at sea",
        turn="How far from the coast can such a storm still damage a house?",
    ),
    "writing": Example(
        opening="Write a toast for my sister's wedding.",
        answer="Dear Anna, dear Paul, when you met, nobody else got a word in. May you never run out of stories!",
        persona="a shy person who writes few words",
        subject="",
        turn="Please add a line about the garden where they met, and make the ending warmer.",
    ),
    "material": Example(
        opening="The bridge was closed in March, when a ship hit its second pillar. Repairs cost four million. Since "
        "June people walk across again; cars wait until autumn.\nWhen will cars be able to use the bridge again?",
        answer="According to the text, cars will be able to use the bridge in autumn.",
        persona="an economist who asks what it costs and who pays",
        subject="",
        turn="What did the repairs cost, and does the text say who paid for them?",
    ),
}
"""Shown before the conversation: without one, small models repeat the task in place of a turn."""


@dataclass(frozen=True)
class User:
    """Who asks on in one dialogue: by questions, or by requests for more work on the same text."""

    opening: SeedPrompt
    persona: str | None

    @property
    def asks_by(self) -> Literal["question", "request"]:
        return "question" if self.opening.manner in (None, "world") else "request"


def user_of(opening: SeedPrompt) -> User:
    """A persona for openings of UltraChat's sectors, fixed by the text; none for plain ones."""
    if opening.manner is None:
        return User(opening, None)
    personas = built_in("personas")
    return User(opening, personas[int(share_of("persona", opening.prompt) * len(personas))])


def turn_tokens(manner: Manner | None) -> int:
    """How long a reply in the user's place may be."""
    return QUESTION_TOKENS if manner in (None, "world") else REQUEST_TOKENS


def next_turn(user: User, conversation: Messages, language: str | None) -> Messages:
    """Ask for the user's next turn. The conversation is quoted, not continued: given the bare history, a model that
    simulates the user drifts into the assistant's role (zephyr-spec §3.3, role confounding)."""
    manner = user.opening.manner
    subject = user.opening.subtopic or user.opening.topic or "this"
    task = _task(manner, user.persona, subject) + ("" if language is None else f" Write in {language}.")
    system = Message(role="system", content=f"You write {user.asks_by}s.")
    asked = Message(role="user", content=f"{_quoted(conversation)}\n\n{task}")
    if manner is None or language is not None:  # an example in English would make it write English
        return (system, asked)
    return (system, *_shown(manner), asked)


def _task(manner: Manner | None, persona: str | None, subject: str) -> str:
    text = {None: PLAIN, "world": WORLD, "writing": WRITING, "material": MATERIAL}[manner]
    return text.format(persona=persona, subject=subject)


def _shown(manner: Manner) -> Messages:
    example = EXAMPLES[manner]
    held = (Message(role="user", content=example.opening), Message(role="assistant", content=example.answer))
    asked = f"{_quoted(held)}\n\n{_task(manner, example.persona, example.subject)}"
    return (Message(role="user", content=asked), Message(role="assistant", content=example.turn))


def _quoted(conversation: Messages) -> str:
    first, *others = conversation
    parts = [f"A person asked: {first.content}"]
    for message in others:
        said_by = "They were told" if message.role == "assistant" else "Then they asked"
        parts.append(f"{said_by}: {message.content}")
    return "\n\n".join(parts)
