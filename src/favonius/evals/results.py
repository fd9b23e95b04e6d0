"""The table, the verdict and the examples: evaluate/results.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from favonius.evals.compare import Judged, win_rate
from favonius.evals.config import EvaluateConfig
from favonius.evals.heldout import HeldOut
from favonius.statistics import Estimate, ratio, share

EXAMPLES = 6

Row = dict[str, Any]


def results(
    config: EvaluateConfig,
    judged: Mapping[str, Sequence[Judged]],
    held_out: Mapping[str, HeldOut],
    judge: str,
    judge_is_teacher: bool,
) -> dict[str, Any]:
    labels = list(config.models)
    matrix = {
        row: {column: _record(win_rate(judged[row], judged[column])) for column in labels if column != row}
        for row in labels
    }
    return {
        "baseline": config.baseline,
        "judge": judge,
        "judge_is_teacher": judge_is_teacher,
        "prompts": len({one.answer.prompt_id for one in judged[config.baseline]}),
        "samples": config.samples,
        "labels": labels,
        "metrics": [*_judge_rows(config, judged), *_answer_rows(judged), *_logp_rows(config, held_out)],
        "win_matrix": matrix,
        "verdict": verdict(config, judged),
        "examples": _examples(judged),
    }


def verdict(config: EvaluateConfig, judged: Mapping[str, Sequence[Judged]]) -> str:
    """What the win rates allow one to say, a sentence per model against the baseline."""
    sentences = []
    for label in config.models:
        estimate = None if label == config.baseline else win_rate(judged[label], judged[config.baseline])
        if estimate is None:
            continue
        figures = f"{estimate.value:.0%} of the games (95 % interval {estimate.low:.0%} to {estimate.high:.0%})"
        if estimate.low > 0.5:
            sentences.append(f"{label} beats {config.baseline}: it wins {figures}.")
        elif estimate.high < 0.5:
            sentences.append(f"{label} loses to {config.baseline}: it wins only {figures}.")
        else:
            sentences.append(f"{label} and {config.baseline} cannot be told apart here: {label} wins {figures}.")
    return " ".join(sentences)


def _judge_rows(config: EvaluateConfig, judged: Mapping[str, Sequence[Judged]]) -> list[Row]:
    baseline = judged[config.baseline]

    def against(mind_flaws: bool) -> dict[str, Estimate | None]:
        return {
            label: None if label == config.baseline else win_rate(own, baseline, mind_flaws)
            for label, own in judged.items()
        }

    return [
        _row("win_rate", f"wins against {config.baseline}", "%", "higher", against(True),
             "An answer without flaw beats one with any; otherwise the judge's score decides. Ties count half."),
        _row("win_rate_by_score", f"wins against {config.baseline}, flaws ignored", "%", "higher", against(False),
             "The judge's score alone. A likelihood judge rates loops highly: read this with the rows on flaws."),
    ]  # fmt: skip


def _answer_rows(judged: Mapping[str, Sequence[Judged]]) -> list[Row]:
    def sharing(test: Callable[[Judged], bool]) -> dict[str, Estimate | None]:
        return {label: share(*_per_prompt(own, test)) for label, own in judged.items()}

    return [
        _row("ended", "answers that end by themselves", "%", "higher", sharing(lambda one: one.answer.finished)),
        _row("leak", "answers that leak role markers", "%", "lower", sharing(lambda one: "leak" in one.answer.flaws)),
        _row("loop", "answers that loop", "%", "lower", sharing(lambda one: "loop" in one.answer.flaws)),
        _row("length", "mean answer length", "tokens", None, {label: _lengths(own) for label, own in judged.items()}),
    ]


def _logp_rows(config: EvaluateConfig, held_out: Mapping[str, HeldOut]) -> list[Row]:
    nll = {
        label: ratio([-total for total, _ in own.teacher.values()], [count for _, count in own.teacher.values()])
        for label, own in held_out.items()
    }
    implied = {
        label: None if label == config.baseline else _share_right(_implied_margins(own, held_out[config.baseline]))
        for label, own in held_out.items()
    }
    plain = {
        label: _share_right([a / m - b / n for a, b, m, n in own.pairs.values()]) for label, own in held_out.items()
    }
    return [
        _row("nll", "teacher's held-out answers, negative log-prob", "nats/token", "lower", nll),
        _row("implied_accuracy", "held-out pairs ranked right by implied reward", "%", "higher", implied,
             f"Reward = log-prob minus {config.baseline}'s log-prob, summed over the answer."),
        _row("pair_accuracy", "held-out pairs ranked right by log-prob per token", "%", "higher", plain),
    ]  # fmt: skip


def _implied_margins(own: HeldOut, reference: HeldOut) -> list[float]:
    """Log-ratio of chosen minus log-ratio of rejected, of the pairs that both models could score."""
    both = [(own.pairs[name], reference.pairs[name]) for name in own.pairs if name in reference.pairs]
    return [(mine[0] - theirs[0]) - (mine[1] - theirs[1]) for mine, theirs in both]


def _lengths(own: Sequence[Judged]) -> Estimate | None:
    return ratio(*_per_prompt(own, lambda one: one.answer.tokens))


def _per_prompt(own: Sequence[Judged], value: Callable[[Judged], float]) -> tuple[list[float], list[float]]:
    """Per prompt: the sum of a value over its answers, and how many they are."""
    sums: dict[str, list[float]] = {}
    for one in own:
        sums.setdefault(one.answer.prompt_id, []).append(float(value(one)))
    return [sum(values) for values in sums.values()], [float(len(values)) for values in sums.values()]


def _share_right(differences: Sequence[float]) -> Estimate | None:
    """Share of positive ones; none counts half: a model without preference is right half the time."""
    return share([0.5 + 0.5 * (one > 0) - 0.5 * (one < 0) for one in differences], [1.0] * len(differences))


def _row(
    key: str, title: str, unit: str, better: str | None, values: Mapping[str, Estimate | None], note: str | None = None
) -> Row:
    recorded = {label: _record(value) for label, value in values.items()}
    return {"key": key, "title": title, "unit": unit, "better": better, "note": note, "values": recorded}


def _record(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate._asdict()


def _examples(judged: Mapping[str, Sequence[Judged]]) -> list[Row]:
    """The first answer of every model to prompts spread evenly over the held-out ones: chosen before any was read."""
    first = next(iter(judged.values()))
    prompts = list(dict.fromkeys(one.answer.prompt_id for one in first))
    count = min(EXAMPLES, len(prompts))
    examples = []
    for prompt in (prompts[index * len(prompts) // count] for index in range(count)):
        shown = {label: next(one for one in own if one.answer.prompt_id == prompt) for label, own in judged.items()}
        any_answer = next(iter(shown.values())).answer
        answers = {
            label: {
                "text": one.answer.text,
                "finished": one.answer.finished,
                "flaws": one.answer.flaws,
                "score": one.score,
            }
            for label, one in shown.items()
        }
        examples.append({"prompt": any_answer.prompt[-1].content, "answers": answers})
    return examples
