"""What the options of `favonius pairs` mean: a rule, a score, and what is left out."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import TypeAdapter

from favonius.data.exports import PAIR_FORMS
from favonius.errors import UserError
from favonius.feedback.compare_rules import ALL_RULES
from favonius.feedback.config import Binarisation, Repair
from favonius.feedback.rules import Rule, ScoredBy
from favonius.recipe.problems import choice
from favonius.types import Feedback

RULES = [rule.kind.replace("_", "-") for rule in ALL_RULES]
SETTINGS = {"margin": "least", "within": "within", "most": "most"}
"""Option → what it sets in the rules that have it."""
WHOLE_SCORES = ("overall", "aspects", "both")


def refuse_misfits(options: argparse.Namespace) -> None:
    """UserError for options that contradict each other or name nothing; what FILE must show is not looked at."""
    if options.file is None:
        raise UserError("name a file of rated answers, or one of votes with --from-votes")
    if options.out is None and not options.compare:
        raise UserError("nothing to do: name the file for the pairs with --out, or compare the rules with --compare")
    refuse_bad_output(options)
    if options.reference is not None and not options.compare:
        raise UserError("--reference is held against the rules' labels; add --compare")
    _rule(options)
    _kept_sources(options.keep_source)


def refuse_bad_output(options: argparse.Namespace) -> None:
    """UserError for options that cannot say where pairs go, in which form, and how many are held out."""
    if options.out is not None and options.out.suffix != ".jsonl":
        raise UserError(f"--out {options.out}: pairs are written as .jsonl")
    if options.form not in PAIR_FORMS:
        raise UserError(f"--as {options.form}: no such form{choice(options.form, PAIR_FORMS)}")
    if options.test_share is not None and not 0 < options.test_share < 1:
        raise UserError(f"--test-share {options.test_share:g}: must be between 0 and 1")


def binarisation(options: argparse.Namespace, aspects: Sequence[str]) -> Binarisation:
    """How FILE, whose answers have these aspects, is to be binarised."""
    return Binarisation(
        rule=_rule(options),
        score=_score(options.score, aspects),
        repair=Repair() if options.repair else None,
        without_sources=_kept_sources(options.keep_source),
        seed=options.seed,
    )


def aspects_of(rows: Iterable[Feedback]) -> list[str]:
    """All aspects that have a number somewhere."""
    answers = (answer for row in rows for answer in row.completions)
    return list(dict.fromkeys(name for answer in answers for name, score in answer.scores.items() if score is not None))


def _rule(options: argparse.Namespace) -> Rule:
    asked = options.rule.replace("_", "-")  # as recipes write it
    if asked not in RULES:
        raise UserError(f"--rule {options.rule}: no such rule{choice(asked, RULES)}")
    rule = ALL_RULES[RULES.index(asked)]
    given = {name: getattr(options, name) for name in SETTINGS if getattr(options, name) is not None}
    for name, value in given.items():
        if SETTINGS[name] not in type(rule).model_fields:
            raise UserError(f"--{name} {value:g}: the rule {options.rule} has no such setting; leave it out")
        _refuse_out_of_range(name, value)
    settings: dict[str, Any] = {SETTINGS[name]: value for name, value in given.items()}
    found: Rule = TypeAdapter(Rule).validate_python({"kind": rule.kind, **settings})
    return found


def _refuse_out_of_range(name: str, value: float) -> None:
    if not 0 < value < (1 if name == "within" else math.inf):
        raise UserError(f"--{name} {value:g}: must be {'between 0 and 1' if name == 'within' else 'greater than 0'}")


def _score(text: str, aspects: Sequence[str]) -> ScoredBy:
    """`overall`, `aspects`, `both`, an aspect, or several with weights: `honesty=2,helpfulness`."""
    if text in WHOLE_SCORES:
        return ScoredBy.model_validate({"by": text})
    weights = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        if name not in aspects:
            raise UserError(f"--score {name}: no such score in the first rows{choice(name, [*WHOLE_SCORES, *aspects])}")
        weights[name] = _weight(part, weight) if weight else 1.0
    return ScoredBy(by="aspects", weights=weights)


def _weight(part: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < math.inf:
        raise UserError(f"--score {part}: the weight must be a number greater than 0")
    return weight


def _kept_sources(kept: Sequence[str]) -> tuple[str, ...]:
    left_out = Binarisation().without_sources
    for name in kept:
        if name not in left_out:
            raise UserError(f"--keep-source {name}: only prompts of {', '.join(left_out)} are left out")
    return tuple(name for name in left_out if name not in kept)
