"""What dialogues start from: read, held out or not, and for how many rounds. Nothing here needs a model."""

from __future__ import annotations

from pathlib import Path

from favonius.data.rows import read_rows
from favonius.data.splits import share_of, split_of, weighted
from favonius.dialogues.config import DialoguesConfig
from favonius.errors import UserError
from favonius.types import SeedPrompt


def read_seeds(config: DialoguesConfig, path: Path) -> list[SeedPrompt]:
    """The seed rows. UserError where an id is used twice or one split would be empty."""
    seeds = read_rows(path, SeedPrompt)[: config.limit]
    if not seeds:
        raise UserError(
            f'{path}: there are no rows in it; write one a line, such as {{"id": "sky", "prompt": "Why …"}}'
        )
    seen: set[str] = set()
    for seed in seeds:
        if seed.id in seen:
            raise UserError(f"{path}: the id {seed.id} is used twice; ids must differ")
        seen.add(seed.id)
    if {split_of(seed.prompt, config.test_share) for seed in seeds} != {"train", "test"}:
        raise UserError(f"{path}: {len(seeds)} seeds leave one split empty; give more seeds or change test_share")
    return seeds


def rounds_of(config: DialoguesConfig, seed: SeedPrompt) -> int:
    """How many rounds a dialogue is to have: a function of its opening's text alone."""
    weights = config.rounds_of(seed.manner)
    return weighted(dict(sorted(weights.items(), reverse=True)), share_of("rounds", seed.prompt))
