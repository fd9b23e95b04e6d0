"""Two processes: the same losses as one, any of them may die, and what they leave another number of them continues."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from favonius.errors import FavoniusError, StoppedError
from favonius.progress import Progress
from favonius.run import Context, Inputs, ModelSource
from favonius.train import stage
from favonius.train.batches import packs
from favonius.train.config import TrainConfig
from favonius.train.distributed import World
from favonius.train.loop import Launched, Trainer
from favonius.train.objectives import DPO, KTO, SFT, Objective
from favonius.trees.tree import TokenSequence, Tree
from tests import whole_run
from tests.ranks import run_ranks
from tests.test_train import config, dialogues, pairs, write_rows
from tests.tiny import save_tiny

OBJECTIVES = [SFT(), DPO(beta=0.1)]
ALONE = World(torch.device("cpu"))
WAIT = 150
"""Seconds for what takes a few, on a machine that others use too."""


def rates(objective: Objective, **changes: object) -> TrainConfig:
    """Six steps, gentle enough that rounding is not blown up from step to step, in packs of a part of a rank's rows."""
    return config(objective=objective, learning_rate=1e-4, pack_tokens=64, evaluate_every=2, **changes)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    save_tiny(tmp_path / "base")
    write_rows(tmp_path / "dialogues", dialogues(12))
    write_rows(tmp_path / "pairs", pairs(12))
    return tmp_path


def train(world: World, folder: Path, out: str, settings: TrainConfig, stop: int | None = None) -> None:
    """As one rank. `stop`: the last rank asks to stop in this step."""
    step = Trainer.step

    def asks(trainer: Trainer, number: int) -> Launched:
        if number == stop and world.rank == world.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(trainer, number)

    Trainer.step = asks  # type: ignore[method-assign]
    nowhere = open(os.devnull, "w")  # noqa: SIM115
    try:
        rows = folder / ("dialogues" if isinstance(settings.objective, SFT) else "pairs")
        source = ModelSource("base", folder / "base", "digest of base")
        (folder / out).mkdir(exist_ok=True)
        inputs = Inputs({"rows": rows}, {"base": source}, {})
        stage.train(settings, inputs, folder / out, Context(folder, Progress(nowhere)), world)
    except StoppedError as error:
        assert f"after optimizer step {stop} of 6" in str(error)
    else:
        assert stop is None
    finally:
        Trainer.step = step  # type: ignore[method-assign]


def weights(world: Path, out: str) -> dict[str, Tensor]:
    return load_file(world / out / "model" / "model.safetensors")


def lines(world: Path, out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (world / out / "metrics.jsonl").read_text().splitlines()]


def same_numbers(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], rel: float) -> None:
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        for name in mine.keys() - {"split", "seconds", "tokens_per_second", "peak_memory_bytes"}:
            # Means of terms of either sign are small against their terms, and a correlation is their ratio.
            slack = {"loss": 0.0, "margin_length_correlation": 1e-3}.get(name, 1e-5)
            assert mine[name] == pytest.approx(other[name], rel=rel, abs=slack), name


@pytest.mark.parametrize("objective", [*OBJECTIVES, KTO()])
def test_two_ranks_learn_as_one(world: Path, objective: Objective) -> None:
    train(ALONE, world, "one", rates(objective))
    run_ranks(train, world, "two", rates(objective))
    same_numbers(lines(world, "two"), lines(world, "one"), rel=1e-6)
    one, two = weights(world, "one"), weights(world, "two")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)


