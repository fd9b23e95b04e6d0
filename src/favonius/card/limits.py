"""What is known to be weak in a run, in sentences: a card says it, good or bad."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from favonius.card.evaluations import SAFETY, Measured
from favonius.card.nouns import CardModel, CardStep, Evaluation


def limits(steps: Sequence[CardStep], models: Sequence[CardModel], measured: Measured) -> Iterator[str]:
    """Of the whole run."""
    evaluations = measured.evaluations
    yield from _unfinished(steps)
    yield from _outdated(steps)
    yield from _unmeasured(evaluations)
    yield from _judged(evaluations)
    yield from (f"Safety. {sentence}" for sentence in measured.safety)
    yield from _contaminated(evaluations)
    yield from _terms(models)
    if any(step.stage == "train" for step in steps):
        yield (
            "Every training was done once: intervals are over questions and prompts, and another seed of the training "
            "may move a number by more."
        )


def outdated(steps: Sequence[CardStep]) -> Iterator[tuple[CardStep, str]]:
    """Each step that was made of something else than what an earlier step of the run holds now, and that one's name."""
    made = {step.name: step.output_digest for step in steps if step.output_digest is not None}
    for step in steps:
        yield from ((step, name) for name, digest in step.inputs.items() if name in made and made[name] != digest)


def _unfinished(steps: Sequence[CardStep]) -> Iterator[str]:
    names = [step.name for step in steps if step.state in ("unfinished", "not started")]
    if names:
        yield f"The run is not finished: {', '.join(names)} {'is' if len(names) == 1 else 'are'} not done."
    yield from (f"Step {step.name} is done in part: {why}." for step in steps for why in step.left_open)


def _outdated(steps: Sequence[CardStep]) -> Iterator[str]:
    for step, name in outdated(steps):
        yield f"Step {step.name} was made of another {name} than the one that the run holds now."


def _unmeasured(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    if not evaluations:
        yield "Nothing was evaluated: nothing is claimed of its models."
    if not any(one.kind == SAFETY for one in evaluations):
        yield (
            "Its safety was not measured: nothing is known of what its models answer to requests that they had better "
            "refuse."
        )


def _judged(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    for one in evaluations:
        if one.judge_is_teacher:
            yield (
                f"The judge of {one.step} is the teacher: a win says that a model talks more as that teacher expects, "
                "not that it is right."
            )


def _contaminated(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    asked = [one for one in evaluations if one.task]
    for one in asked:
        found = one.contamination
        if found is not None and found.checked:
            some = f"{found.overlapping:,}" if found.overlapping else "none"
            yield (
                f"Contamination. Of {found.questions:,} questions of {one.title or one.task}, {some} stand in the "
                f"training rows of {', '.join(found.checked)}."
            )
    unchecked = [one.title or one.task for one in asked if one.contamination is None or not one.contamination.checked]
    if unchecked:
        yield f"Contamination. Nobody looked for the questions of {', '.join(unchecked)} in the training rows."


def _terms(models: Sequence[CardModel]) -> Iterator[str]:
    unnamed = [model.name for model in models if model.terms is None]
    if unnamed:
        yield f"The recipe does not state the terms of {', '.join(unnamed)}: ask whoever published them."
