"""The one training loop. An optimizer step: packs of one batch, each forward and backward, then one update."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from favonius.errors import FavoniusError
from favonius.progress import Bar, Progress
from favonius.train.checkpoint import Checkpoints
from favonius.train.config import TrainConfig
from favonius.train.losses import loss, units
from favonius.train.optimizer import MasterWeights, learning_rate, make_optimizer
from favonius.train.rows import Row
from favonius.trees.pack import pack, plan
from favonius.trees.score import score

Reference = Mapping[str, Tensor]


class Trainer:
    """State of one training: everything that `run` changes, and nothing else does."""

    def __init__(
        self, model: PreTrainedModel, rows: Sequence[Row], reference: Reference, config: TrainConfig, out: Path
    ) -> None:
        self.model, self.reference, self.config, self.out = model, reference, config, out
        self.train_rows = [row for row in rows if row.split == "train"]
        self.test_rows = [row for row in rows if row.split == "test"]
        self.weights = MasterWeights(model, config.freeze)
        self.optimizer = make_optimizer(config, self.weights.parameters)
        self.checkpoints = Checkpoints(out / "work", self.weights, self.optimizer)
        self.steps_per_epoch = math.ceil(len(self.train_rows) / config.batch_size)
        self.steps = config.epochs * self.steps_per_epoch

    def run(self, progress: Progress) -> None:
        """Train from the newest checkpoint to the end; metrics.jsonl has a line per step and per test pass."""
        done = self.checkpoints.newest()
        if done:
            self.checkpoints.restore(done)
            progress.say(f"  continues after optimizer step {done} of {self.steps}")
        metrics = Metrics(self.out / "metrics.jsonl", through=done)
        if not done:
            metrics.write(self._test(0))
        with progress.bar("  optimizer steps", self.steps, done=done) as bar:
            for step in range(done + 1, self.steps + 1):
                line = self._step(step)
                metrics.write(line)
                last = step == self.steps
                every = self.config.evaluate_every
                if last or (every and step % every == 0):
                    metrics.write(self._test(step))
                if not last and step % self.config.checkpoint_every == 0:
                    self.checkpoints.save(step)
                _report(bar, line)
        self.checkpoints.wait()

    def batch(self, step: int) -> list[Row]:
        """Rows of optimizer step `step`: every epoch is its own seeded shuffle, a function of seed and epoch alone."""
        epoch, index = divmod(step - 1, self.steps_per_epoch)
        order = list(range(len(self.train_rows)))
        random.Random(f"{self.config.seed} {epoch}").shuffle(order)
        chosen = order[index * self.config.batch_size : (index + 1) * self.config.batch_size]
        return [self.train_rows[row] for row in chosen]

    def _step(self, step: int) -> dict[str, object]:
        started = time.monotonic()
        self.model.train()
        rows = self.batch(step)
        means, tokens = self._run_rows(rows, backward=True)
        parameters = self.weights.parameters
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm))
        if not (math.isfinite(means["loss"]) and math.isfinite(norm)):
            raise FavoniusError(
                f"{self.out.name}: the loss or its gradient is not a number at optimizer step {step}; the state before "
                "it is kept: lower learning_rate or try precision: fp32, and run again"
            )
        rate = learning_rate(self.config, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        for parameter in parameters:
            parameter.grad = None
        self.weights.publish()
        seconds = time.monotonic() - started
        return {
            "step": step,
            "epoch": round(step / self.steps_per_epoch, 4),
            "split": "train",
            **means,
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens": tokens,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(tokens / seconds, 1),
        }

    def _test(self, step: int) -> dict[str, object] | None:
        """A pass over the held-out rows."""
        if not self.test_rows:
            return None
        started = time.monotonic()
        self.model.eval()
        with torch.no_grad():
            means, tokens = self._run_rows(self.test_rows, backward=False)
        return {"step": step, "epoch": round(step / self.steps_per_epoch, 4), "split": "test", **means,
                "tokens": tokens, "seconds": round(time.monotonic() - started, 3)}  # fmt: skip

    def _run_rows(self, rows: Sequence[Row], backward: bool) -> tuple[dict[str, float], int]:
        """Means over `rows` and their logical tokens. Divides by the count of all rows, known before the first pack."""
        objective = self.config.objective
        total = sum(units(objective, row.tree) for row in rows)
        sums: dict[str, Tensor] = {}
        for members in plan([row.tree for row in rows], self.config.pack_tokens):
            chosen = [rows[index] for index in members]
            batch = pack([row.tree for row in chosen])
            reference_S = self._reference(chosen)
            part = loss(objective, score(self.model, batch), reference_S, total)
            if backward:
                part.value.backward()  # type: ignore[no-untyped-call]
            for name, value in part.means.items():
                sums[name] = sums[name] + value if name in sums else value
        return {name: float(value) for name, value in sums.items()}, sum(row.tree.logical_tokens for row in rows)

    def _reference(self, rows: Sequence[Row]) -> Tensor | None:
        if not self.reference:
            return None
        return torch.cat([self.reference[row.id] for row in rows]).to(self.model.device)


class Metrics:
    """metrics.jsonl. Lines beyond the step that a run continues from were of steps that are run again; they go."""

    def __init__(self, path: Path, through: int) -> None:
        self.path = path
        kept = [line for line in path.read_text().splitlines() if _step_of(line) <= through] if path.exists() else []
        path.write_text("".join(line + "\n" for line in kept))

    def write(self, line: Mapping[str, object] | None) -> None:
        if line is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")


def _step_of(line: str) -> float:
    """The step of a metrics line; a torn last line belongs to no finished step."""
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return math.inf


def _report(bar: Bar, line: Mapping[str, object]) -> None:
    note = f"loss {line['loss']:.4f}"
    if "accuracy" in line:
        note += f"  accuracy {line['accuracy']:.2f}  margin {line['margin']:.3f}"
    bar.advance(1, int(str(line["tokens"])), note)
