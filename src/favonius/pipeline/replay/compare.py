"""Two cards of one recipe held against each other: what differs, and why as far as cards know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from favonius.card.limits import outdated
from favonius.card.nouns import CardStep, Evaluation, RunCard
from favonius.machine import Machine
from favonius.pipeline.plan import differences
from favonius.recipe.model import AnyStage
from favonius.report.gather import Estimate
from favonius.run import Identity
from favonius.types import digest

Verdict = Literal["the same", "differs", "not made"]
Place = Literal["the same", "within", "outside", "gone"]
UNKNOWN = (
    "its config, its inputs, the versions and the machine are the same: what is left is work whose order is free "
    "(threads, a batch that was filled otherwise), or a card that was changed"
)


@dataclass(frozen=True)
class StepHeld:
    """One step that the card has finished. `files` are those of its outputs that are not the same."""

    name: str
    stage: str
    verdict: Verdict
    files: tuple[str, ...]
    outputs: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """One number of one model. `within`: the new value lies in the old one's 95 % interval."""

    step: str
    task: str
    title: str
    unit: str
    label: str
    before: Estimate | None
    after: Estimate | None
    place: Place


@dataclass(frozen=True)
class Comparison:
    steps: tuple[StepHeld, ...]
    numbers: tuple[Number, ...]
    files: tuple[str, ...]
    """Input files with other contents, and models with other weights, in phrases."""
    versions: tuple[str, ...]
    machine: tuple[str, ...]
    contradictions: tuple[str, ...]
    """What the old card says against itself, in sentences."""

    @property
    def equal(self) -> bool:
        """Whether every step has made the same, byte for byte. Versions and machines may differ."""
        alike = all(step.verdict == "the same" for step in self.steps)
        return alike and all(number.place == "the same" for number in self.numbers) and not self.contradictions


def compare(before: RunCard, after: RunCard) -> Comparison:
    """What `after`, made from `before`, has otherwise."""
    return Comparison(
        steps=tuple(_step(step, after.step(step.name), before, after) for step in before.done()),
        numbers=tuple(_numbers(before, after)),
        files=tuple(_inputs(before, after)),
        versions=tuple(other_versions(_versions(before), _versions(after))),
        machine=tuple(_machines(before, after)),
        contradictions=tuple(contradictions(before)),
    )


