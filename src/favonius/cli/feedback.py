"""`favonius feedback show`: two judges, or two rules, held against each other on the same answers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from favonius.cli.pair_options import RULES, WHOLE_SCORES, aspects_of
from favonius.data.rows import explain
from favonius.doctor.paint import Paint
from favonius.errors import UserError, machine_failures
from favonius.feedback.compare_rules import ALL_RULES
from favonius.feedback.config import Binarisation
from favonius.feedback.rules import ScoredBy
from favonius.recipe.problems import choice
from favonius.review.choose import Deck, between_judges, between_rules
from favonius.review.judged import Judged
from favonius.review.labels import Labels
from favonius.review.reading import Read, read, reference_of
from favonius.review.ruled import Ruled
from favonius.review.walk import Walk, print_all
from favonius.types import Feedback

LIMIT = 200


def run(options: argparse.Namespace) -> None:
    """Walk, print or write a page of what `options` name. UserError where they do not fit each other or a file."""
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit {options.limit}: must be 1 or more")
    deck = open_deck(options.what, options.other, options.rules, options.only == "all", options.seed)
    labels = None if options.labels is None else Labels(options.labels)
    limit = options.limit or LIMIT
    with machine_failures(options.page or options.labels or Path.cwd()):
        if options.page is not None:
            from favonius.review.page import write

            print(write(options.page, deck, limit, labels))
            return
        colours = not options.no_color and not os.environ.get("NO_COLOR") and sys.stdout.isatty()
        if sys.stdin.isatty() and sys.stdout.isatty():
            Walk(deck, limit, labels, sys.stdin, sys.stdout, Paint(colours)).run()
        else:
            print_all(deck, limit, labels, sys.stdout, Paint(colours))


def open_deck(what: str, other: str | None, rules: Sequence[str], everything: bool, seed: int) -> Deck:
    """The contests between the judges of two files, or between rules on one. UserError where there are none."""
    if rules and other is not None:
        raise UserError("rules are held against each other on the same feedback; leave out --rule or OTHER")
    if len(rules) > 2:
        raise UserError(f"{len(rules)} rules are given, and two can be held against each other")
    ours = read(what)
    if rules:
        deck = between_rules([ruled(text, ours.rows, seed) for text in rules], ours.rows, everything, seed)
        if not deck.prompts:
            raise UserError(f"{what}: no prompt gives a pair by {' or '.join(rules)}")
        return deck
    reference = None if other is not None else reference_of(what)
    theirs = read(str(reference)) if reference is not None else None if other is None else read(other)
    voices = judges(ours, *(() if theirs is None else (theirs,)))
    if reference is not None and not voices[-1].has_scores():
        voices = voices[:1]
    deck = between_judges(voices, everything, seed)
    if not deck.prompts:
        files = " and ".join(one.spec for one in (ours, theirs) if one is not None)
        raise UserError(f"{files}: there is no prompt with two different answers that all judge")
    return deck


def judges(*found: Read) -> list[Judged]:
    """A voice for each file; where names are the same, the file's or step's is put before them."""
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        names = [one.name if one.name == one.place else f"{one.place}: {one.name}" for one in found]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return [Judged(name, one.rows, one.run) for name, one in zip(names, found, strict=True)]


def ruled(text: str, rows: Sequence[Feedback], seed: int) -> Ruled:
    """`margin,least=2,by=honesty` as a rule with its score. UserError where there is no such rule, field or value."""
    name, *given = (part.strip() for part in text.split(","))
    name = name.replace("_", "-")  # as recipes write it
    if name not in RULES:
        raise UserError(f"--rule {text}: no such rule{choice(name, RULES)}")
    kind = type(ALL_RULES[RULES.index(name)])
    fields = dict(_field(part, text) for part in given)
    score = _scored_by(fields.pop("by", "both"), aspects_of(rows), text)
    try:
        rule = kind.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"--rule {text}: {explain(error, kind)}") from None
    return Ruled(Binarisation(rule=rule, score=score, seed=seed), text)


def _field(part: str, text: str) -> tuple[str, str]:
    name, equals, value = (piece.strip() for piece in part.partition("="))
    if not equals:
        raise UserError(
            f"--rule {text}: {part!r} sets nothing; write it as in margin,least=2 or best-vs-worst,by=aspects"
        )
    return name, value


def _scored_by(name: str, aspects: Sequence[str], text: str) -> ScoredBy:
    """By a score's name or that of one aspect."""
    if name in WHOLE_SCORES:
        return ScoredBy.model_validate({"by": name})
    if name not in aspects:
        raise UserError(f"--rule {text}: there is no score {name}{choice(name, (*WHOLE_SCORES, *aspects))}")
    return ScoredBy(by="aspects", weights={name: 1.0})
