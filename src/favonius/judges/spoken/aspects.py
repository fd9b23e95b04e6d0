"""UltraFeedback's fine-grained ratings: one question per aspect, with all answers of a case (zephyr-spec §4.5)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from favonius.errors import UserError
from favonius.judges.config import Aspect, AspectsJudge
from favonius.judges.judge import Failure, Judgement, Score, Showing, Verdict
from favonius.judges.spoken.asking import Ask, Heard, calls
from favonius.judges.spoken.expected import LIKELIEST, expected_score
from favonius.judges.spoken.numerals import Scale
from favonius.judges.spoken.reading import read_ratings
from favonius.judges.spoken.templates import AspectsPrompts, Template, conversation, fill, template_for
from favonius.run import Inputs
from favonius.types import Completion, Feedback, Messages, Sampling

SCALE = Scale(1, 5)
MAY_NOT_APPLY: Aspect = "honesty"
"""Creative texts have no honesty: their rating is N/A, which is no failure."""


@dataclass(frozen=True)
class Opinion:
    """On one text under one aspect; no rating where none applies."""

    rating: float | None
    words: str


@dataclass(frozen=True)
class Aspects:
    """Each aspect is a question that shows all answers, shuffled by seed, case and aspect.

    A case is judged when every aspect could be read: with one missing, its scores would be of another scale than those
    of other cases.
    """

    config: AspectsJudge
    template: Template[AspectsPrompts]

    @classmethod
    def of(cls, config: AspectsJudge, inputs: Inputs) -> Aspects:
        template = template_for(config, inputs, AspectsPrompts, "aspects")
        if missing := [aspect for aspect in config.aspects if aspect not in template.prompts.aspects]:
            raise UserError(f"{template.name}: aspects.{missing[0]}: is missing, and the judge is to rate it")
        return cls(config, template)

    @property
    def sampling(self) -> Sampling:
        return self.config.sampling

    @property
    def logprobs(self) -> int:
        return LIKELIEST if self.config.expected else 0

    def asks(self, case: Feedback, showing: Showing) -> list[Ask]:
        return [Ask(self._order(case, aspect, showing), aspect) for aspect in self.config.aspects]

    def _order(self, case: Feedback, aspect: Aspect, showing: Showing) -> tuple[int, ...]:
        order = list(range(len(case.completions)))
        random.Random(f"{self.config.seed} {case.id} {aspect}").shuffle(order)
        return tuple(reversed(order) if showing.reversed else order)

    def messages(self, case: Feedback, ask: Ask) -> Messages:
        prompt = self.template.prompts.aspects[_aspect(ask)]
        shown = [(str(number), case.completions[place].text) for number, place in enumerate(ask.order, 1)]
        return prompt.messages(
            case.knowledge,
            instruction=conversation(case.prompt),
            texts="\n\n".join(fill(prompt.text, {"number": number, "text": text}) for number, text in shown),
            outputs="\n\n".join(fill(prompt.output, {"number": number}) for number, _ in shown),
            rubric=prompt.rubric.strip("\n"),
            count=str(len(shown)),
        )

    def read(self, ask: Ask, reply: Completion) -> tuple[Opinion, ...]:
        """An opinion on each text, in the order shown."""
        cut_off = reply.finish == "length"
        rated = read_ratings(reply.text, len(ask.order), SCALE, ask.aspect == MAY_NOT_APPLY, cut_off)
        opinions = []
        for one in rated:
            rating = None if one.rating is None else one.rating.value
            if one.rating is not None and self.config.expected:
                rating = expected_score(reply, one.rating, SCALE)
            opinions.append(Opinion(rating, one.words))
        return tuple(opinions)

    def judgement(self, case: Feedback, heard: Sequence[Heard[tuple[Opinion, ...]]]) -> Judgement:
        found: list[dict[Aspect, Opinion]] = [{} for _ in case.completions]
        for one in heard:
            if isinstance(one.said, Failure):
                failure = replace(one.said, cause=f"{_aspect(one.ask)}: {one.said.cause}")
                return Judgement((failure,) * len(case.completions), calls=calls(heard))
            for place, opinion in zip(one.ask.order, one.said, strict=True):
                found[place][_aspect(one.ask)] = opinion
        return Judgement(tuple(_verdict(opinions) for opinions in found), calls=calls(heard))


def _verdict(opinions: dict[Aspect, Opinion]) -> Verdict:
    words = "\n\n".join(f"{aspect.replace('_', ' ')}: {opinion.words}" for aspect, opinion in opinions.items())
    ratings = [opinion.rating for opinion in opinions.values() if opinion.rating is not None]
    if not ratings:
        return Failure("no aspect applies", words)
    aspects: dict[str, float | None] = {aspect: opinion.rating for aspect, opinion in opinions.items()}
    return Score(sum(ratings) / len(ratings), aspects, words)


def _aspect(ask: Ask) -> Aspect:
    assert ask.aspect is not None
    return ask.aspect
