"""How much a teacher must be asked for so many openings: wide first, so that few openings cover many topics."""

from __future__ import annotations

import math
from dataclasses import dataclass

from favonius.dialogues.openings.config import AnySector, Evolve, Given, Grow, Material, World, Writing

SLACK = 1.5
"""Openings asked for, of those wanted: some are unusable."""
ALLOWANCE = 3
"""How many times as many requests as planned a sector may make."""
LEAST_ITEMS = 3
"""In a list that is asked for: shorter ones are as much work for the teacher's prompt, and worse."""
WRITING_ITEMS = 5
GROWN_ITEMS = 6
METAS, SPECIFIC, GENERAL = 5, 10, 20
"""Questions of UltraChat's three kinds: about an entity, and within and around each of those."""


@dataclass(frozen=True)
class Fan:
    """`roots` are asked for `branches` each, every branch for `leaves`; each leaf for `more`, where that is too few."""

    roots: int
    branches: int
    leaves: int
    more: int = 0

    @property
    def asks(self) -> int:
        return self.roots * (1 + self.branches) + self.more


def world_fan(sector: World, count: int, topics: int) -> Fan:
    """topics → subtopics → questions, and the number of questions whose related ones are needed too."""
    need = math.ceil(count * SLACK)
    roots = min(topics, count)
    each = math.ceil(need / roots)
    leaves = min(sector.questions, max(LEAST_ITEMS, math.ceil(math.sqrt(each))))
    branches = min(sector.subtopics, math.ceil(each / leaves))
    lacking = max(0, need - roots * branches * leaves)
    return Fan(roots, branches, leaves, min(roots * branches * leaves, math.ceil(lacking / sector.related)))


def entity_fan(count: int, entities: int) -> Fan:
    """entities → questions about them → questions within and around these, in two lists of up to `leaves`."""
    roots = min(entities, count)
    each = math.ceil(count * SLACK / roots)
    branches = min(METAS, math.ceil(each / (SPECIFIC + GENERAL)))
    leaves = min(GENERAL, max(LEAST_ITEMS, math.ceil(each / branches / 2)))
    return Fan(roots, branches * 2, leaves)


def entity_count(sector: World) -> int:
    """Openings about entities."""
    return round(sector.count * sector.entity_share) if sector.entities is not None else 0


def writing_lists(sector: Writing, text_types: int) -> int:
    """Lists of instructions to ask for: one for each text type or more."""
    return max(min(sector.count, text_types), math.ceil(sector.count * SLACK / WRITING_ITEMS))


def passage_items(sector: Material, passages: int) -> tuple[int, int]:
    """Passages to use, and instructions for each."""
    used = min(passages, sector.count)
    return used, min(sector.instructions, max(LEAST_ITEMS, math.ceil(sector.count * SLACK / used)))


@dataclass(frozen=True)
class Sizes:
    """How many entries the files of a sector, or our own lists in their place, have."""

    topics: int = 0
    entities: int = 0
    text_types: int = 0
    passages: int = 0


def planned_asks(sector: AnySector, sizes: Sizes) -> int:
    """Requests, where nearly every one brings what it is asked for."""
    match sector:
        case World():
            of_entities = entity_count(sector)
            fans = [entity_fan(of_entities, sizes.entities)] if of_entities else []
            if sector.count > of_entities:
                fans.append(world_fan(sector, sector.count - of_entities, sizes.topics))
            return sum(fan.asks for fan in fans)
        case Writing():
            return writing_lists(sector, sizes.text_types) + round(sector.count * sector.refined_share)
        case Material():
            return passage_items(sector, sizes.passages)[0]
        case Given():
            return 0
        case Grow():
            return math.ceil(sector.count * SLACK / GROWN_ITEMS)
        case Evolve():
            return math.ceil(sector.count * SLACK)


def most_asks(sector: AnySector, sizes: Sizes) -> int:
    return ALLOWANCE * planned_asks(sector, sizes)
