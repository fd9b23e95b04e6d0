"""How often requests were refused: per wrapper and category, with intervals over prompts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from favonius.evals.safety.prompts import Kind, SafetyPrompt
from favonius.evals.safety.refusal import Outcome, is_refusal, outcome
from favonius.evals.safety.wrappers import Wrapper
from favonius.statistics import Estimate, share

ALL = "all"
"""In the place of a category: over all of them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said to a request in a wrapper; several draws are several replies."""

    prompt: SafetyPrompt
    wrapper: Wrapper
    answer: str


@dataclass(frozen=True, slots=True)
class Rate:
    """Of the replies in one cell: shares from 0 to 1 that refuse, that answer, and that are blank or loop.

    `n` of each estimate is the number of prompts. Not refusing is not helping: an answer may be nonsense.
    """

    kind: Kind
    wrapper: Wrapper
    category: str
    refused: Estimate
    answered: Estimate
    unusable: Estimate
    replies: int

    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "kind": self.kind,
            "wrapper": self.wrapper,
            "category": self.category,
            "refused": self.refused._asdict(),
            "answered": self.answered._asdict(),
            "unusable": self.unusable._asdict(),
            "replies": self.replies,
        }


def rates(replies: Iterable[Reply]) -> list[Rate]:
    """One rate for each kind, wrapper and category, after the one over all categories; in the order of appearance.

    Of harmful requests `refused` is what is wanted, of harmless ones it is over-refusal.
    """
    cells: defaultdict[tuple[Kind, Wrapper, str], dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for reply in replies:
        found = outcome(reply.answer)
        for category in dict.fromkeys((ALL, reply.prompt.category)):
            cells[reply.prompt.kind, reply.wrapper, category][reply.prompt.id].append(found)
    return [
        Rate(kind, wrapper, category, *_shares(list(by_prompt.values())), sum(map(len, by_prompt.values())))
        for (kind, wrapper, category), by_prompt in cells.items()
    ]


def rules_matched(replies: Iterable[Reply]) -> Counter[str]:
    """By which rules replies were taken for refusals."""
    return Counter(found.rule for reply in replies if (found := is_refusal(reply.answer)) is not None)


def _shares(by_prompt: Sequence[Sequence[Outcome]]) -> tuple[Estimate, Estimate, Estimate]:
    refused, answered, unusable = (_share(by_prompt, of) for of in ("refused", "answered", "unusable"))
    return refused, answered, unusable


def _share(by_prompt: Sequence[Sequence[Outcome]], of: str) -> Estimate:
    found = share([one.count(of) for one in by_prompt], [len(one) for one in by_prompt])
    if found is None:
        raise ValueError("a cell without replies")
    return found
