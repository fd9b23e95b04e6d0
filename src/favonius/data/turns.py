"""Turns of a conversation: whose they are, whatever a data set calls the speaker, and whether they alternate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from favonius.data.fields import listing, wrong
from favonius.data.raw import RawRow
from favonius.errors import UserError
from favonius.phrases import quoted
from favonius.types import Message, Messages, Role

SPEAKERS: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "gpt4", "gpt-4", "bard", "bing", "claude", "model", "bot", "ai"),
                    "assistant"),
}  # fmt: skip
TOOLS = frozenset(
    ("tool", "tools", "tool_call", "tool_calls", "tool_response", "tool_result", "function", "function_call",
     "function_response", "function-call", "function-response", "observation", "ipython")
)  # fmt: skip
"""Roles of dialogues with tools, which no stage here can teach: their rows are unfit, not wrong."""

NO_MESSAGES = "no messages"
NO_ANSWER = "no answer"
ASSISTANT_FIRST = "the assistant speaks first"
SAME_TWICE = "one speaker has two turns in a row"
LATE_SYSTEM = "a system turn after the first"
USES_TOOLS = "it uses tools"
NOT_TEXT = "a message holds more than text"
NO_QUESTION = "the prompt does not end with the user"

_HH_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


class UnknownRoleError(UserError):
    """A turn of somebody who is neither system, user nor assistant under any of their names."""


class UnfitRowError(Exception):
    """A well-formed row that cannot be used: to be dropped and counted by its cause, a fixed wording."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def read_turns(row: RawRow, field: str) -> list[Message]:
    """The turns listed in `field`, as {role, content} or {from, value}, in any order of speakers.

    UserError naming row and field where a role is unknown or a turn is none; UnfitRowError where it is not only text.
    """
    return [_turn(row, f"{field}[{index}]", turn) for index, turn in enumerate(listing(row, field))]


def _turn(row: RawRow, where: str, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise wrong(row, where, turn, "an object with role and content, or from and value")
    by, says = ("role", "content") if turn.get("role") is not None else ("from", "value")
    if turn.get(by) is None:
        raise UserError(f"{row.place}: {where} has neither role nor from (fields: {', '.join(turn) or 'none'})")
    role = _role(row, f"{where}.{by}", turn[by])
    if turn.get("tool_calls") or turn.get("function_call"):
        raise UnfitRowError(USES_TOOLS)
    return Message(role=role, content=_content(row, f"{where}.{says}", turn.get(says)))


def _role(row: RawRow, where: str, value: Any) -> Role:
    name = value.strip().lower() if isinstance(value, str) else ""
    if name in TOOLS:
        raise UnfitRowError(USES_TOOLS)
    if name not in SPEAKERS:
        raise UnknownRoleError(f"{row.place}: {where} is {quoted(value)}, no known role (known: {', '.join(SPEAKERS)})")
    return SPEAKERS[name]


def _content(row: RawRow, where: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        if any(part.get("type") != "text" for part in value):
            raise UnfitRowError(NOT_TEXT)
        return "".join(str(part.get("text") or "") for part in value)
    raise wrong(row, where, value, "a text")


def read_hh(text: str) -> list[Message]:
    """Turns of Anthropic's HH text, `\\n\\nHuman: …\\n\\nAssistant: …`; white space around a turn is the format's."""
    opening, *pieces = _HH_TURN.split(text.rstrip())
    named = zip(pieces[::2], pieces[1::2], strict=True)
    turns = [Message(role="user" if who == "Human" else "assistant", content=said.strip()) for who, said in named]
    return [Message(role="system", content=opening.strip()), *turns] if opening.strip() else turns


def is_hh(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().startswith("Human:") and "\n\nAssistant:" in value


def check_order(messages: Sequence[Message]) -> None:
    """UnfitRowError unless it is a system turn or none, then user and assistant in turn."""
    if not messages:
        raise UnfitRowError(NO_MESSAGES)
    spoken = messages[1:] if messages[0].role == "system" else messages
    if any(message.role == "system" for message in spoken):
        raise UnfitRowError(LATE_SYSTEM)
    if spoken and spoken[0].role == "assistant":
        raise UnfitRowError(ASSISTANT_FIRST)
    if any(one.role == other.role for one, other in pairwise(spoken)):
        raise UnfitRowError(SAME_TWICE)


def whole_dialogue(messages: Sequence[Message]) -> Messages:
    """`messages` from the user's first turn to the assistant's last: an answer that nobody asked for, as of a talk
    that was cut in two, and a question that nobody answers are left out.

    UnfitRowError where they do not alternate or nothing is answered.
    """
    opening = next((place for place, message in enumerate(messages) if message.role != "system"), 0)
    asked = [*messages[:opening], *messages[opening + 1 :]] if unasked_opening(messages) else messages
    check_order(asked)
    answered = tuple(asked[:-1] if asked[-1].role == "user" else asked)
    if not answered or answered[-1].role != "assistant":
        raise UnfitRowError(NO_ANSWER)
    return answered


def unasked_opening(messages: Sequence[Message]) -> bool:
    """Whether the assistant speaks first, and others after it."""
    spoken = [message.role for message in messages if message.role != "system"]
    return len(spoken) > 1 and spoken[0] == "assistant"


def whole_prompt(messages: Sequence[Message]) -> Messages:
    """`messages`, which end with the user. UnfitRowError where they do not or do not alternate."""
    check_order(messages)
    if messages[-1].role != "user":
        raise UnfitRowError(NO_QUESTION)
    return tuple(messages)
