"""Thanks, farewells and "You're welcome!" at the end of a conversation: turns that teach a model nothing but them."""

from __future__ import annotations

import re

from favonius.data.filters.outcome import Outcome
from favonius.types import Messages

MOST_CHARACTERS = 600
"""Turns that are longer say something."""
TRIMMED = "end trimmed"
NOTHING_ELSE = "nothing but politeness"

_SENTENCE_END = re.compile(r"[.!?\n]+(?:\s+|\Z)|\s+-+\s+|[\U0001f300-\U0001faff\u2600-\u27bf\ufe0f]+\s*|\s*[:;]-?[)D]\s*")
_TAIL = r"(?:,? (?:so much|very much|a lot|again|too|everyone|my friend|chatgpt|assistant|and|sir|bye|have a [a-z]+ day))*"
_PRAISE = r"(?:great|perfect|awesome|excellent|wonderful|amazing|fantastic|brilliant|cool|nice|lovely|wow|good|super)"
_OPENER = rf"(?:(?:ok|okay|oh|alright|all right|great|perfect|awesome|excellent|wonderful|cool|wow|yes|no|well|got it|sure|hey|{_PRAISE})[,!]? )*"
_THANKS = (
    rf"{_OPENER}(?:(?:many )?thanks?(?: you)?(?: (?:so|very) much| a (?:lot|ton|bunch|million)| again| kindly)*"
    r"(?:,? for (?:your|the|all|this|that|these|being|taking|everything|sharing|providing|explaining|clarifying|letting)\b[^.!?]{0,80})?"
    r"|thank u|thx|ty|cheers|much appreciated|i (?:really |truly |very much |greatly )?appreciate (?:it|that|this|your|the|all)\b[^.!?]{0,60})"
    rf"{_TAIL}"
)
_FAREWELL = (
    r"(?:good ?bye|bye(?: bye)?|see you(?: later| soon)?|take care(?: of yourself)?|farewell|good ?night|until next time"
    r"|(?:i hope you )?have an? (?:\w+ ){1,3}(?:day|night|evening|weekend|week|time|one|trip|journey)(?: too| ahead| as well)?"
    r"|(?:you too|same to you|likewise)|(?:good luck|best of luck|all the best|best wishes)(?: (?:with|on|in|to)\b[^.!?]{0,60})?)"
)
_USER = re.compile(
    rf"(?:{_THANKS}|{_FAREWELL}|{_OPENER}{_PRAISE}|(?:that|this|it|which)(?:'s| is| was) (?:all(?: for now)?|it|(?:\w+ )?(?:helpful|useful|{_PRAISE}))"
    r"(?: information| advice| answer| explanation)?|(?:you(?:'re| are|'ve been| have been)) (?:\w+ )?(?:helpful|amazing|awesome|the best|great|welcome)"
    r"|no,? that(?:'s| is|'ll be| will be) (?:all|it|everything)|ok|okay|got it|understood)"
)
_ASSISTANT = re.compile(
    rf"(?:(?:{_OPENER})(?:you(?:'re| are)(?: very| most| always| so)? welcome(?: back)?{_TAIL}|my pleasure|(?:it(?:'s| is|'s been| was) )?(?:always )?"
    r"(?:a|my) pleasure\b[^.!?]{0,60}|no problem(?: at all)?|no worries|not a problem|any ?time|don't mention it|of course)"
    rf"|{_THANKS}|{_FAREWELL}"
    r"|(?:i'm|i am|we're|we are) (?:(?:so|very|always|really|just) )?(?:glad|happy|pleased|delighted|here)(?: (?:that )?(?:i|we|you|to|it|my|the)\b[^.!?]{0,90})?"
    r"|(?:glad|happy|pleased) (?:i|to|that|it|you)\b[^.!?]{0,80}|it(?:'s| is| was) (?:great|good|nice|wonderful|lovely) [^.!?]{0,60}"
    r"|(?:and )?(?:if|should|when(?:ever)?) (?:you|there)\b[^.!?]{0,80}\b(?:questions?|help|assistance|else|need|concerns|support|information|ask)\b[^.!?]{0,100}"
    r"|(?:please |just )?(?:feel free|don't hesitate|do not hesitate) to [^.!?]{0,90}|(?:please |just )?let me know [^.!?]{0,90}"
    r"|is there anything else [^.!?]{0,60}|i hope (?:you|this|that|it|my|your|the|everything)\b[^.!?]{0,80}"
    r"|i (?:(?:really|truly) )?appreciate [^.!?]{0,60}|enjoy (?:your|the|it)\b[^.!?]{0,40}|(?:happy|safe) (?:\w+ing|travels)\b[^.!?]{0,30})"
)


class Politeness:
    """The filter: takes exchanges off the end in which one side only thanks or the other is only glad to help."""

    def __call__(self, messages: Messages) -> Outcome:
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
    sentences = [sentence.strip(" ,") for sentence in _SENTENCE_END.split(small)]
    return any(sentences) and all(polite.fullmatch(sentence) for sentence in sentences if sentence)
