"""The plan of a whole recipe: every stage's tokens, steps, memory, time and disk, as far as they can be told here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from favonius.errors import FavoniusError
from favonius.pipeline.estimate import Estimate
from favonius.pipeline.planning.advice import Advice
from favonius.pipeline.planning.disk import Disk, of_asking, of_model
from favonius.pipeline.planning.generation import Generation
from favonius.pipeline.planning.hardware import Hardware
from favonius.pipeline.planning.measure import StepCost, step_cost
from favonius.pipeline.planning.outlines import UnknownShapeError, config_of, root_of
from favonius.pipeline.planning.rows_here import counted, finished_steps
from favonius.pipeline.planning.training import Memory
from favonius.pipeline.planning.training_stage import Training, alike
from favonius.pipeline.planning.workload import at_most
from favonius.recipe import AnyStage, Recipe
from favonius.recipe.weights import weights_needed
from favonius.train.config import TrainConfig


@dataclass(frozen=True)
class StagePlan:
    """What one step takes. None: it cannot be told, and `why` is the sentence that says so."""

    name: str
    stage: str
    requests: int
    written: int
    read: int
    steps: int
    counted: bool = False
    """`read` and `steps` are those of the very rows, and not the most that they may be."""
    done: bool = False
    memory: Memory | None = None
    seconds: float | None = None
    disk: Disk | None = None
    advice: tuple[Advice, ...] = ()
    why: str | None = None


@dataclass(frozen=True)
class Plan:
    hardware: Hardware
    measured: bool
    """Whether time and activations were measured; otherwise memory is reckoned and time not told."""
    stages: tuple[StagePlan, ...]
    models: Mapping[str, int]
    """Bytes of each model in the caches of this user, of those whose shape is known here."""

    @property
    def peak(self) -> int:
        return max((stage.memory.peak for stage in self.stages if stage.memory is not None), default=0)

    @property
    def disk(self) -> int:
        """The most that is on disk at one time."""
        kept = most = 0
        for stage in self.stages:
            if stage.disk is not None:
                most = max(most, kept + stage.disk.kept + stage.disk.working)
                kept += stage.disk.kept
        return most

    @property
    def seconds(self) -> float:
        """Of the stages whose time is known and that are not done."""
        return sum(stage.seconds for stage in self.stages if stage.seconds is not None and not stage.done)


@dataclass
class Planner:
    """Plans the steps of `recipe`, whose files are found from `folder` and whose rows from the run folder `run`."""

    recipe: Recipe
    folder: Path
    run: Path
    hardware: Hardware
    measures: bool
    say: Callable[[str], None]
    _costs: dict[tuple[object, ...], StepCost] = field(default_factory=dict)
    """Of steps that cost the same, one is measured."""

    def __post_init__(self) -> None:
        self.generation = Generation(self.recipe, self.folder, self.hardware, self.say)

    def plan(self, estimates: Mapping[str, Estimate]) -> Plan:
        """UserError where a training step cannot be what its config says; what is not known is left empty."""
        done = finished_steps(self.recipe, self.run, self.folder)
        stages = [
            replace(self._stage(name, config, estimates, done), done=name in done)
            for name, config in self.recipe.steps.items()
        ]
        return Plan(self.hardware, self.measures, tuple(stages), self._fetched())

    def _stage(self, name: str, config: AnyStage, estimates: Mapping[str, Estimate], done: frozenset[str]) -> StagePlan:
        step = estimates[name]
        known = StagePlan(name, config.stage, step.requests, step.written, step.read, step.optimizer_steps)
        try:
            if isinstance(config, TrainConfig):
                return self._training(known, config, estimates[config.rows], config.rows in done)
            return self._asking(replace(known, disk=of_asking(step)), config, step)
        except UnknownShapeError as error:
            return replace(known, why=str(error))

    def _asking(self, known: StagePlan, config: AnyStage, step: Estimate) -> StagePlan:
        known = replace(known, memory=self.generation.memory(config))
        if not self.measures or not (step.requests or step.read):
            return known
        try:
            return replace(known, seconds=self.generation.seconds(config, step))
        except FavoniusError as error:
            return replace(known, why=str(error))

    def _training(self, known: StagePlan, config: TrainConfig, rows: Estimate, made: bool) -> StagePlan:
        shape = self._shape(config.model)
        found = counted(self.recipe, config, self.run, self.folder) if made else None
        work = found or at_most(rows, config)
        known = replace(known, steps=work.steps, counted=found is not None)
        if found is not None:
            known = replace(known, read=found.tokens(config.epochs))
        training = Training.of(config, shape, self.hardware, work)
        known = replace(known, disk=training.disk)
        if not work.steps:
            return replace(known, why=f"how many rows {config.rows} makes is not known")
        cost, why = self._cost(training) if self.measures else (None, None)
        memory = training.memory(cost)
        return replace(
            known,
            memory=memory,
            seconds=None if cost is None else training.seconds(cost),
            advice=tuple(training.advice(memory)),
            why=why,
        )

    def _fetched(self) -> dict[str, int]:
        found = {}
        needed = weights_needed(self.recipe.steps.values())
        for name, model in self.recipe.models.items():
            with suppress(UnknownShapeError):  # the steps that use it say so
                found[name] = of_model(name, model, self.folder, name in needed)
        return found

    def _shape(self, model: str) -> Any:
        root = root_of(self.recipe, model)
        return config_of(root, self.recipe.models[root], self.folder)

    def _cost(self, training: Training) -> tuple[StepCost | None, str | None]:
        """Measured, or why it was not."""
        key = alike(training)
        if key not in self._costs:
            self.say(f"measuring steps like {training.config.objective.kind} on {training.config.rows}")
            try:
                self._costs[key] = self._measured(training)
            except FavoniusError as error:
                return None, str(error)
        return self._costs[key], None

    def _measured(self, training: Training) -> StepCost:
        again = "on" if training.memory().checkpointed else "off"
        config = training.config.model_copy(update={"activation_checkpointing": again})
        run = training.run
        return step_cost(
            config, training.shape, self.hardware, training.pack, run.steps, training.compiles, run.packs > 1
        )
