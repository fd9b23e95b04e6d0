"""Objectives: every loss against numbers worked in plain Python, and what no cutting up of a batch may change."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from favonius.train import losses
from favonius.train.measures import Totals, summarise
from favonius.train.objectives import (
    DPO,
    IPO,
    KTO,
    ORPO,
    SFT,
    APOZero,
    Hinge,
    Objective,
    SimPO,
    needs_baseline,
    needs_reference,
    needs_token_reference,
)
from favonius.train.rows import Row
from favonius.train.step import Loss, Reference, log_ratio_sum, loss
from favonius.trees.score import Logps
from favonius.trees.tree import TokenSequence, Tree
from tests import training
from tests.tiny import save_tiny

PAIRWISE: list[Objective] = [
    DPO(beta=0.3), DPO(beta=0.3, label_smoothing=0.1), DPO(beta=0.3, label_smoothing=0.1, robust=True),
    DPO(beta=2.0, length_normalised=True), DPO(beta=0.3, length_penalty=0.05), DPO(beta=0.3, tail_weight=0.4),
    DPO(beta=0.3, drop_penalty=5.0), DPO(beta=0.3, nll_weight=1.0),
    DPO(beta=0.3, label_smoothing=0.2, tail_weight=0.0, drop_penalty=1.0, nll_weight=0.5),
    IPO(beta=0.5), Hinge(beta=0.3), APOZero(beta=0.3), SimPO(), ORPO(),
]  # fmt: skip
KINDS: list[Objective] = [SFT(), *PAIRWISE, KTO(beta=0.3, desirable_weight=1.5)]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Batch:
    """Rows with given log-probs per token, of the policy (a leaf, to be differentiated) and of the reference."""

    def __init__(
        self, policy: Sequence[Sequence[float]], reference: Sequence[Sequence[float]], per_row: int = 2
    ) -> None:
        self.policy = [torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in policy]
        self.reference = [torch.tensor(values, dtype=torch.float64) for values in reference]
        self.per_row = per_row
        self.rows = [self._row(index) for index in range(len(policy) // per_row)]

    def _row(self, index: int) -> Row:
        lengths = [len(self.policy[sequence]) for sequence in self._sequences(index)]
        trees = [TokenSequence.of([1, 2, *range(9, 9 + n)], [False] * 2 + [True] * n) for n in lengths]
        labels = (True, False) if self.per_row == 2 else (index % 3 != 1,)
        return Row(f"r{index}", "train", Tree.of(*trees), labels)

    def _sequences(self, index: int) -> range:
        return range(index * self.per_row, (index + 1) * self.per_row)

    def totals(self, objective: Objective) -> Totals:
        totals = Totals.of(self.rows)
        if not needs_baseline(objective):
            return totals
        return totals.with_baseline(torch.tensor(0.05 * totals.answers, dtype=torch.float64))

    def part(self, objective: Objective, members: Sequence[int], totals: Totals) -> Loss:
        sequences = list(itertools.chain.from_iterable(self._sequences(index) for index in members))
        lengths = torch.tensor([len(self.policy[index]) for index in sequences])
        owner = torch.repeat_interleave(torch.arange(len(sequences)), lengths)
        logps = Logps(torch.cat([self.policy[index] for index in sequences]), owner, len(sequences))
        sums = torch.stack([self.reference[index].sum() for index in sequences])
        values = torch.cat([self.reference[index] for index in sequences])
        reference = Reference(sums, values if needs_token_reference(objective) else None)
        rows = [self.rows[index] for index in members]
        return loss(objective, rows, logps, reference if needs_reference(objective) else None, totals)

    def run(
        self, objective: Objective, packs: Sequence[Sequence[int]] | None = None
    ) -> tuple[float, dict[str, float], list[torch.Tensor]]:
        """Loss, numbers and gradients per sequence, over given packs of rows or one of all rows."""
        totals = self.totals(objective)
        parts = [self.part(objective, members, totals) for members in packs or [range(len(self.rows))]]
        sums: dict[str, float] = {}
        for part in parts:
            for name, value in part.sums.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        value = torch.stack([part.value for part in parts]).sum()
        gradients = torch.autograd.grad(value, self.policy, allow_unused=True)
        zeros = [torch.zeros_like(one) for one in self.policy]
        filled = [zero if gradient is None else gradient for gradient, zero in zip(gradients, zeros, strict=True)]
        return float(value.detach()), summarise(objective, sums, totals), filled


# Two pairs. Per-token log-probs; sums: chosen -6 and -5, rejected -4 and -9; reference -8 and -4, -3 and -10.
PAIRS = Batch(
    [[-1.0, -2.0, -3.0], [-1.0, -3.0], [-5.0], [-2.0, -2.0, -4.0, -1.0]],
    [[-2.0, -2.0, -4.0], [-1.0, -2.0], [-4.0], [-3.0, -2.0, -4.0, -1.0]],
)
RATIOS = [(2.0, -1.0), (-1.0, 1.0)]
"""ρ of chosen and rejected, per pair."""
LENGTHS = [(3, 2), (1, 4)]
LOGPS = [(-6.0, -4.0), (-5.0, -9.0)]


def worked(objective: Objective) -> list[float]:
    """The loss of each pair of PAIRS, from the papers' formulas in plain Python."""
    match objective:
        case DPO(beta=b, label_smoothing=e, robust=True):
            return [(-(1 - e) * math.log(sigmoid(b * (w - r))) + e * math.log(sigmoid(-b * (w - r)))) / (1 - 2 * e)
                    for w, r in RATIOS]  # fmt: skip
        case DPO(beta=b, length_normalised=True):
            return [-math.log(sigmoid(b * (w / n - r / m))) for (w, r), (n, m) in zip(RATIOS, LENGTHS, strict=True)]
        case DPO(beta=b, length_penalty=a) if a:
            return [-math.log(sigmoid(b * (w - r) + a * (n - m)))
                    for (w, r), (n, m) in zip(RATIOS, LENGTHS, strict=True)]  # fmt: skip
        case DPO():
            found = []
            # Token ratios: pair 0 chosen 1, 0, 1 (shared: 1, 0), rejected 0, -1; pair 1 chosen -1, rejected 1, 0, 0, 0.
            shared, tails = [(1.0, -1.0), (-1.0, 1.0)], [(1.0, 0.0), (0.0, 0.0)]
            for (w, r), (v, u), (logp, _), (n, _) in zip(shared, tails, LOGPS, LENGTHS, strict=True):
                w, r = w + objective.tail_weight * v, r + objective.tail_weight * u
                z = objective.beta * (w - r - objective.drop_penalty * max(0.0, -w))
                e = objective.label_smoothing
                smooth = -(1 - e) * math.log(sigmoid(z)) - e * math.log(sigmoid(-z))
                found.append(smooth + objective.nll_weight * -logp / n)
            return found
        case IPO(beta=b):
            return [(w / n - r / m - 1 / (2 * b)) ** 2 for (w, r), (n, m) in zip(RATIOS, LENGTHS, strict=True)]
        case Hinge(beta=b):
            return [max(0.0, 1 - b * (w - r)) for w, r in RATIOS]
        case APOZero(beta=b):
            return [1 - sigmoid(b * w) + sigmoid(b * r) for w, r in RATIOS]
        case SimPO(beta=b, gamma=g):
            return [-math.log(sigmoid(b * w / n - b * r / m - g))
                    for (w, r), (n, m) in zip(LOGPS, LENGTHS, strict=True)]  # fmt: skip
        case ORPO(odds_weight=a):
            found = []
            for (w, r), (n, m) in zip(LOGPS, LENGTHS, strict=True):
                p, q = math.exp(w / n), math.exp(r / m)
                found.append(-w / n - a * math.log(sigmoid(math.log(p / (1 - p) / (q / (1 - q))))))
            return found
    raise AssertionError(objective)


