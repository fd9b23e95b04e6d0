"""What a run asked of its models and what that cost, as the page's tables say it. Money is in nano-dollars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from favonius.engines.ledger_books import DOLLAR, Spend
from favonius.report.books import Books
from favonius.report.gather import Run
from favonius.report.public import Public
from favonius.report.wording import short

CAUSES_SHOWN = 12
FAILED = "attempts at requests that still have no answer"
NUMBERS = Spend._fields[2:]
"""What can be added up."""


@dataclass(frozen=True)
class Entry:
    """A line of the table: what one model did for one step. `step` and `model` are for people."""

    step: str
    model: str
    spend: Spend


@dataclass(frozen=True)
class Purse:
    """A cap, and what is spent of it, calls under way included."""

    name: str
    cap: int
    spent: int

    @property
    def left(self) -> int:
        return max(0, self.cap - self.spent)

    @property
    def share(self) -> float:
        """Spent, 0…100."""
        return min(100.0, 100.0 * self.spent / self.cap) if self.cap else 100.0


@dataclass(frozen=True)
class Loss:
    """Requests that were paid or asked and have no answer, by cause. None where the ledger does not tell."""

    step: str
    model: str
    cause: str
    requests: int | None
    tokens: int | None = None
    cost: int = 0


@dataclass(frozen=True)
class Bill:
    entries: tuple[Entry, ...]
    total: Spend
    priced: bool
    purses: tuple[Purse, ...]
    paid: tuple[Loss, ...]
    """Money that no answer stands for."""
    unanswered: tuple[Loss, ...]
    more_unanswered: int
    """Causes beyond those shown."""
    trouble: str

    def __bool__(self) -> bool:
        return bool(self.entries or self.purses or self.trouble)


def bill(run: Run, public: Public) -> Bill:
    """What a run's books say, in the order of the recipe's steps, models by their names."""
    books, name = run.books, _names(run)
    places = {step.name: place for place, step in enumerate(run.steps)}
    spends = sorted(books.spend, key=lambda row: (places.get(row.step, len(places)), row.step, name(row.model)))
    unanswered = _unanswered(books, name, public)
    return Bill(
        entries=tuple(Entry(_step(row.step), name(row.model), row) for row in spends),
        total=summed(spends),
        priced=is_priced(run),
        purses=tuple(_purses(run.recipe, books)),
        paid=tuple(sorted(_paid(books, name), key=lambda loss: (-loss.cost, loss.step, loss.model, loss.cause))),
        unanswered=unanswered[:CAUSES_SHOWN],
        more_unanswered=max(0, len(unanswered) - CAUSES_SHOWN),
        trouble=books.trouble,
    )


def summed(rows: Sequence[Spend]) -> Spend:
    """All rows as one, of no step and no model."""
    return Spend("", "", *(sum(getattr(row, number) for row in rows) for number in NUMBERS))


def per_thousand(rows: Sequence[Spend], made: int) -> Spend:
    """What a thousand take where `made` took all of `rows`."""
    total = summed(rows)
    return Spend("", "", *(round(getattr(total, number) * 1000 / made) for number in NUMBERS))


def is_priced(run: Run) -> bool:
    """Whether there is any money to speak of: a model has a price, or money was spent."""
    models = (run.recipe.get("models") or {}).values()
    priced = any(isinstance(model, Mapping) and model.get("price") is not None for model in models)
    return priced or summed(run.books.spend).total > 0


def _names(run: Run) -> Callable[[str], str]:
    """What people call the models whose digests a ledger holds: by recipe or training step; else the digest's start."""
    trained = {step.manifest.output_digest(): step.name for step in run.steps if step.manifest is not None}
    known = {model.digest: model.name for model in run.models} | trained
    return lambda digest: known.get(digest, short(digest))


def _step(name: str) -> str:
    """Ledgers of an old Favonius say no step."""
    return name or "unknown step"


def _purses(recipe: Mapping[str, Any], books: Books) -> Iterator[Purse]:
    budget = recipe.get("budget") or {}
    if "dollars" in budget:
        yield Purse("the whole run", _nano(budget["dollars"]), summed(books.spend).total)
    for step, dollars in (budget.get("steps") or {}).items():
        yield Purse(step, _nano(dollars), summed(books.of(step)).total)


def _nano(dollars: float) -> int:
    return round(dollars * DOLLAR)


def _paid(books: Books, name: Callable[[str], str]) -> Iterator[Loss]:
    """The charges; and what is lost beside them, which is in the failures' rows."""
    charged: Counter[tuple[str, str]] = Counter()
    for row in books.charges:
        charged[row.step, row.model] += row.cost
        if row.cost:
            yield Loss(_step(row.step), name(row.model), row.cause, row.requests, row.tokens, row.cost)
    for spent in books.spend:
        if (rest := spent.lost - charged[spent.step, spent.model]) > 0:
            yield Loss(_step(spent.step), name(spent.model), FAILED, None, None, rest)


def _unanswered(books: Books, name: Callable[[str], str], public: Public) -> tuple[Loss, ...]:
    """Requests without an answer by cause, the commonest first; those that differ in a server's address are one."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in books.causes:
        counts[_step(row.step), name(row.model), public.told(row.cause)] += row.requests
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Loss(step, model, cause, requests) for (step, model, cause), requests in ordered)
