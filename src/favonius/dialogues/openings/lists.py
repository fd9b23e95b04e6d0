"""The items of a list that a model wrote, however it wrote it.

Small models number, bullet, quote, announce and comment their lists, and are cut off in the middle of the last item.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

_NUMBER = re.compile(r"^(\s*)[#>*_\s]*(?:Q(?:uestion)?|Task|Item)?\s*\(?\d{1,3}\s*[.):\]、](?!\d)[*_]*\s*(?=\S)", re.I)
_BULLET = re.compile(r"^(\s*)[-*•·–‣▪◦]\s+(?=\S)")
_INLINE = re.compile(r"(?<=[.?!])\s+(?=\(?\d{1,2}[.)]\s)")
"""Between two numbered items on one line."""
_LABEL = re.compile(r"^(?:question|task|request|instruction|prompt|topic|subtopic)\s*\d*\s*:\s*", re.IGNORECASE)
_ANNOUNCEMENT = re.compile(r"^(?:sure|certainly|of course|okay|here|these|below)\b.*|.*:$", re.IGNORECASE)
_QUOTES = "\"'“”„‘’«»`*_ \t"
_ENDS = tuple(".?!…。？！:")


def items_of(text: str, cut_off: bool = False) -> list[str]:
    """The items in order, bare of numbers, bullets, quotes and labels; what announces or follows the list is left out.

    Where items are numbered, bullets under them are not items. The last item of a list that was cut off is left out.
    """
    text = text.strip()
    found = _json_items(text)
    if found is None:
        lines = [line for line in _INLINE.sub("\n", text).splitlines() if line.strip()]
        found = list(_line_items(lines))
    if cut_off:
        found = found[:-1]
    return [item for item in map(bare, found) if item]


def bare(text: str) -> str:
    """One item or message without label, quotes and emphasis around it."""
    text = _LABEL.sub("", " ".join(text.replace("**", "").split()).strip(_QUOTES)).strip()
    while len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        text = text[1:-1].strip()
    return text.strip(_QUOTES) if text.count('"') % 2 else text


def _json_items(text: str) -> list[str] | None:
    """The strings of a JSON list that is all the reply."""
    body = re.sub(r"^```\w*\s*|\s*```$", "", text)
    if not body.startswith("["):
        return None
    try:
        value = json.loads(body)
    except json.JSONDecodeError:
        return None
    return [item for item in value if isinstance(item, str)]


def _line_items(lines: list[str]) -> Iterable[str]:
    for mark in (_NUMBER, _BULLET):
        if sum(mark.match(line) is not None for line in lines) >= min(2, len(lines)):
            return _marked(lines, mark)
    return [line for line in lines if not _ANNOUNCEMENT.match(line.strip())]


def _marked(lines: list[str], mark: re.Pattern[str]) -> Iterator[str]:
    """Each marked line; one that is only a heading, or stops in the middle, goes on in the unmarked line after it."""
    item = ""
    for line in lines:
        found = mark.match(line)
        if found:
            if item:
                yield item.rstrip(":")
            item = line[found.end() :].strip()
        elif item and not item.rstrip("*_\"' ").endswith(_ENDS) and not _BULLET.match(line):
            item = f"{item} {line.strip()}"
        elif item.rstrip("*_ ").endswith(":"):
            item = line.strip() if not _BULLET.match(line) else item
    if item:
        yield item.rstrip(":")
