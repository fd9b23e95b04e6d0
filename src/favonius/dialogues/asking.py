"""Whether a text asks for something, seen by its words."""

from __future__ import annotations

import re

_VERBS = (
    "add|adapt|adjust|advise|analyse|analyze|answer|argue|assess|build|calculate|change|choose|"
    "classify|compare|compose|compute|continue|contrast|convert|correct|create|cut|define|"
    "describe|design|develop|discuss|draft|edit|estimate|evaluate|expand|explain|extract|find|"
    "finish|fix|generate|give|help|identify|imagine|implement|improve|include|invent|justify|"
    "keep|list|make|mention|move|name|narrate|outline|paraphrase|persuade|pick|plan|point|"
    "prepare|produce|propose|provide|rank|recommend|remove|rephrase|replace|review|revise|rewrite|"
    "shorten|show|simplify|solve|sort|suggest|summarise|summarize|teach|tell|translate|turn|use|"
    "write"
)
_BEGINNING = re.compile(
    r"(?:^|[.!:;]\s+|\n)[\"“'(]*(?:(?:please|kindly|now|also|then|and|next),?\s+)*"
    rf"(?:{_VERBS}|how (?:to|do)|i (?:need|want|would like|am looking)|i'd like|i'm looking|"
    r"(?:can|could|would|will) you|come up|let(?:'s| us| the))\b",
    re.IGNORECASE,
)


def asks(text: str) -> bool:
    """Whether an English text holds a question mark, or a sentence that begins as requests do."""
    return any(mark in text for mark in "?？") or _BEGINNING.search(text) is not None
