"""Rows of our own nouns on disk: JSON lines (plain or compressed) in and out, Parquet in."""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from favonius.data.raw import NOT_UTF8, Fault
from favonius.data.streams import DamagedFileError, numbered_lines
from favonius.data.tables import parquet_rows
from favonius.errors import UserError
from favonius.files import replacing, require_file
from favonius.phrases import quoted
from favonius.types import Noun

N = TypeVar("N", bound=Noun)

LINE_BREAKERS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
"""Line ends to some programs, and left as they are by JSON: escaped, or a row would be two lines to them."""


def read_rows(path: Path, kind: type[N]) -> list[N]:
    """All rows of `path`; see `iterate_rows`."""
    return list(iterate_rows(path, kind))


def iterate_rows(path: Path, kind: type[N]) -> Iterator[N]:
    """Rows of a `.parquet` or JSON-lines (plain, `.gz`, `.zst`) file, each checked against `kind`; no blank lines.

    UserError naming file, line, field, what was found and what is allowed, at the first row that is not a `kind`.
    """
    require_file(path)
    for place, value in _values(path):
        try:
            yield kind.model_validate_json(value) if isinstance(value, bytes) else kind.model_validate(value)
        except ValidationError as error:
            raise UserError(f"{place}: {explain(error, kind)}") from None


def write_rows(path: Path, rows: Iterable[Noun]) -> None:
    """JSON lines, one row each, at `path`: all of them or, if anything fails, none. ValueError on NaN."""
    if path.suffix != ".jsonl":
        raise ValueError(f"{path}: rows are written as .jsonl")
    with replacing(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(map(line_of, rows))


def line_of(row: Noun) -> str:
    """A row as it stands in a file, with its line feed. ValueError on NaN."""
    return json_line(row.model_dump(mode="json"))


def json_line(value: dict[str, Any]) -> str:
    """An object on a line of its own. ValueError on NaN."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.translate(LINE_BREAKERS) + "\n"


def explain(error: ValidationError, kind: type[Noun]) -> str:
    """The first thing that is wrong with a row, as the end of a sentence."""
    first, *others = error.errors()
    more = f" (and {len(others)} more)" if others else ""
    return _explain_one(first, kind) + more


def _explain_one(found: ErrorDetails, kind: type[Noun]) -> str:
    where, shown = _place(found["loc"]), quoted(found["input"])
    match found["type"]:
        case "json_invalid" if not _is_utf8(found["input"]):
            return f"{NOT_UTF8}; save it as UTF-8"
        case "json_invalid":
            return f"this is not a whole JSON value ({found['ctx']['error']}): put one object on each line"
        case "model_type":
            return f"{where or 'the row'} is {shown}, not an object: put one object on each line"
        case "missing":
            return f"{where} is missing (needed: {', '.join(_needed(kind, found['loc'][:-1]))})"
        case "extra_forbidden":
            allowed = _fields(kind, found["loc"][:-1])
            near = difflib.get_close_matches(str(found["loc"][-1]), allowed, 1)
            hint = f", did you mean {near[0]}?" if near else ""
            return f"{where} is no known key{hint} (known: {', '.join(allowed)})"
        case "literal_error":
            return f"{where} is {shown}, allowed are {found['ctx']['expected']}"
        case "too_short":
            context = found["ctx"]
            return f"{where} holds {context['actual_length']}, at least {context['min_length']} are needed"
        case "value_error":  # the noun's own words, which name the field
            said = found["msg"].removeprefix("Value error, ")
            return f"{where}: {said}" if where else said
        case _:
            return f"{where} is {shown}: {found['msg'][:1].lower()}{found['msg'][1:]}"


def _place(location: Sequence[int | str]) -> str:
    """("messages", 2, "role") → messages[2].role"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _fields(kind: type[Noun], location: Sequence[int | str]) -> list[str]:
    """Names of the fields of the noun at `location` inside a `kind`."""
    return list(_noun_at(kind, location).model_fields)


def _needed(kind: type[Noun], location: Sequence[int | str]) -> list[str]:
    """Names of those fields that a row cannot leave out."""
    return [name for name, field in _noun_at(kind, location).model_fields.items() if field.is_required()]


def _noun_at(kind: type[Noun], location: Sequence[int | str]) -> type[Noun]:
    for part in location:
        if isinstance(part, str) and part in kind.model_fields:  # else it is a key of a mapping
            kind = _noun(kind.model_fields[part].annotation) or kind
    return kind


def _is_utf8(value: Any) -> bool:
    try:
        return not isinstance(value, bytes) or value.decode() is not None
    except UnicodeDecodeError:
        return False


def _noun(annotation: Any) -> type[Noun] | None:
    """The noun in an annotation such as tuple[Message, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, Noun):
        return annotation
    return next((noun for part in typing.get_args(annotation) if (noun := _noun(part))), None)


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    """The place of each row and what stands there: a line's bytes, or a Parquet row."""
    if path.suffix == ".parquet":
        for row in parquet_rows(path):
            if isinstance(row, Fault):
                raise UserError(f"{row.file}, {row.where}: {row.cause} ({row.detail})")
            yield row.place, row.value
        return
    number = 0
    try:
        for number, line in numbered_lines(path):
            yield f"{path}, line {number}", line
    except DamagedFileError as error:
        raise UserError(f"{path}, after line {number}: the file is damaged or cut off ({error})") from error
