"""What the teacher is told when it speaks in the user's place, and what is taken from its reply."""

from __future__ import annotations

import re

from favonius.types import Message, Messages

FOLLOW_UP_TOKENS = 48
MOST_QUESTION_WORDS = 40
MANNERS = re.compile(r"\b(thank you|thanks|you're welcome|as an ai|happy to help|i can help)\b", re.IGNORECASE)
LABEL = re.compile(r"^(follow-?up question|question|user|person|me)\s*:\s*", re.IGNORECASE)


def follow_up_request(conversation: Messages) -> Messages:
    """Ask for the user's next question. The conversation is quoted, not continued: given the bare history, a model
    that simulates the user drifts into the assistant's role (zephyr-spec §3.3, role confounding)."""
    question, answer = conversation[-2].content, conversation[-1].content
    return (
        Message(role="system", content="You write questions."),
        Message(
            role="user",
            content=f"A person asked: {question}\n\nThey were told: {answer}\n\n"
            "Write one short follow-up question that this person could ask next. Write only the question.",
        ),
    )


def clean_question(reply: str) -> str | None:
    """The question in a reply, or None where there is none that a user would ask.

    The first line that ends in a question mark, without label or quotes; polite phrases and assistant talk are what
    UltraChat removed too (zephyr-spec §3.3).
    """
    for line in reply.splitlines():
        question = LABEL.sub("", line.strip().strip("\"'*- ")).strip("\"' ")
        if question.endswith("?"):
            words = len(question.split())
            usable = 3 <= words <= MOST_QUESTION_WORDS and not MANNERS.search(question)
            return question if usable else None
    return None
