"""Second pass: all sources together. What was there before goes; of what stays, eight bytes a row are remembered."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from favonius.corpus.config import COMPARING, DataConfig
from favonius.corpus.gather import Gathered
from favonius.data.checks import Drops
from favonius.data.convert import Row
from favonius.data.filters.apply import filtered, messages_of
from favonius.data.filters.open import NamedFilter, open_filters
from favonius.data.filters.report import FilterReport
from favonius.data.splits import opening, prompt_key
from favonius.progress import Progress
from favonius.types import SeedPrompt, Split

HELD_OUT = "its prompt is held out"
LEARNED = "its prompt is learned from"


def _offsets() -> array[int]:
    return array("q")


@dataclass
class Chosen:
    """Of one source: where its rows begin in its file, side by side; and what became of the others."""

    train: array[int] = field(default_factory=_offsets)
    test: array[int] = field(default_factory=_offsets)
    dropped: Drops = field(default_factory=Drops)
    report: FilterReport = field(default_factory=FilterReport)


def choose(
    config: DataConfig, gathered: Mapping[str, Gathered], files: Mapping[str, Path], progress: Progress
) -> dict[str, Chosen]:
    """The rows of every source that repeat none before them, held-out sources first.

    A prompt that a held-out source or a step has on one side is taken on that side alone; where steps differ, it is
    held out.
    """
    filters = open_filters([entry for entry in config.filters if isinstance(entry, COMPARING)], files)
    placed = _placed(config, gathered)
    chosen = {}
    total = sum(source.record["kept"] for source in gathered.values())
    with progress.bar("  choosing", total, "rows") as bar:
        for name in sorted(config.sources, key=lambda name: not config.sources[name].held_out):
            chosen[name] = Chosen()
            for offset, row in _rows(gathered[name]):
                _choose(chosen[name], offset, row, filters, placed)
                bar.advance()
    return {name: chosen[name] for name in config.sources}


def _placed(config: DataConfig, gathered: Mapping[str, Gathered]) -> dict[bytes, Split]:
    """The side of every prompt of a source that says itself what is held out."""
    placed: dict[bytes, Split] = {}
    for name, source in config.sources.items():
        for _, row in _rows(gathered[name]) if source.places_its_rows and len(config.sources) > 1 else ():
            if _side(row) == "test":
                placed[_key(row)] = "test"
            else:
                placed.setdefault(_key(row), "train")
    return placed


def _choose(chosen: Chosen, offset: int, row: Row, filters: list[NamedFilter], placed: Mapping[bytes, Split]) -> None:
    side = _side(row)
    elsewhere = placed and placed.get(_key(row), side) != side
    if elsewhere:
        cause = HELD_OUT if side == "train" else LEARNED
        chosen.dropped.add(cause, f"{row.id}: {opening(messages_of(row))}")
    elif _passes(row, filters, chosen.report):
        (chosen.train if side == "train" else chosen.test).append(offset)


def _side(row: Row) -> Split:
    """Prompts are held out by the step that makes dialogues of them."""
    return "train" if isinstance(row, SeedPrompt) else row.split


def _rows(gathered: Gathered) -> Iterator[tuple[int, Row]]:
    """Rows and where they begin, in bytes. They are our own, so that a bad one is no mistake of the user's."""
    offset = 0
    with open(gathered.path, "rb") as file:
        for line in file:
            yield offset, gathered.noun.model_validate_json(line)
            offset += len(line)


def _passes(row: Row, filters: list[NamedFilter], report: FilterReport) -> bool:
    return any(True for _ in filtered((row,), filters, report))


def _key(row: Row) -> bytes:
    """Of the prompt, as splits tell prompts apart."""
    prompt = prompt_key(opening(messages_of(row)))
    return blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=16).digest()
