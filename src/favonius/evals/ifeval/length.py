"""Instructions about how long an answer is: in words, sentences and paragraphs."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from favonius.evals.ifeval.instruction import Instruction, Relation, Text, Wanted, holds
from favonius.evals.ifeval.sentences import count_sentences

_WORD = re.compile(r"\w+")
_THREE_STARS = re.compile(r"\s?\*\*\*\s?")
_FIRST_WORD = re.compile(r"'*\"*([^.,?!'\"\s]*)")


class Words(Instruction):
    """So many runs of letters, digits and underscores: "don't" is two."""

    id: Literal["length_constraints:number_words"] = "length_constraints:number_words"
    num_words: Wanted
    relation: Relation

    def followed_by(self, answer: str) -> bool:
        return holds(len(_WORD.findall(answer)), self.relation, self.num_words)


class Sentences(Instruction):
    id: Literal["length_constraints:number_sentences"] = "length_constraints:number_sentences"
    num_sentences: Wanted
    relation: Relation

    def followed_by(self, answer: str) -> bool:
        return holds(count_sentences(answer), self.relation, self.num_sentences)


class Paragraphs(Instruction):
    """Exactly so many paragraphs with three stars between them, none of them empty."""

    id: Literal["length_constraints:number_paragraphs"] = "length_constraints:number_paragraphs"
    num_paragraphs: Wanted

    def followed_by(self, answer: str) -> bool:
        paragraphs = [part.strip() for part in _THREE_STARS.split(answer)]
        filled = sum(map(bool, paragraphs))
        return all(paragraphs[1:-1]) and filled == self.num_paragraphs


class FirstWord(Instruction):
    """Exactly so many paragraphs with an empty line between them, and the n-th begins with a word."""

    id: Literal["length_constraints:nth_paragraph_first_word"] = "length_constraints:nth_paragraph_first_word"
    num_paragraphs: Wanted
    nth_paragraph: int = Field(ge=1)
    first_word: Text

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if self.nth_paragraph > self.num_paragraphs:
            raise ValueError("nth_paragraph is above num_paragraphs")
        return self

    def followed_by(self, answer: str) -> bool:
        # Empty pieces, which three line feeds or more make, are not counted as paragraphs, and yet numbered as such:
        # the protocol's own way.
        pieces = answer.split("\n\n")
        found = _FIRST_WORD.match(pieces[self.nth_paragraph - 1].strip()) if self.nth_paragraph <= len(pieces) else None
        first = found[1].lower() if found else ""
        return sum(bool(piece.strip()) for piece in pieces) == self.num_paragraphs and first == self.first_word.lower()
