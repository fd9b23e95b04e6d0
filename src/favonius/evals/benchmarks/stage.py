"""Stage `benchmark`, and what `favonius eval run` calls: every task for every model, then all of them side by side.

Models come one after the other, and each one's weights are read once for all the tasks that ask it. What was said lies
in the ledger. A task that is finished for a model is marked under work/, so that it is not measured again after a kill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from typing import Any, cast

from favonius.data.checks import Drops
from favonius.engines.interview import interview
from favonius.evals.benchmarks.asking import Heard, ask
from favonius.evals.benchmarks.config import READ_TASKS, BenchmarkConfig
from favonius.evals.benchmarks.contamination import overlaps
from favonius.evals.benchmarks.named import named
from favonius.evals.benchmarks.open import open_task
from favonius.evals.benchmarks.record import Measured, read, result, write
from favonius.evals.benchmarks.summary import Results, summary
from favonius.evals.benchmarks.task import AskedTask, Desk, ReadTask, Scored
from favonius.files import read_json, sha256_path, write_json
from favonius.run import WORK, Context, FileRef, Inputs, ModelRef, references
from favonius.types import digest


def run(config: BenchmarkConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes <label>/<task>/result.json and items.jsonl, results.json (what the report shows) and stats.json.

    UserError, before anything is asked, where a task's data cannot be used or a model's weights are needed that are
    not here.
    """
    bench = _Bench(config, inputs, out, context)
    bench.check()
    for label in config.models:
        bench.measure(label)
    results = {name: {label: read(out / label / name) for label in config.models} for name in config.tasks}
    baseline = None if len(config.models) == 1 else config.baseline or next(iter(config.models))
    write_json(out / "results.json", summary(results, list(config.models), baseline))
    write_json(out / "stats.json", _stats(results))
    rmtree(out / WORK, ignore_errors=True)


@dataclass(frozen=True)
class _Bench:
    """One run of the stage."""

    config: BenchmarkConfig
    inputs: Inputs
    out: Path
    context: Context
    overlapping: dict[str, Any] = field(default_factory=dict)
    """Task → what training rows hold of it, as far as it was looked up."""

    @cached_property
    def tasks(self) -> dict[str, AskedTask | ReadTask]:
        return {name: open_task(name, one, self.inputs) for name, one in self.config.tasks.items()}

    def check(self) -> None:
        """UserError where the benchmark cannot be run."""
        if any(isinstance(one, READ_TASKS) for one in self.config.tasks.values()):
            for model in self.config.models.values():
                self.inputs.model(model)
        _ = self.tasks

    def measure(self, label: str) -> None:
        """Every task that is not finished for a model yet."""
        missing = [name for name in self.config.tasks if not self._is_finished(label, name)]
        asked = {name: cast(AskedTask, self.tasks[name]) for name in missing if not self._reads(name)}
        for name, heard in self._heard(label, asked).items():
            scored = asked[name].scored(heard.said, self._desk(label, name)) if heard.said else Scored(rows=())
            self._finish(label, name, scored, heard)
        for name in filter(self._reads, missing):
            task = cast(ReadTask, self.tasks[name])
            scored = task.measured(self.inputs.model(self.config.models[label]), self._desk(label, name))
            self._finish(label, name, scored, None)

    def _heard(self, label: str, tasks: Mapping[str, AskedTask]) -> dict[str, Heard]:
        """What a model says to all the tasks that ask it; its weights are gone from memory then."""
        if not tasks:
            return {}
        with interview(self.config.engine, self.inputs.speaker(self.config.models[label]), self.context) as model:
            return {name: ask(task.items(), model, f"  {label}, {name}") for name, task in tasks.items()}

    def _finish(self, label: str, name: str, scored: Scored, heard: Heard | None) -> None:
        measured = Measured(
            name=name,
            config=self.config.tasks[name],
            task=self.tasks[name],
            label=label,
            model=self.inputs.speaker(self.config.models[label]),
            scored=scored,
            heard=heard,
            engine=self.config.engine,
            named=named(self.config.tasks[name], self.inputs),
            contamination=self._overlapping(name),
        )
        write(self.out / label / name, result(measured))
        if not self.context.left_open:  # else the next run has more to ask
            write_json(self._mark(label, name), {"identity": self._identity(label, name)})

    def _overlapping(self, name: str) -> dict[str, Any] | None:
        if not self.config.training:
            return None
        if name not in self.overlapping:
            steps = {str(step): self.inputs.folder(step) for step in self.config.training}
            self.overlapping[name] = overlaps(self.tasks[name].texts, steps)
        return dict(self.overlapping[name])

    def _desk(self, label: str, name: str) -> Desk:
        folder = self.out / label / name
        folder.mkdir(parents=True, exist_ok=True)
        return Desk(self.context, self.inputs, label, folder, self.config.engine)

    def _reads(self, name: str) -> bool:
        return isinstance(self.config.tasks[name], READ_TASKS)

    def _mark(self, label: str, name: str) -> Path:
        return self.out / WORK / label / f"{name}.json"

    def _is_finished(self, label: str, name: str) -> bool:
        mark = self._mark(label, name)
        return mark.exists() and bool(read_json(mark)["identity"] == self._identity(label, name))

    def _identity(self, label: str, name: str) -> str:
        """Of all that a result depends on; rows of steps are the step's own affair, whose folder goes with them."""
        task = self.config.tasks[name]
        named = list(references(task))
        models = [self.config.models[label], *(one for one in named if isinstance(one, ModelRef))]
        files = [sha256_path(self.inputs.file(one)) for one in named if isinstance(one, FileRef)]
        digests = [self.inputs.speaker(model).digest for model in models]
        asked = [task.model_dump_json(), self.config.engine.model_dump_json(), *self.config.training]
        return digest([*asked, *digests, *files])


def _stats(results: Results) -> dict[str, Any]:
    drops, kept, tokens = Drops(), 0, 0
    for name, of_task in results.items():
        for label, one in of_task.items():
            own = Drops(Counter(one.told["left_out"]), dict(one.told["left_out_samples"]))
            drops.absorb(own, f"{label}, {name}: ")
            kept += len(one.rows)
            tokens += one.told["asked"]["tokens"]
    return {"kept": kept, **drops.record(), "tokens": tokens, "tasks": len(results)}
