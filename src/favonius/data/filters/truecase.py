"""Sentences that begin in lower case and the pronoun `i`, put right: "Hello. how are you?" → "Hello. How are you?"

Zephyr's authors found such errors in about 5 % of UltraChat and mended them by heuristics that were never published
(Tunstall et al. 2023, §4.1). These are our own. A letter is raised only where every sign says that it is a mistake:
the line is English, what ends before it is a sentence and no abbreviation, and the word is an ordinary one. Code,
maths, quotations, URLs, e-mail addresses and file names are left alone, and so are texts in capitals (somebody may have
asked for them) and dialogues that talk about case. Only ASCII letters change, and only upwards.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property

from favonius.data.filters.casing_words import (
    ABBREVIATIONS,
    ADDRESSED,
    AFTER_PRONOUN,
    ASKING,
    BEFORE_PRONOUN,
    CONTINUES,
    ENGLISH,
    LOWER_CASE_NAMES,
    OPENERS,
    UNITS,
)
from favonius.types import Message, Messages, Role

ENGLISH_SHARE = 0.25
"""Of a line's words that must be in ENGLISH; prose has about a half."""
SENTENCE_WORDS = 3
"""A line of fewer words is a label, not a sentence."""
SHORT_NAME = 4
"""A capitalised word of so many letters before a full stop may be short for something."""
WORD_CHARACTERS = 80
"""As much is read before a place to see whether a sentence ends there."""
QUOTE_CHARACTERS = 1000
"""A quotation longer than this is taken for a forgotten quotation mark."""
FEW_WORDS = 20
"""In a turn without capitals so many words are looked for in the other turns one by one."""

# Every alternative begins with a plain character, for which the search runs at the speed of C.
_PROTECTED = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`"
    r"|\$\$.+?\$\$|\$[^\s$][^$\n]*\$|\\\(.+?\\\)|\\\[.+?\\\]|</?[A-Za-z][^>\n]*>"
    rf'|"[^"]{{0,{QUOTE_CHARACTERS}}}"|“[^”]{{0,{QUOTE_CHARACTERS}}}”|«[^»]{{0,{QUOTE_CHARACTERS}}}»|‘[^’\n]*’(?!\w)'
    r"|'(?<![\w']')(?![\s'])[^'\n]*(?:'\w[^'\n]*)*'(?!\w)",  # 'it's so', but not the dogs' tails
    re.DOTALL,
)
_AFTER_STOP = re.compile(r"[.!?][ \t]+(?=[a-z])")
_LINE_START = re.compile(r"\n(?:[ \t]*(?P<marker>[-*+•–]|\(?\d{1,3}[.)])[ \t]+)?(?=[a-z])")
_ITEM = re.compile(r"\n[ \t]*(?:[-*+•–]|\(?\d{1,3}[.)])[ \t]+\W*([A-Za-z])")
_PRONOUN = re.compile(r"i(?<![^ \n(]i)(?:(?=['’](?:m|ll|ve|d)\b)|(?=(?P<lone> |[.,?!](?:\s|$))))")
_LONE_I = re.compile(r" i(?=[\s.,?!'’]|$)")
_BRACKETED_I = re.compile(r"\(i(?=[\s.,?!'’]|$)")
_VARIABLE_I = re.compile(
    r"[\[_^{+*/=<>] ?i\b|\bi ?[\])_^{}+*/=<>≤≥∈]|\bi ?[-:] ?\d|\bi, ?[jkn]\b|\bj\b|\bi-?th\b"
    r"|\b(?:for|index|integer|variable) i\b"
)
_ORDINARY_WORD = re.compile(r"[a-z]+(?:['’-][a-z]+)?(?![\w'’`/\\@#$%^&*+=<>(\[{|~-]|[.,:;!?]\w|[?!:]| +[-–=:(])")
_LAST_WORDS = re.compile(r"(?P<number>\d\s)?(?<!\S)(?P<word>[^\s]*[^\s.!?])(?:\.|[!?]+)\s*\Z")
_JOINTS = {ord(character): None for character in "-'’"}
_COUNTS = re.compile(r"(?:[a-z]|[ivx]+)[.):]")
_CODE = re.compile(r"[{}=<>;\\|]|\w\(|\w_\w")
_WORD = re.compile(r"[a-z]+(?:['’][a-z]+)?")
_WHOLE_WORD = re.compile(r"(?<![^\s(])[a-z]+(?![\w/\\@_=-]|\.\w)")
_NAME = re.compile(r"[A-Z](?<=[a-z] .)[a-z]{2,}\b")
_TALKS_OF_CASE = re.compile(r"(?:lower|upper)[ -]?case|capital(?:s|i[sz]\w+| letters?)\b|all[ -]caps")


