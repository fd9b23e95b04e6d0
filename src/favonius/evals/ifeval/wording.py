"""Instructions about words and letters: keywords, case, commas, language."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from favonius.evals.ifeval.instruction import Instruction, Relation, Text, Wanted, holds
from favonius.evals.ifeval.language import language_of

# How the protocol's tokenizer (the Penn Treebank's) parts words, as far as capitals can tell: "DON'T" and "CANNOT" are
# two words, "WELL-BEING" and "AND/OR" one. Colons and commas part words unless a digit follows.
_BETWEEN_WORDS = re.compile(r"[\s;@#$%&?!()\[\]{}<>\"“”«»]+|--|\.{3}|[:,](?!\d)")
_CLITIC = re.compile(r"(?<=[^'])(N'T|'(?:S|M|D|LL|RE|VE)|(?<=\bCAN)NOT)\Z")


class Keywords(Instruction):
    """Every keyword is somewhere in the answer, be it inside a word; case makes no difference."""

    id: Literal["keywords:existence"] = "keywords:existence"
    keywords: Annotated[tuple[Text, ...], Field(min_length=1)]

    def followed_by(self, answer: str) -> bool:
        return all(_occurrences(keyword, answer) for keyword in self.keywords)


class KeywordFrequency(Instruction):
    """The keyword is there so often, inside words too; case makes no difference."""

    id: Literal["keywords:frequency"] = "keywords:frequency"
    keyword: Text
    frequency: Wanted
    relation: Relation

    def followed_by(self, answer: str) -> bool:
        return holds(_occurrences(self.keyword.strip(), answer), self.relation, self.frequency)


class ForbiddenWords(Instruction):
    """None of the words is there as a whole word; case makes no difference."""

    id: Literal["keywords:forbidden_words"] = "keywords:forbidden_words"
    forbidden_words: Annotated[tuple[Text, ...], Field(min_length=1)]

    def followed_by(self, answer: str) -> bool:
        return not any(re.search(rf"\b{re.escape(word)}\b", answer, re.IGNORECASE) for word in self.forbidden_words)


class LetterFrequency(Instruction):
    """One character is there so often, small or capital.

    Google's checker draws a random letter where `letter` is none, as "#" and "!" in two prompts; here it is counted.
    """

    id: Literal["keywords:letter_frequency"] = "keywords:letter_frequency"
    letter: Annotated[str, Field(min_length=1, max_length=1)]
    let_frequency: Wanted
    let_relation: Relation

    def followed_by(self, answer: str) -> bool:
        return holds(answer.lower().count(self.letter.lower()), self.let_relation, self.let_frequency)


class CapitalWords(Instruction):
    """So many words are all capitals."""

    id: Literal["change_case:capital_word_frequency"] = "change_case:capital_word_frequency"
    capital_frequency: Wanted
    capital_relation: Relation

    def followed_by(self, answer: str) -> bool:
        return holds(capital_words(answer), self.capital_relation, self.capital_frequency)


class AllCapitals(Instruction):
    """English, and no small letter in it."""

    id: Literal["change_case:english_capital"] = "change_case:english_capital"

    def followed_by(self, answer: str) -> bool:
        return answer.isupper() and _is_in("en", answer)


class AllSmall(Instruction):
    """English, and no capital letter in it."""

    id: Literal["change_case:english_lowercase"] = "change_case:english_lowercase"

    def followed_by(self, answer: str) -> bool:
        return answer.islower() and _is_in("en", answer)


class NoComma(Instruction):
    id: Literal["punctuation:no_comma"] = "punctuation:no_comma"

    def followed_by(self, answer: str) -> bool:
        return "," not in answer


class ResponseLanguage(Instruction):
    """The answer is in one language; `language` is its ISO 639-1 code."""

    id: Literal["language:response_language"] = "language:response_language"
    language: Text

    def followed_by(self, answer: str) -> bool:
        return _is_in(self.language, answer)


def capital_words(text: str) -> int:
    """How many words have capitals and no small letters; a contraction's parts are words of their own."""
    pieces = (piece for piece in _BETWEEN_WORDS.split(text) if piece.isupper())
    return sum(1 + (_CLITIC.search(piece) is not None) for piece in pieces)


def _occurrences(keyword: str, text: str) -> int:
    return len(re.findall(re.escape(keyword), text, re.IGNORECASE))


def _is_in(language: str, text: str) -> bool:
    """As the protocol has it, a text in which no language can be told ("42") is in every one."""
    return language_of(text) in (language, None)
