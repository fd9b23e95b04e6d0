"""Data steps over rows that are made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from favonius.corpus import stage
from favonius.corpus.config import DataConfig
from favonius.data.rows import read_rows
from favonius.files import read_json
from favonius.progress import Progress
from favonius.run import Context, FileRef, Inputs, references
from favonius.types import Dialogue, Message, Messages
from tests.row_files import CONTAINERS, DIALOGUE_SHAPES, lines, write

Rows = list[dict[str, Any]]


class Corpus:
    """A data step in a folder: its config with FileRefs, run as the pipeline runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "run" / "data"

    def run(self, **config: Any) -> dict[str, Any]:
        made = DataConfig.model_validate(config)
        files = {name: self.folder / name for name in references(made) if isinstance(name, FileRef)}
        self.out.mkdir(parents=True, exist_ok=True)
        stage.run(made, Inputs({}, {}, files), self.out, Context(self.out.parent, Progress()))
        return dict(read_json(self.out / "stats.json"))

    def dialogues(self) -> list[Dialogue]:
        return read_rows(self.out / "dialogues.jsonl", Dialogue)

    def write(self, name: str, rows: Rows) -> str:
        """As one of CONTAINERS, else as JSON lines; the name."""
        if name in CONTAINERS:
            write(self.folder, name, rows)
        else:
            (self.folder / name).write_bytes(lines(rows))
        return name


def talk(prompt: str, answer: str = "That depends on the weather and on little else.") -> Messages:
    return (Message(role="user", content=prompt), Message(role="assistant", content=answer))


def talks(name: str, count: int) -> list[Messages]:
    return [talk(f"Question {number} about {name}, which is long?") for number in range(count)]


def rows_of(name: str, count: int, shape: str = "messages") -> Rows:
    return [DIALOGUE_SHAPES[shape](messages) for messages in talks(name, count)]


def prompts(rows: list[Dialogue]) -> list[str]:
    return [row.messages[0].content for row in rows]


def pair(number: int) -> dict[str, Any]:
    return {"prompt": f"Question {number} of many?", "chosen": f"Good {number}.", "rejected": f"Bad {number}."}
