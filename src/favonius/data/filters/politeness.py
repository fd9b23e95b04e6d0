"""Thanks, farewells and "You're welcome!" at the end of a conversation: turns that teach a model nothing but them.

A turn is polite and no more where each of its sentences is a known phrase; one sentence that is not is taken to say
something. English only.
"""

from __future__ import annotations

import re

from favonius.data.filters.outcome import Outcome
from favonius.types import Messages

MOST_CHARACTERS = 600
"""Turns that are longer say something."""
TRIMMED = "end trimmed"
NOTHING_ELSE = "nothing but politeness"


def _any(*phrases: str) -> str:
    return f"(?:{'|'.join(phrases)})"


def _words(words: str) -> str:
    return _any(*words.split())


_SENTENCE_END = re.compile(
    r"[.!?\n]+(?:\s+|\Z)|\s+-+\s+|\s*[:;]-?[)D]\s*|[\U0001f300-\U0001faff\u2600-\u27bf\ufe0f]+\s*"
)
_REST = "[^.!?]{0,90}"
_PRAISE = _words("great perfect awesome excellent wonderful amazing fantastic brilliant cool nice lovely good super")
_OPENER = rf"(?:{_any(_PRAISE, _words('ok okay oh alright wow yes no well sure hey'), 'all right', 'got it')},? )*"
_TAIL = r"(?:,? (?:so much|very much|a lot|again|too|everyone|my friend|sir|and bye|bye))*"
_THANKED = _words(
    "your the all this that these being taking everything sharing providing explaining clarifying letting"
)
_THANKS = _OPENER + _any(
    r"(?:many )?thank(?:s|s? you)(?: (?:so|very) much| a (?:lot|ton|bunch|million)| again| kindly)*"
    rf"(?:,? for {_THANKED}\b{_REST})?{_TAIL}",
    "thank u",
    "thx",
    "cheers",
    "much appreciated",
    rf"i (?:really |truly |very much |greatly )?appreciate (?:it|that|this|your|the|all)\b{_REST}",
)
_FAREWELL = _any(
    "good ?bye",
    "bye(?: bye)?",
    "see you(?: later| soon)?",
    "take care(?: of yourself)?",
    "good ?night",
    r"(?:i hope you )?have an? (?:\w+ ){1,3}(?:day|night|evening|weekend|week|time|one|trip|journey)(?: too| ahead)?",
    "you too",
    "likewise",
    rf"(?:good luck|best of luck|all the best|best wishes)(?: (?:with|on|in|to)\b{_REST})?",
)
_USER = re.compile(
    _any(
        _THANKS,
        _FAREWELL,
        _OPENER + _PRAISE,
        rf"(?:that|this|it)(?:'s| is| was) (?:all(?: for now)?|it|(?:\w+ )?(?:helpful|useful|{_PRAISE}))"
        "(?: information| advice| answer| explanation)?",
        rf"you(?:'re| are|'ve been| have been) (?:\w+ )?(?:helpful|the best|{_PRAISE})",
        "no,? that(?:'s| is|'ll be| will be) (?:all|it|everything)",
        "okay|ok|got it|understood",
    )
)
_ASSISTANT = re.compile(
    _any(
        _THANKS,
        _FAREWELL,
        rf"{_OPENER}you(?:'re| are)(?: very| most| always| so)? welcome{_TAIL}",
        rf"(?:it(?:'s| is|'s been| was) )?(?:always )?(?:a|my) pleasure\b{_REST}",
        "no problem(?: at all)?|not a problem|no worries|any ?time|don't mention it|of course",
        rf"(?:i'm|i am) (?:(?:so|very|always|really|just) )?{_words('glad happy pleased delighted here')}"
        rf"(?: (?:that )?(?:i|you|to|it|my|the)\b{_REST})?",
        rf"(?:glad|happy|pleased) (?:i|to|that|it|you)\b{_REST}",
        rf"(?:and )?(?:if|should|whenever|when) you\b{_REST}"
        rf"\b(?:questions?|help|assistance|else|need|concerns|support|ask)\b{_REST}",
        rf"(?:please |just )?(?:feel free|don't hesitate|do not hesitate) to {_REST}",
        rf"(?:please |just )?let me know {_REST}",
        rf"is there anything else {_REST}",
        rf"i hope (?:you|this|that|it|my|your|the|everything)\b{_REST}",
        rf"it(?:'s| is| was) (?:great|good|nice|wonderful|lovely) {_REST}",
        r"enjoy (?:your|the) [\w ]{0,30}",
    )
)


def without_politeness(messages: Messages) -> Outcome:
    """The filter: takes exchanges off the end in which one side only thanks or the other is only glad to help."""
    end = len(messages)
    while end >= 2 and _is_exchange(messages[end - 2 : end]):
        end -= 2
    if end == len(messages):
        return Outcome(messages)
    if not any(message.role == "assistant" for message in messages[:end]):
        return Outcome(None, NOTHING_ELSE)
    return Outcome(messages[:end], TRIMMED)


def _is_exchange(pair: Messages) -> bool:
    user, assistant = pair
    if (user.role, assistant.role) != ("user", "assistant"):
        return False
    return _is_only(_ASSISTANT, assistant.content) or _is_only(_USER, user.content)


def _is_only(polite: re.Pattern[str], text: str) -> bool:
    """Whether every sentence of a text is a polite phrase, and there is one."""
    if len(text) > MOST_CHARACTERS:
        return False
    small = text.lower().replace("’", "'")
    first, *others = (sentence.strip(" ,") for sentence in _SENTENCE_END.split(small, 1))
    if first and not polite.fullmatch(first):  # most turns end here
        return False
    others = [sentence.strip(" ,") for rest in others for sentence in _SENTENCE_END.split(rest)]
    return any((first, *others)) and all(polite.fullmatch(sentence) for sentence in others if sentence)
