"""A chat template as fixed texts around the contents, found out by probing, so that most dialogues need no Jinja.

For one sequence of roles a template nearly always writes the same texts around the contents, which it inserts as they
are or trimmed. Those texts are read off once from a rendering of made-up contents. Templates may also look into a
content (Qwen's cut what stands before `</think>`): every string that the template's source spells out is tried inside
contents, and a dialogue that holds one which makes a difference is left to Jinja. What can escape this is a template
that decides by something else, such as a length; the caller therefore compares samples with Jinja.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from favonius.chat.rendering import Rendered, Renderer, Span, any_of, scored_turns
from favonius.errors import UserError
from favonius.types import Message, Messages, Role

Roles = tuple[Role, ...]
Trim = Callable[[str], str]
TRIMS: tuple[Trim, ...] = (str, str.strip, str.lstrip, str.rstrip)
PROBED: tuple[Roles, ...] = (
    ("user", "assistant", "user", "assistant"),
    ("system", "user", "assistant", "user", "assistant"),
)
"""Where strings of the template's source are tried."""
KEPT_PLANS = 4096
"""Sequences of roles whose plan is remembered; files have a few dozen."""
EVERYTHING = re.compile("")
_BLOCK = re.compile(r"\{[%{].*?[%}]\}", re.DOTALL)
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)


@dataclass(frozen=True)
class Skeleton:
    """A rendering is fixed[0], content 0 through trims[0], fixed[1], content 1 … fixed[-1]."""

    fixed: tuple[str, ...]
    trims: tuple[Trim, ...]

    def contents(self, messages: Sequence[Message]) -> list[str]:
        return [trim(message.content) for trim, message in zip(self.trims, messages, strict=True)]

    def text(self, contents: Sequence[str]) -> str:
        return self.fixed[0] + "".join(chain.from_iterable(zip(contents, self.fixed[1:], strict=True)))


@dataclass(frozen=True)
class Turn:
    """What the template writes in an assistant's turn before its content, after the generation prompt, and after it."""

    lead: str
    tail: str


@dataclass(frozen=True)
class Plan:
    """How dialogues of one sequence of roles are rendered."""

    skeleton: Skeleton
    turns: dict[int, Turn]
    """By index of the assistant's message."""


