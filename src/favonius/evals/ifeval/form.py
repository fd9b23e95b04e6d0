"""Instructions about an answer's form: lists, sections, marks, beginnings and ends."""

from __future__ import annotations

import json
import re
from typing import Literal

from favonius.evals.ifeval.instruction import Instruction, Text, Wanted

OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_STAR_BULLET = re.compile(r"^[^\S\n]*\*[^*].*$", re.MULTILINE)
_DASH_BULLET = re.compile(r"^[^\S\n]*-", re.MULTILINE)
_ONE_STAR = re.compile(r"\*([^\n*]*)\*")
_TWO_STARS = re.compile(r"\*\*([^\n*]*)\*\*")
_FENCE = re.compile(r"\A```(?:json|Json|JSON)?|```\Z")
_TITLE = re.compile(r"<<[^\n]+>>")
_PLACEHOLDER = re.compile(r"\[.*?\]")


class Placeholders(Instruction):
    """At least so many pairs of square brackets, each on one line."""

    id: Literal["detectable_content:number_placeholders"] = "detectable_content:number_placeholders"
    num_placeholders: Wanted

    def followed_by(self, answer: str) -> bool:
        return len(_PLACEHOLDER.findall(answer)) >= self.num_placeholders


class Postscript(Instruction):
    """The marker is there ("P.S."), with or without white space between its letters, small or capital."""

    id: Literal["detectable_content:postscript"] = "detectable_content:postscript"
    postscript_marker: Text

    def followed_by(self, answer: str) -> bool:
        letters = map(re.escape, self.postscript_marker.strip().split("."))
        return re.search(r"\.\s?".join(letters), answer, re.IGNORECASE) is not None


class Bullets(Instruction):
    """Exactly so many lines that begin with a star or a dash."""

    id: Literal["detectable_format:number_bullet_lists"] = "detectable_format:number_bullet_lists"
    num_bullets: Wanted

    def followed_by(self, answer: str) -> bool:
        return len(_STAR_BULLET.findall(answer)) + len(_DASH_BULLET.findall(answer)) == self.num_bullets


class ConstrainedResponse(Instruction):
    """One of three sentences is in the answer."""

    id: Literal["detectable_format:constrained_response"] = "detectable_format:constrained_response"

    def followed_by(self, answer: str) -> bool:
        return any(option in answer for option in OPTIONS)


class Highlights(Instruction):
    """At least so many pieces of a line between stars, one or two on each side."""

    id: Literal["detectable_format:number_highlighted_sections"] = "detectable_format:number_highlighted_sections"
    num_highlights: Wanted

    def followed_by(self, answer: str) -> bool:
        pieces = [*_ONE_STAR.findall(answer), *_TWO_STARS.findall(answer)]
        return sum(bool(piece.strip()) for piece in pieces) >= self.num_highlights


class Sections(Instruction):
    """At least so many headings: the word and a number, anywhere."""

    id: Literal["detectable_format:multiple_sections"] = "detectable_format:multiple_sections"
    section_spliter: Text
    num_sections: Wanted

    def followed_by(self, answer: str) -> bool:
        heading = re.escape(self.section_spliter.strip()) + r"\s?\d+"
        return len(re.findall(heading, answer)) >= self.num_sections


class JSONFormat(Instruction):
    """The whole answer is one JSON value, in a fence or not."""

    id: Literal["detectable_format:json_format"] = "detectable_format:json_format"

    def followed_by(self, answer: str) -> bool:
        try:
            json.loads(_FENCE.sub("", answer.strip()))
        except (ValueError, RecursionError):  # the latter: brackets nested without end
            return False
        return True


class Title(Instruction):
    """A title in double angular brackets, on one line."""

    id: Literal["detectable_format:title"] = "detectable_format:title"

    def followed_by(self, answer: str) -> bool:
        return any(title.lstrip("<").rstrip(">").strip() for title in _TITLE.findall(answer))


class TwoResponses(Instruction):
    """Two different answers with six stars between them; before the first and after the second they may stand too."""

    id: Literal["combination:two_responses"] = "combination:two_responses"

    def followed_by(self, answer: str) -> bool:
        parts = [part.strip() for part in answer.split("******")]
        filled = [part for part in parts if part]
        return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


class RepeatPrompt(Instruction):
    """The answer begins with the prompt, word for word; case makes no difference."""

    id: Literal["combination:repeat_prompt"] = "combination:repeat_prompt"
    prompt_to_repeat: Text

    def followed_by(self, answer: str) -> bool:
        return answer.strip().lower().startswith(self.prompt_to_repeat.strip().lower())


class EndPhrase(Instruction):
    """The answer ends with the phrase; quotation marks around all of it and case make no difference."""

    id: Literal["startend:end_checker"] = "startend:end_checker"
    end_phrase: Text

    def followed_by(self, answer: str) -> bool:
        return answer.strip().strip('"').lower().endswith(self.end_phrase.strip().lower())


class Quotation(Instruction):
    """The whole answer stands in double quotation marks."""

    id: Literal["startend:quotation"] = "startend:quotation"

    def followed_by(self, answer: str) -> bool:
        text = answer.strip()
        return len(text) > 1 and text.startswith('"') and text.endswith('"')
