"""The one training loop. An optimizer step: packs of one batch, each forward and backward, then one update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from favonius.errors import FavoniusError, StoppedError
from favonius.progress import Bar, Progress
from favonius.train import batches
from favonius.train.checkpoint import Checkpoints
from favonius.train.config import TrainConfig
from favonius.train.distributed import World, decoder_layers, shard, whole
from favonius.train.flops import peak
from favonius.train.health import Alarm, Health, not_a_number
from favonius.train.measures import Totals, summarise
from favonius.train.memory import asks_for_checkpoints, checkpoint_layers
from favonius.train.metrics import Copy, Mark, Metrics, peak_memory
from favonius.train.optimizer import MasterWeights, learning_rate, make_optimizer
from favonius.train.passes import Passes, References
from favonius.train.rows import Row
from favonius.train.stop import StopRequest, listening
from favonius.trees.fused import forward_only


@dataclass(frozen=True)
class Launched:
    """An optimizer step that the device may still be at work on."""

    step: int
    names: tuple[str, ...]
    numbers: Copy
    totals: Totals
    known: Mapping[str, object]
    """What its line in metrics.jsonl says beyond the numbers."""
    operations: float
    began: Mark
    ended: Mark


class Trainer:
    """State of one training: everything that `run` changes, and nothing else does. One on every rank."""

    def __init__(
        self,
        model: PreTrainedModel,
        rows: Sequence[Row],
        references: References,
        config: TrainConfig,
        out: Path,
        world: World | None = None,
    ) -> None:
        model.eval()  # dropout off: nothing draws random numbers
        self.world = world = World.alone() if world is None else world
        self.model, self.config, self.out = model, config, out
        self.train_rows = [row for row in rows if row.split == "train"]
        self.test_rows = [row for row in rows if row.split == "test"]
        self.passes = Passes(model, references, config, world)
        compute = model.dtype
        self.peak = peak(world.device, compute)
        if world.size > 1:
            shard(model, world)
        self.weights = MasterWeights(model, config.freeze)
        self.recomputes = self._recompute(compute)
        self.optimizer = make_optimizer(config, self.weights.parameters)
        self.checkpoints = Checkpoints(out / "work", self.weights, self.optimizer, world, config.keep_checkpoints)
        self.steps_per_epoch = math.ceil(len(self.train_rows) / config.batch_size)
        self.steps = config.epochs * self.steps_per_epoch

    def run(self, progress: Progress) -> None:
        """Train from the newest checkpoint to the end; metrics.jsonl has a line per step and per test pass.

        FavoniusError where a loss or gradient is not a number, StoppedError where a signal asked to stop.
        """
        done = self.world.gather(self.checkpoints.newest())[0]
        if done:
            self.checkpoints.restore(done)
            progress.say(f"  continues after optimizer step {done} of {self.steps}")
        with listening() as request, progress.bar("  optimizer steps", self.steps, done=done) as bar:
            record = Record(self, progress, bar, done)
            if not done:
                record.test(0)
            for step in range(done + 1, self.steps + 1):
                self._finish(step, self.step(step), record, request)
        self.checkpoints.wait()

    def _finish(self, step: int, launched: Launched, record: Record, request: StopRequest) -> None:
        """After a step: its line, and what is due at it."""
        record.launched(launched)
        last = step == self.steps
        if last or self._test_is_due(step):
            record.test(step)
        stop = self.world.any(request.signal is not None)
        if stop or (not last and self._checkpoint_is_due(step)):
            record.settle()  # a state that is not a number must not become a checkpoint
            self.checkpoints.save(step)
        if stop:
            self.checkpoints.wait()
            raise StoppedError(
                f"{self.out.name}: stopped by {request.signal or 'a signal'} after optimizer step {step} of "
                f"{self.steps}, which is kept; run the same command again to go on"
            )

    def _test_is_due(self, step: int) -> bool:
        every = self.steps_per_epoch if self.config.evaluate_every == "epoch" else self.config.evaluate_every
        return every > 0 and step % every == 0

    def _checkpoint_is_due(self, step: int) -> bool:
        match self.config.checkpoint_every:
            case "auto":  # rank 0's clock counts
                return self.world.any(self.world.is_main and self.checkpoints.due())
            case every:
                return step % every == 0

    def _recompute(self, compute: torch.dtype) -> bool:
        """Set activation checkpointing up where it is asked for, by the config or, on any rank, by memory."""
        longest = max(row.tree.run_tokens for row in self.train_rows)
        tokens = max(longest, self.config.pack_tokens)
        match self.config.activation_checkpointing:
            case "auto":
                needed = asks_for_checkpoints(self.config, self.model, self.weights.parameters, tokens, compute)
                wanted = self.world.any(needed)
            case asked:
                wanted = asked == "on"
        if wanted:
            checkpoint_layers(decoder_layers(self.model))
        return wanted

    def batch(self, step: int) -> list[Row]:
        return batches.batch(self.train_rows, step, self.config.batch_size, self.config.seed)

    def step(self, step: int) -> Launched:
        """Launch optimizer step `step`; waits for nothing that it computes."""
        began = Mark(self.world.device)
        rows = self.batch(step)
        sums = self.passes.run(rows, backward=True)
        parameters = self.weights.parameters
        norm = whole(torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm))
        rate = learning_rate(self.config, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        for parameter in parameters:
            parameter.grad = None
        self.weights.publish()
        known = {"learning_rate": rate, **self._counts(rows)}
        numbers = torch.cat([sums.values, norm.to(sums.values)[None]])
        return Launched(
            step, sums.names, Copy(numbers), sums.totals, known,
            self.passes.operations(rows, self.recomputes), began, Mark(self.world.device),
        )  # fmt: skip

    def test(self) -> dict[str, object]:
        """A pass over the held-out rows, waited for."""
        began = Mark(self.world.device)
        with forward_only(self.model):
            sums = self.passes.run(self.test_rows, backward=False)
        read = dict(zip(sums.names, Copy(sums.values).read(), strict=True))
        seconds = Mark(self.world.device).since(began)
        return {
            **summarise(self.config.objective, read, sums.totals),
            **self._counts(self.test_rows),
            "seconds": round(seconds, 3),
        }

    def _counts(self, rows: Sequence[Row]) -> dict[str, object]:
        """Logical tokens are those of all sequences, run tokens those left when what they share runs once."""
        return {
            "rows": len(rows),
            "tokens": sum(row.tree.logical_tokens for row in rows),
            "run_tokens": sum(row.tree.run_tokens for row in rows),
        }


class Record:
    """Writes the lines of metrics.jsonl: a step's when the next one has been launched, or when something is due that
    must not come before it. Rank 0 writes, all ranks read, so that all of them stop at a loss that is not a number."""

    def __init__(self, trainer: Trainer, progress: Progress, bar: Bar, done: int) -> None:
        self.trainer, self.progress, self.bar = trainer, progress, bar
        self._metrics = Metrics(trainer.out / "metrics.jsonl", through=done) if trainer.world.is_main else None
        self._health = Health(trainer.config)
        for line in self._metrics.kept if self._metrics is not None else ():
            self._health.observe(line)
        self._waiting: Launched | None = None

    def launched(self, launched: Launched) -> None:
        """Note a step, and write the line of the one before."""
        self.settle()
        self._waiting = launched

    def settle(self) -> None:
        """Write the line of the step that is still waited for. FavoniusError where it is not a number."""
        launched, self._waiting = self._waiting, None
        if launched is None:
            return
        *sums, norm = launched.numbers.read()
        read = dict(zip(launched.names, sums, strict=True))
        means = summarise(self.trainer.config.objective, read, launched.totals)
        if not (math.isfinite(means["loss"]) and math.isfinite(norm)):
            self.trainer.checkpoints.wait()
            self._alarm({"step": launched.step, "split": "train", "loss": means["loss"], "grad_norm": norm})
            raise FavoniusError(f"{self.trainer.out.name}: {not_a_number(launched.step)}")
        line = {**means, "grad_norm": norm, **launched.known, **self._speed(launched)}
        self._write(launched.step, "train", line)
        note = f"loss {means['loss']:.4f}"
        if "accuracy" in means:
            note += f"  accuracy {means['accuracy']:.2f}  margin {means['margin']:.3f}"
        self.bar.advance(1, int(str(line["tokens"])), note)

    def test(self, step: int) -> None:
        """Run the held-out rows, where there are any, and write their line."""
        self.settle()
        if self.trainer.test_rows:
            self._write(step, "test", self.trainer.test())

    def _speed(self, launched: Launched) -> dict[str, object]:
        trainer, seconds = self.trainer, launched.ended.since(launched.began)
        tokens = int(str(launched.known["tokens"]))
        speed: dict[str, object] = {"seconds": round(seconds, 3), "tokens_per_second": round(tokens / seconds, 1)}
        if trainer.peak is not None:
            speed["mfu"] = round(launched.operations / (seconds * trainer.peak * trainer.world.size), 4)
        memory = peak_memory(trainer.world.device)
        return speed if memory is None else {**speed, "peak_memory_bytes": memory}

    def _write(self, step: int, split: str, numbers: Mapping[str, object]) -> None:
        if self._metrics is None:
            return
        line = {"step": step, "epoch": round(step / self.trainer.steps_per_epoch, 4), "split": split, **numbers}
        self._metrics.write(line)
        for alarm in self._alarm(line):
            self.progress.say(f"  {alarm.sentence}")

    def _alarm(self, line: Mapping[str, object]) -> list[Alarm]:
        """Write what a line gives cause for."""
        if self._metrics is None:
            return []
        alarms = self._health.observe(line)
        for alarm in alarms:
            self._metrics.write(alarm.record())
        return alarms