def other_versions(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """`torch 2.13.0 → 2.14.0`."""
    for package in dict.fromkeys([*before, *after]):
        if before.get(package) != after.get(package):
            yield f"{package} {before.get(package, 'none')} → {after.get(package, 'none')}"


def other_stages(card: RunCard) -> Iterator[str]:
    """`step ratings: stage version 2 → 3`, where this Favonius does a stage otherwise than the card's did."""
    here = {config.model_fields["stage"].default: config.version for config in get_args(AnyStage)}
    for step in card.done():
        if step.version not in (None, here.get(step.stage)):
            yield f"step {step.name}: stage version {step.version} → {here.get(step.stage, 'none')}"


def other_machine(before: Machine | None, after: Machine | None) -> Iterator[str]:
    """`2 cores → 8`. Nothing where one of them is not known."""
    if before is None or after is None:
        return
    if before.processor != after.processor:
        yield f"processor {before.processor} → {after.processor}"
    if before.cores != after.cores:
        yield f"{before.cores} cores → {after.cores}"
    if before.gpus != after.gpus:
        yield f"GPUs {', '.join(before.gpus) or 'none'} → {', '.join(after.gpus) or 'none'}"


def contradictions(card: RunCard) -> Iterator[str]:
    """Digests in a card that follow from what else it says, and are not what follows."""
    for step in card.done():
        if step.output_digest != digest(step.outputs):
            yield f"Step {step.name}: the digests of its files do not give the digest of its outputs; it was changed."
        if _identity(step).digest() != step.identity:
            yield f"Step {step.name}: its config and inputs do not give its identity; it was changed."
    for step, name in outdated(card.steps):
        yield f"Step {step.name} was made of another {name} than the card has."


def _step(before: CardStep, after: CardStep | None, old: RunCard, new: RunCard) -> StepHeld:
    if after is None or after.state != "done":
        return StepHeld(
            before.name, before.stage, "not made", (), len(before.outputs), ("the replay has no such step",)
        )
    names = dict.fromkeys([*before.outputs, *after.outputs])
    files = tuple(name for name in names if before.outputs.get(name) != after.outputs.get(name))
    if not files and before.identity == after.identity:
        return StepHeld(before.name, before.stage, "the same", (), len(names), ())
    reasons = tuple(_asked_otherwise(before, after, old))
    if not reasons:
        reasons = tuple(_same_question(before, after, new))
    return StepHeld(before.name, before.stage, "differs", files, len(names), reasons)


def _asked_otherwise(before: CardStep, after: CardStep, old: RunCard) -> Iterator[str]:
    """What of its identity differs."""
    yield from differences(_identity(before, {}), _identity(after, {}))
    for name in dict.fromkeys([*before.inputs, *after.inputs]):
        if before.inputs.get(name) == after.inputs.get(name):
            continue
        if name not in before.inputs or name not in after.inputs:
            yield f"{name} is {'no longer' if name in before.inputs else 'newly'} an input"
        elif old.step(name) is not None:
            yield f"step {name} made something else"
        elif old.model(name) is not None:
            yield f"model {name} has other weights"
        else:
            yield f"file {name} has another content"


def _same_question(before: CardStep, after: CardStep, new: RunCard) -> Iterator[str]:
    """Why the same work may have come out otherwise."""
    changes = [*other_versions(before.versions, after.versions), *other_machine(before.machine, after.machine)]
    served = [name for name in after.inputs if _is_served(new, name)]
    if served:
        changes.append(f"{', '.join(served)} answered from a server, which need not say the same twice")
    if before.left_open or after.left_open:
        changes.append("it is done in part")
    yield from changes or [UNKNOWN]


def _is_served(card: RunCard, name: str) -> bool:
    model = card.model(name)
    return model is not None and model.source.startswith("api://")


def _identity(step: CardStep, inputs: Mapping[str, str] | None = None) -> Identity:
    return Identity(
        stage=step.stage,
        version=step.version or 0,
        config=step.config or {},
        inputs=dict(step.inputs if inputs is None else inputs),
    )


def _inputs(before: RunCard, after: RunCard) -> Iterator[str]:
    files = {file.name: file.sha256 for file in after.files}
    for file in before.files:
        if files.get(file.name, file.sha256) != file.sha256:
            yield f"file {file.name}: sha256 {file.sha256[:12]}… → {files[file.name][:12]}…"
    for model in before.models:
        found = after.model(model.name)
        if found is not None and found.digest != model.digest:
            yield f"model {model.name}: digest {model.digest[:12]}… → {found.digest[:12]}…"


def _versions(card: RunCard) -> dict[str, str]:
    """Of all finished steps; where they differ among themselves, all that there are."""
    found: dict[str, dict[str, None]] = {}
    for step in card.done():
        for package, version in step.versions.items():
            found.setdefault(package, {})[version] = None
    return {package: " and ".join(versions) for package, versions in found.items()}


def _machines(before: RunCard, after: RunCard) -> Iterator[str]:
    """Each difference of any step once."""
    pairs = ((step, after.step(step.name)) for step in before.done())
    yield from dict.fromkeys(
        phrase for old, new in pairs if new is not None for phrase in other_machine(old.machine, new.machine)
    )


def _numbers(before: RunCard, after: RunCard) -> Iterator[Number]:
    others = {(one.step, one.task): one for one in after.evaluations}
    for one in before.evaluations:
        yield from _of_table(one, others.get((one.step, one.task)))


def _of_table(before: Evaluation, after: Evaluation | None) -> Iterator[Number]:
    theirs = {metric.key: metric.values for metric in after.metrics} if after is not None else {}
    for metric in before.metrics:
        for label, old in metric.values.items():
            new = theirs.get(metric.key, {}).get(label)
            if old is not None or new is not None:
                place = _place(old, new)
                yield Number(before.step, before.task, metric.title, metric.unit, label, old, new, place)


def _place(before: Estimate | None, after: Estimate | None) -> Place:
    if before == after:
        return "the same"
    if before is None or after is None:
        return "gone"
    if before.low is not None and before.high is not None and before.low <= after.value <= before.high:
        return "within"
    return "outside"


def counted(numbers: Sequence[Number]) -> dict[Place, int]:
    """How many numbers are the same, within, outside and gone."""
    places: tuple[Place, ...] = ("the same", "within", "outside", "gone")
    return {place: sum(number.place == place for number in numbers) for place in places}
