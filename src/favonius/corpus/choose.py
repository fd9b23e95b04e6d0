"""Second pass: all sources together. What was there before goes; of what stays, eight bytes a row are remembered."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from favonius.corpus.config import COMPARING, DataConfig, Source
from favonius.corpus.gather import Gathered
from favonius.data.checks import Drops
from favonius.data.convert import Row
from favonius.data.filters.apply import filtered, messages_of
from favonius.data.filters.open import NamedFilter, open_filters
from favonius.data.filters.report import FilterReport
from favonius.data.splits import opening, prompt_key
from favonius.progress import Progress
from favonius.types import SeedPrompt

HELD_OUT = "its prompt is held out"


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
    """The rows of every source that repeat none before them, held-out sources first."""
    filters = open_filters([entry for entry in config.filters if isinstance(entry, COMPARING)], files)
    held_out: set[bytes] = set()
    chosen = {}
    total = sum(source.record["kept"] for source in gathered.values())
    with progress.bar("  choosing", total, "rows") as bar:
        for name, source in sorted(config.sources.items(), key=lambda item: not item[1].held_out):
            chosen[name] = Chosen()
            for offset, row in _rows(gathered[name]):
                _choose(chosen[name], offset, row, source, filters, held_out)
                bar.advance()
    return {name: chosen[name] for name in config.sources}


def _choose(
    chosen: Chosen, offset: int, row: Row, source: Source, filters: list[NamedFilter], held_out: set[bytes]
) -> None:
    if held_out and not source.held_out and _key(row) in held_out:
        chosen.dropped.add(HELD_OUT, f"{row.id}: {opening(messages_of(row))}")
    elif _passes(row, filters, chosen.report):
        is_train = isinstance(row, SeedPrompt) or row.split == "train"
        (chosen.train if is_train else chosen.test).append(offset)
        if source.held_out:
            held_out.add(_key(row))


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
