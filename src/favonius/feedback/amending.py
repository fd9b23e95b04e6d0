"""One answer and its rounds of critique and revision, as a generator that asks and is answered.

Each round critiques the text as it then is, and is told nothing of the rounds before.
"""

from __future__ import annotations

from dataclasses import dataclass

from favonius.data.checks import flaws
from favonius.data.words import words
from favonius.engines.asked import Failure
from favonius.engines.interview import Interview, Talk
from favonius.feedback.articles import Constitution
from favonius.feedback.config import ConstitutionConfig
from favonius.feedback.draws import drawn
from favonius.feedback.prompts import Prompt
from favonius.feedback.revising import critique_request, fault, finds_nothing, revision_request, unannounced
from favonius.types import Messages, Noun, Origin, Principle, Split

REVISED = "revised"
NOTHING_TO_MEND = "nothing to mend"


class Revision(Noun):
    """One round of one prompt, used or not: a row of revisions.jsonl."""

    prompt_id: str
    split: Split
    prompt: Messages
    round: int
    principle: str
    answer: str
    """As it was before this round."""
    critique: str | None = None
    """None where it failed; so `revision`, which is also None where nothing was to be mended."""
    revision: str | None = None
    outcome: str
    """`revised`, `nothing to mend`, or why the revision is not used."""


@dataclass(frozen=True)
class Cast:
    """Who answers, who critiques and revises, and by what."""

    config: ConstitutionConfig
    author: Interview
    reviser: Interview
    constitution: Constitution


@dataclass(frozen=True)
class Draft:
    """A text that was given as the answer."""

    text: str
    finished: bool
    origin: Origin
    principle: Principle | None = None
    """By which it was revised."""


@dataclass(frozen=True)
class Result:
    """What came of a prompt: `answer` is None where there is none, `revision` where no round revised it.

    `cause` then says why, `sample` what was said there.
    """

    prompt: Prompt
    answer: Draft | None
    revision: Draft | None = None
    rounds: tuple[Revision, ...] = ()
    cause: str = ""
    sample: str = ""


def amend(cast: Cast, prompt: Prompt) -> Talk[Result]:
    """An answer, and one round after the other; a round that fails leaves the text as it was."""
    config = cast.config
    question = cast.author.question(prompt.messages, config.sampling)
    reply = yield question
    if isinstance(reply, Failure):
        return Result(prompt, None, cause=f"answer failed: {reply.countable}", sample=reply.cause)
    origin = Origin(model=config.model, sampling=config.sampling, request=question.request.key())
    answer = now = Draft(reply.text.strip(), reply.finish == "stop", origin)
    if not answer.text:
        return Result(prompt, None, cause="answer empty")
    rounds: tuple[Revision, ...] = ()
    names = drawn(cast.constitution.principles, config.rounds, f"constitution {config.seed}", prompt.id)
    for number, name in enumerate(names, start=1):
        row, draft = yield from _round(cast, prompt, now, number, name)
        rounds, now = (*rounds, row), draft or now
    if now is answer:
        last = rounds[-1]
        return Result(prompt, answer, None, rounds, last.outcome, last.revision or last.critique or "")
    if words(now.text) == words(answer.text):
        return Result(prompt, answer, None, rounds, "the last round took back the first", now.text)
    return Result(prompt, answer, now, rounds)


def _round(cast: Cast, prompt: Prompt, now: Draft, number: int, name: str) -> Talk[tuple[Revision, Draft | None]]:
    """Critique and revision of a text by one principle; the draft is None where the text is to stay."""
    config, article = cast.config, cast.constitution.principles[name]

    def row(outcome: str, critique: str | None = None, revision: str | None = None) -> Revision:
        return Revision(
            prompt_id=prompt.id, split=prompt.split, prompt=prompt.messages, round=number, principle=name,
            answer=now.text, critique=critique, revision=revision, outcome=outcome,
        )  # fmt: skip

    reply = yield cast.reviser.question(critique_request(prompt.messages, now.text, article), config.reviser_sampling)
    if isinstance(reply, Failure):
        return row(f"critique failed: {reply.countable}"), None
    critique = reply.text.strip()
    # One that was cut off still says what is wrong.
    if found := flaws(critique, finished=True):
        return row(f"critique {found[0]}", critique), None
    if finds_nothing(critique):
        return row(NOTHING_TO_MEND, critique), None
    question = cast.reviser.question(
        revision_request(prompt.messages, now.text, critique, article), config.reviser_sampling
    )
    reply = yield question
    if isinstance(reply, Failure):
        return row(f"revision failed: {reply.countable}", critique), None
    revision = unannounced(reply.text)
    if cause := fault(revision, reply, now.text, critique, prompt.messages):
        return row(cause, critique, revision), None
    model = config.model if config.reviser is None else config.reviser
    origin = Origin(model=model, sampling=config.reviser_sampling, request=question.request.key())
    by = Principle(kind=name, text=article.mend)
    return row(REVISED, critique, revision), Draft(revision, True, origin, by)
