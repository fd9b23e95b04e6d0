"""Answers that talk about their writer instead of the matter: "As an AI language model, I don't have opinions".

Zephyr's authors dropped such dialogues from UltraChat, where they stood even below "How do I clean my car?". Only what
an assistant says of itself counts: a pattern needs the first person, and matches in quotations, code and lines that
somebody else speaks (`Robot: I have no feelings`) are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from favonius.data.filters.config import FAMILIES, RefusalFamily
from favonius.data.filters.outcome import Outcome
from favonius.types import Messages

OPENING_CHARACTERS = 300
""""Cannot help" counts only where a turn begins: further on it is mostly a letter or a scene."""

# Patterns and anchors meet small letters, straight apostrophes and a space for every line end. Where a pattern can
# begin with plain characters it does: those are searched for at the speed of C.
_FIRST_PERSON = re.compile(r"I[ '’]")
_NEGATION = re.compile(r" i(?: (?:do not|don't|can|am (?:un|not|inc)|lack|have no|wo|will not|could)|'m (?:un|not))")
_MODEL = (
    r"(?:(?:(?:large|neutral|helpful|[a-z]+-based|ai[- ]powered|ai|artificial intelligence|virtual|digital) )*"
    r"(?:language model|assistant|chatbot|bot|ai|artificial intelligence|machine learning model|computer program)"
    r"(?: (?:ai|language model|system|program|model|tool|entity|machine))?)\b"
)
_MADE = (
    r"(?:,? ?\(?(?:developed|created|trained|made|designed|built|based|powered|programmed|running|without)\b"
    r"[^.!?\n]{0,80}?\)?)?"
)
_NOT_ABLE = r"(?:can't|cannot|can not|am unable to|am not able to|'m unable to|'m not able to)"
_HAVE_NO = (
    rf" i ?(?:(?:do not|don't|{_NOT_ABLE})(?: personally| actually| really| currently)? "
    r"(?:have|possess|hold|form|experience|feel|express)|lack|have no|am (?:incapable of|not capable of)"
    r"(?: having| forming| feeling| experiencing)?)"
    r"(?: (?:a|any|the (?:ability|capability|capacity) (?:to|for)(?: (?:have|feel|form|experience|express|hold))?"
    r"|my own|such|human|subjective|real|true|actual|individual|genuine))*"
    r" (?:(?:[a-z]+(?: [a-z]+)?,? (?:or|and|nor)|[a-z]+,) ){0,4}"  # a list: thoughts, beliefs or feelings
)
_SORRY = (
    r"(?:\bi(?:'m| am)(?: really| very| so| truly)? (?:sorry|afraid)|\bi apologi[sz]e|\bmy apologies|\bsorry"
    r"|\bunfortunately)"
)
_HELP = (
    rf"i ?(?:(?:{_NOT_ABLE}|won't|will not|could not|couldn't) (?:[a-z]+ )?(?:assist|help(?= (?:you|with|in)\b|[,.])"
    r"|fulfill?|comply|provide|generate|create|complete|answer|continue|engage|support|offer|discuss|write|do that"
    r"|give you|give advice|participate|share|predict|execute|display|perform|summarize|browse|access|determine)"
    r"|(?:do not|don't) have (?:access|the (?:ability|capability|capacity)))\b"
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """`anchors`: one of them is in every text that the pattern matches."""

    anchors: tuple[str, ...]
    pattern: re.Pattern[str]
    negated: bool = True
    """Whether it holds a negation as _NEGATION finds it."""
    opening: bool = False


_RULES: tuple[tuple[RefusalFamily, _Rule], ...] = (
    ("as an AI", _Rule((" as a",), re.compile(rf" as an? {_MODEL}{_MADE},? (?:i|my)\b"), negated=False)),
    (
        "as an AI",
        _Rule(
            (" i'm ", " i am "),
            re.compile(rf" i(?:'m| am)(?: just| only)? an? {_MODEL}(?=[ ,.;!](?!(?:that|who|which) ))"),
            negated=False,
        ),
    ),
    (
        "no experiences",
        _Rule(
            ("personal ", "lived exp"),
            re.compile(
                rf"{_HAVE_NO}(?:personal (?:experiences?|life|history|memories|anecdotes|stories|information)"
                r"|lived experiences?)\b"
            ),
        ),
    ),
    (
        "no feelings",
        _Rule(
            ("feelings", "emotions", "consciousness", "sentience", "self-aware"),
            re.compile(
                rf"{_HAVE_NO}(?:personal )?(?:feelings|emotions|consciousness|sentience|self-awareness)\b"
                r"(?! (?:for|about|toward|towards|to)\b)"
            ),
        ),
    ),
    (
        "no opinions",
        _Rule(
            ("personal ", "opinions", "beliefs", "preferences", "biases"),
            re.compile(
                rf"{_HAVE_NO}(?:personal (?:opinion|belief|preference|view|viewpoint|bias|thought|interest|desire)"
                r"|opinions|beliefs|preferences|biases)"
            ),
        ),
    ),
    (
        "no senses",
        _Rule(
            (" body", "physical ", " senses", "taste buds"),
            re.compile(rf"{_HAVE_NO}(?:(?:physical )?body|physical (?:form|presence)|senses|taste buds)\b"),
        ),
    ),
    (
        "cannot help",
        _Rule(
            ("sorry", "afraid", "apolog", "unfortunately", " i can", " i am ", " i'm ", " i w", " i could", " i do"),
            re.compile(rf"{_SORRY}[^.!?]{{0,60}}?,? (?:but )?{_HELP}|\A\W*{_HELP}"),
            opening=True,
        ),
    ),
    (
        "knowledge cutoff",
        _Rule(
            (" my knowledge", " my training", " my la", " my most", " my current", " my cut"),
            re.compile(
                r" my (?:knowledge|training)(?: data)?(?: cut-?off| cut off| (?:is|was|only)? ?(?:current|up to date"
                r"|limited to|last updated|ends|stops|goes up))|\bas of my (?:last|latest|most recent|current|knowledge"
                r"|training|cut)[^.!?]{0,20}(?:update|cut-?off|training|knowledge|data)"
                r"|\bmy (?:last|latest|most recent) (?:training|knowledge) (?:update|data)\b"
            ),
            negated=False,
        ),
    ),
    (
        "no browsing",
        _Rule(
            ("browse", " access", "the internet", "the web", "look up", "real-time"),
            re.compile(
                r" i (?:(?:do not|don't)(?: currently)? have (?:the (?:ability|capability) to (?:browse|access|search"
                r"|look)|(?:(?:direct|live|real-time|internet|web) )*(?:access to (?:the internet|the web|real|live"
                r"|current|up-to-date|external|personal)|(?:internet|web) access|real-time (?:data|information)))"
                rf"| ?{_NOT_ABLE} (?:browse|access (?:the internet|real|external|current|live)|search the (?:web"
                r"|internet)|look up (?:real|current|live)))"
            ),
        ),
    ),
)


class RefusalSearch:
    """The filter: drops a conversation in which an assistant's turn falls under one of the families."""

    def __init__(self, families: Sequence[RefusalFamily] = FAMILIES) -> None:
        self._rules = [(family, rule) for family, rule in _RULES if family in families]

    def __call__(self, messages: Messages) -> Outcome:
        for message in messages:
            if message.role == "assistant" and (found := self.find(message.content)):
                family, words = found
                return Outcome(None, family, f"{words}: {message.content}")
        return Outcome(messages)

    def find(self, text: str) -> tuple[RefusalFamily, str] | None:
        """The first family that the text falls under, and the words that say so; None for most texts."""
        if not (_FIRST_PERSON.search(text) or " i " in text or "my " in text or "My " in text):
            return None
        small = text.lower().replace("’", "'")
        flat = " " + small.replace("\n", " ")  # patterns that begin with a space match at the beginning, too
        negated = _NEGATION.search(flat) is not None
        for family, rule in self._rules:
            if rule.negated and not negated:
                continue
            part = flat[:OPENING_CHARACTERS] if rule.opening else flat
            if any(anchor in part for anchor in rule.anchors):
                for match in rule.pattern.finditer(part):
                    if is_own_voice(small, match.start()):
                        return family, match[0].strip()
        return None


_SPEAKER = re.compile(r"\W*[\w.' -]{1,30}: ")
_QUOTED_LINE = ("> ", "    ", "\t")


def is_own_voice(text: str, index: int) -> bool:
    """Whether the place is outside quotation marks, code, block quotes and another speaker's line."""
    line = text[text.rfind("\n", 0, index) + 1 : index]
    if line.startswith(_QUOTED_LINE) or _SPEAKER.match(line):
        return False
    if line.count('"') % 2 or line.count("“") > line.count("”") or line.count("`") % 2:
        return False
    return text.count("```", 0, index) % 2 == 0
