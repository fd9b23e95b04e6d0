"""From a task's config to the task. Imported one by one: each brings its own libraries."""

from __future__ import annotations

from typing import assert_never

from favonius.errors import UserError
from favonius.evals.benchmarks.config import (
    AlpacaEval,
    AnyTask,
    Gsm8k,
    Harness,
    Health,
    IFEval,
    MtBench,
    Perplexity,
    Preference,
    Safety,
)
from favonius.evals.benchmarks.task import AskedTask, ReadTask
from favonius.run import Inputs


def open_task(name: str, config: AnyTask, inputs: Inputs) -> AskedTask | ReadTask:
    """The task with its data read. UserError, which `name` opens, where it has none or they cannot be used."""
    try:
        return _open(config, inputs)
    except UserError as error:
        raise UserError(f"task {name}: {error}") from error


def _open(config: AnyTask, inputs: Inputs) -> AskedTask | ReadTask:
    match config:
        case MtBench():
            from favonius.evals.mt_bench.task import MtBenchTask

            return MtBenchTask.of(config, inputs)
        case AlpacaEval():
            from favonius.evals.alpaca_eval.task import AlpacaEvalTask

            return AlpacaEvalTask.of(config, inputs)
        case IFEval():
            from favonius.evals.ifeval.task import IFEvalTask

            return IFEvalTask.of(config, inputs)
        case Safety():
            from favonius.evals.safety.task import SafetyTask

            return SafetyTask.of(config, inputs)
        case Gsm8k():
            from favonius.evals.gsm8k.task import Gsm8kTask

            return Gsm8kTask.of(config, inputs)
        case Preference():
            from favonius.evals.benchmarks.preference import PreferenceTask

            return PreferenceTask.of(config, inputs)
        case Perplexity():
            from favonius.evals.benchmarks.perplexity import PerplexityTask

            return PerplexityTask.of(config, inputs)
        case Health():
            from favonius.evals.benchmarks.health import HealthTask

            return HealthTask.of(config, inputs)
        case Harness():
            from favonius.evals.harness.task import HarnessTask

            return HarnessTask.of(config, inputs)
        case _:
            assert_never(config)
