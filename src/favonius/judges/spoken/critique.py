"""A critique of each answer by itself, and an overall score of 1 to 10 (zephyr-spec §4.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from favonius.judges.config import CritiqueJudge
from favonius.judges.judge import Judgement, Score, Showing
from favonius.judges.spoken.asking import Ask, Heard, calls
from favonius.judges.spoken.expected import LIKELIEST, expected_score
from favonius.judges.spoken.numerals import Scale
from favonius.judges.spoken.reading import read_score
from favonius.judges.spoken.templates import CritiquePrompt, Template, conversation, template_for
from favonius.run import Inputs
from favonius.types import Completion, Feedback, Messages, Principle, Sampling

SCALE = Scale(1, 10)


@dataclass(frozen=True)
class Critique:
    """A question per answer. Orders are nothing to it."""

    config: CritiqueJudge
    template: Template[CritiquePrompt]

    @classmethod
    def of(cls, config: CritiqueJudge, inputs: Inputs) -> Critique:
        return cls(config, template_for(config, inputs, CritiquePrompt, "critique"))

    @property
    def sampling(self) -> Sampling:
        return self.config.sampling

    @property
    def logprobs(self) -> int:
        return LIKELIEST if self.config.expected else 0

    def asks(self, case: Feedback, showing: Showing) -> list[Ask]:
        return [Ask((place,)) for place in range(len(case.completions))]

    def messages(self, case: Feedback, ask: Ask) -> Messages:
        answer = case.completions[ask.order[0]]
        note = _note(answer.principle) if self.config.principle and answer.principle else ""
        return self.template.prompts.messages(
            case.knowledge, instruction=conversation(case.prompt), principle=note, answer=answer.text
        )

    def read(self, ask: Ask, reply: Completion) -> Score:
        score, critique = read_score(reply.text, SCALE, reply.finish == "length")
        value = expected_score(reply, score, SCALE) if self.config.expected else score.value
        return Score(value, critique=critique or None)

    def judgement(self, case: Feedback, heard: Sequence[Heard[Score]]) -> Judgement:
        return Judgement(tuple(one.said for one in heard), calls=calls(heard))


def _note(principle: Principle) -> str:
    """What the author was told; of calibration without its examples, as UltraFeedback cut it."""
    if principle.kind == "verbalized_calibration":
        return principle.text.partition("For instance,")[0].strip()
    return principle.text.strip()
