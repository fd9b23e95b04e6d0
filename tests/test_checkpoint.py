"""The training state on disk, being asked to stop, and what a step keeps while it runs."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from favonius.data.checks import Drops
from favonius.errors import FavoniusError, StoppedError, UserError
from favonius.train import checkpoint as checkpoint_module
from favonius.train import memory, metrics
from favonius.train.checkpoint import Checkpoints
from favonius.train.config import TrainConfig
from favonius.train.distributed import World
from favonius.train.loop import Launched, Record, Trainer
from favonius.train.memory import activation_bytes
from favonius.train.metrics import peak_memory
from favonius.train.objectives import DPO, SFT
from favonius.train.optimizer import MasterWeights, make_optimizer
from favonius.train.rows import Encoder, dialogue_rows
from favonius.train.state import snapshot, state_of, write_safetensors
from favonius.train.stop import listening
from favonius.trees.attention import TreePlan
from favonius.trees.pack import pack
from favonius.trees.score import hidden_states
from favonius.trees.tree import TokenSequence, Tree
from tests.test_train import FORM, config, dialogues, lines, pairs, train
from tests.tiny import save_tiny, tiny_model

ALONE = World(torch.device("cpu"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    save_tiny(tmp_path / "base")
    return tmp_path


def trained(folder: Path, settings: TrainConfig, steps: int, keep: int = 1) -> Checkpoints:
    """Checkpoints over a model that has made `steps` steps on made-up gradients, each of them saved."""
    weights = MasterWeights(tiny_model("llama"), [])
    optimizer = make_optimizer(settings, weights.parameters)
    checkpoints = Checkpoints(folder, weights, optimizer, ALONE, keep)
    for step in range(1, steps + 1):
        make_step(checkpoints, step)
        checkpoints.save(step)
    checkpoints.wait()
    return checkpoints


def make_step(checkpoints: Checkpoints, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in checkpoints.weights.parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    checkpoints.optimizer.step()


def test_the_newest_are_kept(tmp_path: Path) -> None:
    trained(tmp_path / "one", config(), 4)
    trained(tmp_path / "three", config(), 12, keep=3)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["step-4.safetensors"]
    names = {f"step-{step}.safetensors" for step in (10, 11, 12)}
    assert {path.name for path in (tmp_path / "three").iterdir()} == names


def test_a_save_is_due_when_it_costs_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(checkpoint_module.time, "monotonic", lambda: now)
    checkpoints = trained(tmp_path, config(), 0)
    assert checkpoints.due()
    stored = checkpoint_module.state_of

    def slow(*arguments: Any) -> dict[str, Tensor]:
        nonlocal now
        now += 2  # seconds that the training stands still
        return stored(*arguments)

    monkeypatch.setattr(checkpoint_module, "state_of", slow)
    checkpoints.save(1)
    checkpoints.wait()
    now += 37
    assert not checkpoints.due()
    now += 1.5
    assert checkpoints.due()


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop"])
def test_a_restored_state_makes_the_same_next_step(tmp_path: Path, optimizer: str) -> None:
    settings = config(optimizer=optimizer, weight_decay=0.1)
    first = trained(tmp_path, settings, 2)
    second = trained(tmp_path / "other", settings, 0)
    second.folder = tmp_path
    second.restore(second.newest())
    for checkpoints in (first, second):
        make_step(checkpoints, 3)
    one, two = (state_of(checkpoints.weights, checkpoints.optimizer) for checkpoints in (first, second))
    assert one.keys() == two.keys() and len(one) > len(first.weights.masters)
    assert all(torch.equal(two[name], tensor) for name, tensor in one.items())


def test_what_changes_while_it_is_written_is_not_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = trained(tmp_path, config(), 0)
    before = {f"master.{name}": master.detach().clone() for name, master in checkpoints.weights.masters.items()}

    def late(path: Path, tensors: dict[str, Tensor]) -> None:
        make_step(checkpoints, 1)
        write_safetensors(path, tensors)

    monkeypatch.setattr(checkpoint_module, "write_safetensors", late)
    checkpoints.save(1)
    checkpoints.wait()
    stored = load_file(tmp_path / "step-1.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in before.items())


def test_a_full_disk_is_a_sentence_and_the_last_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = trained(tmp_path, config(), 2)

    def full(path: Path, tensors: dict[str, Tensor]) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint_module, "write_safetensors", full)
    checkpoints.save(3)
    with pytest.raises(FavoniusError, match=r"No space left on device.*after optimizer step 2, the last that is kept"):
        checkpoints.save(4)
    assert [path.name for path in tmp_path.iterdir()] == ["step-2.safetensors"]
    checkpoints.restore(2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stop", [2, 6])
def test_a_signal_ends_the_training_after_its_step(
    world: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, stop: int
) -> None:
    rows, settings = dialogues(12), config(checkpoint_every=100)
    whole = train(world, "whole", settings, rows)
    before = signal.getsignal(number)
    step = Trainer.step

    def asks(trainer: Trainer, at: int) -> Launched:
        if at == stop:
            os.kill(os.getpid(), number)
        return step(trainer, at)

    monkeypatch.setattr(Trainer, "step", asks)
    with pytest.raises(StoppedError, match=f"stopped by {number.name} after optimizer step {stop} of 6, which is kept"):
        train(world, "again", settings, rows)
    assert signal.getsignal(number) is before
    monkeypatch.setattr(Trainer, "step", step)
    again = train(world, "again", settings, rows)
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    assert [line["loss"] for line in lines(world, "again")] == [line["loss"] for line in lines(world, "whole")]


def test_a_second_signal_is_not_held_back() -> None:
    with pytest.raises(KeyboardInterrupt), listening() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)


def test_no_state_that_is_not_a_number_is_kept(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step's gradient breaks: it is noticed when its numbers arrive, and is in the weights by then."""
    step = Trainer.step

    def breaks(trainer: Trainer, at: int) -> Launched:
        if at == 2:
            hook = trainer.weights.parameters[0].register_hook(lambda gradient: gradient * float("nan"))
            launched = step(trainer, at)
            hook.remove()
            return launched
        return step(trainer, at)

    monkeypatch.setattr(Trainer, "step", breaks)
    for every in (1, 100):
        with pytest.raises(FavoniusError, match="not a number at optimizer step 2"):
            train(world, f"broken-{every}", config(checkpoint_every=every), dialogues(12))
        kept = [path.name for path in (world / f"broken-{every}" / "work").glob("*")]
        assert kept == (["step-1.safetensors"] if every == 1 else [])
        assert [line["step"] for line in lines(world, f"broken-{every}")] == [1]


