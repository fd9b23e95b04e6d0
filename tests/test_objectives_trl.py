"""Every objective that TRL has too gives TRL's loss, from the same token ids through a tiny Llama in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from favonius.train.measures import Totals, summarise
from favonius.train.objectives import DPO, IPO, KTO, ORPO, APOZero, Hinge, Objective, SimPO, needs_baseline
from favonius.train.rows import Row, with_mismatches
from favonius.train.step import Reference, log_ratio_sum, loss
from favonius.trees.pack import pack
from favonius.trees.score import Logps, score
from favonius.trees.store import TreeLogps
from favonius.trees.tree import TokenSequence, Tree
from tests.tiny import tiny_model, tiny_tokenizer

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

TOLERANCE = 1e-5
"""Relative, fp32."""
ROUNDING = 2e-6
"""Nats, absolute, for losses near 0: log-probs of tens of nats round by as much."""
PROMPTS = ([5, 6, 7], [5, 6], [40, 41, 42, 43])
CHOSEN = ([8, 9, 1], [20, 21, 22, 23, 24, 1], [30, 1])
REJECTED = ([8, 10, 11, 12, 1], [10, 1], [31, 32, 33, 1])
LABELS = (True, False, True)


class GivenPairs(trl.DPOTrainer):  # type: ignore[misc]
    """Takes the token ids that it is given, instead of texts that it would render and cut in its own way."""

    def _prepare_dataset(self, dataset: Any, *args: object) -> Any:
        return dataset


class GivenAnswers(trl.KTOTrainer):  # type: ignore[misc]
    def _prepare_dataset(self, dataset: Any, *args: object) -> Any:
        return dataset


def policy_and_reference(attention: str = "favonius") -> tuple[PreTrainedModel, PreTrainedModel]:
    """A reference that is the policy a little moved, so that no margin is so large that losses saturate."""
    policy, reference = tiny_model("llama", attention=attention), tiny_model("llama", attention=attention)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return policy, reference


def sequence(prompt: Sequence[int], answer: Sequence[int]) -> TokenSequence:
    return TokenSequence.of([*prompt, *answer], [False] * len(prompt) + [True] * len(answer))


def pair_row(index: int) -> Row:
    prompt = PROMPTS[index]
    tree = Tree.of(sequence(prompt, CHOSEN[index]), sequence(prompt, REJECTED[index]))
    return Row(f"p{index}", "train", tree, (True, False))


def answer_rows() -> list[Row]:
    rows = [
        Row(f"a{index}", "train", Tree.of(sequence(prompt, answer)), (label,))
        for index, (prompt, answer, label) in enumerate(zip(PROMPTS, CHOSEN, LABELS, strict=True))
    ]
    return with_mismatches(rows, 100)


def scored(model: PreTrainedModel, trees: Sequence[Tree]) -> Logps:
    return score(model, pack(trees))


def known(model: PreTrainedModel, trees: Sequence[Tree]) -> Reference:
    """As the stage makes it: tree by tree, then joined."""
    parts = []
    with torch.no_grad():
        for tree in trees:
            logps = scored(model, [tree])
            values = list(logps.values_M.split(logps.lengths().tolist()))
            parts.append(Reference.of(TreeLogps(logps.sums().tolist(), values)))
    return Reference.join(parts)


def ours(objective: Objective, rows: Sequence[Row]) -> tuple[Tensor, dict[str, float]]:
    """Loss and numbers of a batch of `rows`."""
    policy, reference = policy_and_reference()
    totals = Totals.of(rows)
    if needs_baseline(objective):
        mismatched = [row.mismatched for row in rows if row.mismatched is not None]
        with torch.no_grad():
            totals = totals.with_baseline(log_ratio_sum(scored(policy, mismatched), known(reference, mismatched)))
    trees = [row.tree for row in rows]
    part = loss(objective, rows, scored(policy, trees), known(reference, trees), totals)
    return part.value.detach(), summarise(objective, {name: float(value) for name, value in part.sums.items()}, totals)


def config(kind: Any, out: Path, **changes: object) -> Any:
    return kind(
        output_dir=str(out), use_cpu=True, bf16=False, gradient_checkpointing=False, max_length=None, report_to=[],
        disable_tqdm=True, save_strategy="no", per_device_train_batch_size=3, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def dpo_trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    policy, reference = policy_and_reference("eager")
    arrays = [
        {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
        for prompt, chosen, rejected in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
    ]
    return GivenPairs(
        model=policy, ref_model=reference, train_dataset=datasets.Dataset.from_list(arrays),
        processing_class=tiny_tokenizer(), args=config(trl.DPOConfig, tmp_path_factory.mktemp("dpo")),
    )  # fmt: skip


def trl_pairs(trainer: Any, indices: Sequence[int], **settings: object) -> tuple[float, dict[str, float]]:
    """TRL's own loss and what it logs, for a batch of these pairs."""
    plain: dict[str, object] = {"label_smoothing": 0.0, "ld_alpha": None, "loss_weights": [1.0], "beta": 0.3}
    for name, value in (plain | settings).items():
        setattr(trainer, name, value)
    trainer._metrics["train"].clear()
    trainer.model.train()
    batch = trainer.data_collator([trainer.train_dataset[index] for index in indices])
    value = float(trainer._compute_loss(trainer.model, batch, False).detach())
    return value, {name: values[-1] for name, values in trainer._metrics["train"].items()}


