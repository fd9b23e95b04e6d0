"""Which function does which step. Imported one by one: a stage brings torch, its config does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

from favonius.corpus.config import DataConfig
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.openings.config import OpeningsConfig
from favonius.evals.benchmarks.config import BenchmarkConfig
from favonius.evals.config import EvaluateConfig
from favonius.feedback.config import AnswersConfig, BestConfig, ConstitutionConfig, PairsConfig, RatingsConfig
from favonius.recipe import AnyStage
from favonius.run import Context, Inputs
from favonius.train.config import TrainConfig

Stage = Callable[[Any, Inputs, Path, Context], None]
"""`(config, inputs, out_folder, context)`: writes the step's files. The config is the one it is looked up by."""


def stage_of(config: AnyStage) -> Stage:
    match config:
        case DataConfig():
            from favonius.corpus import stage as corpus

            return corpus.run
        case OpeningsConfig():
            from favonius.dialogues.openings import stage as openings

            return openings.run
        case DialoguesConfig():
            from favonius.dialogues import stage as dialogues

            return dialogues.run
        case AnswersConfig():
            from favonius.feedback import answers

            return answers.run
        case RatingsConfig():
            from favonius.feedback import ratings

            return ratings.run
        case PairsConfig():
            from favonius.feedback import pairs

            return pairs.run
        case BestConfig():
            from favonius.feedback import best

            return best.run
        case ConstitutionConfig():
            from favonius.feedback import constitution

            return constitution.run
        case TrainConfig():
            from favonius.train import stage as train

            return train.run
        case EvaluateConfig():
            from favonius.evals import stage as evaluate

            return evaluate.run
        case BenchmarkConfig():
            from favonius.evals.benchmarks import stage as benchmark

            return benchmark.run
        case _:
            assert_never(config)
