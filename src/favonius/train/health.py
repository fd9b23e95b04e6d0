"""Plain-word alarms about a training, from nothing but its config and the lines of its metrics.jsonl.

What is known is a function of the lines observed so far: a training that goes on after a stop observes the lines that
it kept, and then raises exactly the alarms that it had yet to raise. Needs no torch.

A window is ten optimizer steps or the steps of 128 rows, whichever is more: a mean over it is steady at any batch size.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, median, variance

from favonius.train.config import TrainConfig

WINDOW_STEPS = 10
WINDOW_ROWS = 128
CLEAR_WINDOWS = 3
"""Without an alarm's cause before it may be raised again: what hovers about a limit is said once."""
ERRORS = 2.0
"""Standard errors by which a difference must exceed its limit."""
FALL = 0.5
"""Nats per token by which chosen answers may get less likely; e^-0.5 = 0.6."""
CORRELATION = 0.6
"""|r| of margin and length gap; beyond it lengths explain more than a third of what the margins differ by."""
LENGTH_GAP = 0.2
"""Between the mean lengths of chosen and rejected answers, as a share of both."""
EXPLOSION = 10.0
"""Median gradient norm of the latest half window over that of the MEDIAN_WINDOWS before: odd batches are none."""
MEDIAN_WINDOWS = 10
LOOK_AT_LOSS = 0.75
"""Share of the training after which its first steps are compared with those since its half."""
ACCURACY_FALL = 0.03
"""On test rows, below the best so far, twice in a row."""


@dataclass(frozen=True)
class Alarm:
    """What went wrong by `step`. The sentence says what was seen, what it usually means and what to try."""

    step: int
    kind: str
    sentence: str

    def record(self) -> dict[str, object]:
        """Its line in metrics.jsonl."""
        return {"step": self.step, "split": "alarm", "kind": self.kind, "sentence": self.sentence}


class Health:
    """Observes the lines of one training in order."""

    def __init__(self, config: TrainConfig) -> None:
        self._history = History(config)
        self._quiet: dict[str, int] = {}
        """Per kind that was raised: how many times in a row its rule has found nothing since."""

    def observe(self, line: Mapping[str, object]) -> list[Alarm]:
        """What `line` raises. A kind is raised once, and again only after CLEAR_WINDOWS (or, where test rows tell, one
        pass over them) without it. Lines of alarms say nothing."""
        split, step = line["split"], int(str(line["step"]))
        if split == "train":
            self._history.add_train(step, line)
            return self._raised(step, TRAIN_RULES, CLEAR_WINDOWS * self._history.window)
        if split == "test":
            self._history.add_test(step, line)
            return self._raised(step, TEST_RULES, 1)
        return []

    def _raised(self, step: int, rules: Mapping[str, Rule], patience: int) -> list[Alarm]:
        alarms = []
        for kind, rule in rules.items():
            sentence, quiet = rule(self._history), self._quiet.get(kind, patience)
            if sentence is not None and quiet >= patience:
                alarms.append(Alarm(step, kind, sentence))
            self._quiet[kind] = quiet + 1 if sentence is None else 0
        return alarms


class Series:
    """One number over the steps that have it: the first `window` of them and the latest."""

    def __init__(self, window: int) -> None:
        self.window, self.count = window, 0
        self.first: list[float] = []
        self.latest: deque[float] = deque(maxlen=window)

    def add(self, value: float) -> None:
        self.count += 1
        self.latest.append(value)
        if len(self.first) < self.window:
            self.first.append(value)

    @property
    def full(self) -> bool:
        return self.count >= self.window

    @property
    def mean(self) -> float:
        """Of the latest."""
        return fmean(self.latest)


