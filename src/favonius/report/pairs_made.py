"""What binarisation made of ratings: pairs, who wins them and by how much, and what other rules would have made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from favonius.files import read_json
from favonius.report.gather import Estimate, Reading, Row, Run, Step, rows_of
from favonius.report.plots import Chart, spread
from favonius.report.public import Public
from favonius.report.wording import NONE, count, decimal, fact, share, short, words
from favonius.types import Message

PAIRS_SHOWN = 3


class PairsStats(Reading):
    """`feedback.pairs.stats` and `feedback.best.describe`."""

    kept: int = 0
    prompts: int | None = None
    held_out: int | None = Field(default=None, alias="held out")
    answers_without_score: int | None = None
    wins: dict[str, int] = Field(default={})
    losses: dict[str, int] = Field(default={})
    longer_chosen_share: float | None = None
    mean_chosen_words: float | None = None
    mean_rejected_words: float | None = None
    mean_margin: float | None = None
    repairs: dict[str, int] = Field(default={})
    mean_score: float | None = None
    mean_answers: float | None = None
    gain_over_average: Estimate | None = None


@dataclass(frozen=True)
class Contender:
    """A source of answers: how often it was chosen and rejected, each with its bar in hundredths of the longest."""

    name: str
    wins: int
    losses: int
    win_length: float
    loss_length: float

    @property
    def share(self) -> float | None:
        met = self.wins + self.losses
        return self.wins / met if met else None


class RuleRecord(Reading):
    """`feedback.compare_rules.RuleSums.record`."""

    pairs: int = 0
    mean_margin: float | None = None
    mean_gap_words: float | None = None
    longer_chosen_share: float | None = None
    chosen_models: dict[str, float | None] = Field(default={})
    label_noise: float | None = None


@dataclass(frozen=True)
class RuleRow:
    """One rule on the same feedback; `same_chosen` and `same_pair` hold it against the step's own rule."""

    name: str
    record: RuleRecord
    same_chosen: float | None
    same_pair: float | None


class ShownPair(Reading):
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    chosen_source: str | None = None
    rejected_source: str | None = None
    chosen_score: float | None = None
    rejected_score: float | None = None
    chosen_finished: bool = True
    rejected_finished: bool = True
    origin: dict[str, Any] | None = None

    @property
    def sides(self) -> list[tuple[str, str, str | None, float | None, bool, str]]:
        """Chosen, then rejected: what it is, its text, who said it, its score, whether it ended, its principle."""
        sides = ("chosen", "rejected")
        return [
            (
                side, getattr(self, side), getattr(self, f"{side}_source"), getattr(self, f"{side}_score"),
                getattr(self, f"{side}_finished"), _principle((self.origin or {}).get(f"{side}_principle")),
            )
            for side in sides
        ]  # fmt: skip

    @property
    def provenance(self) -> str:
        """Rule, judge, and where in the ledger the judge's words lie."""
        origin = self.origin or {}
        judge = origin.get("judge") or {}
        template = f" (template {short(judge['template'])})" if judge.get("template") else ""
        calls = [short(call["request"]) for call in origin.get("calls") or ()]
        asked = f"replies {', '.join(calls[:4])}{' …' if len(calls) > 4 else ''}" if calls else ""
        judged = f"judged by {judge['name']}{template}" if judge.get("name") else ""
        source = f"prompt of {origin['prompt_source']}" if origin.get("prompt_source") else ""
        return " · ".join(filter(None, (source, words(str(origin.get("rule") or "")), judged, asked)))


@dataclass(frozen=True)
class PairsMade:
    """What a pairs step, or a best step, made; a best step has no losses, margins, rules and pairs to show."""

    step: Step
    facts: tuple[tuple[str, str], ...]
    contenders: tuple[Contender, ...]
    margins: Chart | None
    rules: tuple[RuleRow, ...]
    shown: tuple[ShownPair, ...]


def pairs_made(run: Run, step: Step, prefix: str, public: Public) -> PairsMade:
    """`prefix` begins the ids of its drawing."""
    stats = PairsStats.model_validate(public(step.stats))
    margins, shown = _rows(run, step, public)
    return PairsMade(
        step=step,
        facts=_pair_facts(step, stats) if step.stats else (),
        contenders=_contenders(stats),
        margins=spread("Margins", "pairs", "chosen minus rejected score", margins, prefix) if margins else None,
        rules=tuple(_rules(run, step, public)),
        shown=shown,
    )


