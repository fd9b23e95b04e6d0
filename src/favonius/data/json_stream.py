"""Rows of JSON files: one object a line, one array, an object around an array, or objects one after another.

A document is read in constant memory: Python's own scanner finds where a row ends, and orjson, which also reads the
lines, makes the row. So the same row is the same value, and the same faults are refused, in either kind of file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from favonius.data.raw import NOT_UTF8, Fault, RawRow
from favonius.data.streams import DamagedFileError, chunks, head, numbered_lines

SNIFFED_BYTES = 1 << 20
CUT_MARGIN = 16
"""Characters. An error so near to the end of what has been read may only mean that the rest has not."""
ROW_LISTS = re.compile(r"(?:messages|conversations?|prompt|chosen|rejected|completions?|history)$")
"""Fields whose lists belong to a row; a list of objects under any other name at the top of a file is its rows."""

BAD_ROW = "this is not a whole JSON value"
NOT_AN_OBJECT = "a row must be one JSON object"
CUT_OFF = "the JSON is cut off"
BROKEN = "the JSON is broken"
_SPACE = re.compile(r"[ \t\r\n]*")
_NO_NUMBER = re.compile(rb"\b(?:NaN|Infinity)\b")
_TURN_LIST = re.compile(r'"(?:messages|conversations?|data)"\s*:\s*\[')


def json_rows(path: Path) -> Iterator[RawRow | Fault]:
    """Rows of a `.json` file, whichever of the four forms it has."""
    return line_rows(path) if _is_lines(path) else document_rows(path)


def _is_lines(path: Path) -> bool:
    first, _, rest = head(path, SNIFFED_BYTES).strip().partition(b"\n")
    try:
        return bool(rest.strip()) and isinstance(_parsed(first), dict)
    except orjson.JSONDecodeError:
        return False


def line_rows(path: Path) -> Iterator[RawRow | Fault]:
    """Rows of a JSON-lines file. Blank lines are no rows; a bad line is a fault, and reading goes on after it."""
    name, number = str(path), 0
    try:
        for number, line in numbered_lines(path):
            try:
                value = _parsed(line)
            except orjson.JSONDecodeError as error:
                text = line.decode("utf-8", "replace")
                cause, detail = (BAD_ROW, error.msg) if text.encode() == line else (NOT_UTF8, "")
                yield _bad_row(name, f"line {number}", text, cause, detail)
                continue
            yield _row(name, f"line {number}", value, line)
    except DamagedFileError as error:
        yield _end(name, f"after line {number}", error.cause, "", error.tail.decode("utf-8", "replace"))


def document_rows(path: Path) -> Iterator[RawRow | Fault]:
    """Rows of a JSON document. What cannot be parsed ends it: where the next row would begin, nobody can say."""
    name, number = str(path), 0
    text = _Text(chunks(path))
    try:
        for raw in _raw_values(text):
            number += 1
            try:
                value = _parsed(raw)
            except orjson.JSONDecodeError as error:
                yield _bad_row(name, f"row {number}", raw, BAD_ROW, error.msg)
                continue
            yield _row(name, f"row {number}", value, raw)
    except _BrokenTextError as error:
        where = f"line {text.line(error.at)}, after row {number}"
        yield _end(name, where, error.cause, error.detail, text.tail(), text.count_rest())


def _parsed(raw: bytes | str) -> Any:
    """The value of a row. Raises orjson.JSONDecodeError.

    NaN and Infinity, which JSON does not know and Python writes where a number is missing, are read as null.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not _NO_NUMBER.search(raw if isinstance(raw, bytes) else raw.encode("utf-8", "replace")):
            raise
        try:
            return orjson.loads(orjson.dumps(json.loads(raw)))
        except (ValueError, TypeError, RecursionError):
            raise error from None  # something else is wrong with it, too


def _bad_row(name: str, where: str, text: str, cause: str, detail: str) -> Fault:
    return Fault(name, where, cause, detail, bytes=_size(text), turns=whole_turns(text), sample=text)


def _row(name: str, where: str, value: Any, raw: bytes | str) -> RawRow | Fault:
    if isinstance(value, dict):
        return RawRow(f"{name}, {where}", value)
    text = raw if isinstance(raw, str) else raw.decode()
    return Fault(name, where, NOT_AN_OBJECT, bytes=_size(text), sample=text)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _end(name: str, where: str, cause: str, detail: str, tail: str, beyond: int = 0) -> Fault:
    size, turns = _size(tail), whole_turns(tail)
    tail = tail.strip(" \t\r\n,")
    return Fault(name, where, cause, detail, int(bool(tail)), size + beyond, turns, tail, ends=True)


def whole_turns(raw: str) -> int:
    """How many whole turns stand in the raw text of a dialogue that is cut off somewhere."""
    if not (opening := _TURN_LIST.search(raw)):
        return 0
    at, count = opening.end(), 0
    decoder = json.JSONDecoder()
    try:
        while raw[(at := _SPACE.match(raw, at).end()) : at + 1] in ("{", '"'):  # type: ignore[union-attr]
            _, at = decoder.raw_decode(raw, at)
            count += 1
            at = _SPACE.match(raw, at).end() + 1  # type: ignore[union-attr]
    except (json.JSONDecodeError, RecursionError):
        pass  # the turn in which the text was cut off
    return count


