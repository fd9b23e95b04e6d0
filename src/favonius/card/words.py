"""A run card in words, as Markdown: the README of an exported model, or the whole run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from favonius.card.evaluations import SAFETY
from favonius.card.nouns import CardMetric, CardModel, CardStep, Evaluation, PublishedTable, RunCard
from favonius.card.trainings import settings, taught
from favonius.progress import clock
from favonius.report.gather import Estimate
from favonius.report.wording import NONE, measure

KNOWN_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "gemma", "llama3.2")
DIGEST = 12
GIB = 2**30


@dataclass(frozen=True)
class Told:
    """What of a run is told: of a model's card its own lineage, else everything."""

    steps: Sequence[CardStep]
    models: Sequence[CardModel]
    evaluations: Sequence[Evaluation]
    own: CardStep | None
    """The step whose model is described."""


def model_card(card: RunCard, step: str, title: str, how: str, checks: Sequence[str], library: str) -> str:
    """The README of the model that `step` made. `how` tells what lies beside it, `checks` what was found equal before
    it was written, `library` what loads it, by the hub's name."""
    told = _lineage(card, step)
    lessons = "" if told.own is None else f": {taught(card, told.own)}"
    front = yaml.safe_dump(_front(told, library), sort_keys=False, allow_unicode=True).strip()
    intro = f"A chat model, trained with Favonius {card.favonius}{lessons}. {how}"
    return _rendered(card, told, title, intro, front, checks)


def run_in_words(card: RunCard) -> str:
    """Everything that the card says, for people."""
    told = Told(card.steps, card.models, card.evaluations, None)
    return _rendered(card, told, f"Run {card.name}", f"A run of Favonius {card.favonius}.", "", ())


def shown_source(source: str) -> str:
    """A model's source without its sha256, and without the folders of this machine."""
    if "://" in source:
        return source.partition("#")[0]
    local = source.startswith((".", "/", "~", "…", "models/")) or source.endswith(".gguf") or "\\" in source
    return source.replace("\\", "/").rstrip("/").rpartition("/")[2] if local else source


def _rendered(card: RunCard, told: Told, title: str, intro: str, front: str, checks: Sequence[str]) -> str:
    page = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    page.filters.update(cell=_cell, line=_line, short=lambda digest: digest[:DIGEST], source=shown_source, clock=clock)
    names = {step.name for step in told.steps}
    text = (files("favonius.card") / "card.md.j2").read_text(encoding="utf-8")
    return page.from_string(text).render(
        card=card,
        told=told,
        title=title,
        intro=intro,
        front=front,
        checks=checks,
        steps=[_step(step) for step in told.steps],
        trainings=settings(told.steps),
        filters=[(step.name, one) for step in told.steps for one in step.filters],
        inputs=[file for file in card.files if names.intersection(file.read_by)],
        asked=[one for one in card.asked if one.step in names],
        judges=[judge for judge in card.judges if judge.step in names],
        tables=[_table(one, told.own) for one in told.evaluations],
        published=[_published(table) for table in card.published],
        versions=_versions(told.steps),
        machines=list(dict.fromkeys(_machine(step) for step in told.steps if step.machine is not None)),
        seeds=", ".join(f"{place} {seed}" for place, seed in card.seeds.items() if place.split(".")[0] in names),
        finished=((told.own or card).finished_at or "")[:10],
        limits=[*_own_limits(card, told), *card.limits],
        fence=_fence(card.recipe),
    )


def _lineage(card: RunCard, name: str) -> Told:
    """What the step `name` depends on, and what was measured of its model."""
    wanted, open_names = {name}, [name]
    while open_names:
        step = card.step(open_names.pop())
        for earlier in step.inputs if step is not None else ():
            if earlier not in wanted:
                wanted.add(earlier)
                open_names.append(earlier)
    own = card.step(name)
    digest = own.output_digest if own is not None else None
    return Told(
        steps=[step for step in card.steps if step.name in wanted],
        models=[model for model in card.models if model.name in wanted],
        evaluations=[one for one in card.evaluations if _label(one, own) is not None] if digest else [],
        own=own,
    )


def _own_limits(card: RunCard, told: Told) -> Iterator[str]:
    """What was measured of other models of the run, and not of this one."""
    is_measured, is_own = (any(one.kind == SAFETY for one in tables) for tables in (card.evaluations, told.evaluations))
    if is_measured and not is_own:
        yield "The safety of this model was not measured: what the run measured of another says nothing of it."


def _label(evaluation: Evaluation, own: CardStep | None) -> str | None:
    """What the evaluation calls the model that `own` made; None where it measured none of these weights."""
    if own is None:
        return None
    found = (label for label, model in evaluation.models.items() if model.digest == own.output_digest)
    return next(found, None)