def name(objective: Objective) -> str:
    return " ".join(f"{key}={value}" for key, value in objective.model_dump(exclude_defaults=True).items()) or "sft"


@pytest.mark.parametrize("objective", PAIRWISE, ids=lambda o: f"{o.kind} {name(o)}")
def test_pairwise_losses_by_hand(objective: Objective) -> None:
    value, numbers, _ = PAIRS.run(objective)
    expected = worked(objective)
    assert value == pytest.approx(sum(expected) / 2, rel=1e-12)
    assert numbers["loss"] == pytest.approx(value, rel=1e-12)


def test_dpo_loss_in_numbers() -> None:
    """β = 0.5; ρ_w = (-10) - (-12) = 2, ρ_l = (-9) - (-8) = -1; margin 1.5; -log σ(1.5) = ln(1 + e^-1.5) = 0.20141."""
    batch = Batch([[-10.0], [-9.0]], [[-12.0], [-8.0]])
    value, numbers, _ = batch.run(DPO(beta=0.5))
    assert value == pytest.approx(0.2014133, abs=1e-7)
    assert (numbers["margin"], numbers["chosen_rewards"], numbers["rejected_rewards"]) == (1.5, 1.0, -0.5)


def test_kto_by_hand() -> None:
    """ρ = 2, -1, 0.5 of a desirable, an undesirable and a desirable answer; β = 0.5, weights 1.5 and 1."""
    batch = Batch([[-1.0, -1.0], [-3.0], [-1.5]], [[-2.0, -2.0], [-2.0], [-2.0]], per_row=1)
    objective = KTO(beta=0.5, desirable_weight=1.5)
    totals = Totals.of(batch.rows).with_baseline(torch.tensor(1.2))
    assert (totals.chosen, totals.rejected) == (2, 1)
    assert float(totals.baseline or 0) == pytest.approx(0.4)
    part = batch.part(objective, range(3), totals)
    expected = [1.5 * (1 - sigmoid(0.5 * 1.6)), 1 - sigmoid(0.5 * 1.4), 1.5 * (1 - sigmoid(0.5 * 0.1))]
    assert float(part.value.detach()) == pytest.approx(sum(expected) / 3, rel=1e-7)
    numbers = summarise(objective, {key: float(value) for key, value in part.sums.items()}, totals)
    assert numbers["chosen_rewards"] == pytest.approx(0.5 * (2 + 0.5) / 2)
    assert numbers["rejected_rewards"] == pytest.approx(-0.5)
    assert numbers["margin"] == pytest.approx(0.5 * 1.25 + 0.5)
    assert numbers["chosen_tokens"] == 1.5
    assert numbers["kl_baseline"] == pytest.approx(0.4)


