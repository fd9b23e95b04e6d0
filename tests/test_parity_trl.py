"""Favonius trains as TRL does: the same log-probs, losses, gradients and curves from the same token arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from favonius.train.objectives import DPO, SFT
from favonius.train.rows import Row
from favonius.trees.pack import pack
from favonius.trees.score import score
from favonius.trees.tree import TokenSequence
from tests.reference import error, gradients, unequal
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer
from tests.training import (
    Trained,
    batch_loss,
    in_order,
    settings,
    train,
    training_rows,
    write_dialogues,
    write_pairs,
)

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

FAMILIES = ("llama", "gemma3")
ROWS = 40
BATCH = 8
MICRO_BATCH = 4
BETA = 0.3
TOLERANCE = 1e-5
"""Relative, fp32."""
Objective = SFT | DPO

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")


class GivenArrays(trl.DPOTrainer):  # type: ignore[misc]
    """Takes the token arrays that it is given, instead of texts that it would render and cut in its own way."""

    def _prepare_dataset(self, dataset: Any, *args: object) -> Any:
        return dataset


def trl_config(kind: Any, out: Path, changes: dict[str, float]) -> Any:
    return kind(
        output_dir=str(out), use_cpu=True, bf16=False, gradient_checkpointing=False, max_length=None, report_to=[],
        disable_tqdm=True, save_strategy="no", logging_steps=1, train_sampling_strategy="sequential",
        num_train_epochs=1, per_device_train_batch_size=MICRO_BATCH, gradient_accumulation_steps=BATCH // MICRO_BATCH,
        lr_scheduler_type="linear", warmup_steps=0.1, **changes,
    )  # fmt: skip


def trl_dpo(family: str, rows: Sequence[Row], out: Path, reference_seed: int = 0, **changes: float) -> Any:
    arrays = [
        {"prompt_ids": chosen.ids[:start], "chosen_ids": chosen.ids[start:], "rejected_ids": rejected.ids[start:]}
        for chosen, rejected in (row.tree.sequences for row in rows)
        for start in [chosen.scored.index(True)]
    ]
    return GivenArrays(
        model=tiny_model(family, attention="eager"),
        ref_model=tiny_model(family, attention="eager", seed=reference_seed),
        train_dataset=datasets.Dataset.from_list(arrays),
        processing_class=tiny_tokenizer(),
        args=trl_config(trl.DPOConfig, out, {"beta": BETA, **changes}),
    )


def trl_sft(family: str, rows: Sequence[Row], out: Path, **changes: float) -> Any:
    """TRL makes labels of the mask of what the assistant said."""
    arrays = [
        {"input_ids": one.ids, "assistant_masks": [int(mark) for mark in one.scored]}
        for row in rows
        for one in row.tree.sequences
    ]
    return trl.SFTTrainer(
        model=tiny_model(family, attention="eager"),
        train_dataset=datasets.Dataset.from_list(arrays),
        processing_class=tiny_tokenizer(),
        args=trl_config(trl.SFTConfig, out, changes),
    )


def first_batch(trainer: Any) -> dict[str, Tensor]:
    batch: dict[str, Tensor] = trainer.data_collator([trainer.train_dataset[index] for index in range(BATCH)])
    return batch


def sequences_in(ids_BT: Tensor, attention_BT: Tensor, scored_BT: Tensor) -> list[TokenSequence]:
    """What TRL's padded batch holds."""
    return [
        TokenSequence.of(ids_T[real_T.bool()].tolist(), scored_T[real_T.bool()].bool().tolist())
        for ids_T, real_T, scored_T in zip(ids_BT, attention_BT, scored_BT, strict=True)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_have_trls_log_probs_loss_and_gradients(family: str, tmp_path: Path) -> None:
    rows = training_rows(write_pairs(tmp_path / "rows", BATCH), settings(DPO()))
    trees = [row.tree for row in rows]
    trainer = trl_dpo(family, rows, tmp_path / "trl", reference_seed=1)
    batch = first_batch(trainer)
    pairs = [tree.sequences for tree in trees]
    chosen_then_rejected = [chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs]
    assert sequences_in(batch["input_ids"], batch["attention_mask"], batch["completion_mask"]) == chosen_then_rejected

    policy, reference = tiny_model(family), tiny_model(family, seed=1)
    sums_S, reference_S = (score(model, pack(trees)).sums() for model in (policy, reference))
    for ours_S, model in ((sums_S, trainer.model), (reference_S, trainer.ref_model)):
        for ours_P, theirs_P in zip(
            (ours_S[0::2], ours_S[1::2]), trainer.compute_ref_log_probs(model, batch), strict=True
        ):
            torch.testing.assert_close(ours_P, theirs_P, rtol=TOLERANCE, atol=0)

    ours = batch_loss(policy, DPO(beta=BETA), trees, reference_S.detach())
    theirs = trainer.compute_loss(trainer.model, batch)
    assert error(ours, theirs) <= TOLERANCE
    assert not unequal(gradients(policy, ours), gradients(trainer.model, theirs), TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_dialogues_have_trls_loss_and_gradients(family: str, tmp_path: Path) -> None:
    rows = training_rows(write_dialogues(tmp_path / "rows", BATCH), settings(SFT()))
    trees = [row.tree for row in rows]
    trainer = trl_sft(family, rows, tmp_path / "trl")
    batch = first_batch(trainer)
    held = sequences_in(batch["input_ids"], batch["attention_mask"], batch["labels"] != -100)
    assert held == [one for tree in trees for one in tree.sequences]

    model = tiny_model(family)
    ours, theirs = batch_loss(model, SFT(), trees), trainer.compute_loss(trainer.model, batch)
    assert error(ours, theirs) <= TOLERANCE
    assert not unequal(gradients(model, ours), gradients(trainer.model, theirs), TOLERANCE)


def trained_by_both(
    family: str, objective: Objective, folder: Path, epochs: int, **changes: float
) -> tuple[Trained, Any]:
    """AdamW, linear schedule, warm-up, clipping; TRL makes each batch of two micro-batches, we of several packs."""
    is_dpo = isinstance(objective, DPO)
    rows = (write_pairs if is_dpo else write_dialogues)(folder / "rows", ROWS)
    config = settings(objective, batch_size=BATCH, epochs=epochs, warmup_share=0.1, **changes)
    ours = train(folder / "ours", save_tiny(folder / "base", family), rows, config)

    batches = in_order(training_rows(rows, config), config, epochs * ROWS // BATCH)
    trainer = (trl_dpo if is_dpo else trl_sft)(family, sum(batches, []), folder / "trl", **changes)  # noqa: RUF017
    trainer.train()
    return ours, trainer


@pytest.mark.parametrize(
    ("family", "objective", "clip"),
    [("llama", SFT(), 5.5), ("gemma3", SFT(), 2.3), ("llama", DPO(beta=BETA), 9.0), ("gemma3", DPO(beta=BETA), 3.3)],
    ids=["llama-sft", "gemma3-sft", "llama-dpo", "gemma3-dpo"],
)
def test_twenty_steps_run_as_trls(family: str, objective: Objective, clip: float, tmp_path: Path) -> None:
    ours, trainer = trained_by_both(family, objective, tmp_path, 4, learning_rate=2e-4, max_grad_norm=clip)
    theirs = [line for line in trainer.state.log_history if "loss" in line]
    assert len(ours.lines) == len(theirs) == 20
    for name in ("loss", "grad_norm", "learning_rate"):
        assert [line[name] for line in ours.lines] == pytest.approx([line[name] for line in theirs], rel=TOLERANCE)
    weights = dict(trainer.model.named_parameters())
    assert not unequal(ours.weights, weights, TOLERANCE)

    norms = [line["grad_norm"] for line in ours.lines]
    assert min(norms) < clip < max(norms), "the curves show both steps that are clipped and steps that are not"
    assert abs(ours.lines[-1]["loss"] - ours.lines[0]["loss"]) > 0.05, "they show a model that learns"


def test_weight_decay_spares_norms_as_in_trl(tmp_path: Path) -> None:
    ours, trainer = trained_by_both("llama", SFT(), tmp_path, 1, learning_rate=2e-4, weight_decay=0.1)
    assert not unequal(ours.weights, dict(trainer.model.named_parameters()), TOLERANCE)
