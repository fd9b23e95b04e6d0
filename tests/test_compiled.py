"""Compiled decoder layers: the same training, and continued to the bit by a process that compiles anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from favonius.train.checkpoint import Checkpoints
from favonius.train.compiled import worth_compiling
from favonius.train.config import TrainConfig
from favonius.train.objectives import DPO
from favonius.trees import fused
from favonius.trees.pack import pack
from favonius.trees.score import score
from tests.tiny import save_tiny, tiny_model
from tests.training import settings, train, training_rows, write_pairs


class Died(BaseException):
    """Stands for a kill: nothing of ours catches it."""


def dpo(**changes: object) -> TrainConfig:
    return settings(DPO(), batch_size=4, learning_rate=1e-3, epochs=2, max_length=128, **changes)


def test_compiled_layers_train_alike_and_resume_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, rows = save_tiny(tmp_path / "base"), write_pairs(tmp_path / "rows", 12)
    eager = train(tmp_path / "eager", base, rows, dpo(compile="off"))
    whole = train(tmp_path / "whole", base, rows, dpo(compile="on"))
    assert whole.lines[0]["loss"] == pytest.approx(0.6931472, abs=1e-6)
    assert [line["loss"] for line in whole.lines] == pytest.approx([line["loss"] for line in eager.lines], rel=1e-4)

    save = Checkpoints.save

    def save_and_die(self: Checkpoints, step: int) -> None:
        save(self, step)
        self.wait()
        if step == 3:
            raise Died

    torch._dynamo.reset()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_die)
        with pytest.raises(Died):
            train(tmp_path / "halved", base, rows, dpo(compile="on", checkpoint_every=1))
    torch._dynamo.reset()
    halved = train(tmp_path / "halved", base, rows, dpo(compile="on"))
    assert [line["loss"] for line in halved.lines] == [line["loss"] for line in whole.lines]
    assert all(torch.equal(halved.weights[name], tensor) for name, tensor in whole.weights.items())


def test_a_pass_without_gradients_rounds_as_training_does(tmp_path: Path) -> None:
    trees = [row.tree for row in training_rows(write_pairs(tmp_path / "rows", 6), dpo())]
    model = tiny_model("gemma3", torch.bfloat16)
    assert fused.compile_layers(list(model.model.layers))
    with fused.forward_only(model):
        reference = score(model, pack(trees)).values_M
    assert torch.equal(reference, score(model, pack(trees)).values_M)
    with fused.forward_only(tiny_model("gemma3")):
        assert not torch.is_grad_enabled()


def test_what_is_compiled_follows_from_the_work_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = training_rows(write_pairs(tmp_path / "rows", 6), dpo())
    tokens = 2 * sum(row.tree.run_tokens for row in rows)
    for limit, wanted in ((tokens, True), (tokens + 1, False)):
        monkeypatch.setattr("favonius.train.compiled.WORTH_COMPILING", limit)
        assert worth_compiling(dpo(), rows) is wanted
        assert worth_compiling(dpo(compile="on"), rows) and not worth_compiling(dpo(compile="off"), rows)
    monkeypatch.setattr("favonius.train.compiled.WORTH_COMPILING", 0)
    assert not worth_compiling(dpo(processes=2), rows)
