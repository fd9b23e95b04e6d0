"""What makes a text no opening of a dialogue."""

from __future__ import annotations

import re

from favonius.data.checks import leaks, loops
from favonius.data.words import words

LEAST_WORDS = 3
MOST_WORDS = 150

_NOT_TEXT = re.compile(
    r"\b(?:draw|sketch|paint|plot|attach(?:ed)?|upload|download|create|make|design|generate|produce|record|edit|"
    r"show me|watch|look at|see|open|click|(?:the|this) (?:following|attached|given|provided|above)|this|these)\b"
    r"(?:\W+\w+){0,4}?\W+"
    r"(?:images?|pictures?|photos?|photographs?|graphs?|charts?|diagrams?|infographics?|videos?|audio|screenshots?|"
    r"spreadsheets?|links?|logos?)\b",
    re.IGNORECASE,
)
"""What a model that reads and writes text cannot see, draw or open (Self-Instruct leaves such tasks out too)."""
_GAP = re.compile(r"\[[A-Za-z][^\]\n]{0,40}\]|\{[^}\n]{0,40}\}|<[A-Za-z][^>\n]{0,40}>|_{3,}|\bX{3,}\b")
_OF_THE_TASK = re.compile(
    r"^(?:sure|certainly|of course|here (?:are|is)|i'm sorry|sorry|i apologi[sz]e|as an ai|i can(?:no|')t)\b|"
    r"\b(?:language model|numbered list|writing assistant|the request(?:ed)?|example answer|subtopics?|"
    r"(?:new|given|rewritten|above|original) "
    r"(?:prompt|request|instruction))\b",
    re.IGNORECASE,
)


def fault(text: str, most_words: int = MOST_WORDS) -> str | None:
    """The first thing that is wrong with an opening, as a cause to count, or None."""
    found = words(text)
    letters = [word for word in found if any(map(str.isalpha, word))]
    checks = {
        "too short": len(letters) < LEAST_WORDS,
        "too long": len(found) > most_words,
        "a marker of the chat template": leaks(text),
        "repeats itself": loops(text),
        "needs more than text": _NOT_TEXT.search(text) is not None,
        "a gap to fill in": _GAP.search(text) is not None,
        "about the list, not of it": _OF_THE_TASK.search(text) is not None,
    }
    return next((cause for cause, is_so in checks.items() if is_so), None)
