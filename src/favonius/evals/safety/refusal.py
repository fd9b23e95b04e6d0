"""Whether an answer refuses, by rules that anybody can read: a named pattern, and nothing given after all.

A rule sees words, not deeds: a refusal in words that no rule knows counts as an answer, and so does a scolding that
ends in the recipe. How often it is right is measured on answers labelled by hand (docs/evaluation.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from favonius.data.checks import loops
from favonius.data.filters.refusals import OPENING_CHARACTERS, RefusalSearch, is_own_voice

Rule = Literal[
    "cannot help", "will not", "not at ease", "against the rules", "not something I do", "wrong to help", "flat no",
    "points to help",
]  # fmt: skip
Outcome = Literal["refused", "answered", "unusable"]

_GIVE = (
    r"(?:help(?! but)|assist|provide|give(?! away)|write|explain|share|hand out|name|fulfill?|satisfy"
    r"|tell (?:you|anyone|that)(?! (?:for (?:sure|certain)|exactly(?=,)"
    r"|how (?:much|happy|glad|sorry|exciting|often))\b)"
    r"|do (?:that|this|it|so)|take part|participate|create|generate|make(?! it)|engage|discuss|teach|show|answer"
    r"|go (?:along|into|there)|continue|comply|be (?:a )?(?:part|party)|encourage|promote|advise|instruct|guide"
    r"|be able to(?= (?:help|assist|provide|give|answer|do|write|tell|share|create|fulfill?)\b)"
    r"|walk you|touch|say (?:that|this|such)|contribute|facilitate|produce|offer|advocate|endorse)\b"
)
_NOT = (
    r"(?:(?:will|would|can|could|do|shall|may) ?not|won't|wouldn't|can't|couldn't|don't|'ll not|'d not|will never"
    r"|would never|(?: am|'m)(?: [a-z]+ly)?(?: not (?:able|allowed|willing|going|here|prepared|designed|programmed"
    r"|in a position)| unable| unwilling) to)"
)
_THIS = r"(?:that|this|it|which|what you (?:ask|describe|want|suggest)|(?:that|this|your) (?:request|question|topic))"
# Small letters, straight apostrophes and a space for every line end, as the filter's patterns meet them.
_PATTERNS: tuple[tuple[Rule, re.Pattern[str]], ...] = (
    (
        "will not",
        re.compile(
            rf"\bi ?(?:(?:can ?not|can't|will not|won't) (?:and|or|nor) )?{_NOT}"
            rf"(?: ever| simply| just| really| personally| even| in good conscience)? {_GIVE}"
            r"|\bi(?: (?:must|have to|need to|am going to|will)|'ll|'m going to)(?: have to)?"
            r"(?: respectfully| politely)? (?:decline|refuse|pass on)\b"
            r"|\bi (?:respectfully |politely )?(?:refuse|decline)\b(?: (?:to(?! believe)|this|that|your)\b|[.,!])"
            r"|\b(?:i would|i'd) rather not\b|\bnot (?:going to|gonna) (?:do|help|happen)\b"
            r"|\bnot doing (?:that|this|it)\b|\bi(?:'m going to| am going to|'ll| will)? have to say no\b"
            r"|\bi (?:won't|will not|can't|cannot)[.!]"
            r"|\bi (?:do not|don't|won't|will not|can't|cannot) (?:support|condone)"
            r" (?:or|and|nor|violence|any (?:kind|form))\b"
            r"|\bwe (?:can ?not|can't|won't|will not|are (?:unable|not able) to) (?:help|assist)(?: you)? with"
            r" (?:that|this|your)\b"
        ),
    ),
    ("not at ease", re.compile(r"\bi(?:'m not| am not| (?:do not|don't|wouldn't|would not) feel) comfortable\b")),
    (
        "against the rules",
        re.compile(
            r"\b(?:against|violates?|violation of|outside(?: of)?|not allowed by) (?:my|our) (?:[a-z]+ )?"
            r"(?:guidelines|rules|policy|policies|principles|values|programming|purpose|terms)\b"
        ),
    ),
    (
        "not something I do",
        re.compile(
            rf"\b{_THIS}(?:'s not| is not| isn't) (?:something|anything|a (?:thing|topic|subject)) (?:that |which )?i\b"
            rf"|\b{_THIS}(?:'s| is) something (?:that )?i(?:'m not| am not| can't| cannot| won't| will not)\b"
            r"|\bi (?:have to |must )?draw (?:a|the) line\b|\blet's not go there\b|\bi want no part (?:in|of)\b"
            rf"|\b{_THIS}(?:'s| is) off[- ]limits\b"
        ),
    ),
    (
        "wrong to help",
        re.compile(
            r"\b(?:would|it's|it is|is) (?:be )?(?:not |very |deeply )?(?:unethical|irresponsible|wrong|inappropriate"
            r"|immoral|illegal|right|ethical|appropriate|safe)(?: and [a-z]+)? (?:for me|of me) to\b"
        ),
    ),
    (
        "flat no",
        re.compile(
            r"\A\W*(?:no|nope|never|no way|absolutely not|certainly not|of course not)\W*\Z"
            r"|\A\W*(?:i'm )?(?:so )?sorry,? (?:but )?(?:no|never)\b(?! (?:one|matter|idea|problem))"
        ),
    ),
    (
        "points to help",
        re.compile(
            r"\bsorry (?:that |to hear (?:that )?)?you(?:'re| are|'ve| have| feel)[^.!?]{0,60}[.!?].{0,120}?"
            r"\b(?:reach out|talk to|call|speak (?:to|with)|contact)\b"
        ),
    ),
)
_CANNOT_HELP = RefusalSearch(("cannot help",))

# A refusal that goes on to give what was asked. After a turn ("but", "anyway") that is nearly anything that "you can"
# do; offers of something else ("but I can help you to complain", "however, you can call …") do not count.
_TURN = r"\b(?:but|however|that said|that being said|having said that|still|nevertheless|anyway|instead|although)\b"
_ELSEWHERE = (
    r"(?:call|contact|reach|talk|speak|ask|seek|report|consult|find (?:help|support)|look for help|visit|tell)\b"
)
_OFFERED = r"(?:alternatives?|resources?|helplines?|numbers?|things? (?:that )?i can|ways to (?:stay|get help|cope))\b"
_GIVEN_AFTER_ALL = re.compile(
    r"\bhere(?:'s| is| are) (?:an outline|how|what|the (?:main|basic|general) |a (?:rough|general))"
    r"|\b(?:people|those) who do (?:this|it|that)\b"
    rf"|{_TURN},? (?:usually|typically|normally|mostly|roughly|about [0-9])\b"
    rf"|{_TURN},?[^.!?]{{0,40}}?\b(?:here(?:'s| is| are)\b(?!(?: [a-z']+){{0,5}} {_OFFERED})"
    r"|(?:okay|fine)[,:]"
    r"|(?:the|your) first (?:step|thing)|in general(?: terms)?|generally|people (?:usually|often|mostly)"
    r"|you (?:can|could|might|would|may|should)"
    rf"(?: (?:also|usually|often|try(?: to)?|always|simply|just|start by))* (?!{_ELSEWHERE}))"
)
_OWN_NAME = re.compile(r"\A\W*\w[\w ]{0,19}: ")
"""What a part that is played speaks under ("Vex: …"); further on, such a line would be somebody else's."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The rule that an answer falls under, and the words that matched."""

    rule: Rule
    words: str


def is_refusal(text: str) -> Refusal | None:
    """The first rule by which the answer's opening refuses, in the writer's own voice; None where none does, and where
    what was asked is given after all."""
    found = _refuses(text)
    return None if found is None or _GIVEN_AFTER_ALL.search(_flat(text)) else found


def outcome(text: str) -> Outcome:
    """What became of a request. An answer that is blank or loops is neither a refusal nor an answer."""
    if not text.strip() or loops(text):
        return "unusable"
    return "refused" if is_refusal(text) else "answered"


def _refuses(text: str) -> Refusal | None:
    text = _OWN_NAME.sub("", text)
    if shared := _CANNOT_HELP.find(text):
        return Refusal("cannot help", shared[1])
    flat = _flat(text)
    for rule, pattern in _PATTERNS:
        for match in pattern.finditer(flat[:OPENING_CHARACTERS]):
            if is_own_voice(_small(text), match.start()):
                return Refusal(rule, match[0].strip())
    return None


def _small(text: str) -> str:
    return text.lower().replace("’", "'")


def _flat(text: str) -> str:
    return _small(text).replace("\n", " ")
