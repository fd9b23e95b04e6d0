"""Which of two answers is better, for every two answers of a case, in both orders (zephyr-spec §5.1, §5.3)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from favonius.judges.config import PairwiseJudge
from favonius.judges.judge import Failure, Judgement, Score, Showing, Verdict
from favonius.judges.spoken.asking import Ask, Heard, calls
from favonius.judges.spoken.expected import LIKELIEST, expected_preference
from favonius.judges.spoken.templates import PairwisePrompt, Template, conversation, template_for
from favonius.judges.spoken.verdicts import PREFERENCE, read_verdict
from favonius.run import Inputs
from favonius.types import Comparison, Completion, Feedback, Messages, Sampling

VERDICT_TOKENS = 16
"""Room enough for a verdict alone; what a small judge would go on to say is neither waited for nor paid."""


@dataclass(frozen=True)
class Pairwise:
    """Two questions per pair, one for each order, or one in an order seeded by case and pair.

    Equal texts are a tie of which nothing is asked. Where one order could not be read the other stands alone. An answer
    scores the mean preference over those that it could be compared with; a case for which the money did not suffice
    has no scores before it was asked in full.
    """

    config: PairwiseJudge
    template: Template[PairwisePrompt]

    @classmethod
    def of(cls, config: PairwiseJudge, inputs: Inputs) -> Pairwise:
        built_in = "pairwise_explained" if config.explain else "pairwise"
        return cls(config, template_for(config, inputs, PairwisePrompt, built_in))

    @property
    def sampling(self) -> Sampling:
        sampling = self.config.sampling
        if self.config.explain:
            return sampling
        return sampling.model_copy(update={"max_tokens": min(sampling.max_tokens, VERDICT_TOKENS)})

    @property
    def logprobs(self) -> int:
        return LIKELIEST if self.config.expected else 0

    def asks(self, case: Feedback, showing: Showing) -> list[Ask]:
        texts = [answer.text for answer in case.completions]
        pairs = [pair for pair in combinations(range(len(texts)), 2) if texts[pair[0]] != texts[pair[1]]]
        return [Ask(order) for pair in pairs for order in self._orders(case, pair, showing)]

    def _orders(self, case: Feedback, pair: tuple[int, int], showing: Showing) -> list[tuple[int, int]]:
        first, second = pair
        if self.config.both_orders:
            return [(first, second), (second, first)]
        swapped = random.Random(f"{self.config.seed} {case.id} {first} {second}").random() < 0.5
        return [(second, first) if swapped is not showing.reversed else (first, second)]

    def messages(self, case: Feedback, ask: Ask) -> Messages:
        first, second = (case.completions[place].text for place in ask.order)
        return self.template.prompts.messages(
            case.knowledge, instruction=conversation(case.prompt), first=first, second=second
        )

    def read(self, ask: Ask, reply: Completion) -> float:
        """How far the answer shown first is preferred."""
        names = self.template.prompts.verdicts
        verdict = read_verdict(reply.text, names, alone=not self.config.explain, cut_off=reply.finish == "length")
        return expected_preference(reply, verdict, names) if self.config.expected else PREFERENCE[verdict.side]

    def judgement(self, case: Feedback, heard: Sequence[Heard[float]]) -> Judgement:
        for one in heard:
            if isinstance(one.said, Failure) and not one.said.asked:
                return Judgement((one.said,) * len(case.completions), calls=calls(heard))
        by_order = {one.ask.order: one.said for one in heard}
        texts = [answer.text for answer in case.completions]
        comparisons = []
        for first, second in combinations(range(len(texts)), 2):
            if texts[first] == texts[second]:
                comparisons.append(Comparison(first=first, second=second, preference=0.5))
            elif (seen := _compared(first, second, by_order)) is not None:
                comparisons.append(seen)
        verdicts = tuple(_verdict(place, comparisons, heard) for place in range(len(texts)))
        return Judgement(verdicts, tuple(comparisons), calls(heard))


def _compared(first: int, second: int, said: dict[tuple[int, ...], float | Failure]) -> Comparison | None:
    one, other = said.get((first, second)), said.get((second, first))
    seen_first = one if isinstance(one, float) else None
    seen_second = 1.0 - other if isinstance(other, float) else None
    seen = [preference for preference in (seen_first, seen_second) if preference is not None]
    if not seen:
        return None
    mean = sum(seen) / len(seen)
    return Comparison(first=first, second=second, preference=mean, seen_first=seen_first, seen_second=seen_second)


def _verdict(place: int, comparisons: Sequence[Comparison], heard: Sequence[Heard[float]]) -> Verdict:
    won = [one.preference for one in comparisons if one.first == place]
    won += [1.0 - one.preference for one in comparisons if one.second == place]
    if won:
        return Score(sum(won) / len(won))
    failures = [one.said for one in heard if place in one.ask.order and isinstance(one.said, Failure)]
    return failures[0] if failures else Failure("nothing to compare it with")
