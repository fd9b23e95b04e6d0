"""What differs between the ways in which one benchmark was run twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from favonius.engines.config import LlamaCpp, OpenAI, Transformers
from favonius.phrases import QUOTED_CHARACTERS, shortened

SOURCES = frozenset({"questions", "instructions", "prompts", "problems", "red_team", "data", "step", "file"})
"""Fields that say where the items come from. Where the items are the same, another path is no difference; and a judge's
prompts are told apart by their digest."""
WORKINGS = LlamaCpp.not_identity | Transformers.not_identity | OpenAI.not_identity
"""Fields of engines that say how work is done, and not what it makes."""
ABSENT = "nothing"


def unlike(first: Mapping[str, Any], second: Mapping[str, Any], *, same_items: bool) -> list[str]:
    """Phrases such as `limit is 10 and nothing`, of what two result.json of one task differ in: the judge, the
    questions, and every field of the config that shapes what is asked and how it is scored."""
    found = {}
    if first["kind"] != second["kind"]:
        found["the task"] = (first["kind"], second["kind"])
    if first["judge"] != second["judge"]:
        found["the judge"] = (_judge(first["judge"]), _judge(second["judge"]))
    if first["questions"] != second["questions"] and not same_items:
        found["where the questions come from"] = (first["questions"], second["questions"])
    before, after = dict(_flat(first["config"], ())), dict(_flat(second["config"], ()))
    for path in dict.fromkeys((*before, *after)):
        if before.get(path) != after.get(path) and not _immaterial(path, same_items):
            found[".".join(path)] = (_shown(before.get(path)), _shown(after.get(path)))
    return [f"{what} is {one} and {other}" for what, (one, other) in found.items()]


def _immaterial(path: tuple[str, ...], same_items: bool) -> bool:
    is_source = path[0] in SOURCES and (same_items or path[0] == "questions")
    return path[0] == "task" or is_source or ("engine" in path and path[-1] in WORKINGS)


def _judge(judge: Mapping[str, Any] | None) -> str:
    if judge is None:
        return "nobody"
    template = judge.get("template")
    return f"{judge['name']} ({judge['kind']}{f', prompts {template[:8]}' if template else ''})"


def _flat(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value under its key path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, (*path, str(key)))
    else:
        yield path, value


def _shown(value: Any) -> str:
    text = ABSENT if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shortened(text, QUOTED_CHARACTERS)
