"""What `favonius pairs` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from favonius.cli.tables import table
from favonius.doctor.paint import Paint
from favonius.phrases import counted, printable

GAP = "\n\n"
NAMING = 2
"""Columns that say which rule a line is of: its number and its name."""
WITNESSES = {
    "reference": "reference",
    "other_score": "other score",
    "other_order": "other order",
    "comparison": "comparison",
}
BOTH_ERR = "both are taken to err alike and independently, and errors that they share are not seen"
NOISE_WORDS = {
    "reference": "a label is wrong where the reference scores say otherwise",
    "other_score": (
        f"from how often the judge's other score (overall, or the mean of its aspects) says otherwise; {BOTH_ERR}"
    ),
    "other_order": f"from how often the judge contradicts itself when it sees the two in the other order; {BOTH_ERR}",
}
"""Of the witnesses that label noise is estimated from, the best first."""
NOT_ESTIMATED = (
    "Label noise cannot be estimated: there is no second score that is not made of the first, no verdict on the same "
    "two in the other order, and no --reference."
)


def page(found: Mapping[str, Any], paint: Paint) -> str:
    parts = [_head(found, paint), *_lost(found)]
    if "comparison" in found:
        parts += _comparison(found["comparison"], paint)
    return GAP.join(parts)


def _head(found: Mapping[str, Any], paint: Paint) -> str:
    """What was kept and left out, by the rule that was asked for."""
    pairs = found["pairs"]
    unscored = pairs["answers_without_score"]
    held_out = f", {pairs['held out']:,} of them held out" if pairs["held out"] else ""
    made = f"{counted(pairs['kept'], 'pair')}{held_out}, of {counted(pairs['prompts'], 'prompt')}"
    lines = [
        paint.head(f"{made} ({_how(found['how'])})"),
        *(f"  {counted(rows, 'row')}: {path}" for path, rows in found["written"].items()),
        *(f"  {counted(count, 'prompt')} gave none: {cause}" for cause, count in pairs["dropped"].items()),
        *(f"  {counted(count, 'pair')} left out, as the form cannot hold it: {cause}"
          for cause, count in found["unfit"].items()),
        *(f"  {counted(count, 'time')} {what}" for what, count in pairs.get("repairs", {}).items()),
        *([f"  {counted(unscored, 'answer')} without such a score"] if unscored else []),
        f"  chosen: {pairs['mean_chosen_words']:,} words in the mean, rejected: {pairs['mean_rejected_words']:,}; the "
        f"chosen one is longer in {_share(pairs['longer_chosen_share'])}; mean margin {pairs['mean_margin']:g}",
        *_unknown_sources(found),
    ]  # fmt: skip
    return "\n".join(lines)


def _unknown_sources(found: Mapping[str, Any]) -> list[str]:
    left_out = found["how"]["without_sources"]
    if not left_out or found["benchmarks"] or found["pairs"]["prompts_without_source"] < found["pairs"]["prompts"]:
        return []
    names = " and ".join(left_out)
    return [
        f"  no row says where its prompt comes from, so prompts of {names} may be among them; "
        f"--benchmarks {left_out[0]}=FILE finds them by their text"
    ]


def _how(how: Mapping[str, Any]) -> str:
    score = how["score"]
    by = ", ".join(f"{name} × {weight:g}" for name, weight in score["weights"].items()) or score["by"]
    settings = "".join(f" {value:g}" for name, value in how["rule"].items() if name != "kind" and value)
    return f"{how['rule']['kind'].replace('_', '-')}{settings}, score {by}, seed {how['seed']}"


def _lost(found: Mapping[str, Any]) -> list[str]:
    """Rows that never were feedback."""
    read = found["read"]
    lines = [f"  {counted(count, 'row')} dropped: {cause}" for cause, count in read["dropped"].items()]
    return ["\n".join(lines)] if lines else []


def _comparison(comparison: Mapping[str, Any], paint: Paint) -> list[str]:
    rules = comparison["rules"]
    return [
        paint.head("How the rules differ"),
        _rules(rules),
        _models(rules),
        *_dropped(rules),
        *_noise(rules, paint),
        paint.head("How far two rules agree, in %")
        + "\n"
        + paint.aside("above the diagonal: the same answer chosen; below: the same pair; of prompts with both"),
        _agreement(list(rules), comparison["agreement"]),
    ]


def _rules(rules: Mapping[str, Mapping[str, Any]]) -> str:
    head = ("", "rule", "prompts", "pairs", "margin", "longer by", "words", "is longer", "noise ≈")
    rows = [
        [
            str(number),
            name,
            f"{rule['prompts']:,}",
            f"{rule['pairs']:,}",
            _number(rule["mean_margin"], ".2f"),
            _number(rule["mean_gap_characters"], "+,.0f"),
            _number(rule["mean_gap_words"], "+,.0f"),
            _share(rule["longer_chosen_share"]),
            _share(rule["label_noise"]),
        ]
        for number, (name, rule) in enumerate(rules.items(), start=1)
    ]
    return _right_aligned(head, rows)


def _models(rules: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            str(number),
            ", ".join(f"{printable(model)} {_share(share)}" for model, share in rule["chosen_models"].items()),
        ]
        for number, rule in enumerate(rules.values(), start=1)
    ]
    return table(("", "chosen most often"), rows)


def _dropped(rules: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Prompts without a pair, by cause."""
    causes = list(dict.fromkeys(cause for rule in rules.values() for cause in rule["dropped"]))
    rows = [
        [str(number), name, *(f"{rule['dropped'].get(cause, 0):,}" for cause in causes)]
        for number, (name, rule) in enumerate(rules.items(), start=1)
    ]
    return ["Prompts without a pair:\n" + _right_aligned(("", "rule", *causes), rows)] if causes else []