class _BrokenTextError(Exception):
    def __init__(self, cause: str, detail: str, at: int) -> None:
        super().__init__(cause)
        self.cause, self.detail, self.at = cause, detail, at


class _Text:
    """The characters of a JSON document, of which only those around `at` are in memory.

    `start` is where the row begins that is being read: nothing before it is needed any more.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder().raw_decode
        self._lines_before = 0
        self._damage: str | None = None
        self._unread = 0
        self.text = ""
        self.at = self.start = 0

    def peek(self) -> str:
        """The next character that is not white space, at which `at` then stands; "" at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def take(self, allowed: str) -> str:
        """Step over the next character, which must be one of `allowed`. _BrokenTextError where it is another."""
        found = self.peek()
        if not found:
            raise self._cut()
        if found not in allowed:
            raise _BrokenTextError(self._damage or BROKEN, f"expected {' or '.join(allowed)}, found {found}", self.at)
        self.at += 1
        return found

    def value(self) -> str:
        """Step over the next JSON value and return its text. _BrokenTextError where there is no whole one."""
        self.peek()
        while True:
            try:
                _, end = self._scan(self.text, self.at)
            except json.JSONDecodeError as error:
                may_go_on = error.msg.startswith("Unterminated string") or error.pos >= len(self.text) - CUT_MARGIN
                if not may_go_on:
                    raise _BrokenTextError(self._damage or BROKEN, error.msg, error.pos) from error
                if not self._more():
                    raise self._cut() from error
                continue
            except RecursionError as error:
                raise _BrokenTextError(BROKEN, "it is nested too deeply", self.at) from error
            if end == len(self.text) and self._more():
                continue  # a number may go on
            value, self.at = self.text[self.at : end], end
            return value

    def _cut(self) -> _BrokenTextError:
        return _BrokenTextError(self._damage or CUT_OFF, "", len(self.text))

    def _more(self) -> bool:
        """Read on, at least as much as is pending, so that one long row is not scanned again and again."""
        pending = self.text[self.start :]
        self._lines_before += self.text.count("\n", 0, self.start)
        self.at -= self.start
        self.start = 0
        gained, wanted = [], max(len(pending), 1)
        while wanted > 0 and (piece := self._next_piece()) is not None:
            gained.append(piece)
            wanted -= len(piece)
        self.text = pending + "".join(gained)
        return len(self.text) > len(pending)

    def _next_piece(self) -> str | None:
        if self._damage:
            return None
        try:
            return self._decoder.decode(next(self._pieces))
        except StopIteration:
            return None
        except DamagedFileError as error:
            self._damage = error.cause
        except UnicodeDecodeError as error:
            self._damage = NOT_UTF8
            self._unread = len(error.object) - error.start
            return error.object[: error.start].decode()
        return None

    def line(self, at: int) -> int:
        return self._lines_before + self.text.count("\n", 0, at) + 1

    def tail(self) -> str:
        """From the row that was being read to the end of what is in memory."""
        return self.text[self.start :]

    def count_rest(self) -> int:
        """Bytes of the file after what is in memory."""
        try:
            return self._unread + sum(map(len, self._pieces))
        except DamagedFileError:
            return 0


def _raw_values(text: _Text) -> Iterator[str]:
    """The text of every row of a document."""
    if text.peek() == "[":
        yield from _elements(text)
        if text.peek():
            raise _BrokenTextError(BROKEN, "there is more after the end of the array", text.at)
        return
    while text.peek():
        text.start = text.at
        yield from _object_rows(text)


def _elements(text: _Text) -> Iterator[str]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    separator = ","
    while separator == ",":
        text.peek()
        text.start = text.at
        yield text.value()
        text.start = text.at
        separator = text.take(",]")


def _object_rows(text: _Text) -> Iterator[str]:
    """The lists of objects that an object holds, or the object itself where it holds none: then it is a row."""
    members, has_lists = [], False
    text.take("{")
    separator = "," if text.peek() != "}" else text.take("}")
    while separator == ",":
        name = text.value()
        text.take(":")
        if not ROW_LISTS.fullmatch(name.strip('"')) and _opens_rows(text):
            has_lists = True
            yield from _elements(text)
        else:
            members.append(f"{name}:{text.value()}")
        separator = text.take(",}")
    if not has_lists:
        yield "{" + ",".join(members) + "}"


def _opens_rows(text: _Text) -> bool:
    """Whether a list of objects comes next; `at` stays before it."""
    if text.peek() != "[":
        return False
    text.at += 1
    found = text.peek()
    # `at` is moved, not kept: reading on may have shifted the text.
    text.at = text.text.rindex("[", text.start, text.at)
    return found == "{"
