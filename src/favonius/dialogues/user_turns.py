"""What is taken from the reply of a model that speaks in the user's place."""

from __future__ import annotations

import re

from favonius.data.checks import leaks
from favonius.data.words import words
from favonius.dialogues.asking import asks
from favonius.dialogues.simulator import User
from favonius.types import Completion, Messages

MOST_WORDS = {"question": 40, "request": 60}
LEAST_WORDS = {"question": 3, "request": 2}
REPEATED = 0.75
"""Share of common words at which a turn of the user repeats an earlier one."""

_NOT_A_USER = re.compile(
    r"\b(thank you|thanks|you're welcome|as an ai|happy to|glad to|i can help|follow-?up|"
    r"(this|the) person|a person (asks|asked|might|could))\b",
    re.IGNORECASE,
)
"""Polite phrases, as in UltraChat's filter (zephyr-spec §3.3), and talk about the task: "the person might ask"."""
_ASSISTANT = re.compile(
    r"^(?:sure|certainly|of course|absolutely|here(?:'s| is| are)|i(?:'m| am) (?:here|sorry)|i apologi[sz]e|"
    r"how (?:can|may) i (?:help|assist)|let me know|feel free|if you have any)\b",
    re.IGNORECASE,
)
"""How assistants begin, and users do not."""
_LABEL = re.compile(
    r"^(?:follow-?up question|next (?:question|message|request)|question|request|message|user|person|me)\s*:\s*", re.I
)
_THANKS = re.compile(r"^(?:(?:thank you|thanks)\b[^.!?]*|great|perfect|wonderful|ok(?:ay)?)[.!]\s+", re.IGNORECASE)
_QUOTES = "\"'“”*- "


class UnusableError(Exception):
    """A reply holds nothing that a user would send; says why."""


def user_turn(reply: Completion, user: User, conversation: Messages, english: bool = True) -> str:
    """The user's turn in a reply: the first line that is one, without label, quotes and thanks before it.

    UnusableError where the reply acts as the assistant, only thanks, answers instead of asking, is too long or too
    short, is cut off, holds markers, or says again what was said before.
    """
    lines = [_LABEL.sub("", line.strip().strip(_QUOTES)).strip("\"'“” ") for line in reply.text.splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise UnusableError("empty")
    chosen = _first_question(lines) if user.asks_by == "question" and english else _first_request(lines, reply)
    turn = _THANKS.sub("", chosen).strip()
    cause = _fault(turn, user, english) or ("says again what was said" if _is_repeated(turn, conversation) else None)
    if cause is not None:
        raise UnusableError(cause)
    return turn


def _first_question(lines: list[str]) -> str:
    found = next((line for line in lines if line.endswith(("?", "？"))), None)
    if found is None:
        raise UnusableError("acts as the assistant" if _ASSISTANT.match(lines[0]) else "asks no question")
    return found


def _first_request(lines: list[str], reply: Completion) -> str:
    """The first line that does not announce another; of a reply that was cut off in it, its whole sentences."""
    found = next((line for line in lines if not line.endswith(":")), lines[0])
    if reply.finish == "length" and found == lines[-1]:
        found = re.sub(r"(?<=[.!?。！？])[^.!?。！？]*$", "", found)
        if not found.endswith((".", "!", "?", "。", "！", "？")):
            raise UnusableError("cut off")
    return found


def _fault(turn: str, user: User, english: bool) -> str | None:
    count = len(words(turn))
    checks = {
        "marker": leaks(turn),
        "acts as the assistant": _ASSISTANT.match(turn) is not None,
        "polite or about the task": _NOT_A_USER.search(turn) is not None,
        "too short": count < LEAST_WORDS[user.asks_by],
        "too long": count > MOST_WORDS[user.asks_by],
        "asks for nothing": english and not asks(turn),
    }
    return next((cause for cause, is_so in checks.items() if is_so), None)


def _is_repeated(turn: str, conversation: Messages) -> bool:
    """Said before by the user in about these words, or copied from what either of them said."""
    now = words(turn)
    earlier = [words(message.content) for message in conversation]
    alike = any(len({*now} & {*old}) >= REPEATED * len({*now} | {*old}) for old in earlier)
    return alike or any(f" {' '.join(now)} " in f" {' '.join(old)} " for old in earlier)