def test_kto_baseline_is_never_negative_and_a_kind_that_is_missing_has_no_numbers() -> None:
    batch = Batch([[-1.0]], [[-2.0]], per_row=1)
    totals = Totals.of(batch.rows).with_baseline(torch.tensor(-3.0))
    assert float(totals.baseline or 0) == 0.0
    part = batch.part(KTO(), [0], totals)
    numbers = summarise(KTO(), {key: float(value) for key, value in part.sums.items()}, totals)
    assert "chosen_rewards" in numbers and not {"rejected_rewards", "margin"} & set(numbers)


def test_baseline_is_made_of_log_ratios() -> None:
    logps = Logps(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([0, 0, 1]), 2)
    assert float(log_ratio_sum(logps, Reference(torch.tensor([-5.0, -3.0])))) == (-3 + 5) + (-4 + 3)
    with pytest.raises(ValueError, match="baseline needs reference"):
        log_ratio_sum(logps, None)


def test_sft_is_the_mean_per_scored_token() -> None:
    batch = Batch([[-1.0, -2.0, -3.0], [-6.0]], [[0.0] * 3, [0.0]], per_row=1)
    value, numbers, _ = batch.run(SFT())
    assert value == 3.0
    assert numbers == {"loss": 3.0, "scored_tokens": 4, "scored_tokens_per_row": 2.0}


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (DPO(), math.log(2)), (DPO(label_smoothing=0.2), math.log(2)), (DPO(tail_weight=0.3), math.log(2)),
        (DPO(label_smoothing=0.2, robust=True), math.log(2)), (DPO(length_normalised=True), math.log(2)),
        (DPO(drop_penalty=50.0), math.log(2)), (Hinge(), 1.0), (APOZero(), 1.0), (IPO(beta=0.1), 25.0),
    ],
)  # fmt: skip
def test_losses_of_a_policy_that_is_its_reference(objective: Objective, expected: float) -> None:
    values = [[-1.0, -2.0, -3.0], [-1.0, -3.0], [-5.0], [-2.0, -2.0, -4.0, -1.0]]
    value, numbers, _ = Batch(values, values).run(objective)
    assert value == pytest.approx(expected, rel=1e-12)
    assert (numbers["accuracy"], numbers["margin"], numbers["kl_k1_on_answers"]) == (0.5, 0.0, 0.0)
    assert "margin_length_correlation" not in numbers