CASES: list[tuple[Objective, dict[str, object]]] = [
    (DPO(beta=0.3), {"loss_types": ["sigmoid"]}),
    (DPO(beta=0.3, label_smoothing=0.2, robust=True), {"loss_types": ["robust"], "label_smoothing": 0.2}),
    (DPO(beta=2.0, length_normalised=True), {"loss_types": ["sigmoid_norm"], "beta": 2.0}),
    (DPO(beta=0.3, tail_weight=0.4), {"loss_types": ["sigmoid"], "ld_alpha": 0.4}),
    (DPO(beta=0.3, tail_weight=0.0), {"loss_types": ["sigmoid"], "ld_alpha": 0.0}),
    (DPO(beta=0.3, nll_weight=0.7), {"loss_types": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]}),
    # TRL's sigmoid loss takes no notice of label_smoothing. Its aot loss does, and for a single pair, which there is
    # nothing to sort among, it is cDPO.
    (DPO(beta=0.3, label_smoothing=0.2), {"loss_types": ["aot"], "label_smoothing": 0.2}),
    (IPO(beta=0.5), {"loss_types": ["ipo"], "beta": 0.5}),
    (Hinge(beta=0.3), {"loss_types": ["hinge"]}),
    (APOZero(beta=0.3), {"loss_types": ["apo_zero"]}),
]


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(("objective", "settings"), CASES, ids=[str(settings) for _, settings in CASES])
def test_each_pair_has_trls_loss(
    objective: Objective, settings: dict[str, object], index: int, dpo_trainer: Any
) -> None:
    mine, _ = ours(objective, [pair_row(index)])
    theirs, _ = trl_pairs(dpo_trainer, [index], **settings)
    assert theirs != 0.0
    assert float(mine) == pytest.approx(theirs, rel=TOLERANCE, abs=ROUNDING)


def test_measures_are_trls(dpo_trainer: Any) -> None:
    _, numbers = ours(DPO(beta=0.3), [pair_row(index) for index in range(3)])
    _, theirs = trl_pairs(dpo_trainer, range(3), loss_types=["sigmoid"])
    names = {
        "accuracy": "rewards/accuracies", "margin": "rewards/margins", "chosen_rewards": "rewards/chosen",
        "rejected_rewards": "rewards/rejected", "chosen_logps": "logps/chosen", "rejected_logps": "logps/rejected",
    }  # fmt: skip
    assert {name: numbers[name] for name in names} == pytest.approx(
        {name: theirs[other] for name, other in names.items()}, rel=TOLERANCE
    )


def test_the_chosen_answers_nll_is_a_mean_over_pairs_and_not_over_a_micro_batchs_tokens(dpo_trainer: Any) -> None:
    """A difference on purpose. Pang et al. divide by each answer's own length, and so do we. TRL averages over the
    tokens of whatever chosen answers share a micro-batch, so its loss changes when the same pairs are cut up."""
    settings: dict[str, object] = {"loss_types": ["sft"]}
    apart = [trl_pairs(dpo_trainer, [index], **settings)[0] for index in range(3)]
    together, _ = trl_pairs(dpo_trainer, range(3), **settings)
    assert abs(together - sum(apart) / 3) > 0.01
    _, numbers = ours(DPO(beta=0.3, nll_weight=1.0), [pair_row(index) for index in range(3)])
    assert numbers["chosen_nll"] == pytest.approx(sum(apart) / 3, rel=TOLERANCE)


