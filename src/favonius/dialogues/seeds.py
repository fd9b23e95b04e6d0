"""The seeds: read, held out or not, with a second turn or not. Nothing here needs a model."""

from __future__ import annotations

from pathlib import Path

from favonius.data.rows import read_rows
from favonius.dialogues.config import DialoguesConfig
from favonius.errors import UserError
from favonius.types import SeedPrompt, Split, digest


def read_seeds(config: DialoguesConfig, path: Path) -> list[SeedPrompt]:
    """The seed rows. UserError where an id is used twice or one split would be empty."""
    seeds = read_rows(path, SeedPrompt)[: config.limit]
    ids = [seed.id for seed in seeds]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(f"{path}: the id {twice} is used twice; ids must differ")
    if {split_of(name, config.test_share) for name in ids} != {"train", "test"}:
        raise UserError(f"{path}: {len(ids)} seeds leave one split empty; give more seeds or change test_share")
    return seeds


def split_of(name: str, test_share: float) -> Split:
    """A row's side is a function of its id alone, so that adding rows moves none across."""
    return "test" if _fraction("split", name) < test_share else "train"


def goes_on(config: DialoguesConfig, name: str) -> bool:
    """Whether the seed of this id gets a second turn: a function of its id alone too."""
    return _fraction("second turn", name) < config.second_turn_share


def _fraction(purpose: str, name: str) -> float:
    """A number in [0, 1) that depends on the two strings only."""
    return int(digest([purpose, name])[:12], 16) / 16**12