def test_log_odds_keeps_its_digits_at_both_ends() -> None:
    """p = 1 - 1e-12 has odds of 1e12 and p = e^-800 none that a float holds, only a logarithm; gradients too."""
    logps = torch.tensor([-1e-12, -800.0, math.log(0.5)], dtype=torch.float64, requires_grad=True)
    odds = losses.log_odds(logps)
    assert odds.tolist() == pytest.approx([math.log(1e12), -800.0, 0.0], rel=1e-9, abs=1e-12)
    [gradient] = torch.autograd.grad(odds.sum(), logps)
    assert gradient.tolist() == pytest.approx([1e12, 1.0, 2.0], rel=1e-9)


def test_an_answer_that_is_certain_in_fp32_has_a_finite_orpo_loss() -> None:
    """TRL's odds are infinite there and their gradient is not a number."""
    logps = torch.tensor([0.0, -3e-8, -2.0], requires_grad=True)
    odds = losses.log_odds(logps)
    losses.sigmoid(odds[:1] - odds[1:]).sum().backward()
    assert bool(odds.isfinite().all()) and logps.grad is not None and bool(logps.grad.isfinite().all())


rows_of_values = st.lists(st.lists(st.floats(-6, -0.01), min_size=1, max_size=5), min_size=2, max_size=12)


def drawn(values: list[list[float]], offsets: list[float], per_row: int = 2) -> Batch:
    """A batch and a reference that is off by some nats, evenly over the tokens."""
    values = values[: len(values) // 2 * 2]
    pairs = zip(values, itertools.cycle(offsets), strict=False)
    return Batch(values, [[value + offset / len(own) for value in own] for own, offset in pairs], per_row)


@pytest.mark.parametrize("objective", KINDS, ids=lambda o: f"{o.kind} {name(o)}")
@settings(max_examples=15, deadline=None)
@given(values=rows_of_values, offsets=st.lists(st.floats(-3, 3), min_size=1, max_size=7), data=st.data())
def test_no_cut_of_a_batch_changes_loss_gradients_or_measures(
    objective: Objective, values: list[list[float]], offsets: list[float], data: st.DataObject
) -> None:
    unpaired = isinstance(objective, KTO) and data.draw(st.booleans())
    batch = drawn(values, offsets, per_row=1 if unpaired else 2)
    order = data.draw(st.permutations(range(len(batch.rows))))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(order) - 1)))))
    packs = [list(order[a:b]) for a, b in itertools.pairwise([0, *cuts, len(order)]) if a < b]
    whole, cut = batch.run(objective), batch.run(objective, packs)
    assert cut[0] == pytest.approx(whole[0], rel=1e-9, abs=1e-12)
    assert cut[1] == pytest.approx(whole[1], rel=1e-6, abs=1e-9)
    for mine, other in zip(cut[2], whole[2], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", PAIRWISE, ids=lambda o: f"{o.kind} {name(o)}")
@settings(max_examples=15, deadline=None)
@given(values=rows_of_values, offsets=st.lists(st.floats(-3, 3), min_size=1, max_size=7))
def test_swapping_chosen_and_rejected_flips_the_margin(
    objective: Objective, values: list[list[float]], offsets: list[float]
) -> None:
    batch = drawn(values, offsets)
    swapped = Batch(
        *([own[index ^ 1].tolist() for index in range(len(own))] for own in (batch.policy, batch.reference))
    )
    one, other = batch.run(objective)[1], swapped.run(objective)[1]
    assert other["margin"] == pytest.approx(-one["margin"], rel=1e-9, abs=1e-9)
    assert other["accuracy"] == pytest.approx(1 - one["accuracy"], abs=1e-12)
    assert other["chosen_tokens"] == one["rejected_tokens"]
    assert other.get("margin_length_correlation", 0.0) == pytest.approx(
        one.get("margin_length_correlation", 0.0), abs=1e-6
    )


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.floats(-50, 50), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=20))
def test_correlation_of_margin_with_length_is_pearsons(rows: list[tuple[float, int, int]]) -> None:
    policy = [values for margin, n, m in rows for values in ([margin / n] * n, [0.0] * m)]
    _, numbers, _ = Batch(policy, [[0.0] * len(values) for values in policy]).run(DPO(beta=1.0))
    margins, gaps = torch.tensor([(margin, n - m) for margin, n, m in rows], dtype=torch.float64).T
    if len(rows) < 3 or float(gaps.std()) == 0 or float(margins.std(correction=0)) < 1e-5:
        assert "margin_length_correlation" not in numbers or float(margins.std(correction=0)) > 1e-7
    else:
        expected = float(torch.corrcoef(torch.stack([margins, gaps]))[0, 1])
        assert numbers["margin_length_correlation"] == pytest.approx(expected, abs=1e-6)


