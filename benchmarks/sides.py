"""The two sides of the training benchmark, each in a process of its own that makes a step when it is told to.

Parent and side speak over a pipe: the side sends `Ready`, then for each "step" a `Step`; "end" ends it with an `End`.
A side does nothing between its steps, so that the sides can take turns on one machine.
"""

from __future__ import annotations

import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import Task, logical_tokens, masked_dialogue, prompt_and_answers
from favonius.models.load import load
from favonius.progress import Progress
from favonius.run import Context, ModelSource
from favonius.train import stage
from favonius.train.batches import batch
from favonius.train.compiled import compile_model
from favonius.train.config import TrainConfig
from favonius.train.distributed import World
from favonius.train.loop import Trainer
from favonius.train.measures import summarise
from favonius.train.memory import kept_memory
from favonius.train.objectives import DPO, SFT
from favonius.train.rows import Row
from favonius.trees import fused
from favonius.trees.tree import Tree

LEARNING_RATE = 5e-7
BETA = 0.1


@dataclass(frozen=True)
class Work:
    """What both sides do: `rows` in the order of the file, `batch` of them per optimizer step."""

    task: Task
    model: Path
    rows: tuple[Row, ...]
    batch: int
    max_length: int
    pack_tokens: int
    compile: bool

    @property
    def steps(self) -> int:
        return len(self.rows) // self.batch

    def step_rows(self, step: int) -> list[Row]:
        """Of optimizer step `step` (1 …): Favonius' own shuffle, which TRL is given as the order of its rows."""
        return batch(self.rows, step, self.batch, 0)


@dataclass(frozen=True)
class Side:
    """Who trains and how."""

    name: str
    batch: int = 0
    """TRL's per-device batch; 0 for Favonius."""
    default: bool = False
    """TRL as it is out of the box: activation checkpointing, the reference model asked anew at every step, dialogues
    not packed. Otherwise no checkpointing, reference log-probs precomputed, dialogues packed best fit."""
    without: str = ""
    """A technique of Favonius' that is turned off."""
    torch_compile: bool = False
    autocast: bool = False
    """TRL's fp32 weights under bf16 autocast: what Favonius' fp32 masters with a bf16 compute copy amount to. Without,
    TRL's weights and optimizer are bf16, which is faster and smaller, and loses updates of this learning rate."""


@dataclass(frozen=True)
class Ready:
    reference_seconds: float
    """For the reference log-probs of all rows; 0 where the side computes them in its steps."""
    warm_up_seconds: float
    """Compiling, before anything is timed."""


@dataclass(frozen=True)
class Step:
    seconds: float
    tokens: int
    """Logical ones."""


@dataclass(frozen=True)
class End:
    peak_memory_bytes: int
    losses: tuple[float, ...]


def run(side: Side, work: Work, pipe: Connection) -> None:
    """The whole life of a side's process."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FAVONIUS_CACHE"] = folder  # the benchmark's log-probs are nobody else's
        (_trl if side.batch else _favonius)(side, work, pipe, Path(folder))
    pipe.close()


def _favonius(side: Side, work: Work, pipe: Connection, out: Path) -> None:
    rows = [_unshared(row) for row in work.rows] if side.without == "sharing" else list(work.rows)
    pack_tokens = 64 if side.without == "packing" else work.pack_tokens
    config = TrainConfig(
        model="model", rows="rows", objective=DPO(beta=BETA) if work.task == "dpo" else SFT(), batch_size=work.batch,
        learning_rate=LEARNING_RATE, precision="bf16", pack_tokens=pack_tokens, checkpoint_every=10**9,
    )  # fmt: skip
    context = Context(run=out, progress=Progress(io.StringIO()))
    if side.without == "compiled head":
        fused.WORTH_COMPILING = sys.maxsize
    with nullcontext() if side.without == "kept memory" else kept_memory(), _attention(side.without):
        model = load(ModelSource("model", work.model, "benchmark"), config.precision)
        began = time.perf_counter()
        compiled = work.compile and side.without != "compiled layers" and compile_model(model, config)
        warm_up = time.perf_counter() - began
        began = time.perf_counter()
        key = f"{time.time_ns()} {'compiled' if compiled else 'eager'}"
        references, _ = stage.reference_logps(config, model, key, rows, context, World.alone())
        reference = time.perf_counter() - began
        trainer = Trainer(model, rows, references, config, out)
        pipe.send(Ready(reference, warm_up))
        losses = []
        for step in _told(pipe):
            began = time.perf_counter()
            launched = trainer.step(step)
            read = dict(zip(launched.names, launched.numbers.read(), strict=False))
            pipe.send(Step(time.perf_counter() - began, logical_tokens(trainer.batch(step))))
            losses.append(summarise(config.objective, read, launched.totals)["loss"])
        pipe.send(End(_peak(), tuple(losses)))


def _unshared(row: Row) -> Row:
    """Its tree sharing the first token alone, without which it is no tree."""
    return replace(row, tree=Tree(row.tree.sequences, 1))


@contextmanager
def _attention(without: str) -> Iterator[None]:
    """torch's fused kernel for each segment, where the blocks are turned off."""
    from favonius.trees import attention

    own = attention.tree_attention
    if without == "block attention":
        attention.tree_attention = _fused_attention
    yield
    attention.tree_attention = own