class Skeletons:
    """Renders as `renderer` does, without Jinja where that is known to give the same."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self._plans: dict[Roles, Plan | None] = {}
        self._hazards = self._find_hazards()

    def dialogue(self, messages: Messages, finished: bool, only_last: bool) -> Rendered | None:
        """None where Jinja has to be asked. ControlTokenError as the reference."""
        self.renderer.control.refuse(messages)
        plan = self._plan(tuple([message.role for message in messages]))
        if plan is None or any(self._is_hazard(message.content) for message in messages):
            return None
        contents = plan.skeleton.contents(messages)
        scored = dict(scored_turns(messages, finished, only_last))
        spans = []
        position = 0
        for index, content in enumerate(contents):
            position += len(plan.skeleton.fixed[index])
            if index in scored:
                spans.append(self._span(plan.turns[index], position, messages[index].content, content, scored[index]))
            position += len(content)
        return Rendered(plan.skeleton.text(contents), tuple(spans))

    def _span(self, turn: Turn, position: int, given: str, content: str, with_end: bool) -> Span:
        start, end = self.renderer.within(turn.lead + content + turn.tail, given, with_end)
        begin = position - len(turn.lead)
        return begin + start, begin + end

    def _is_hazard(self, content: str) -> bool:
        return self._hazards is not None and self._hazards.search(content) is not None

    def _plan(self, roles: Roles) -> Plan | None:
        if roles not in self._plans:
            if len(self._plans) >= KEPT_PLANS:
                self._plans.clear()
            self._plans[roles] = self._find_plan(roles)
        return self._plans[roles]

    def _find_plan(self, roles: Roles) -> Plan | None:
        whole = self._find_skeleton(roles, generation_prompt=False)
        if whole is None:
            return None
        turns = {}
        for index in (index for index, role in enumerate(roles) if role == "assistant"):
            before = self._find_skeleton(roles[:index], generation_prompt=True)
            through = self._find_skeleton(roles[: index + 1], generation_prompt=False)
            if before is None or through is None or not _one_grows_into_the_next(before, through, whole):
                return None
            turns[index] = Turn(through.fixed[index].removeprefix(before.fixed[index]), through.fixed[index + 1])
        return Plan(whole, turns)

    def _find_skeleton(self, roles: Roles, generation_prompt: bool) -> Skeleton | None:
        """None where the template rejects these roles or does more with contents than insert and trim them."""
        marks = [f"qzx{index}xzq" for index in range(len(roles))]
        padded = [f" \n{mark}\t \n" for mark in marks]
        try:
            texts = [
                self.renderer.text(_messages(roles, contents), generation_prompt)
                for contents in (marks, padded, [""] * len(roles))
            ]
        except UserError:
            return None
        fixed = _around(texts[0], marks)
        trims = None if fixed is None else _trims(texts[1], fixed, padded)
        if fixed is None or trims is None:
            return None
        skeleton = Skeleton(fixed, trims)
        return skeleton if skeleton.text([""] * len(roles)) == texts[2] else None

    def _find_hazards(self) -> re.Pattern[str] | None:
        """What a content may not hold for its dialogue to be rendered here; None where there is nothing such."""
        if self._find_skeleton(PROBED[0], generation_prompt=False) is None:
            return EVERYTHING
        literals = _literals(self.renderer.tokenizer.get_chat_template())
        hazards = [literal for literal in literals if not self._inserts(literal)]
        harmless = [literal for literal in literals if literal not in hazards]
        # Two strings may make a difference only together.
        if not self._inserts(" ".join(harmless)) or not self._inserts(" ".join(reversed(harmless))):
            return EVERYTHING
        return re.compile(any_of(hazards)) if hazards else None

    def _inserts(self, literal: str) -> bool:
        """Whether a content that holds this string is inserted like any other, in every place of it and every role."""
        for roles in PROBED:
            skeleton = self._find_skeleton(roles, generation_prompt=False)
            if skeleton is None:
                continue  # a template without a system role
            for content in (literal, f"a{literal}b", f"{literal}b", f"a{literal}", f"a {literal}\n{literal} b"):
                messages = _messages(roles, [content] * len(roles))
                try:
                    text = self.renderer.text(messages, generation_prompt=False)
                except UserError:
                    return False
                if text != skeleton.text(skeleton.contents(messages)):
                    return False
        return True


def _messages(roles: Roles, contents: Sequence[str]) -> Messages:
    return tuple(Message(role=role, content=content) for role, content in zip(roles, contents, strict=True))


def _around(text: str, marks: Sequence[str]) -> tuple[str, ...] | None:
    """The texts before, between and after `marks`; None where they do not stand there once each and in order."""
    fixed = []
    for mark in marks:
        if text.count(mark) != 1:
            return None
        before, _, text = text.partition(mark)
        fixed.append(before)
    return None if any(mark in piece for piece in fixed for mark in marks) else (*fixed, text)


def _trims(text: str, fixed: Sequence[str], padded: Sequence[str]) -> tuple[Trim, ...] | None:
    """What was done to each content of a rendering, given the texts around them; None where it was something else."""
    trims = []
    position = len(fixed[0])
    if not text.startswith(fixed[0]):
        return None
    for content, after in zip(padded, fixed[1:], strict=True):
        trim = next((trim for trim in TRIMS if text.startswith(trim(content) + after, position)), None)
        if trim is None:
            return None
        trims.append(trim)
        position += len(trim(content)) + len(after)
    return tuple(trims) if position == len(text) else None


def _one_grows_into_the_next(before: Skeleton, through: Skeleton, whole: Skeleton) -> bool:
    """Whether, for all contents, a turn's prompt begins its rendering, and that (its end trimmed) the whole dialogue's.

    The same that the reference asks of one dialogue's renderings.
    """
    index = len(before.trims)
    return (
        before.trims == through.trims[:index]
        and before.fixed[:index] == through.fixed[:index]
        and through.fixed[index].startswith(before.fixed[index])
        and through.trims == whole.trims[: index + 1]
        and through.fixed[: index + 1] == whole.fixed[: index + 1]
        and whole.fixed[index + 1].startswith(through.fixed[index + 1].rstrip())
    )


def _literals(template: str) -> list[str]:
    """The strings that a template's source spells out, escapes read; of one that cannot be read, its raw text."""
    literals = set()
    # Both ways: an apostrophe in the text between blocks, or a brace in a string, misleads one of them.
    for part in (template, *_BLOCK.findall(template)):
        for quoted in _STRING.findall(part):
            try:
                literals.add(str(ast.literal_eval(quoted.replace("\n", "\\n"))))
            except (SyntaxError, ValueError):
                literals.add(quoted[1:-1])
    return sorted(literals - {""})
