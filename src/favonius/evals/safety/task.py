"""Safety as a benchmark: what is refused of harmful and of harmless requests, by rules and, where asked, by a judge."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from favonius.data.sources import source_name
from favonius.evals.benchmarks.config import Safety
from favonius.evals.benchmarks.rows import row_of
from favonius.evals.benchmarks.task import Desk, Item, ItemRow, Metric, Said, Scored
from favonius.evals.safety.judge import Agreement, Case, Verdict, agreement, judge, mark
from favonius.evals.safety.prompts import Kind, SafetyPrompt, built_in, red_team_openings
from favonius.evals.safety.rates import Reply, rates, rules_matched
from favonius.evals.safety.refusal import outcome
from favonius.evals.safety.wrappers import Wrapper, wrapped
from favonius.run import Inputs

BUILT_IN = "favonius"
"""Our own prompts, as results name them."""
REFUSALS: Mapping[Kind, Metric] = {
    "harmful": Metric(key="refused", title="harmful requests refused"),
    "harmless": Metric(key="over_refused", title="harmless requests refused", better="lower"),
    "red team": Metric(key="red_team_refused", title="red-team openings refused", better=None),
}
UNUSABLE = Metric(key="unusable", title="answers that are blank or loop", better="lower")
RED_TEAM_NOTE = "Red-team openings are mixed, harmful and harmless: only how models differ on them says something."


@dataclass(frozen=True)
class SafetyTask:
    """An `AskedTask`. `asked` holds the request and the wrapper of each item, by item id."""

    config: Safety
    questions: str
    asked: Mapping[str, tuple[SafetyPrompt, Wrapper]]

    name = "safety"
    title = "Safety"

    @classmethod
    def of(cls, config: Safety, inputs: Inputs) -> Self:
        """UserError where the red-team file holds no opening."""
        limit, seed = config.limit, config.seed
        prompts = [*_spread(built_in("harmful"), limit, seed), *_spread(built_in("harmless"), limit, seed)]
        questions = BUILT_IN
        if config.red_team is not None:
            path = str(inputs.file(config.red_team))
            prompts += red_team_openings(path, limit, seed)
            questions = f"{BUILT_IN}, {source_name(path)}"
        wrappers = dict.fromkeys(config.wrappers)
        asked = {f"{prompt.id} ({wrapper})": (prompt, wrapper) for prompt in prompts for wrapper in wrappers}
        return cls(config, questions, asked)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The rules' shares, then the judge's; of red-team openings only where they are asked."""
        asked = {prompt.kind for prompt, _ in self.asked.values()}
        by_rules = [metric for kind, metric in REFUSALS.items() if kind in asked]
        by_judge = map(_of_judge, by_rules if self.config.judge else ())
        return (*by_rules, UNUSABLE, *by_judge)

    @property
    def texts(self) -> list[str]:
        return list(dict.fromkeys(prompt.text for prompt, _ in self.asked.values()))

    def items(self) -> list[Item]:
        """All wrappers of a request are one unit."""
        return [
            Item(
                id=name,
                messages=wrapped(prompt.messages(), wrapper),
                sampling=self.config.sampling,
                category=f"{prompt.kind}, {wrapper}",
                unit=prompt.id,
                about={"topic": prompt.category},
            )
            for name, (prompt, wrapper) in self.asked.items()
        ]

    def scored(self, said: Sequence[Said], desk: Desk) -> Scored:
        """By rules and, where there is one, by a judge; `protocol` has the rates by wrapper and topic."""
        replies = [Reply(*self.asked[one.item.id], one.turns[0].text) for one in said]
        verdicts = self._judged(said, desk)
        protocol: dict[str, Any] = {
            "rates": [rate.record() for rate in rates(replies)],
            "rules_matched": dict(rules_matched(replies).most_common()),
        }
        notes = [RED_TEAM_NOTE] if self.config.red_team is not None else []
        if verdicts:
            found = _agreement(replies, verdicts)
            protocol |= {"judged": _counts(said, verdicts), "agreement": found.record()}
            notes.append(found.in_words())
        return Scored(
            rows=list(_rows(said, replies, verdicts)),
            judge=mark(desk.inputs.speaker(self.config.judge)) if self.config.judge else None,
            protocol=protocol,
            notes=notes,
        )

    def _judged(self, said: Sequence[Said], desk: Desk) -> list[Verdict]:
        """A verdict on each answer; none where there is no judge."""
        if self.config.judge is None:
            return []
        cases = [Case(one.item.messages[-1].content, one.turns[0].text) for one in said]
        label = f"{desk.label}, {self.name}"
        return judge(cases, self.config.engine, desk.inputs.speaker(self.config.judge), desk.context, label)


def _spread(prompts: Sequence[SafetyPrompt], limit: int | None, seed: int) -> list[SafetyPrompt]:
    """At most `limit`, drawn with `seed`, from every topic as many as from any other or one more."""
    if limit is None or limit >= len(prompts):
        return list(prompts)
    times: Counter[str] = Counter()
    rounds: list[tuple[int, str]] = []
    for prompt in random.Random(seed).sample(prompts, len(prompts)):
        times[prompt.category] += 1
        rounds.append((times[prompt.category], prompt.id))
    chosen = {name for _, name in sorted(rounds, key=lambda one: one[0])[:limit]}
    return [prompt for prompt in prompts if prompt.id in chosen]


def _of_judge(metric: Metric) -> Metric:
    return metric.model_copy(update={"key": f"judge_{metric.key}", "title": f"{metric.title}, by the judge"})


def _counts(said: Sequence[Said], verdicts: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """The judge's verdicts by category."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one, verdict in zip(said, verdicts, strict=True):
        found[str(one.item.category)][verdict.said or "unreadable"] += 1
    return {category: dict(counts) for category, counts in found.items()}


def _agreement(replies: Sequence[Reply], verdicts: Sequence[Verdict]) -> Agreement:
    by_rules = [outcome(reply.answer) == "refused" for reply in replies]
    by_judge = [None if verdict.said is None else verdict.said == "refuses" for verdict in verdicts]
    return agreement(by_rules, by_judge, [reply.prompt.id for reply in replies])


def _rows(said: Sequence[Said], replies: Sequence[Reply], verdicts: Sequence[Verdict]) -> Iterator[ItemRow]:
    for number, (one, reply) in enumerate(zip(said, replies, strict=True)):
        found, refusals = outcome(reply.answer), REFUSALS[reply.prompt.kind]
        scores: dict[str, float | None] = {
            refusals.key: float(found == "refused"),
            UNUSABLE.key: float(found == "unusable"),
        }
        verdict = verdicts[number] if verdicts else None
        if verdict is not None:
            scores[_of_judge(refusals).key] = None if verdict.said is None else float(verdict.said == "refuses")
        yield row_of(
            one,
            scores,
            prompt=reply.prompt.text,
            note=verdict.fault if verdict else None,
            judged=(verdict.request,) if verdict and verdict.request else (),
        )
