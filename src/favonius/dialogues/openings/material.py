"""Assistance on existing material: instructions for passages, joined with them in seven ways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, Field

from favonius.data.rows import iterate_rows
from favonius.data.words import words
from favonius.dialogues.draws import spread
from favonius.dialogues.openings.config import Material
from favonius.dialogues.openings.desk import Desk
from favonius.dialogues.openings.plan import passage_items
from favonius.errors import UserError
from favonius.types import Noun, SeedPrompt

INSTRUCTIONS = (
    "A text:\n\n{text}\n\n"
    "Write {count} different tasks that a reader of this text could give to an assistant: a question about what it "
    "says, a summary, an explanation, a rewriting, an opinion on it. "
    "Write a numbered list with one short task on each line. Do not do the tasks."
)
EXAMPLE = (
    INSTRUCTIONS.format(
        count=3,
        text="The bridge was closed in March, when a ship hit its second pillar. Repairs cost four million, and "
        "most of that was paid by the owner of the ship. Since June people walk across again; cars wait until autumn.",
    ),
    "1. When will cars be able to use the bridge again?\n2. Summarise the text in one sentence.\n"
    "3. Rewrite the text as a short announcement for the radio.",
)
WITH_COLON = "{instruction}: {text}"
JOINED = (
    "{text}\n{instruction}",
    "{text} {instruction}",
    WITH_COLON,
    "{instruction} Answer from this text: {text}",
    "{text}\nGoing by the passage above: {instruction}",
    "Here is a text: {text}\n{instruction}",
    "{instruction}\nWork from the following: {text}",
)
"""UltraChat's seven ways (zephyr-spec §3.2), in our words."""
WORDLESS = JOINED[:3]
"""For a language other than that of the others."""
LEAST_PASSAGE_WORDS = 20
MOST_INSTRUCTION_WORDS = 60

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")


class PassageRow(Noun):
    """A line of a JSON-lines file of passages; other fields are left alone."""

    model_config = ConfigDict(extra="ignore")

    text: str = Field(min_length=1)
    topic: str | None = None


@dataclass(frozen=True)
class Passage:
    text: str
    topic: str | None = None


def read_passages(path: Path, longest: int) -> Iterator[Passage]:
    """Pieces of at most `longest` characters, in order, without headings and other lines of a few words.

    UserError where the file is neither such rows nor text.
    """
    if path.name.endswith((".jsonl", ".jsonl.gz", ".parquet")):
        texts = ((row.text, row.topic) for row in iterate_rows(path, PassageRow))
    else:
        texts = ((text, None) for text in _paragraphs(path))
    for text, topic in texts:
        for piece in pieces(text.strip(), longest):
            if len(words(piece)) >= LEAST_PASSAGE_WORDS:
                yield Passage(piece, topic)


def pieces(text: str, longest: int) -> list[str]:
    """The text in parts that end with a sentence, or else with a word, or else anywhere."""
    found: list[str] = []
    while len(text) > longest:
        ends = (match.end() for match in _SENTENCE_END.finditer(text, 0, longest + 1))
        fitting = [end for end in ends if 0 < len(text[:end].rstrip()) <= longest]
        cut = fitting[-1] if fitting else text.rfind(" ", 1, longest + 1) + 1 or longest
        found.append(text[:cut].strip())
        text = text[cut:].strip()
    return [part for part in (*found, text) if part]


def _paragraphs(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    return iter(re.split(r"\n[ \t]*(?:\n[ \t]*)+", text.replace("\r\n", "\n")))


def write(sector: Material, path: Path, available: int, desk: Desk) -> list[SeedPrompt]:
    """Up to `sector.count` passages with an instruction, spread evenly over the `available` passages of `path`."""
    used, each = passage_items(sector, available)
    pool = desk.pool(sector.count)
    passages = desk.draw(read_passages(path, sector.longest), desk.left, "passages", lambda passage: passage.text)
    place: dict[str, int] = {}
    for wave in pool.waves():
        chosen = passages[wave * used : (wave + 1) * used]
        prompts = [desk.shown(INSTRUCTIONS.format(text=passage.text, count=each), EXAMPLE) for passage in chosen]
        for number, found in enumerate(desk.lists(prompts, "instructions"), start=wave * used):
            for instruction in found[:each]:
                opening = _joined(passages[number], instruction, desk)
                place[opening.id] = number
                pool.add(opening, instruction, MOST_INSTRUCTION_WORDS)
    return spread(pool.kept, sector.count, lambda opening: place[opening.id])


def _joined(passage: Passage, instruction: str, desk: Desk) -> SeedPrompt:
    ways: tuple[str, ...] = JOINED if desk.config.language is None else WORDLESS
    if instruction.endswith("?"):
        ways = tuple(way for way in ways if way != WITH_COLON)
    way = ways[int(desk.chance(f"{instruction} {passage.text}", "join") * len(ways))]
    said = instruction.rstrip(".:") if way == WITH_COLON else instruction
    return desk.opening(way.format(text=passage.text, instruction=said), manner="material", topic=passage.topic)