def _front(told: Told, library: str) -> dict[str, Any]:
    """What the hub reads: licence and base of the models that training began with."""
    bases = [model for model in told.models if any(role.startswith("base of") for role in model.roles)]
    terms = [base.terms for base in bases if base.terms]
    front: dict[str, Any] = {"library_name": library, "pipeline_tag": "text-generation"}
    if terms:
        front |= _licence(terms[0])
    hub = [base.source.partition("@")[0] for base in bases if "://" not in base.source and not base.local]
    owned = [source for source in hub if source.count("/") == 1]
    return front | ({"base_model": owned[0]} if owned else {}) | {"tags": ["favonius", "alignment"]}


def _licence(terms: str) -> dict[str, str]:
    """The hub's fields: a licence that it knows by name, or one of the terms' own, and where they can be read."""
    if terms.lower() in KNOWN_LICENCES:
        return {"license": terms.lower()}
    link = re.search(r"https?://[^\s,;]+", terms)
    words = re.findall(r"[a-z0-9.]+", (terms[: link.start()] if link else terms).lower())
    named = {"license": "other", "license_name": "-".join(words) or "see-link"}
    return named | ({"license_link": link[0]} if link else {})


def _step(step: CardStep) -> list[str]:
    dropped = ", ".join(f"{count:,} {cause}" for cause, count in step.dropped.items())
    return [
        step.name,
        step.stage,
        NONE if step.kept is None else f"{step.kept:,}" + (f" of {step.read:,}" if step.read else ""),
        dropped or ("none" if step.state == "done" else NONE),
        NONE if step.tokens is None else f"{step.tokens:,}",
        NONE if step.seconds is None else clock(step.seconds),
        f"`{step.output_digest[:DIGEST]}`" if step.output_digest else step.state,
    ]


def _table(one: Evaluation, own: CardStep | None) -> dict[str, Any]:
    labels = list(one.models)
    rows = []
    for metric in one.metrics:
        cells = [_figure(metric.values.get(label), metric.unit) for label in labels]
        if any(cell != NONE for cell in cells):
            rows.append([_named(metric), *cells, _sizes(metric, labels)])
    title = " · ".join(part for part in (one.step, one.title) if part)
    own_label = _label(one, own)
    notes = [f"{metric.title}: {metric.note}" for metric in one.metrics if metric.note]
    return {"title": title, "judge": one.judge, "own": own_label, "labels": labels, "rows": rows,
            "notes": [*notes, *one.notes, *_against(one, own_label)]}  # fmt: skip


def _named(metric: CardMetric) -> str:
    """With its unit, and an arrow that says which way is better."""
    way = {"higher": " ↑", "lower": " ↓", None: ""}[metric.better]
    return (f"{metric.title} ({metric.unit})" if metric.unit else metric.title) + way


def _sizes(metric: CardMetric, labels: Sequence[str]) -> str:
    """Of how many observations each value of a row is, once where they are as many."""
    known = [value.n for label in labels if (value := metric.values.get(label)) is not None and value.n is not None]
    return ", ".join(f"{n:,}" for n in (known[:1] if len(set(known)) == 1 else known)) or NONE


def _against(one: Evaluation, own: str | None) -> Iterator[str]:
    """What the paired comparison with the baseline says of the model, or of all where none is meant."""
    metrics = {metric.key: metric for metric in one.metrics}
    for found in one.against:
        if found.metric in metrics and own in (None, found.label):
            metric = metrics[found.metric]
            said = "told apart" if found.told_apart else "cannot be told apart"
            difference = _figure(found.difference, metric.unit)
            yield f"{found.label} less {one.baseline}, {metric.title}: {difference}; {said}."


def _figure(figure: Estimate | None, unit: str) -> str:
    """`52.3 [36.4, 68.2]`; shares are told in hundredths."""
    if figure is None:
        return NONE
    value = measure(figure.value, unit)
    if figure.low is None or figure.high is None:
        return value
    return f"{value} [{measure(figure.low, unit)}, {measure(figure.high, unit)}]"


def _published(table: PublishedTable) -> dict[str, Any]:
    rows = [[row.model, *(_copied(row.values, column) for column in table.columns)] for row in table.rows]
    return {"title": table.title, "note": table.note, "columns": list(table.columns.values()), "rows": rows}


def _copied(values: Mapping[str, tuple[float, ...]], column: str) -> str:
    """`90.60 (1.03)`, as the paper writes it."""
    found = values.get(column)
    return NONE if not found else " ".join([f"{found[0]:.2f}", *(f"({error:.2f})" for error in found[1:])])


def _versions(steps: Sequence[CardStep]) -> str:
    found = dict.fromkeys(f"{name} {version}" for step in steps for name, version in step.versions.items())
    return ", ".join(found)


def _machine(step: CardStep) -> str:
    found = step.machine
    if found is None:
        return ""
    gpus = f", {', '.join(found.gpus)}" if found.gpus else ", no GPU"
    return f"{found.processor}, {found.cores} cores, {found.memory_bytes / GIB:.0f} GiB{gpus}"


def _fence(text: str) -> str:
    """What stands around a text that may hold fences itself."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def _line(value: object) -> str:
    """Text that cannot break a list."""
    return re.sub(r"\s*\n\s*", " ", str(value))


def _cell(value: object) -> str:
    """Text that cannot break a table."""
    return str(value).replace("|", "\\|").replace("\n", " ")
