"""What the teacher is told when it speaks in the user's place, and what is taken from its reply."""

from __future__ import annotations

import re

from favonius.types import Message, Messages

FOLLOW_UP_TOKENS = 48
MOST_QUESTION_WORDS = 40
NOT_A_USER = re.compile(
    r"\b(thank you|thanks|you're welcome|as an ai|happy to|glad to|i can help|(this|the|a) person|follow-?up)\b",
    re.IGNORECASE,
)
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

    The first line that ends in a question mark, without label or quotes. Polite phrases are out, as in UltraChat
    (zephyr-spec §3.3), and so is talk about the task: "the person might ask".
    """
    for line in reply.splitlines():
        question = LABEL.sub("", line.strip().strip("\"'*- ")).strip("\"' ")
        if question.endswith("?"):
            words = len(question.split())
            usable = 3 <= words <= MOST_QUESTION_WORDS and not NOT_A_USER.search(question)
            return question if usable else None
    return None
