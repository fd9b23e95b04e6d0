"""Fields of raw rows, looked up under the several names that people give them, with errors that name the place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from favonius.data.raw import RawRow
from favonius.errors import UserError
from favonius.phrases import quoted
from favonius.types import Messages, Split, digest

PROMPT = ("prompt", "instruction", "question", "query", "input", "text")
OUTPUT = ("output", "response", "answer", "completion")
CHOSEN = ("chosen", "chosen_response")
REJECTED = ("rejected", "rejected_response")
TURNS = ("messages", "conversations", "conversation")
SYSTEM = ("system", "system_prompt")
LABEL = ("label", "desirable", "kto_tag")
IDS = ("id", "prompt_id", "question_id")
DIGEST_CHARACTERS = 16
NO_NUMBER = ("", "N/A", "NA", "NONE", "NAN")
TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def first(value: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of `names` under which something stands; Parquet rows have every field, most of them null."""
    return next((name for name in names if value.get(name) is not None), None)


def needed(row: RawRow, names: tuple[str, ...]) -> str:
    """As `first`, but UserError where there is none."""
    name = first(row.value, names)
    if name is None:
        there = ", ".join(row.value) or "none"
        raise UserError(f"{row.place}: the field {' or '.join(names)} is missing (fields: {there})")
    return name


def wrong(row: RawRow, field: str, value: Any, wanted: str) -> UserError:
    return UserError(f"{row.place}: {field} is {quoted(value)}, not {wanted}")


def text(row: RawRow, *names: str) -> str:
    """The text under the first of `names`. UserError where there is none or it is no text."""
    name = needed(row, names)
    value = row.value[name]
    if not isinstance(value, str):
        raise wrong(row, name, value, "a text")
    return value


def optional_text(row: RawRow, *names: str) -> str | None:
    """The same, but None where there is none or it is empty, as CSV has it."""
    return (text(row, *names) or None) if first(row.value, names) is not None else None


def listing(row: RawRow, name: str) -> list[Any]:
    """The list under `name`, which in a CSV cell is written as JSON."""
    found = as_list(row.value[name])
    if found is None:
        raise wrong(row, name, row.value[name], "a list")
    return found


def as_list(value: Any) -> list[Any] | None:
    """`value` if it is a list or the JSON of one, else None."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return value if isinstance(value, list) else None


def number(row: RawRow, field: str, value: Any) -> float | None:
    """A score, written as number or text; None for null, NaN, "" and N/A. UserError for anything else."""
    if value is None or str(value).strip().upper() in NO_NUMBER:
        return None
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise wrong(row, field, value, "a number or N/A")
    return found


def optional_number(row: RawRow, *names: str) -> float | None:
    name = first(row.value, names)
    return number(row, name, row.value[name]) if name else None


def truth(row: RawRow, *names: str, default: bool | None = None) -> bool:
    """A yes or no, also as 1, 0 or text. UserError for anything else, and where there is none and no `default`."""
    if default is not None and first(row.value, names) is None:
        return default
    name = needed(row, names)
    value = row.value[name]
    if (found := as_truth(value)) is None:
        raise wrong(row, name, value, "true or false")
    return found


def as_truth(value: Any) -> bool | None:
    return TRUTH.get(str(value).strip().lower())


def row_id(row: RawRow, prompt: Messages) -> str:
    """The row's own id, or a short digest of its prompt."""
    for name in IDS:
        if row.value.get(name) is not None and (own := str(row.value[name]).strip()):
            return own
    return digest([[message.role, message.content] for message in prompt])[:DIGEST_CHARACTERS]


def row_split(row: RawRow) -> Split:
    """The row's own split where it is one of ours, else `train`, until `data.splits` decides."""
    return "test" if row.value.get("split") == "test" else "train"