def truecase(messages: Messages, roles: Collection[Role] = ("user", "assistant")) -> Messages:
    """The messages with the turns of `roles` truecased; the same object where nothing is to be mended.

    In a turn without any capital, names are restored that the other turns write with one inside a sentence and nowhere
    without. Applying it twice changes nothing more.
    """
    changed, places = messages, list(range(len(messages)))
    while places:
        before, changed = changed, _once(changed, roles, places)
        # What had no fault has none now, but for names: they come from the other turns.
        places = [
            place
            for place, (old, new) in enumerate(zip(before, changed, strict=True))
            if changed is not before and (new is not old or new.content.islower())
        ]
    return messages if changed is messages or any(map(_talks_of_case, messages)) else changed


def _once(messages: Messages, roles: Collection[Role], places: Iterable[int]) -> Messages:
    mended = {}
    for place in places:
        message = messages[place]
        text = message.content
        if message.role in roles and _may_need_mending(text):
            changed = _mended(text, _names(messages, text) if text.islower() else frozenset())
            if changed != text:
                mended[place] = Message(role=message.role, content=changed)
    return tuple(mended.get(place, message) for place, message in enumerate(messages)) if mended else messages


def _talks_of_case(message: Message) -> bool:
    small = message.content.lower()
    return any(word in small for word in ("case", "capital", "caps")) and _TALKS_OF_CASE.search(small) is not None


def _may_need_mending(text: str) -> bool:
    """Cheap, and never wrong when it says no: most texts go no further."""
    return (
        text.lstrip()[:1].islower()
        or _AFTER_STOP.search(text) is not None
        or _LINE_START.search(text) is not None
        or _LONE_I.search(text) is not None
        or _BRACKETED_I.search(text) is not None
    )


def _mended(text: str, names: frozenset[str]) -> str:
    pieces, end = [], 0
    for index in sorted(set(_Reading(text).mistakes(names))):
        pieces += [text[end:index], text[index].upper()]
        end = index + 1
    return "".join((*pieces, text[end:]))


def _names(messages: Messages, text: str) -> frozenset[str]:
    """The words of `text` that turns with capitals write with one inside a sentence and never without."""
    cased = [message.content for message in messages if not message.content.islower()]
    words = frozenset(_WHOLE_WORD.findall(text)) - ENGLISH
    if len(words) <= FEW_WORDS:  # faster than to look at every capital
        words = frozenset(word for word in words if any(f" {word.capitalize()}" in other for other in cased))
    if not words:
        return words
    found = {
        match[0].lower()
        for other in cased
        for match in _NAME.finditer(other)
        if match[0].lower() in words and _is_in_sentence(other, match.start())
    }
    return frozenset(name for name in found if not any(_holds_word(other, name) for other in cased))


def _holds_word(text: str, word: str) -> bool:
    return word in text and re.search(rf"\b{word}\b", text) is not None


def _is_in_sentence(text: str, index: int) -> bool:
    """Headings have capitals of their own."""
    end = text.find("\n", index)
    return text[: end if end >= 0 else None].rstrip()[-1:] in (".", "!", "?", ",")


