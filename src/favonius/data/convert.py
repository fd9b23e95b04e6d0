"""Raw rows of every shape made into our own nouns. One dialogue is the same messages, whatever the shape."""

from __future__ import annotations

from itertools import cycle

from favonius.data.checks import Drops
from favonius.data.fields import (
    LABEL,
    OUTPUT,
    PROMPT,
    SYSTEM,
    TURNS,
    first,
    listing,
    needed,
    optional_text,
    row_id,
    row_split,
    truth,
    wrong,
)
from favonius.data.preferences import answered, feedback, hh_pair, preference_pair, prompt_turns, question
from favonius.data.raw import RawRow
from favonius.data.shapes import Shape
from favonius.data.turns import (
    NO_ANSWER,
    NO_MESSAGES,
    UnfitRowError,
    read_turns,
    unasked_opening,
    whole_dialogue,
    whole_prompt,
)
from favonius.types import Dialogue, Feedback, LabelledAnswer, Message, Pair, SeedPrompt

Row = Dialogue | Pair | LabelledAnswer | Feedback | SeedPrompt

FIRST_ANSWER = "the first turn, an answer that nobody asked for, was left out"
LAST_QUESTION = "the last question, which has no answer, was left out"
EMPTY_PROMPT = "an empty prompt"
SEVERAL_TURNS = "a prompt of several turns"


def convert(row: RawRow, shape: Shape, changes: Drops | None = None) -> Row:
    """The noun that `row` is. Its split is its own if that is `train` or `test`, else `train`.

    UserError naming place and field where the row is not of this shape or has an unknown role; UnfitRowError where it
    is, but cannot be used. What had to be changed to make it fit is counted in `changes`.
    """
    match shape:
        case "messages" | "sharegpt" | "ultrachat" | "alpaca":
            return _dialogue(row, shape, changes)
        case "preference":
            return preference_pair(row)
        case "hh":
            return hh_pair(row)
        case "kto":
            return _labelled(row)
        case "ultrafeedback":
            return feedback(row)
        case "prompts":
            return _seed(row)


def _dialogue(row: RawRow, shape: Shape, changes: Drops | None) -> Dialogue:
    match shape:
        case "ultrachat":
            turns = _alternating(row)
        case "alpaca":
            turns = _alpaca(row)
        case _:
            turns = read_turns(row, needed(row, TURNS))
    if shape != "alpaca" and (system := optional_text(row, *SYSTEM)) and turns[:1] and turns[0].role != "system":
        turns = [Message(role="system", content=system), *turns]
    messages = whole_dialogue(turns)
    if changes is not None and unasked_opening(turns):
        changes.add(FIRST_ANSWER, f"{row.place}: {turns[0].content}")
    if changes is not None and turns[-1].role == "user":
        changes.add(LAST_QUESTION, f"{row.place}: {turns[-1].content}")
    return Dialogue(
        id=row_id(row, messages[:-1]),
        split=row_split(row),
        messages=messages,
        source=_label(row, "source"),
        topic=_label(row, "topic"),
    )


def _label(row: RawRow, name: str) -> str | None:
    """A field that other data sets use for other things: only a text is taken for it."""
    value = row.value.get(name)
    return value if isinstance(value, str) and value else None


def _alternating(row: RawRow) -> list[Message]:
    said = listing(row, needed(row, ("data",)))
    for index, item in enumerate(said):
        if not isinstance(item, str):
            raise wrong(row, f"data[{index}]", item, "a text")
    roles = cycle(("user", "assistant"))
    return [Message(role=role, content=item) for role, item in zip(roles, said, strict=False)]  # type: ignore[arg-type]


def _alpaca(row: RawRow) -> list[Message]:
    """A question and its answer; `history` holds the pairs before them."""
    turns = prompt_turns(row)
    if not turns:
        raise UnfitRowError(NO_MESSAGES)
    history = listing(row, "history") if row.value.get("history") else []
    earlier = [turn for index, pair in enumerate(history) for turn in _exchange(row, index, pair)]
    return answered(row, needed(row, OUTPUT), [*turns[:-1], *earlier, turns[-1]])


def _exchange(row: RawRow, index: int, pair: object) -> list[Message]:
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(said, str) for said in pair)):
        raise wrong(row, f"history[{index}]", pair, "a question and its answer")
    return [Message(role="user", content=pair[0]), Message(role="assistant", content=pair[1])]


def _labelled(row: RawRow) -> LabelledAnswer:
    if first(row.value, PROMPT) or not first(row.value, TURNS):
        turns = answered(row, needed(row, (*OUTPUT, "text")), prompt_turns(row))
    else:
        turns = read_turns(row, needed(row, TURNS))
    if not turns or turns[-1].role != "assistant":
        raise UnfitRowError(NO_ANSWER)
    prompt = whole_prompt(turns[:-1])
    return LabelledAnswer(
        id=row_id(row, prompt),
        split=row_split(row),
        prompt=prompt,
        text=turns[-1].content,
        desirable=truth(row, *LABEL),
        finished=truth(row, "finished", default=True),
        source=_label(row, "source") or _label(row, "model"),
    )


def _seed(row: RawRow) -> SeedPrompt:
    field = needed(row, PROMPT)
    if isinstance(row.value[field], list):
        turns = read_turns(row, field)
        if [turn.role for turn in turns] != ["user"]:
            raise UnfitRowError(SEVERAL_TURNS)
        prompt = turns[0].content
    else:
        prompt = question(row, field)
    if not prompt.strip():
        raise UnfitRowError(EMPTY_PROMPT)
    name = row_id(row, (Message(role="user", content=prompt),))
    return SeedPrompt(id=name, prompt=prompt, topic=_label(row, "topic"), kind=_label(row, "kind"))
