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
        found = list(_line_items(_INLINE.sub("\n", text).splitlines()))
    if cut_off:
        found = found[:-1]
    return [item for item in map(bare, found) if any(map(str.isalpha, item))]


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
    written = [line for line in lines if line.strip()]
    for mark in (_NUMBER, _BULLET):
        if sum(mark.match(line) is not None for line in written) >= min(2, len(written)):
            return _marked(lines, mark)
    return [line for line in written if not _ANNOUNCEMENT.match(line.strip())]


def _marked(lines: list[str], mark: re.Pattern[str]) -> Iterator[str]:
    """Each marked line. One that stops in the middle goes on in an unmarked line right after it; one that is only a
    heading gives way to the line after it."""
    item, goes_on = "", False
    for line in lines:
        if found := mark.match(line):
            if item:
                yield item.rstrip(":")
            item, goes_on = line[found.end() :].strip(), True
        elif item.rstrip(_QUOTES).endswith(":") and line.strip() and not _BULLET.match(line):
            item = line.strip()
        elif goes_on and line.strip() and not item.rstrip(_QUOTES).endswith(_ENDS) and not _BULLET.match(line):
            item = f"{item} {line.strip()}"
        else:
            goes_on = False
    if item:
        yield item.rstrip(":")
