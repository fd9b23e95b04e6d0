"""How often requests were refused: per wrapper and category, with intervals over prompts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from favonius.evals.safety.prompts import Kind, SafetyPrompt
from favonius.evals.safety.refusal import Outcome, is_refusal, outcome
from favonius.evals.safety.wrappers import Wrapper
from favonius.statistics import Estimate, balance, share

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


def change(before: Iterable[Reply], after: Iterable[Reply], kind: Kind, wrapper: Wrapper) -> Estimate | None:
    """How far the refusal rate is higher in `after` than in `before`, from −1 to 1, over the prompts that both have.

    None where there is no such prompt. The models are paired by prompt: a difference is surer than two rates are.
    """
    first, second = (_refusal_rates(replies, kind, wrapper) for replies in (before, after))
    both = [prompt for prompt in first if prompt in second]
    return balance([second[prompt] - first[prompt] for prompt in both], [1.0] * len(both))


def _refusal_rates(replies: Iterable[Reply], kind: Kind, wrapper: Wrapper) -> dict[str, float]:
    """By prompt."""
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for reply in replies:
        if reply.prompt.kind == kind and reply.wrapper == wrapper:
            found[reply.prompt.id].append(outcome(reply.answer) == "refused")
    return {prompt: sum(refused) / len(refused) for prompt, refused in found.items()}


def _shares(by_prompt: Sequence[Sequence[Outcome]]) -> tuple[Estimate, Estimate, Estimate]:
    refused, answered, unusable = (_share(by_prompt, of) for of in ("refused", "answered", "unusable"))
    return refused, answered, unusable


def _share(by_prompt: Sequence[Sequence[Outcome]], of: str) -> Estimate:
    found = share([one.count(of) for one in by_prompt], [len(one) for one in by_prompt])
    if found is None:
        raise ValueError("a cell without replies")
    return found