def best_made(step: Step, public: Public) -> PairsMade:
    """What best-of-n chose."""
    stats = PairsStats.model_validate(public(step.stats))
    gain = stats.gain_over_average
    bounds = "" if gain is None or gain.low is None else f" ({decimal(gain.low, 3)} to {decimal(gain.high, 3)})"
    facts = {
        "answers kept": count(stats.kept),
        "held out of these": count(stats.held_out),
        "answers a prompt": decimal(stats.mean_answers, 3),
        "least score": decimal(step.config.get("least"), 4),
        "top share": share(step.config.get("top_share")),
        "mean score": decimal(stats.mean_score, 4),
        "above the prompt's average": decimal(gain.value, 3) + bounds if gain is not None else NONE,
    }
    found = tuple((name, value) for name, value in facts.items() if value != NONE)
    return PairsMade(step, found if step.stats else (), _contenders(stats), None, (), ())


def _pair_facts(step: Step, stats: PairsStats) -> tuple[tuple[str, str], ...]:
    rule = step.config.get("rule") or {}
    settings = " ".join(f"{name} {fact(name, value)}" for name, value in rule.items() if name != "kind")
    longer, chosen, rejected = stats.longer_chosen_share, stats.mean_chosen_words, stats.mean_rejected_words
    gap = None if chosen is None or rejected is None else chosen - rejected
    facts = {
        "rule": f"{words(str(rule.get('kind') or ''))} {settings}".strip() or NONE,
        "score": words(str((step.config.get("score") or {}).get("by") or NONE)),
        "pairs": count(stats.kept),
        "held out of these": count(stats.held_out),
        "prompts": count(stats.prompts),
        "answers without a score": count(stats.answers_without_score),
        "mean margin": decimal(stats.mean_margin, 3),
        "chosen is longer": share(longer),
        "words, chosen and rejected": NONE if gap is None else f"{decimal(chosen, 3)} and {decimal(rejected, 3)}",
        **{f"repaired: {cause}": count(times) for cause, times in stats.repairs.items()},
    }
    return tuple((name, value) for name, value in facts.items() if value != NONE)


def _contenders(stats: PairsStats) -> tuple[Contender, ...]:
    """Whoever wins most often first."""
    names = sorted({*stats.wins, *stats.losses}, key=lambda name: (-stats.wins.get(name, 0), name))
    most = max((*stats.wins.values(), *stats.losses.values()), default=1)
    return tuple(
        Contender(name, won, lost, 100 * won / most, 100 * lost / most)
        for name in names
        for won, lost in ((stats.wins.get(name, 0), stats.losses.get(name, 0)),)
    )


def _rows(run: Run, step: Step, public: Public) -> tuple[list[float], tuple[ShownPair, ...]]:
    """Every margin, and the first pairs of different winners."""
    margins: list[float] = []
    first: dict[str | None, Row] = {}
    others: list[Row] = []
    for row in rows_of(run.path / step.name / "pairs.jsonl"):
        if row.get("chosen_score") is not None and row.get("rejected_score") is not None:
            margins.append(row["chosen_score"] - row["rejected_score"])
        if len(first) < PAIRS_SHOWN and row.get("chosen_source") not in first:
            first[row.get("chosen_source")] = row
        elif len(others) < PAIRS_SHOWN:
            others.append(row)
    shown = [*first.values(), *others][:PAIRS_SHOWN]
    return margins, tuple(ShownPair.model_validate(public(row)) for row in shown)


def _rules(run: Run, step: Step, public: Public) -> Iterator[RuleRow]:
    """The step's own rule first, as comparison.json has them."""
    file = run.path / step.name / "comparison.json"
    record: Mapping[str, Any] = public(read_json(file)) if file.is_file() else {}
    own = next(iter(record.get("rules") or {}), None)
    held = {tuple(entry["rules"]): entry for entry in record.get("agreement") or ()}
    for name, found in (record.get("rules") or {}).items():
        with_own: Mapping[str, Any] = held.get((own, name)) or {}
        same = (with_own.get("same_chosen"), with_own.get("same_pair"))
        yield RuleRow(name, RuleRecord.model_validate(found), *same)


def _principle(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else words(str(found.get("kind") or ""))
