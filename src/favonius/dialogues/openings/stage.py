"""Stage `openings`: sector by sector, a teacher writes what dialogues begin with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from favonius.data.checks import Drops
from favonius.data.rows import write_rows
from favonius.dialogues.diversity import coverage, variety
from favonius.dialogues.openings import evolve, grow, material, world, writing
from favonius.dialogues.openings.config import AnySector, Evolve, Given, Grow, Material, OpeningsConfig, World, Writing
from favonius.dialogues.openings.desk import Desk
from favonius.dialogues.openings.plan import most_asks
from favonius.dialogues.openings.sources import listed, prompts_of, sizes
from favonius.dialogues.textfiles import read_lines
from favonius.engines.interview import interview
from favonius.errors import FavoniusError
from favonius.files import write_json
from favonius.run import Context, Inputs
from favonius.types import SeedPrompt

SHOWN = 4
"""Openings of each sector in stats.json."""


def run(config: OpeningsConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes openings.jsonl and stats.json. Draws depend on names and texts alone, never on what came first."""
    available = {name: sizes(sector, inputs.file) for name, sector in config.sectors.items()}
    taken: set[str] = set()
    openings: list[SeedPrompt] = []
    record: dict[str, Any] = {}
    with interview(config.engine, inputs.speaker(config.teacher), context) as teacher:
        for name, sector in config.sectors.items():
            context.progress.say(f"  {name}: {sector.count} openings wanted")
            before, drops = teacher.tokens, Drops()
            desk = Desk(name, teacher, config, most_asks(sector, available[name]), taken, drops)
            found = _written(sector, available[name].passages, desk, inputs)
            openings += found
            record[name] = _record(sector, found, desk) | {"tokens": teacher.tokens - before}
        tokens = teacher.tokens
    if not openings:
        raise FavoniusError(f"{out.name}: the teacher brought no usable opening ({_causes(record)})")
    write_rows(out / "openings.jsonl", openings)
    total = {"kept": len(openings), "wanted": sum(sector.count for sector in config.sectors.values())}
    texts = [opening.prompt for opening in openings]
    write_json(out / "stats.json", {**total, "tokens": tokens, "variety": variety(texts), "sectors": record})


def _written(sector: AnySector, passages: int, desk: Desk, inputs: Inputs) -> list[SeedPrompt]:
    match sector:
        case World():
            entities = () if sector.entities is None else read_lines(inputs.file(sector.entities))
            return world.write(sector, listed(sector.topics, "topics", inputs.file), entities, desk)
        case Writing():
            text_types = listed(sector.text_types, "text_types", inputs.file)
            return writing.write(sector, text_types, listed(sector.topics, "topics", inputs.file), desk)
        case Material():
            return material.write(sector, inputs.file(sector.passages), passages, desk)
        case Given():
            return _as_they_are(sector, prompts_of(sector, inputs.file, inputs.folder), desk)
        case Grow():
            return grow.write(sector, prompts_of(sector, inputs.file, inputs.folder), desk)
        case Evolve():
            return evolve.write(sector, prompts_of(sector, inputs.file, inputs.folder), desk)


def _as_they_are(sector: Given, prompts: Sequence[SeedPrompt], desk: Desk) -> list[SeedPrompt]:
    """The author's own prompts are not judged, only told apart."""
    pool = desk.pool(sector.count)
    for seed in desk.draw(prompts, len(prompts), "prompts", lambda seed: seed.prompt):
        if pool.missing:
            pool.add_given(desk.opening(seed.prompt, topic=seed.topic, kind=seed.kind))
    return pool.kept


def _record(sector: AnySector, found: Sequence[SeedPrompt], desk: Desk) -> dict[str, Any]:
    """For stats.json: one sector."""
    return {
        "kind": sector.kind,
        "kept": len(found),
        "wanted": sector.count,
        "asked": desk.asked,
        **desk.drops.record(),
        "topics": coverage([opening.topic for opening in found]),
        "subtopics": coverage([opening.subtopic for opening in found]),
        "kinds": coverage([opening.kind for opening in found]),
        "shown": [opening.prompt for opening in desk.draw(found, SHOWN, "shown", lambda opening: opening.prompt)],
    }


def _causes(record: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {sector['dropped']}" for name, sector in record.items())