def test_measures_of_pairs_by_hand() -> None:
    _, numbers, _ = PAIRS.run(DPO(beta=0.5))
    assert numbers == pytest.approx(
        {
            "loss": (math.log(1 + math.exp(-1.5)) + math.log(1 + math.exp(1.0))) / 2,
            "accuracy": 0.5,
            "margin": 0.5 * (3 - 2) / 2,
            "chosen_rewards": 0.5 * (2 - 1) / 2,
            "rejected_rewards": 0.5 * (-1 + 1) / 2,
            "chosen_logps": -5.5,
            "rejected_logps": -6.5,
            "chosen_tokens": 2.0,
            "rejected_tokens": 3.0,
            "chosen_nll": (2.0 + 5.0) / 2,
            "kl_k1_on_answers": (2 - 1 - 1 + 1) / 4,
        }
    )


@pytest.mark.parametrize("objective", [one for one in KINDS if needs_reference(one)], ids=lambda o: o.kind)
def test_what_an_objective_needs_is_asked_for(objective: Objective) -> None:
    batch = Batch([[-1.0], [-2.0]], [[-1.0], [-2.0]])
    logps = Logps(torch.tensor([-1.0, -2.0]), torch.tensor([0, 1]), 2)
    totals = batch.totals(objective)
    with pytest.raises(ValueError, match="needs reference log-probs"):
        loss(objective, batch.rows, logps, None, totals)
    if needs_token_reference(objective):
        with pytest.raises(ValueError, match="log-probs of every token"):
            loss(objective, batch.rows, logps, Reference(torch.zeros(2)), totals)
    if needs_baseline(objective):
        with pytest.raises(ValueError, match="needs its baseline"):
            loss(objective, batch.rows, logps, Reference(torch.zeros(2)), Totals.of(batch.rows))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kind": "dpo", "robust": True}, "robust needs label_smoothing above 0"),
        ({"kind": "dpo", "length_normalised": True, "tail_weight": 0.5}, "length_normalised and tail_weight each"),
        ({"kind": "dpo", "length_penalty": 0.1, "tail_weight": 0.5}, "keep one of them"),
        ({"kind": "dpo", "label_smoothing": 0.5}, "less than 0.5"),
        ({"kind": "simpo", "label_smoothing": 0.1}, "Extra inputs are not permitted"),
        ({"kind": "ipo", "beta": 0}, "greater than 0"),
    ],
)
def test_meaningless_objectives_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        TypeAdapter(Objective).validate_python(fields)


TRAINED: list[Objective] = [
    SFT(scored="all"), DPO(tail_weight=0.3, nll_weight=0.2), IPO(), Hinge(), APOZero(), SimPO(), ORPO(), KTO(),
]  # fmt: skip


@pytest.mark.parametrize("objective", TRAINED, ids=lambda o: o.kind)
def test_every_objective_trains_alike_in_any_packs(
    objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the rows of a file to metrics and weights: one pack, or several, of every step's batch."""
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    base = save_tiny(tmp_path / "base")
    rows = (training.write_dialogues if isinstance(objective, SFT) else training.write_pairs)(tmp_path / "rows", 6)
    wide, narrow = (
        training.train(
            tmp_path / str(tokens), base, rows,
            training.settings(
                objective, batch_size=6, epochs=6, learning_rate=3e-3, schedule="constant", warmup_share=0.0,
                pack_tokens=tokens,
            ),
        )
        for tokens in (100_000, 64)
    )  # fmt: skip
    assert wide.lines[-1]["loss"] < wide.lines[0]["loss"]
    # Adam turns rounding of a gradient that is almost 0 into a step of a few per cent of the rate.
    for one, other in zip(narrow.lines, wide.lines, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    for name, tensor in wide.weights.items():
        torch.testing.assert_close(narrow.weights[name], tensor, rtol=1e-2, atol=1e-3)
