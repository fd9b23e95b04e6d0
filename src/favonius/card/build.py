"""From a run folder to its card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from favonius import __version__
from favonius.card.evaluations import measured
from favonius.card.files import card_names, input_files, is_local, read_place, sources
from favonius.card.judges import judges
from favonius.card.limits import limits
from favonius.card.nouns import Asked, CardModel, CardStep, FilterCount, RunCard
from favonius.card.private import Private
from favonius.card.roles import roles
from favonius.engines.ledger_books import DOLLAR
from favonius.report.drops import drops
from favonius.report.gather import Run, Step, read_run, seeds
from favonius.report.money import Entry, bill
from favonius.report.public import Public
from favonius.run import Identity


def run_card(folder: Path, with_contents: bool = True) -> RunCard:
    """The card of the run in `folder`, finished or not. `with_contents`: it carries small files of the recipe's own.

    UserError where `folder` is no run folder.
    """
    run, place = read_run(folder), read_place(folder)
    private = Private(Public(folder), card_names(run, place))
    found = measured(folder, [step.name for step in run.steps], private)
    steps = tuple(_step(step, private) for step in run.steps)
    models = tuple(_models(run, private, lambda source: is_local(source, place)))
    money = bill(run, private.public)
    judged, unreadable = judges(run, private)
    troubles = [
        *(
            [f"What its steps asked is not told: of the ledger, {private.told(money.trouble)}."]
            if money.trouble
            else []
        ),
        *(f"The judge card of {step} is not told: another version of Favonius wrote it." for step in unreadable),
    ]
    return RunCard(
        favonius=__version__,
        name=str(run.recipe.get("name") or folder.resolve().name),
        finished_at=max((step.finished_at for step in steps if step.finished_at), default=None),
        with_ablations=place.with_ablations,
        recipe=yaml.safe_dump(private.value(run.recipe), sort_keys=False, allow_unicode=True, width=120),
        files=input_files(run, place, private.names, with_contents),
        models=models,
        steps=steps,
        seeds={at: value for at, value in seeds(run.steps) if isinstance(value, int)},
        asked=tuple(_asked(entry) for entry in money.entries),
        dollars=money.total.total / DOLLAR,
        judges=judged,
        evaluations=found.evaluations,
        published=found.published,
        limits=(*troubles, *limits(steps, models, found)),
    )


def _models(run: Run, private: Private, local: Callable[[str], bool]) -> Iterator[CardModel]:
    own = sources(run)
    for model in run.models:
        yield CardModel(
            name=model.name,
            source=private.value(model.source),
            template=private.value(model.template or "own"),
            terms=None if model.terms is None else private.text(model.terms),
            digest=model.digest,
            local=local(own.get(model.name, model.source)),
            roles=tuple(roles(run, model.name)),
        )


def _step(step: Step, private: Private) -> CardStep:
    identity, manifest = _identity(step, private), step.manifest
    if identity is None:
        return CardStep(name=step.name, stage=step.stage, state=step.state)
    return CardStep(
        name=step.name,
        stage=step.stage,
        state=step.state,
        version=identity.version,
        config=identity.config,
        inputs=identity.inputs,
        identity=identity.digest(),
        outputs=manifest.outputs if manifest else {},
        output_digest=manifest.output_digest() if manifest else None,
        read=_count(step.stats.get("read")),
        kept=_count(step.stats.get("kept")),
        dropped=_dropped(step, private),
        filters=tuple(_filters(step.stats)),
        tokens=step.tokens,
        seconds=step.seconds,
        attempts=step.attempts,
        finished_at=manifest.finished_at if manifest else None,
        versions=manifest.versions if manifest else {},
        machine=manifest.machine if manifest else None,
        left_open=tuple(private.told(why) for why in step.left_open),
    )


def _asked(entry: Entry) -> Asked:
    return Asked(
        step=entry.step,
        model=entry.model,
        requests=entry.spend.requests,
        prompt_tokens=entry.spend.prompt_tokens,
        completion_tokens=entry.spend.completion_tokens,
        unanswered=entry.spend.failures,
        dollars=entry.spend.total / DOLLAR,
    )


def _identity(step: Step, private: Private) -> Identity | None:
    """As it is where the files lie under the card's names: a replay's is the same."""
    if step.identity is None:
        return None
    made = private.value(step.identity.model_dump())
    return Identity.model_validate(made)


def _dropped(step: Step, private: Private) -> dict[str, int]:
    found: dict[str, int] = {}
    for drop in drops(step, private.public):
        cause = private.told(drop.cause)
        found[cause] = found.get(cause, 0) + drop.count
    return found


def _filters(stats: Mapping[str, Any]) -> Iterator[FilterCount]:
    for name, tally in (stats.get("filters") or {}).items():
        yield FilterCount(name=name, seen=tally["seen"], changed=tally["changed"], dropped=tally["dropped"])


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
