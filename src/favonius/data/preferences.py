"""Rows that compare answers: pairs, HH-RLHF text, UltraFeedback."""

from __future__ import annotations

from typing import Any

from favonius.data.fields import (
    PROMPT,
    SYSTEM,
    first,
    listing,
    needed,
    number,
    optional_number,
    optional_text,
    row_id,
    row_split,
    text,
    truth,
    wrong,
)
from favonius.data.raw import RawRow
from favonius.data.turns import NO_ANSWER, UnfitRowError, is_hh, read_hh, read_turns, whole_prompt
from favonius.types import Feedback, Message, Pair, RatedText

DIFFER_EARLY = "chosen and rejected differ before their last turn"
NO_COMPLETIONS = "no completions"


def prompt_turns(row: RawRow) -> list[Message]:
    """The turns before the answer: a text is the user's, after the row's `system` where it has one; none: []."""
    field = first(row.value, PROMPT)
    if field is None:
        return []
    if isinstance(row.value[field], list):
        return read_turns(row, field)
    system = optional_text(row, *SYSTEM)
    before = [Message(role="system", content=system)] if system else []
    return [*before, Message(role="user", content=question(row, field))]


def question(row: RawRow, field: str) -> str:
    """The text in `field`; an Alpaca instruction and its input are one, an empty line between them."""
    extra = optional_text(row, "input") if field == "instruction" else None
    return "\n\n".join(part for part in (text(row, field), extra) if part)


def answered(row: RawRow, field: str, prompt: list[Message]) -> list[Message]:
    """`prompt` and the answer in `field`: a text, the assistant's turn alone, or the whole conversation again."""
    if not isinstance(row.value[field], list):
        return [*prompt, Message(role="assistant", content=text(row, field))]
    turns = read_turns(row, field)
    return [*prompt, *turns] if turns and turns[0].role == "assistant" else turns


def preference_pair(row: RawRow) -> Pair:
    """A pair of `chosen` and `rejected`. Where they are conversations, what they share is the prompt."""
    prompt = prompt_turns(row)
    return _pair(row, *(answered(row, needed(row, (field,)), prompt) for field in ("chosen", "rejected")))


def hh_pair(row: RawRow) -> Pair:
    """The same of HH-RLHF text; some copies of it have the prompt apart, ending in `Assistant:`."""
    opening = optional_text(row, "prompt") or ""
    if not is_hh(text(row, "chosen")) and opening:
        return _pair(row, *(read_hh(opening + text(row, field)) for field in ("chosen", "rejected")))
    return _pair(row, *(read_hh(text(row, field)) for field in ("chosen", "rejected")))


def _pair(row: RawRow, chosen: list[Message], rejected: list[Message]) -> Pair:
    for turns in (chosen, rejected):
        if not turns or turns[-1].role != "assistant":
            raise UnfitRowError(NO_ANSWER)
    if chosen[:-1] != rejected[:-1]:
        raise UnfitRowError(DIFFER_EARLY)
    prompt = whole_prompt(chosen[:-1])
    return Pair(
        id=row_id(row, prompt),
        split=row_split(row),
        prompt=prompt,
        chosen=chosen[-1].content,
        rejected=rejected[-1].content,
        chosen_finished=truth(row, "chosen_finished", default=True),
        rejected_finished=truth(row, "rejected_finished", default=True),
        chosen_source=optional_text(row, *_of("chosen", "source", "model")),
        rejected_source=optional_text(row, *_of("rejected", "source", "model")),
        chosen_score=optional_number(row, *_of("chosen", "score", "rating")),
        rejected_score=optional_number(row, *_of("rejected", "score", "rating")),
    )


def _of(side: str, *names: str) -> tuple[str, ...]:
    """`chosen`, `score` → chosen_score, score_chosen, chosen-score: all three are in use."""
    return tuple(form for name in names for form in (f"{side}_{name}", f"{name}_{side}", f"{side}-{name}"))


def feedback(row: RawRow) -> Feedback:
    """A row of UltraFeedback as it was published, or of our own `Feedback`."""
    prompt = whole_prompt(prompt_turns(row))
    completions = listing(row, needed(row, ("completions",)))
    if not completions:
        raise UnfitRowError(NO_COMPLETIONS)
    rated = tuple(_rated(row, f"completions[{index}]", item) for index, item in enumerate(completions))
    return Feedback(id=row_id(row, prompt), split=row_split(row), prompt=prompt, completions=rated)


def _rated(row: RawRow, where: str, item: Any) -> RatedText:
    if not isinstance(item, dict):
        raise wrong(row, where, item, "an object with a response")
    inner = RawRow(f"{row.place}, {where}", item)
    return RatedText(
        source=text(inner, "model", "source"),
        text=text(inner, "response", "text"),
        scores=_scores(inner),
        overall=optional_number(inner, "overall_score", "overall"),
        critique=optional_text(inner, "critique"),
        principle=optional_text(inner, "principle"),
    )


def _scores(row: RawRow) -> dict[str, float | None]:
    """Our own `scores`, or the ratings in UltraFeedback's `annotations`."""
    name = first(row.value, ("scores", "annotations"))
    if name is None:
        return {}
    if not isinstance(row.value[name], dict):
        raise wrong(row, name, row.value[name], "an object of scores by aspect")
    scores = {}
    for aspect, said in row.value[name].items():
        rated = isinstance(said, dict)
        field = f"{name}.{aspect}.Rating" if rated else f"{name}.{aspect}"
        scores[aspect] = number(row, field, said.get("Rating") if rated else said)
    return scores
