"""Rows that compare answers: pairs in all their forms (`exports` writes four of them), HH-RLHF text, UltraFeedback."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from favonius.data.fields import (
    CHOSEN,
    PROMPT,
    REJECTED,
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
from favonius.data.rows import explain
from favonius.data.turns import NO_ANSWER, UnfitRowError, is_hh, read_hh, read_turns, whole_prompt
from favonius.errors import UserError
from favonius.types import (
    Comparison,
    Feedback,
    JudgeCall,
    JudgedBy,
    Knowledge,
    Message,
    Noun,
    Origin,
    Pair,
    PairOrigin,
    Principle,
    RatedText,
)

N = TypeVar("N", bound=Noun)

DIFFER_EARLY = "chosen and rejected differ before their last turn"
NO_SHARED_PROMPT = "chosen and rejected share no beginning that could be the prompt"
NO_COMPLETIONS = "no completions"
IMPORTED = "imported"
"""The rule of pairs whose row says where the prompt comes from and not how the pair was made."""

UNNAMED = "unknown"
"""The source of an answer whose row does not say who wrote it."""
NO_ANSWER_KNOWN = "None"
"""What UltraFeedback writes in the place of an answer that it does not know."""
FALSE_PREMISE_SOURCE = "false_qa"
FALSE_PREMISE = "The question takes something for granted that is false."
NOT_TOLD = ("wizardlm-7b",)
"""UltraFeedback noted a principle for this model and did not show it (zephyr-spec §4.3)."""


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
    fields = needed(row, CHOSEN), needed(row, REJECTED)
    if not prompt and all(isinstance(row.value[field], str) for field in fields):
        return _pair(row, *_split_texts(*(text(row, field) for field in fields)))
    return _pair(row, *(answered(row, field, prompt) for field in fields))


def _split_texts(chosen: str, rejected: str) -> tuple[list[Message], list[Message]]:
    """Two texts with the prompt inside, as TRL allows: it is their common beginning, up to the last white space."""
    same = next((at for at, two in enumerate(zip(chosen, rejected, strict=False)) if two[0] != two[1]), len(chosen))
    shared = chosen[: max(chosen.rfind(space, 0, same) for space in " \n\t") + 1]
    prompt = shared.rstrip()
    if not prompt:
        raise UnfitRowError(NO_SHARED_PROMPT)
    asked = Message(role="user", content=prompt)
    first_turns, second_turns = (
        [asked, Message(role="assistant", content=whole[len(shared) :])] for whole in (chosen, rejected)
    )
    return first_turns, second_turns


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
        chosen_score=optional_number(row, *_of("chosen", "score", "rating", "avg_rating")),
        rejected_score=optional_number(row, *_of("rejected", "score", "rating", "avg_rating")),
        origin=_pair_origin(row),
    )


def _of(side: str, *names: str) -> tuple[str, ...]:
    """`chosen`, `score` → chosen_score, score_chosen, chosen-score: all three are in use."""
    return tuple(form for name in names for form in (f"{side}_{name}", f"{name}_{side}", f"{side}-{name}"))


def _pair_origin(row: RawRow) -> PairOrigin | None:
    """Our own `origin`, or what a foreign `source` says of the prompt."""
    if isinstance(row.value.get("origin"), dict) and "rule" in row.value["origin"]:
        return _noun(row, "origin", PairOrigin)
    source = row.value.get("source")
    return PairOrigin(rule=IMPORTED, prompt_source=source) if isinstance(source, str) and source else None


def feedback(row: RawRow) -> Feedback:
    """A row of UltraFeedback as it was published, or of our own `Feedback`."""
    prompt = whole_prompt(prompt_turns(row))
    completions = listing(row, needed(row, ("completions",)))
    if not completions:
        raise UnfitRowError(NO_COMPLETIONS)
    source = optional_text(row, "source")
    return Feedback(
        id=row_id(row, prompt),
        split=row_split(row),
        prompt=prompt,
        completions=tuple(_rated(row, f"completions[{index}]", item) for index, item in enumerate(completions)),
        source=source,
        knowledge=_knowledge(row, source),
        judge=_noun(row, "judge", JudgedBy),
        calls=_nouns(row, "calls", JudgeCall),
        comparisons=_nouns(row, "comparisons", Comparison),
    )


def _knowledge(row: RawRow, source: str | None) -> Knowledge | None:
    """Our own, or UltraFeedback's lists of right and wrong answers and what the name of FalseQA says."""
    if row.value.get("knowledge") is not None:
        return _noun(row, "knowledge", Knowledge)
    correct, incorrect = (_answers(row, name) for name in ("correct_answers", "incorrect_answers"))
    note = FALSE_PREMISE if source == FALSE_PREMISE_SOURCE else None
    return Knowledge(correct=correct, incorrect=incorrect, note=note) if correct or incorrect or note else None


def _answers(row: RawRow, name: str) -> tuple[str, ...]:
    if row.value.get(name) is None:
        return ()
    return tuple(answer for answer in listing(row, name) if isinstance(answer, str) and answer != NO_ANSWER_KNOWN)


def _rated(row: RawRow, where: str, item: Any) -> RatedText:
    if not isinstance(item, dict):
        raise wrong(row, where, item, "an object with a response")
    inner = RawRow(f"{row.place}, {where}", item)
    return RatedText(
        source=optional_text(inner, "model", "source") or UNNAMED,
        text=text(inner, "response", "text"),
        finished=truth(inner, "finished", default=True),
        flaws=tuple(listing(inner, "flaws")) if item.get("flaws") else (),
        principle=_principle(inner),
        origin=_noun(inner, "origin", Origin),
        scores=_scores(inner),
        overall=optional_number(inner, "overall_score", "overall"),
        critique=optional_text(inner, "critique"),
    )


def _principle(row: RawRow) -> Principle | None:
    """Our own, or UltraFeedback's kind of principle and the system prompt that told it."""
    if isinstance(row.value.get("principle"), dict):
        return _noun(row, "principle", Principle)
    kind = optional_text(row, "principle")
    if kind is None:
        return None
    told = optional_text(row, "custom_system_prompt") or ""
    return Principle(kind=kind, text=told, shown=row.value.get("model") not in NOT_TOLD)


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


def _noun(row: RawRow, name: str, kind: type[N]) -> N | None:
    """What stands under `name`, which only our own files have. UserError where it is no `kind`."""
    value = row.value.get(name)
    return None if value is None else _checked(row, name, value, kind)


def _nouns(row: RawRow, name: str, kind: type[N]) -> tuple[N, ...]:
    if row.value.get(name) is None:
        return ()
    return tuple(_checked(row, f"{name}[{index}]", item, kind) for index, item in enumerate(listing(row, name)))


def _checked(row: RawRow, where: str, value: Any, kind: type[N]) -> N:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{row.place}: in {where}, {explain(error, kind)}") from None