def test_two_ranks_train_an_adapter_as_one(world: Path) -> None:
    """Most groups of shards then have no gradient."""
    settings = rates(DPO(), adapter={"rank": 2}, activation_checkpointing="on")
    train(ALONE, world, "one", settings)
    run_ranks(train, world, "two", settings)
    same_numbers(lines(world, "two"), lines(world, "one"), rel=1e-6)
    one, two = (load_file(world / out / "adapter" / "adapter_model.safetensors") for out in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_ranks_that_were_stopped_end_with_the_same_bits(world: Path, objective: Objective) -> None:
    run_ranks(train, world, "whole", rates(objective))
    run_ranks(train, world, "again", rates(objective), 3)
    run_ranks(train, world, "again", rates(objective))
    whole, again = weights(world, "whole"), weights(world, "again")
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    losses = [[(line["step"], line["split"], line["loss"]) for line in lines(world, out)] for out in ("whole", "again")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_ranks_goes_on(world: Path, before: int, after: int) -> None:
    """The first step after it already shows whether masters and both moments came along."""
    train(ALONE, world, "whole", rates(DPO()))
    for ranks, stop in ((before, 3), (after, None)):
        if ranks == 1:
            train(ALONE, world, "again", rates(DPO()), stop)
        else:
            run_ranks(train, world, "again", rates(DPO()), stop)
    same_numbers(lines(world, "again"), lines(world, "whole"), rel=1e-6)
    for name, tensor in weights(world, "whole").items():
        torch.testing.assert_close(weights(world, "again")[name], tensor, rtol=1e-4, atol=1e-5)


def fills_its_disk(world: World, folder: Path) -> None:
    """The last rank has room for two checkpoints."""
    write_data, writes = dcp.FileSystemWriter.write_data, []

    def full(writer: Any, plan: Any, planner: Any) -> Any:
        writes.append(plan)
        if world.rank == 1 and len(writes) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_data(writer, plan, planner)

    dcp.FileSystemWriter.write_data = full
    with pytest.raises(FavoniusError, match=r"No space left on device.*after optimizer step 2, the last that is kept"):
        train(world, folder, "full", rates(SFT()))


def test_a_full_disk_on_one_rank_stops_all_with_the_last_checkpoint_kept(world: Path) -> None:
    run_ranks(fills_its_disk, world)
    assert [path.name for path in (world / "full" / "work").glob("step-*")] == ["step-2.shards"]


def test_ranks_without_a_row_and_frozen_and_tied_weights(world: Path) -> None:
    """Three ranks and batches of two; bf16 is gathered, fp32 is kept."""
    save_tiny(world / "base", "gemma3")
    for precision, tolerance in (("fp32", 1e-6), ("bf16", 2e-2)):
        settings = rates(SFT(), precision=precision, freeze=("layers.0.mlp",), batch_size=2)
        settings = settings.model_copy(update={"epochs": 1})
        train(ALONE, world, f"one-{precision}", settings)
        run_ranks(train, world, f"three-{precision}", settings, size=3)
        same = zip(lines(world, f"three-{precision}"), lines(world, f"one-{precision}"), strict=True)
        assert all(mine["loss"] == pytest.approx(other["loss"], rel=tolerance) for mine, other in same)
        frozen = "model.layers.0.mlp.up_proj.weight"
        assert torch.equal(weights(world, f"three-{precision}")[frozen], weights(world, f"one-{precision}")[frozen])


trees = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=20).map(
    lambda sizes: [
        Tree.of(TokenSequence(tuple(range(prompt + answer)), (False,) * prompt + (True,) * answer))
        for prompt, answer in sizes
    ]
)


@given(trees=trees, ranks=st.integers(1, 5), budget=st.integers(10, 60))
def test_ranks_share_out_every_tree_once_and_fairly(trees: list[Tree], ranks: int, budget: int) -> None:
    cost = {tree: float(tree.run_tokens**2) for tree in trees}
    plans = [packs(trees, cost.__getitem__, budget, rank, ranks) for rank in range(ranks)]
    assert sorted(index for plan in plans for members in plan for index in members) == list(range(len(trees)))
    assert len({len(plan) for plan in plans}) == 1
    assert all(
        len(members) <= 1 or sum(trees[index].run_tokens for index in members) <= budget
        for plan in plans
        for members in plan
    )
    loads = [sum(cost[trees[index]] for members in plan for index in members) for plan in plans]
    assert max(loads) - min(loads) <= max(cost.values())


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """`favonius run` of two steps, the second in two processes, with scripted voices."""
    settings = [f"--set=steps.dsft.{override}" for override in ("processes=2", "epochs=10", *overrides)]
    command = [sys.executable, "-m", "tests.whole_run", "run", str(folder / "recipe.yaml"), "--until", "dsft"]
    environment = {**os.environ, "FAVONIUS_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [*command, "--out", str(folder / "run"), *settings], env=environment, stderr=subprocess.PIPE, text=True
    )


def wait_for_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    metrics = folder / "run" / "dsft" / "metrics.jsonl"
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.exists() and metrics.read_text().count('"train"') >= step:
            return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate()[1])


def ranks_of(process: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    return {int(rank.environ()["RANK"]): rank for rank in found if "favonius.train.worker" in rank.cmdline()}


def test_a_killed_rank_stops_the_run_with_a_sentence_and_the_next_run_goes_on(tmp_path: Path) -> None:
    whole_run.write_recipe(tmp_path)
    process = start(tmp_path)
    wait_for_step(process, tmp_path, 3)
    ranks = ranks_of(process)
    assert set(ranks) == {0, 1}
    ranks[1].kill()
    said = process.communicate(timeout=WAIT)[1]
    assert process.returncode == 1
    (sentence,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "dsft: process 1 of 2 was ended by SIGKILL" in sentence and "rank-1.log" in sentence
    assert "Traceback" not in said
    assert not ranks[0].is_running()

    process = start(tmp_path, "processes=1")  # how many they are makes no other step of it
    said = process.communicate(timeout=WAIT)[1]
    assert process.returncode == 0, said
    assert "continues after optimizer step" in said
    steps = [line["step"] for line in lines(tmp_path / "run", "dsft") if line["split"] == "train"]
    assert steps == list(range(1, len(steps) + 1)) and math.isclose(lines(tmp_path / "run", "dsft")[-1]["epoch"], 10)


def test_a_polite_stop_checkpoints(tmp_path: Path) -> None:
    whole_run.write_recipe(tmp_path)
    process = start(tmp_path, "checkpoint_every=1000")
    wait_for_step(process, tmp_path, 2)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=WAIT)[1]
    assert process.returncode == 130, said
    assert "dsft: stopped by SIGTERM after optimizer step" in said and "run the same command again" in said
    assert "Traceback" not in said
    assert len(list((tmp_path / "run" / "dsft" / "work").glob("step-*.shards"))) == 1


def test_processes_end_with_a_run_that_was_killed(tmp_path: Path) -> None:
    whole_run.write_recipe(tmp_path)
    process = start(tmp_path, "epochs=1000")
    wait_for_step(process, tmp_path, 1)
    ranks = ranks_of(process)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(ranks.values(), timeout=30)
    assert not alive