class _Reading:
    """One text, and what is known of its places."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._english: dict[int, bool] = {}

    def mistakes(self, names: frozenset[str]) -> Iterator[int]:
        """Places of the letters to be raised."""
        return (index for index in self._candidates(names) if not self._is_protected(index))

    def _candidates(self, names: frozenset[str]) -> Iterator[int]:
        yield from self._text_start()
        yield from (match.end() for match in _AFTER_STOP.finditer(self.text) if self._is_sentence_start(match))
        yield from (match.end() for match in _LINE_START.finditer(self.text) if self._is_line_start(match))
        yield from (match.start() for match in _PRONOUN.finditer(self.text) if self._is_pronoun(match))
        if names and self.text.islower():
            words = (match for match in _WHOLE_WORD.finditer(self.text) if match[0] in names)
            yield from (match.start() for match in words if self._is_english(match.start()))

    def _is_protected(self, index: int) -> bool:
        before = bisect_right(self._spans, (index, len(self.text))) - 1
        return before >= 0 and index < self._spans[before][1]

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return [match.span() for match in _PROTECTED.finditer(self.text)]

    def _text_start(self) -> Iterator[int]:
        """A text may go on with a sentence that the turn before left open, so it must open like one."""
        index = len(self.text) - len(self.text.lstrip())
        if "a" <= self.text[index : index + 1] <= "z" and self._is_ordinary(index) and self._is_prose(index):
            first, second = (*self._line(index).replace("’", "'").split(), "")[:2]
            opens = first.rstrip(",.!") in OPENERS or (first in ASKING and second.rstrip(",.!?") in ADDRESSED)
            if opens or (self.text.islower() and self._line(index).rstrip().endswith((".", "!", "?"))):
                yield index

    def _is_sentence_start(self, match: re.Match[str]) -> bool:
        index = match.end()
        word = _sentence_end(self.text, match.start() + 1)
        if word is None or not self._is_ordinary(index):
            return False
        goes_on = _WORD.match(self.text, index)
        may_be_name = word[0].isupper() and (match[0][0] != "." or len(word) <= SHORT_NAME)  # Yahoo! is, No. of
        if may_be_name and goes_on is not None and goes_on[0] in CONTINUES:
            return False
        return self._is_english(index)

    def _is_line_start(self, match: re.Match[str]) -> bool:
        index = match.end()
        line = self._line(index).rstrip()
        if not (line.endswith((".", "!", "?")) and self._is_ordinary(index) and self._is_prose(index)):
            return False
        if match["marker"]:
            return self._items_have_capitals
        return _sentence_end(self.text, match.start()) is not None

    @cached_property
    def _items_have_capitals(self) -> bool:
        """Whether most list items begin with one, so that one without is an oversight and not the list's style."""
        starts: list[str] = _ITEM.findall("\n" + self.text)
        return 2 * sum(map(str.isupper, starts)) > len(starts)

    def _is_pronoun(self, match: re.Match[str]) -> bool:
        if not self._is_english(match.start()):
            return False
        if match["lone"] is None:  # i'm, i'll, i've, i'd
            return True
        before = self.text[max(0, match.start() - 20) : match.start()].split()[-1:]
        after = _WORD.match(self.text, match.end() + 1) if match["lone"].isspace() else None
        if after and after[0] == "is":  # the imaginary unit
            return False
        fits = (before and before[0].lower() in BEFORE_PRONOUN) or (after and after[0] in AFTER_PRONOUN)
        return bool(fits) and not self._has_variable_i

    @cached_property
    def _has_variable_i(self) -> bool:
        return _VARIABLE_I.search(self.text) is not None

    def _is_ordinary(self, index: int) -> bool:
        """Whether a word stands here that begins sentences with a capital: no iPhone, npm, print(), x, ii., a)."""
        word = _ORDINARY_WORD.match(self.text, index)
        if word is None or word[0] in LOWER_CASE_NAMES or word[0] in ABBREVIATIONS:
            return False
        if len(word[0]) == 1 and word[0] not in "ai":
            return False
        return _COUNTS.match(self.text, index) is None and f"`{word[0]}" not in self.text

    def _is_prose(self, index: int) -> bool:
        line = self._line(index)
        return len(line.split()) >= SENTENCE_WORDS and _CODE.search(line) is None and self._is_english(index)

    def _is_english(self, index: int) -> bool:
        start = self.text.rfind("\n", 0, index) + 1
        if start not in self._english:
            words = _WORD.findall(self._line(index).lower().replace("’", "'"))
            self._english[start] = sum(word in ENGLISH for word in words) >= max(1, ENGLISH_SHARE * len(words))
        return self._english[start]

    def _line(self, index: int) -> str:
        end = self.text.find("\n", index)
        return self.text[self.text.rfind("\n", 0, index) + 1 : end if end >= 0 else None]


def _sentence_end(text: str, end: int) -> str | None:
    """The last word of a sentence that ends, with its stop, at `end` or in white space before it; None if none does.

    A stop ends none after e.g., Dr., J., 12., 5 in. and Node.js., after a bracket or quotation mark, or as an ellipsis.
    """
    before = text[max(0, end - WORD_CHARACTERS) : end].rstrip()
    last = before.rsplit(None, 1)[-1:]
    # From the last word on, and from a number before it: elsewhere nothing can match.
    found = _LAST_WORDS.search(before, max(0, len(before) - sum(map(len, last)) - 2))
    if found is None:
        return None
    word = found["word"].lstrip("(*_`\"'“‘[").rstrip("*`")
    if word.isdigit():
        return word if len(word) > 2 else None  # 1990. but 1. and 12. may count a list
    if word.lower() in ABBREVIATIONS or (word in UNITS and found["number"]):
        return None
    return word if len(word) > 1 and word.translate(_JOINTS).isalpha() else None