@dataclass
class RunningMean:
    """Of all values so far."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count, self.total, self.squares = self.count + 1, self.total + value, self.squares + value * value

    @property
    def value(self) -> float:
        return self.total / self.count

    @property
    def variance(self) -> float:
        return max(0.0, self.squares / self.count - self.value**2)


@dataclass(frozen=True)
class HeldOut:
    """A pass over the test rows, and the mean margin of the train batches before it."""

    step: int
    loss: float
    accuracy: float
    margin: float


class History:
    """What the rules look at."""

    def __init__(self, config: TrainConfig) -> None:
        self.window = max(WINDOW_STEPS, math.ceil(WINDOW_ROWS / config.batch_size))
        self.epochs = config.epochs
        self.step, self.epoch = 0, 0.0
        self.finite = True
        """Whether loss and gradient of the latest step are numbers."""
        self.series: defaultdict[str, Series] = defaultdict(lambda: Series(self.window))
        """By name in metrics.jsonl; and `chosen_logps_per_token`."""
        self.series["grad_norm"] = Series(self.window * MEDIAN_WINDOWS)
        self.late_loss = RunningMean()
        """Over the second half of the training."""
        self.tests: list[HeldOut] = []

    def add_train(self, step: int, line: Mapping[str, object]) -> None:
        numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self.step, self.epoch = step, finite.get("epoch", self.epoch)
        self.finite = all(name in finite for name in ("loss", "grad_norm") if name in numbers)
        if "chosen_logps" in finite and finite.get("chosen_tokens"):
            finite["chosen_logps_per_token"] = finite["chosen_logps"] / finite["chosen_tokens"]
        for name, value in finite.items():
            self.series[name].add(value)
        if self.epoch > self.epochs / 2 and "loss" in finite:
            self.late_loss.add(finite["loss"])

    def add_test(self, step: int, line: Mapping[str, object]) -> None:
        loss, accuracy, margin = line["loss"], line.get("accuracy"), self.series["margin"]
        if isinstance(loss, int | float) and isinstance(accuracy, int | float):
            self.tests.append(HeldOut(step, loss, accuracy, margin.mean if margin.count else 0.0))


Rule = Callable[[History], str | None]


def not_a_number(step: int) -> str:
    """What a training that cannot go on says."""
    return (
        f"the loss or its gradient is not a number at optimizer step {step}; the last checkpoint before it is kept: "
        "lower learning_rate or try precision: fp32, and run again"
    )


def _stopped(history: History) -> str | None:
    return None if history.finite else not_a_number(history.step)


def _chosen_fell(history: History) -> str | None:
    logps = history.series["chosen_logps_per_token"]
    if logps.count < 2 * logps.window:
        return None
    first, fall = fmean(logps.first), fmean(logps.first) - logps.mean
    error = math.sqrt((variance(logps.first) + variance(logps.latest)) / logps.window)
    if fall - ERRORS * error <= FALL:
        return None
    return (
        f"the chosen answers' log-prob fell from {first:.2f} to {logps.mean:.2f} nats per token (means over "
        f"{logps.window} steps): margins are being won by making both answers unlikely, which usually ends in broken "
        "text; lower learning_rate, raise beta, or add nll_weight or drop_penalty to a dpo objective"
    )


def _too_easy(history: History) -> str | None:
    accuracy = history.series["accuracy"]
    if not accuracy.full or min(accuracy.latest) < 1.0 or history.epoch > 1.0:
        return None
    return (
        f"every pair of the last {accuracy.window} steps was told apart inside the first epoch: usually something "
        "gives the chosen answers away (a length, a source's style, a cut-off end) or pairs repeat; read some pairs "
        "for what all chosen answers share, and lower learning_rate"
    )


def _length_explains(history: History) -> str | None:
    series = history.series
    correlation, chosen, rejected = (
        series[name] for name in ("margin_length_correlation", "chosen_tokens", "rejected_tokens")
    )
    if not (correlation.full and chosen.full and rejected.full):
        return None
    gap, size = chosen.mean - rejected.mean, (chosen.mean + rejected.mean) / 2
    # With opposite signs the gap works against the margin and cannot be what explains it.
    if abs(correlation.mean) < CORRELATION or abs(gap) < LENGTH_GAP * size or correlation.mean * gap < 0:
        return None
    which = "longer" if gap > 0 else "shorter"
    return (
        f"margins follow length: chosen answers have {chosen.mean:.0f} tokens and rejected ones {rejected.mean:.0f} on "
        f"average, and margin and length difference correlate with r = {correlation.mean:.2f} (means over "
        f"{chosen.window} steps), so the model may be learning to answer {which} and little else; balance the lengths "
        "in the pairs, or set length_normalised or length_penalty in a dpo objective"
    )


def _gradient_exploded(history: History) -> str | None:
    norms, reach = history.series["grad_norm"], history.window // 2
    if norms.count < history.window + reach:
        return None
    known = list(norms.latest)
    usual, latest = median(known[:-reach]), median(known[-reach:])
    # Norms that sank to nearly nothing may rise again: only well above where they began is it an explosion.
    if latest <= EXPLOSION * usual or latest <= 2 * median(norms.first[: history.window]):
        return None
    return (
        f"the gradient norm is {latest:.3g} (median of {reach} steps), {latest / usual:.0f} times its running "
        f"median of {usual:.3g}: the training is about to diverge; lower learning_rate, lengthen warmup_share or lower "
        "max_grad_norm"
    )


def _loss_stays(history: History) -> str | None:
    loss, late = history.series["loss"], history.late_loss
    enough = min(late.count, loss.count - late.count) >= history.window
    if not enough or history.epoch < LOOK_AT_LOSS * history.epochs:
        return None
    first = fmean(loss.first)
    error = math.sqrt(variance(loss.first) / loss.window + late.variance / late.count)
    if late.value <= first - error:
        return None
    return (
        f"the loss is not falling: {first:.4f} over the first {loss.window} steps and {late.value:.4f} since half of "
        "the training; usually learning_rate is far too low (or, where the loss rose, too high), or the rows hold "
        "nothing consistent to learn: try another learning_rate, then look at the rows"
    )


def _tests_fell(history: History) -> str | None:
    if len(history.tests) < 3:
        return None
    *before, previous, latest = history.tests
    best = max(before, key=lambda test: test.accuracy)
    fell = max(previous.accuracy, latest.accuracy) <= best.accuracy - ACCURACY_FALL
    # Of few test pairs some change sides in every training; where the loss does not rise too, that is all it is.
    if not fell or latest.loss <= best.loss or latest.margin <= best.margin:
        return None
    return (
        f"accuracy on held-out pairs fell from {best.accuracy:.0%} (step {best.step}) to {latest.accuracy:.0%} and "
        f"their loss rose, while the margin on training pairs grew from {best.margin:.2f} to {latest.margin:.2f}: "
        "pairs are being learned by heart; train fewer epochs, lower learning_rate or raise beta"
    )


TRAIN_RULES: Mapping[str, Rule] = {
    "not a number": _stopped,
    "chosen answers get unlikely": _chosen_fell,
    "pairs are too easy": _too_easy,
    "length explains the margin": _length_explains,
    "gradient explodes": _gradient_exploded,
    "loss does not fall": _loss_stays,
}
TEST_RULES: Mapping[str, Rule] = {"held-out accuracy falls": _tests_fell}
