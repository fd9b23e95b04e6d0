"""What the rows of a file are, told from their fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from favonius.data.fields import CHOSEN, LABEL, OUTPUT, PROMPT, REJECTED, TURNS, as_list, as_truth, first
from favonius.data.raw import RawRow
from favonius.data.turns import is_hh
from favonius.errors import UserError
from favonius.phrases import counted

Shape = Literal["messages", "sharegpt", "alpaca", "ultrachat", "preference", "ultrafeedback", "hh", "kto", "prompts"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
LOOKED_AT = 50
"""Rows from which a shape is told."""
SHOWN_FIELDS = 12
WORDS: dict[Shape, str] = {
    "messages": "turns of role and content",
    "sharegpt": "turns of from and value",
    "alpaca": "an instruction, perhaps an input, and an output",
    "ultrachat": "a list of texts, user and assistant in turn, in data",
    "preference": "a chosen and a rejected answer",
    "ultrafeedback": "an instruction and completions with a judge's scores",
    "hh": "chosen and rejected texts with Human: and Assistant:",
    "kto": "a prompt, a completion and a label",
    "prompts": "prompts without answers",
}


def detect(rows: Sequence[RawRow]) -> Shape:
    """The one shape that the first rows of a file have.

    UserError where they have none, showing their fields and the shapes that are known, and where they have several.
    """
    found = Counter(shape for row in rows if (shape := shape_of(row.value)))
    if len(found) == 1:
        return next(iter(found))
    if not rows:
        raise UserError("there are no rows to tell a shape from")
    known = "; ".join(f"{shape}: {words}" for shape, words in WORDS.items())
    if found:
        several = ", ".join(f"{shape} × {count}" for shape, count in found.most_common())
        raise UserError(
            f"{rows[0].place}: the rows from here on have several shapes ({several}); say which, or split it"
        )
    raise UserError(
        f"{rows[0].place}: the rows from here on have no known shape; fields: {_fields_in_words(rows)} (known: {known})"
    )


def shape_of(value: Mapping[str, Any]) -> Shape | None:
    """The shape of one row, or None. What says more is asked first: many preference sets carry `messages` too."""
    prompt, turns = first(value, PROMPT), first(value, TURNS)
    if first(value, CHOSEN) and first(value, REJECTED):
        return "hh" if any(is_hh(value.get(name)) for name in ("chosen", "rejected", "prompt")) else "preference"
    if prompt and as_list(value.get("completions")) is not None:
        return "ultrafeedback"
    if _labelled(value, prompt, turns):
        return "kto"
    if turns:
        return _turn_shape(as_list(value[turns]))
    if all(isinstance(item, str) for item in as_list(value.get("data")) or [None]):
        return "ultrachat"
    if prompt:
        return "alpaca" if first(value, OUTPUT) else "prompts"
    return None


def _labelled(value: Mapping[str, Any], prompt: str | None, turns: str | None) -> bool:
    """A prompt, its answer and a yes or no; of a whole conversation only a boolean says that, not any 0 or 1."""
    label, answer = first(value, LABEL), first(value, (*OUTPUT, "text"))
    if label is None or as_truth(value[label]) is None:
        return False
    if prompt and answer not in (None, prompt):
        return True
    return turns is not None and isinstance(value[label], bool)


def _turn_shape(turns: list[Any] | None) -> Shape | None:
    """None for no turns: a row without any says nothing of the others."""
    if not turns or not isinstance(turns[0], dict):
        return None
    return "messages" if turns[0].get("role") is not None else "sharegpt"


def describe(shape: Shape, rows: Sequence[RawRow]) -> str:
    """What was found, in words: `sharegpt (turns of from and value): fields …; speakers human × 61, gpt × 67`."""
    text = f"{shape} ({WORDS[shape]}), from {counted(len(rows), 'row')}: fields {_fields_in_words(rows)}"
    speakers = Counter(speaker for row in rows for speaker in _speakers(row.value))
    if speakers:
        text += "; speakers " + ", ".join(f"{speaker} × {count}" for speaker, count in speakers.most_common())
    return text


def _fields_in_words(rows: Iterable[RawRow]) -> str:
    """The fields under which something stands somewhere, in the order of the file."""
    names = list(dict.fromkeys(name for row in rows for name, item in row.value.items() if item is not None))
    more = f" and {len(names) - SHOWN_FIELDS} more" if len(names) > SHOWN_FIELDS else ""
    return (", ".join(names[:SHOWN_FIELDS]) or "none") + more


def _speakers(value: Mapping[str, Any]) -> Iterable[str]:
    for name in (*TURNS, "chosen", "rejected", "prompt"):
        for turn in as_list(value.get(name)) or ():
            if isinstance(turn, dict) and (speaker := turn.get("role") or turn.get("from")):
                yield str(speaker)
