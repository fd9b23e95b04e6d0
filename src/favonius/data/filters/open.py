"""Filters made from their configs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from favonius.data.checks import leaks
from favonius.data.filters.config import (
    AnyFilter,
    Decontaminate,
    DuplicateKey,
    ExactDuplicates,
    Flaws,
    Language,
    Length,
    NearDuplicates,
    Politeness,
    Refusals,
    Truecase,
)
from favonius.data.filters.language import Languages
from favonius.data.filters.length import LengthLimits
from favonius.data.filters.loops import loops
from favonius.data.filters.outcome import Filter, Outcome
from favonius.data.filters.politeness import without_politeness
from favonius.data.filters.refusals import RefusalSearch
from favonius.data.filters.truecase import truecase
from favonius.data.splits import opening
from favonius.types import Messages

NAME_CHARACTERS = 80
"""Of a text, where it stands as the name of what another one is like."""


@dataclass(frozen=True, slots=True)
class NamedFilter:
    name: str
    """What stats.json and the report call it (see `names_of`)."""
    apply: Filter


def open_filters(configs: Sequence[AnyFilter], files: Mapping[str, Path]) -> list[NamedFilter]:
    """The filters of a recipe, in its order. `files`: where the files are that the configs name (`run.Inputs.files`).

    UserError where an extra is not installed or a benchmark is not at hand.
    """
    named = zip(names_of(configs), configs, strict=True)
    return [NamedFilter(name, open_filter(config, files)) for name, config in named]


def names_of(configs: Sequence[AnyFilter]) -> list[str]:
    """Their kinds, numbered from the second of a kind on: length, length 2."""
    seen: Counter[str] = Counter()
    names = []
    for config in configs:
        seen[config.kind] += 1
        names.append(config.kind if seen[config.kind] == 1 else f"{config.kind} {seen[config.kind]}")
    return names


def open_filter(config: AnyFilter, files: Mapping[str, Path]) -> Filter:
    """One filter. Those for duplicates remember what they have seen: open them anew for each data set."""
    match config:
        case Truecase():
            return lambda messages: Outcome(truecase(messages, config.roles))
        case Refusals():
            return RefusalSearch(config.families)
        case Politeness():
            return without_politeness
        case Language():
            return Languages(config)
        case Length():
            return LengthLimits(config)
        case Flaws():
            return _flaws(config)
        case ExactDuplicates():
            return _exact_duplicates(config)
        case NearDuplicates():
            return _near_duplicates(config)
        case Decontaminate():
            return _decontaminate(config, files)


def is_stateless(config: AnyFilter) -> bool:
    """Whether rows may be filtered in any order and by several processes."""
    return not isinstance(config, ExactDuplicates | NearDuplicates)


def _flaws(config: Flaws) -> Filter:
    # By cost: what is found cheaply spares the rest.
    tests: list[tuple[str, Callable[[str], bool]]] = [
        ("empty", lambda text: not text.strip()),
        ("leak", leaks),
        ("loop", loops),
    ]
    wanted = [(name, is_so) for name, is_so in tests if name in config.flaws]

    def drop_flawed(messages: Messages) -> Outcome:
        for message in messages:
            if message.role in config.roles:
                for name, is_so in wanted:
                    if is_so(message.content):
                        return Outcome(None, name, f"{message.role}: {message.content}")
        return Outcome(messages)

    return drop_flawed


def _exact_duplicates(config: ExactDuplicates) -> Filter:
    from favonius.data.near_duplicates import ExactDuplicateIndex  # rensa, which only duplicates need

    index = ExactDuplicateIndex()

    def drop_repeated(messages: Messages) -> Outcome:
        key = _key(messages, config.key)
        found = index.first_like_or_add(key, key[:NAME_CHARACTERS])
        return Outcome(messages) if found is None else Outcome(None, "exact duplicate", key)

    return drop_repeated


def _near_duplicates(config: NearDuplicates) -> Filter:
    from favonius.data.near_duplicates import NearDuplicateIndex

    index = NearDuplicateIndex(config.threshold, config.shingle_words)

    def drop_alike(messages: Messages) -> Outcome:
        key = _key(messages, config.key)
        found = index.first_like_or_add(key, key[:NAME_CHARACTERS])
        if found is None:
            return Outcome(messages)
        return Outcome(None, "near duplicate", f"{key[:NAME_CHARACTERS]} ({found.similarity:.2f} like: {found.name})")

    return drop_alike


def _decontaminate(config: Decontaminate, files: Mapping[str, Path]) -> Filter:
    from favonius.data.benchmarks_known import read_benchmark  # readers of every format
    from favonius.data.decontaminate import EvaluationIndex

    sources = [*config.benchmarks, *(f"{name}={files[file]}" for name, file in config.files.items())]
    index = EvaluationIndex(text for source in sources for text in read_benchmark(source))

    def drop_contaminated(messages: Messages) -> Outcome:
        for hit in index.hits(messages):
            return Outcome(None, hit.benchmark, f"{hit.place} holds of {hit.item}: {hit.matched}")
        return Outcome(messages)

    return drop_contaminated


def _key(messages: Messages, key: DuplicateKey) -> str:
    return opening(messages) if key == "prompt" else "\n".join(message.content for message in messages)
