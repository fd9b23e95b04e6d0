"""The table, the verdict and the examples: evaluate/results.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from favonius.evals.benchmarks.own_rows import unit_of
from favonius.evals.compare import Contest, Judged, Measured, share_of_games, win_rate
from favonius.evals.config import EvaluateConfig
from favonius.evals.heldout import HeldOut
from favonius.judges.figures import by_prompt
from favonius.judges.judge import Failure
from favonius.statistics import Estimate, ratio, share
from favonius.types import Answer, Dialogue, Pair

EXAMPLES = 6

Row = dict[str, Any]
Values = dict[str, Estimate | None]


@dataclass(frozen=True)
class Units:
    """What held-out rows rest on, by their ids: rows of one prompt are one unit."""

    dialogues: Mapping[str, str]
    pairs: Mapping[str, str]

    @classmethod
    def of(cls, dialogues: Sequence[Dialogue], pairs: Sequence[Pair]) -> Self:
        return cls({row.id: unit_of(row.messages) for row in dialogues}, {row.id: unit_of(row.prompt) for row in pairs})


def results(
    config: EvaluateConfig, judged: Judged, held_out: Mapping[str, HeldOut], units: Units, judge_is_teacher: bool
) -> dict[str, Any]:
    labels = list(config.models)
    matrix = {
        row: {column: _record(win_rate(judged.contests, row, column)) for column in labels if column != row}
        for row in labels
    }
    return {
        "baseline": config.baseline,
        "judge": judged.mark.name,
        "judged_by": judged.mark.model_dump(),
        "judge_is_teacher": judge_is_teacher,
        "judge_failures": failures(judged),
        "prompts": len({contest.prompt_id for contest in judged.contests}),
        "samples": config.samples,
        "labels": labels,
        "metrics": [*_judge_rows(config, judged), *_answer_rows(labels, judged), *_logp_rows(config, held_out, units)],
        "win_matrix": matrix,
        "verdict": verdict(config, judged),
        "examples": _examples(judged),
    }


def failures(judged: Judged) -> dict[str, Any]:
    """Answers that the judge gave no score, by cause; apart from them those that it was not asked about for want of
    money, which are not its failures."""
    missing = [one for one in judged.verdicts() if isinstance(one, Failure)]
    causes = Counter(one.cause for one in missing if one.asked)
    not_asked = sum(not one.asked for one in missing)
    return {"answers": sum(1 for _ in judged.verdicts()), "not_asked": not_asked, "causes": dict(causes.most_common())}


def verdict(config: EvaluateConfig, judged: Judged) -> str:
    """What the win rates allow one to say, a sentence per model against the baseline, and what they leave out."""
    others = [label for label in config.models if label != config.baseline]
    sentences = [_told(label, config.baseline, win_rate(judged.contests, label, config.baseline)) for label in others]
    games = [contest.result(label, config.baseline) for contest in judged.contests for label in others]
    if left_out := games.count(None):
        sentences.append(f"{left_out} of {len(games)} games are left out: the judge has no word on them.")
    if not_asked := failures(judged)["not_asked"]:
        sentences.append(f"It was not asked about {not_asked} answers: the money is spent.")
    return " ".join(sentences)


def _told(label: str, baseline: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return f"Of {label} against {baseline} nothing can be said: the judge has no word on any game."
    figures = f"{estimate.value:.0%} of the games (95 % interval {estimate.low:.0%} to {estimate.high:.0%})"
    if estimate.low > 0.5:
        return f"{label} beats {baseline}: it wins {figures}."
    if estimate.high < 0.5:
        return f"{label} loses to {baseline}: it wins only {figures}."
    return f"{label} and {baseline} cannot be told apart here: {label} wins {figures}."


def _judge_rows(config: EvaluateConfig, judged: Judged) -> list[Row]:
    baseline = config.baseline

    def against(measured: Measured) -> Values:
        return {
            label: None if label == baseline else share_of_games(judged.contests, label, baseline, measured)
            for label in config.models
        }

    return [
        _row("win_rate", f"wins against {baseline}", "%", "higher", against(Contest.result),
             "An answer without flaw beats one with any; otherwise the judge decides. Ties count half."),
        _row("win_rate_by_score", f"wins against {baseline}, flaws ignored", "%", "higher", against(Contest.word),
             "The judge's word alone. A likelihood judge rates loops highly: read this with the rows on flaws."),
        _row("ties", f"games against {baseline} in which the judge prefers neither", "%", None, against(Contest.tie)),
        _row("without_word", f"games against {baseline} without a word of the judge", "%", "lower",
             against(Contest.silence), "Left out of wins, the first row excepted where a flaw decides."),
    ]  # fmt: skip


def _answer_rows(labels: Sequence[str], judged: Judged) -> list[Row]:
    def sharing(test: Callable[[Answer], bool]) -> Values:
        return {label: share(*_per_prompt(judged.answers(label), test)) for label in labels}

    lengths: Values = {label: ratio(*_per_prompt(judged.answers(label), lambda one: one.tokens)) for label in labels}
    return [
        _row("ended", "answers that end by themselves", "%", "higher", sharing(lambda one: one.finished)),
        _row("leak", "answers that leak role markers", "%", "lower", sharing(lambda one: "leak" in one.flaws)),
        _row("loop", "answers that loop", "%", "lower", sharing(lambda one: "loop" in one.flaws)),
        _row("length", "mean answer length", "tokens", None, lengths),
    ]


def _logp_rows(config: EvaluateConfig, held_out: Mapping[str, HeldOut], units: Units) -> list[Row]:
    nll = {label: _nats_per_token(own, units) for label, own in held_out.items()}
    implied = {
        label: None
        if label == config.baseline
        else _share_right(_implied_margins(own, held_out[config.baseline]), units)
        for label, own in held_out.items()
    }
    plain = {
        label: _share_right({name: a / m - b / n for name, (a, b, m, n) in own.pairs.items()}, units)
        for label, own in held_out.items()
    }
    return [
        _row("nll", "teacher's held-out answers, negative log-prob", "nats/token", "lower", nll),
        _row("implied_accuracy", "held-out pairs ranked right by implied reward", "%", "higher", implied,
             f"Reward = log-prob minus {config.baseline}'s log-prob, summed over the answer."),
        _row("pair_accuracy", "held-out pairs ranked right by log-prob per token", "%", "higher", plain),
    ]  # fmt: skip


def _nats_per_token(own: HeldOut, units: Units) -> Estimate | None:
    nats, _ = by_prompt((units.dialogues[name], -total) for name, (total, _) in own.teacher.items())
    tokens, _ = by_prompt((units.dialogues[name], count) for name, (_, count) in own.teacher.items())
    return ratio(nats, tokens)


def _implied_margins(own: HeldOut, reference: HeldOut) -> dict[str, float]:
    """Log-ratio of chosen minus log-ratio of rejected, of the pairs that both models could score."""
    both = {name: (own.pairs[name], reference.pairs[name]) for name in own.pairs if name in reference.pairs}
    return {name: (mine[0] - theirs[0]) - (mine[1] - theirs[1]) for name, (mine, theirs) in both.items()}


def _per_prompt(answers: Sequence[Answer], value: Callable[[Answer], float]) -> tuple[list[float], list[float]]:
    """Per prompt: the sum of a value over its answers, and how many they are."""
    return by_prompt((one.prompt_id, float(value(one))) for one in answers)


def _share_right(margins: Mapping[str, float], units: Units) -> Estimate | None:
    """Share of pairs whose margin is above 0; none counts half: a model without preference is right half the time."""
    right = ((units.pairs[name], 0.5 + 0.5 * (one > 0) - 0.5 * (one < 0)) for name, one in margins.items())
    return share(*by_prompt(right))


def _row(
    key: str, title: str, unit: str, better: str | None, values: Mapping[str, Estimate | None], note: str | None = None
) -> Row:
    recorded = {label: _record(value) for label, value in values.items()}
    return {"key": key, "title": title, "unit": unit, "better": better, "note": note, "values": recorded}


def _record(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate._asdict()


def _examples(judged: Judged) -> list[Row]:
    """The first answer of every model to prompts spread evenly over the held-out ones: chosen before any was read."""
    first: dict[str, Contest] = {}
    for contest in judged.contests:
        first.setdefault(contest.prompt_id, contest)
    prompts = list(first)
    count = min(EXAMPLES, len(prompts))
    return [_example(first[prompts[index * len(prompts) // count]]) for index in range(count)]


def _example(contest: Contest) -> Row:
    answers = {
        label: {"text": one.text, "finished": one.finished, "flaws": one.flaws, "score": contest.score(label)}
        for label, one in contest.answers.items()
    }
    return {"prompt": next(iter(contest.answers.values())).prompt[-1].content, "answers": answers}