def test_kto_and_its_baseline_are_trls(tmp_path: Path) -> None:
    """A batch is the whole of TRL's data set, so that both give the same mismatched answers to a prompt: those of the
    row before it."""
    rows = answer_rows()
    mismatched = [*CHOSEN[-1:], *CHOSEN[:-1]]
    arrays = [
        {"prompt_ids": prompt, "completion_ids": answer, "KL_completion_ids": other, "label": label}
        for prompt, answer, other, label in zip(PROMPTS, CHOSEN, mismatched, LABELS, strict=True)
    ]
    assert [row.mismatched for row in rows] == [
        Tree.of(sequence(prompt, other)) for prompt, other in zip(PROMPTS, mismatched, strict=True)
    ]
    policy, reference = policy_and_reference("eager")
    settings: dict[str, object] = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.8}
    trainer = GivenAnswers(
        model=policy, ref_model=reference, train_dataset=datasets.Dataset.from_list(arrays),
        processing_class=tiny_tokenizer(), args=config(trl.KTOConfig, tmp_path, **settings),
    )  # fmt: skip
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(3)])
    trainer.model.train()
    theirs = float(trainer._compute_loss(trainer.model, batch, False).detach())
    mine, numbers = ours(KTO(**settings), rows)  # type: ignore[arg-type]
    assert numbers["kl_baseline"] > 0.01
    assert numbers["kl_baseline"] == pytest.approx(trainer._metrics["train"]["kl"][-1], rel=TOLERANCE)
    assert float(mine) == pytest.approx(theirs, rel=TOLERANCE)


def mean_logps(index: int, answer: Sequence[int], method: Any) -> Tensor:
    """TRL's mean log-prob per token of an answer, [1]."""
    policy, _ = policy_and_reference("eager")
    ids = torch.tensor([[*PROMPTS[index], *answer]])
    labels = ids.clone()
    labels[:, : len(PROMPTS[index])] = -100
    with torch.no_grad():
        found: Tensor = method(policy(input_ids=ids).logits, labels, average_log_prob=True)
    return found


@pytest.mark.parametrize("index", range(3))
def test_simpo_is_trls(index: int) -> None:
    cpo = pytest.importorskip("trl.experimental.cpo.cpo_trainer").CPOTrainer
    # TRL's simpo_gamma is the paper's γ, which it divides by β itself.
    settings = SimpleNamespace(
        beta=2.0, alpha=0.0, simpo_gamma=0.8, label_smoothing=0.0, loss_type="simpo",
        accelerator=SimpleNamespace(device=torch.device("cpu")),
    )  # fmt: skip
    chosen, rejected = (mean_logps(index, answers[index], cpo.get_batch_logps) for answers in (CHOSEN, REJECTED))
    [theirs], _, _ = cpo.cpo_loss(settings, chosen, rejected)
    mine, _ = ours(SimPO(beta=2.0, gamma=0.8), [pair_row(index)])
    assert float(mine) == pytest.approx(float(theirs), rel=TOLERANCE)


@pytest.mark.parametrize("index", range(3))
def test_orpo_is_trls_but_for_the_prompt(index: int) -> None:
    """The odds ratio's part is TRL's. The negative log-prob's part is not, on purpose: TRL averages it over the
    prompt's tokens too, where the paper trains on the answer, as every other objective here does."""
    orpo = pytest.importorskip("trl.experimental.orpo.orpo_trainer").ORPOTrainer
    settings = SimpleNamespace(beta=0.4, accelerator=SimpleNamespace(device=torch.device("cpu")))
    chosen, rejected = (mean_logps(index, answers[index], orpo.get_batch_logps) for answers in (CHOSEN, REJECTED))
    [minus_odds], *_ = orpo.odds_ratio_loss(settings, chosen, rejected)
    mine, numbers = ours(ORPO(odds_weight=0.4), [pair_row(index)])
    assert float(mine) == pytest.approx(float(-chosen - minus_odds), rel=TOLERANCE)
    assert numbers["chosen_nll"] == pytest.approx(float(-chosen), rel=TOLERANCE)
