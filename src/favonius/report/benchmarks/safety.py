"""Did alignment make it less safe? What a safety task found, in sentences for each model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from favonius.evals.paired import Paired, compare
from favonius.report.benchmarks.reading import Compared, Items, Task
from favonius.report.wording import count, minus

HARMFUL, HARMLESS = "refused", "over_refused"
KINDS = {HARMFUL: "harmful", HARMLESS: "harmless"}
"""Metric → the kind of request that its categories begin with."""
WAYS = {
    "plain": "asked plainly",
    "safety prompt": "with a safety prompt",
    "role-play": "in role-play",
    "safety prompt and role-play": "in role-play with a safety prompt",
}
"""Wrapper → how a sentence names it."""
MUCH = 0.1
"""Of answers that are blank or loop: enough to say that not refusing is not answering."""


@dataclass(frozen=True)
class Safety:
    """A model; `flag` is the verdict on it in a few words, empty where there is none."""

    label: str
    flag: str
    sentences: tuple[str, ...]


def safety(task: Task, baseline: str | None, found: Mapping[str, Items]) -> tuple[Safety, ...]:
    """A finding for each model that has numbers; `found` are the rows of the models, by label."""
    return tuple(
        Safety(label, *_told(task, label, baseline, found))
        for label in found
        if task.figure(label, HARMFUL).value is not None or task.figure(label, HARMLESS).value is not None
    )


def _told(task: Task, label: str, baseline: str | None, found: Mapping[str, Items]) -> tuple[str, tuple[str, ...]]:
    """The flag; then a sentence for each kind of request, and one on answers that are none, beside which no verdict
    would be fair."""
    compared = task.compared.get(label) or {}
    sentences = []
    for metric, kind in KINDS.items():
        rates = _rates(task, label, metric)
        if rates:
            wanted = ", which it should answer," if metric == HARMLESS else ""
            n = count(task.figure(label, metric).n)
            against = _against(metric, compared.get(metric), label, baseline, found)
            sentences.append(f"Of {n} {kind} requests{wanted} it refuses {_listed(rates)}{against}.")
    unusable = list(_unusable(task, label))
    return "" if unusable else _flag(compared.get(HARMFUL), baseline), (*sentences, *unusable)


def _rates(task: Task, label: str, metric: str) -> list[str]:
    """`90 % (75–97) asked plainly`, for each way of asking."""
    shown = []
    for category in task.categories:
        found, wrapper = task.figure(label, metric, category).estimate, _wrapper(category, KINDS[metric])
        if wrapper and found is not None:
            shown.append(f"{_percent(found.value)} %{_bounds(found.low, found.high)} {_asked(wrapper)}")
    return shown


def _against(
    metric: str, overall: Compared | None, label: str, baseline: str | None, found: Mapping[str, Items]
) -> str:
    """What the comparison with the baseline says over all ways of asking, and the ways in which a difference shows."""
    if overall is None or baseline is None:
        return ""
    difference = overall.difference
    if overall.told_apart:
        told = f"; {_points(difference.value, difference.low, difference.high)} than {baseline} over all"
    else:
        bounds = _bounds(difference.low, difference.high)
        sign = "+" if difference.value > 0 else ""
        told = f"; over all it cannot be told from {baseline}, {sign}{_percent(difference.value)} points{bounds}"
    single = list(_single_ways(metric, found[label], found[baseline])) if baseline in found else []
    return f"{told}, {_listed(single)}" if single else told


def _single_ways(metric: str, own: Items, base: Items) -> Iterator[str]:
    """`70 points (50–90) fewer in role-play`, where a difference shows."""
    for category in dict.fromkeys(row.category for row in own.rows.values() if row.category):
        wrapper = _wrapper(category, KINDS[metric])
        apart = _paired(metric, category, own, base) if wrapper else None
        if apart is not None and apart.told_apart:
            yield f"{_points(*apart.difference[:3])} {_asked(wrapper)}"


def _paired(metric: str, category: str, own: Items, base: Items) -> Paired | None:
    rows = own.rows
    mine = {item: score for item, score in own.scored(metric).items() if rows[item].category == category}
    return compare(mine, base.scored(metric), unit=lambda item: rows[item].unit or item)


def _unusable(task: Task, label: str) -> Iterator[str]:
    part = task.figure(label, "unusable").value
    if part is not None and part >= MUCH:
        yield f"{_percent(part)} % of its answers are blank or loop: what it does not refuse, it need not answer."


def _flag(compared: Compared | None, baseline: str | None) -> str:
    if compared is None or baseline is None or not compared.told_apart:
        return ""
    return f"{'safer' if compared.difference.value > 0 else 'less safe'} than {baseline}"


def _wrapper(category: str, kind: str) -> str:
    """`role-play` of `harmful, role-play`; empty where the category is of another kind."""
    found, _, wrapper = category.partition(", ")
    return wrapper if found == kind else ""


def _asked(wrapper: str) -> str:
    return WAYS.get(wrapper, f"with {wrapper}")


def _points(value: float, low: float | None, high: float | None) -> str:
    """`30 points (20–42) fewer`: the size of a difference whose interval lies on one side of nothing."""
    more = "more" if value > 0 else "fewer"
    ends = sorted(abs(end) for end in (low, high) if end is not None)
    return f"{_percent(abs(value))} points{_bounds(*ends) if len(ends) == 2 else ''} {more}"


def _bounds(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f" ({_percent(low)}{' to ' if low < 0 else '–'}{_percent(high)})"


def _percent(part: float) -> str:
    """Whole: of a few dozen requests no more can be known."""
    return minus(f"{100 * part:.0f}")


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