def _fused_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, spans: Any, scale: float, window: int | None, softcap: Any
) -> torch.Tensor:
    from favonius.trees.attention import fused_segment
    from favonius.trees.blocks import segments

    return torch.cat([fused_segment(q[:, s.own], s.of(k), s.of(v), scale, window) for s in segments(spans)])


def _told(pipe: Connection) -> Iterator[int]:
    step = 0
    while pipe.recv() == "step":
        step += 1
        yield step


def _peak() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _trl(side: Side, work: Work, pipe: Connection, out: Path) -> None:
    from transformers import TrainerCallback
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    ordered = [row for step in range(1, work.steps + 1) for row in work.step_rows(step)]
    began = time.perf_counter()
    trainer, sizes, reference = _trl_trainer(side, work, ordered, out)
    warm_up = time.perf_counter() - began - reference

    class Turns(TrainerCallback):  # type: ignore[misc]
        """Holds the loop between a step's end and the next one's first fetch."""

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            pipe.send(Ready(reference, warm_up))
            self.wait(kwargs["control"] if "control" in kwargs else args[2])

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds = time.perf_counter() - self.began
            done = state.global_step
            pipe.send(Step(seconds, sum(sizes[(done - 1) * self.per_step : done * self.per_step])))
            self.wait(control)

        def wait(self, control: Any) -> None:
            control.should_training_stop = pipe.recv() != "step"
            self.began = time.perf_counter()

        per_step = side.batch * trainer.args.gradient_accumulation_steps

    trainer.add_callback(Turns())
    trainer.train()
    losses = tuple(line["loss"] for line in trainer.state.log_history if "loss" in line)
    pipe.send(End(_peak(), losses))


def _trl_trainer(side: Side, work: Work, rows: list[Row], out: Path) -> tuple[Any, list[int], float]:
    """TRL's trainer, the logical tokens of each of its rows, and the seconds of its reference pass."""
    import datasets
    import trl
    from transformers import AutoModelForCausalLM, AutoTokenizer

    seconds = [0.0]

    class GivenArrays(trl.DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            found = super()._precompute_ref_logps(*args, **kwargs)
            seconds[0] += time.perf_counter() - began
            return found

    model = AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32 if side.autocast else torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(work.model)
    packed = work.task == "sft" and not side.default
    common: dict[str, Any] = {
        "output_dir": str(out), "report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1,
        "num_train_epochs": 1, "train_sampling_strategy": "sequential", "max_length": work.max_length,
        "per_device_train_batch_size": side.batch, "gradient_accumulation_steps": max(1, work.batch // side.batch),
        "learning_rate": LEARNING_RATE, "warmup_steps": 0.1, "use_cpu": not torch.cuda.is_available(),
        "bf16": side.autocast, "gradient_checkpointing": side.default, "torch_compile": side.torch_compile,
    }  # fmt: skip
    if work.task == "dpo":
        arrays = datasets.Dataset.from_list([prompt_and_answers(row) for row in rows])
        args = trl.DPOConfig(**common, beta=BETA, precompute_ref_log_probs=not side.default)
        reference = AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32) if side.default else None
        trainer = GivenArrays(
            model=model, ref_model=reference, args=args, train_dataset=arrays, processing_class=tokenizer
        )
        return trainer, [logical_tokens([row]) for row in rows], seconds[0]
    arrays = datasets.Dataset.from_list([masked_dialogue(row) for row in rows])
    if packed:
        tokens_per_step = logical_tokens(rows) / work.steps
        common["gradient_accumulation_steps"] = max(1, round(tokens_per_step / work.max_length / side.batch))
    args = trl.SFTConfig(**common, packing=packed, shuffle_dataset=False)
    trainer = trl.SFTTrainer(model=model, args=args, train_dataset=arrays, processing_class=tokenizer)
    return trainer, [len(ids) for ids in trainer.train_dataset["input_ids"]], 0.0
