"""`favonius replay`: a card made again, and what came out otherwise."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from favonius.card.nouns import CardStep, RunCard, read_card
from favonius.card.words import shown_source
from favonius.cli.tables import table
from favonius.machine import this_machine
from favonius.phrases import printable
from favonius.pipeline.replay import Comparison, Needs, Wanted, compare, prepared, replay
from favonius.pipeline.replay.compare import Number, StepHeld, counted, other_machine, other_stages, other_versions
from favonius.pipeline.replay.make import GIVEN
from favonius.progress import Progress, clock
from favonius.recipe.parameters import with_files_from_here
from favonius.run import versions

NUMBERS_SHOWN = 12
FILES_SHOWN = 3
EQUAL, DIFFERENT = 0, 1


def run(options: argparse.Namespace) -> int:
    """Returns 0 where all came out equal, or with --dry-run where nothing is missing; else 1."""
    card = read_card(options.card)
    out = options.out or Path("runs") / f"{card.name}-replay"
    overrides = tuple(with_files_from_here(text, out / GIVEN) for text in options.overrides)
    wanted = Wanted(card, out, options.files, overrides)
    if options.dry_run:
        needs = prepared(wanted)
        print(printable("\n\n".join(_plan(wanted, needs))))
        return DIFFERENT if needs.missing() else EQUAL
    made = replay(wanted, Progress())
    found = compare(card, made)
    print(printable("\n\n".join(_report(found, card, made))))
    return EQUAL if found.equal else DIFFERENT


def _plan(wanted: Wanted, needs: Needs) -> Iterator[str]:
    card = wanted.card
    done = card.done()
    yield f"{card.name}, finished {card.finished_at}, would be made again in {wanted.out}."
    rows: list[list[str | int]] = [[step.name, step.stage, _time(step), step.tokens or 0] for step in done]
    yield table(("step", "stage", "took", "tokens"), rows)
    yield table(
        ("model", "comes from", "terms"),
        [[model.name, shown_source(model.source), model.terms or "not named"] for model in card.models],
    )
    if needs.things:
        yield table(("file", "where it is"), [[thing.name, thing.state] for thing in needs.things])
    if card.dollars:
        yield f"The run cost ${card.dollars:,.2f}."
    changes = [
        *other_stages(card),
        *other_versions(done[-1].versions, versions()),
        *other_machine(done[-1].machine, this_machine()),
    ]
    yield "\n".join(["Otherwise here than there:", *(f"  {one}" for one in changes or ["nothing that is known"])])
    if missing := needs.missing():
        yield "\n".join(["Missing:", *(f"  {sentence}" for sentence in missing)])


def _time(step: CardStep) -> str:
    return "" if step.seconds is None else clock(step.seconds)


def _report(found: Comparison, card: RunCard, made: RunCard) -> Iterator[str]:
    yield table(("step", "stage", "came out", "why"), [_row(step) for step in found.steps])
    lists = {
        "Inputs": found.files,
        "Versions": found.versions,
        "Machine": found.machine,
        "The card contradicts itself": found.contradictions,
        "Numbers": list(_numbers(found.numbers)),
    }
    for title, lines in lists.items():
        if lines:
            yield "\n".join([f"{title}:", *(f"  {line}" for line in lines)])
    took = [sum(step.seconds or 0.0 for step in one.done()) for one in (card, made)]
    yield f"It took {clock(took[0])} there and {clock(took[1])} here."
    same = sum(step.verdict == "the same" for step in found.steps)
    if found.equal:
        yield f"Equal: all {same} steps made the same, byte for byte."
    else:
        yield f"Different: {same} of {len(found.steps)} steps made the same."


def _row(step: StepHeld) -> list[str]:
    if not step.files:
        return [step.name, step.stage, step.verdict, "; ".join(step.reasons)]
    more = "" if len(step.files) <= FILES_SHOWN else f" and {len(step.files) - FILES_SHOWN} more"
    shown = ", ".join(step.files[:FILES_SHOWN]) + more
    came = f"{step.verdict} in {len(step.files)} of {step.outputs} files"
    return [step.name, step.stage, came, "; ".join([*step.reasons, shown])]


def _numbers(numbers: Sequence[Number]) -> Iterator[str]:
    """How many, then those that are not the same: the farthest off first."""
    if not numbers:
        return
    words = {"the same": "the same", "within": "within the card's interval", "outside": "outside it", "gone": "gone"}
    yield ", ".join(f"{count:,} {words[place]}" for place, count in counted(numbers).items() if count)
    order = ("outside", "gone", "within")
    others = [number for place in order for number in numbers if number.place == place]
    yield from (_number(number) for number in others[:NUMBERS_SHOWN])
    if len(others) > NUMBERS_SHOWN:
        yield f"and {len(others) - NUMBERS_SHOWN} more"


def _number(number: Number) -> str:
    where = " · ".join(part for part in (number.step, number.task, number.label, number.title) if part)
    scale = 100.0 if number.unit == "%" else 1.0
    shown = ["—" if one is None else f"{one.value * scale:.4g}" for one in (number.before, number.after)]
    old = number.before
    bounds = ""
    if old is not None and old.low is not None and old.high is not None:
        bounds = f" ({old.low * scale:.4g} to {old.high * scale:.4g})"
    return f"{where}: {shown[0]}{bounds} → {shown[1]}: {number.place}"
