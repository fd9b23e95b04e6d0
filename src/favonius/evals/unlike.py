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
ANSWERING = "answering"
"""Where the models' own engine stands among the fields."""
ABSENT = "nothing"


def unlike(first: Mapping[str, Any], second: Mapping[str, Any], *, same_items: bool) -> list[str]:
    """Phrases such as `limit is 10 and nothing`, of what two result.json of one task differ in: the judge, the
    questions, and every field of the config, and of the engine, that shapes what is asked and how it is scored.

    Models and files that a config names are told apart by what they are, where both results say so: `dsft` of another
    run is another reference, and one judge may lie under two paths.
    """
    found = {}
    if first["kind"] != second["kind"]:
        found["the task"] = (first["kind"], second["kind"])
    if first["judge"] != second["judge"]:
        found["the judge"] = (_judge(first["judge"]), _judge(second["judge"]))
    if first["questions"] != second["questions"] and not same_items:
        found["where the questions come from"] = (first["questions"], second["questions"])
    before, after = _fields(first), _fields(second)
    digests, others = first.get("named", {}), second.get("named", {})
    for path in dict.fromkeys((*before, *after)):
        if _immaterial(path, same_items):
            continue
        name = ".".join(path)
        one, other = _shown(before.get(path)), _shown(after.get(path))
        if name in digests and name in others:
            if digests[name] != others[name]:
                found[name] = (f"{one} ({digests[name][:8]})", f"{other} ({others[name][:8]})")
        elif before.get(path) != after.get(path):
            found[name] = (one, other)
    return [f"{what} is {one} and {other}" for what, (one, other) in found.items()]


def _fields(told: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Of the task's config, and of the engine by which the model answered."""
    return dict(_flat(told["config"], ())) | dict(_flat(told.get("engine") or {}, (ANSWERING, "engine")))


def _immaterial(path: tuple[str, ...], same_items: bool) -> bool:
    is_source = path[0] in SOURCES and (same_items or path[0] == "questions")
    is_working = "engine" in path and path[-1] in WORKINGS
    # Room for longer prompts and answers changes nothing where both models answered the same ones.
    is_room = path == (ANSWERING, "engine", "context_tokens") and same_items
    return path[0] == "task" or is_source or is_working or is_room


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