def test_a_line_is_written_when_the_next_step_is_launched(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody waits for the device; whatever must come after the line waits for it."""
    written: list[tuple[int, int]] = []
    launched = Record.launched

    def looks(record: Record, step: Launched) -> None:
        launched(record, step)
        path = world / "dsft" / "metrics.jsonl"
        written.append((step.step, len(path.read_text().splitlines())))

    monkeypatch.setattr(Record, "launched", looks)
    train(world, "dsft", config(checkpoint_every=100), [row for row in dialogues(12) if row.split == "train"])
    assert written == [(step, step - 1) for step in range(1, 7)]
    assert [line["step"] for line in lines(world, "dsft")] == [1, 2, 3, 4, 5, 6]
    line = lines(world, "dsft")[0]
    assert {"tokens", "run_tokens", "tokens_per_second", "peak_memory_bytes", "grad_norm"} <= line.keys()
    assert "mfu" not in line  # nobody knows what this processor could do at most
    assert line["run_tokens"] < line["tokens"]


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system cannot forget a peak")
def test_a_steps_peak_memory_is_its_own(world: Path) -> None:
    earlier = torch.ones(2**27)  # 512 MiB, as an earlier step of the run might have needed
    needed = peak_memory(torch.device("cpu"))
    del earlier
    train(world, "dsft", config(), dialogues(8))
    line = lines(world, "dsft")[-1]
    assert needed is not None and line["peak_memory_bytes"] < needed - 2**28


def test_peak_memory_is_told_where_the_system_says_less_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    status = tmp_path / "status"
    monkeypatch.setattr(metrics, "LINUX_STATUS", status)
    absent = peak_memory(cpu)
    status.write_text("Name:\tpython\nVmRSS:\t  100 kB\n")
    without = peak_memory(cpu)
    status.write_text("VmHWM:\t  2048 kB\n")
    assert peak_memory(cpu) == 2**21
    assert absent is not None and without is not None and without >= absent > 2**21


def test_a_snapshot_is_a_copy_of_every_kind_of_tensor() -> None:
    state = {
        "odd": torch.arange(7, dtype=torch.uint8),
        "half": torch.randn(3, 5, dtype=torch.bfloat16),
        "turned": torch.randn(4, 6).T,
        "count": torch.tensor(11),
        "none": torch.empty(0, 3),
    }
    copies = snapshot(state)
    assert {name: copy.dtype for name, copy in copies.items()} == {name: one.dtype for name, one in state.items()}
    assert all(torch.equal(copies[name], tensor) for name, tensor in state.items())
    assert all(copy.is_contiguous() for copy in copies.values())
    before = state["turned"].clone()
    state["turned"].zero_()
    assert torch.equal(copies["turned"], before) and snapshot({}) == {}


@pytest.mark.parametrize("objective", [SFT(), DPO()])
def test_recomputed_activations_change_no_bit(world: Path, objective: SFT | DPO) -> None:
    rows = dialogues(12) if isinstance(objective, SFT) else pairs(12)
    off = train(world, "off", config(objective=objective, activation_checkpointing="off"), rows)
    on = train(world, "on", config(objective=objective, activation_checkpointing="on"), rows)
    assert all(torch.equal(on[name], tensor) for name, tensor in off.items())


def test_activations_are_recomputed_only_when_memory_asks_for_it(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in dialogue_rows(Encoder(FORM, 200), dialogues(8), Drops()) if row.split == "train"]

    def recomputes(free: int) -> bool:
        monkeypatch.setattr(memory, "free_memory", lambda device: free)
        return Trainer(tiny_model("llama"), rows, {}, config(), world).recomputes

    model = tiny_model("llama")
    state = 12 * sum(parameter.numel() for parameter in model.parameters())
    needed = state + 200 * activation_bytes(model, torch.float32)
    assert recomputes(needed - 1) and not recomputes(needed)


def test_activation_bytes_are_near_what_autograd_keeps() -> None:
    """Counted by autograd's own hooks, each storage once, in a model where layers dominate."""
    model = tiny_model("llama", hidden_size=128, intermediate_size=384, num_attention_heads=4, head_dim=32)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = pack([Tree.of(TokenSequence(tuple(range(60)), (False,) * 30 + (True,) * 30)) for _ in range(4)])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = hidden_states(model, batch.ids_T[None], batch.positions_T[None], TreePlan(batch.spans))
    assert output.requires_grad
    ratio = sum(kept.values()) / (batch.tokens * activation_bytes(model, torch.float32))
    assert 0.6 < ratio < 1.4, ratio


def test_eight_bit_adamw_says_what_it_needs(world: Path) -> None:
    with pytest.raises(UserError, match="adamw8bit needs a CUDA GPU"):
        make_optimizer(config(optimizer="adamw8bit"), [torch.zeros(3, requires_grad=True)])
    with pytest.raises(ValueError, match="adamw8bit works in one process only"):
        config(optimizer="adamw8bit", processes=2)


def test_a_number_of_processes_is_no_other_training() -> None:
    """Changing how the work is done keeps checkpoints and finished steps."""
    names = TrainConfig.not_identity
    assert {"processes", "nodes", "checkpoint_every", "activation_checkpointing"} <= names
    one, two = (config(processes=number).model_dump(exclude=set(names)) for number in (1, 2))
    assert json.dumps(one, default=str) == json.dumps(two, default=str)
