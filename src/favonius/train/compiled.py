"""Whether decoder layers are compiled for training, and compiling them so that it can be repeated."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from favonius.train.config import TrainConfig
from favonius.train.distributed import decoder_layers
from favonius.train.objectives import Reward
from favonius.train.rows import Row
from favonius.trees.fused import compile_layers
from favonius.trees.pack import pack
from favonius.trees.score import predicting_states, score
from favonius.trees.tree import TokenSequence, Tree

WORTH_COMPILING = 100_000
"""Tokens to run. Compiling takes about as long as it then saves on two cores."""


def worth_compiling(config: TrainConfig, rows: Sequence[Row]) -> bool:
    """What `config.compile` asks for. The same whenever the step is run again, since rounding follows from it."""
    if config.compile == "auto":
        tokens = config.epochs * sum(row.tree.run_tokens for row in rows if row.split == "train")
        return config.processes * config.nodes == 1 and config.adapter is None and tokens >= WORTH_COMPILING
    return config.compile == "on"


def compile_model(model: PreTrainedModel, config: TrainConfig) -> bool:
    """Compile the decoder layers of `model`; False, with a warning, where this machine cannot.

    Kernels are compiled for any number of tokens but tuned to the first that they meet, which must not depend on where
    a training is continued from: so that is a made-up pack, run forward and back.
    """
    if not compile_layers(decoder_layers(model)):
        return False
    length = min(config.pack_tokens // 2, config.max_length)
    tokens = [index % model.config.get_text_config().vocab_size for index in range(length)]
    batch = pack([Tree.of(TokenSequence.of(tokens, [False, *[True] * (length - 1)]))] * 2)
    values = predicting_states(model, batch) if isinstance(config.objective, Reward) else score(model, batch).values_M
    values.sum().backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    return True