def _noise(rules: Mapping[str, Mapping[str, Any]], paint: Paint) -> list[str]:
    """What the estimates of label noise rest on."""
    heard = [name for name in WITNESSES if any(name in rule["witnesses"] for rule in rules.values())]
    believed = next((name for name in heard if name in NOISE_WORDS), None)
    words = NOT_ESTIMATED if believed is None else f"noise ≈: {NOISE_WORDS[believed]}."
    if not heard:
        return [paint.aside(words)]
    rows = [
        [str(number), name, *(_witness(rule["witnesses"].get(witness)) for witness in heard)]
        for number, (name, rule) in enumerate(rules.items(), start=1)
    ]
    head = ("", "rule", *(WITNESSES[witness] for witness in heard))
    return ["Who would turn labels round (of pairs):\n" + _right_aligned(head, rows), paint.aside(words)]


def _witness(said: Mapping[str, Any] | None) -> str:
    return f"{_share(said['share'])} of {said['pairs'] - said['ties']:,}" if said is not None else "–"


def _agreement(names: Sequence[str], agreements: Sequence[Mapping[str, Any]]) -> str:
    by_two = {tuple(agreement["rules"]): agreement for agreement in agreements}
    there = [name for name in names if any(name in two for two in by_two)]
    numbers = {name: str(names.index(name) + 1) for name in there}
    rows = []
    for row, name in enumerate(there):
        cells = [numbers[name], name]
        for column, other in enumerate(there):
            if row == column:
                cells.append("·")
            elif row < column:
                cells.append(_percent(by_two[name, other]["same_chosen"]))
            else:
                cells.append(_percent(by_two[other, name]["same_pair"]))
        rows.append(cells)
    return _right_aligned(("", "rule", *numbers.values()), rows)


def _right_aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns, all but a number and a name, stand to the right."""
    return table(head, rows, range(NAMING, len(head)))


def _share(value: float | None) -> str:
    return f"{_percent(value)} %" if value is not None else "–"


def _percent(value: float | None) -> str:
    return f"{100 * value:.1f}" if value is not None else "–"


def _number(value: float | None, form: str) -> str:
    return format(value, form) if value is not None else "–"
