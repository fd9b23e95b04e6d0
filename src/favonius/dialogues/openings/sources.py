"""What the files of a sector hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from favonius.data.rows import read_rows
from favonius.dialogues.openings.config import AnySector, FromPrompts, Material, World, Writing
from favonius.dialogues.openings.material import read_passages
from favonius.dialogues.openings.plan import Sizes
from favonius.dialogues.textfiles import built_in, read_lines
from favonius.errors import UserError
from favonius.run import FileRef
from favonius.types import SeedPrompt

FilePath = Callable[[FileRef], Path]


def listed(file: FileRef | None, name: str, path_of: FilePath) -> tuple[str, ...]:
    """The entries of a file, or our own list of that name."""
    return built_in(name) if file is None else read_lines(path_of(file))


def sizes(sector: AnySector, path_of: FilePath) -> Sizes:
    """UserError where a file is not what the sector needs."""
    match sector:
        case World():
            entities = 0 if sector.entities is None else len(read_lines(path_of(sector.entities)))
            return Sizes(topics=len(listed(sector.topics, "topics", path_of)), entities=entities)
        case Writing():
            return Sizes(
                topics=len(listed(sector.topics, "topics", path_of)),
                text_types=len(listed(sector.text_types, "text_types", path_of)),
            )
        case Material():
            path = path_of(sector.passages)
            found = sum(1 for _ in read_passages(path, sector.longest))
            if not found:
                raise UserError(f"{path}: no passage of twenty words or more; part passages by blank lines")
            return Sizes(passages=found)
        case _:
            return Sizes()


def prompts_of(sector: FromPrompts, path_of: FilePath, folder_of: Callable[[str], Path]) -> list[SeedPrompt]:
    """The prompts that a sector begins with. UserError where there is none."""
    path = path_of(sector.seeds) if sector.seeds is not None else folder_of(str(sector.openings)) / "openings.jsonl"
    found = read_rows(path, SeedPrompt)
    if not found:
        raise UserError(f"{path}: there is no prompt in it")
    return found
