"""Evol-Instruct: prompts made deeper or broader, generation by generation (Xu et al. 2023)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from favonius.dialogues.openings.config import Evolve
from favonius.dialogues.openings.desk import Desk, Pool
from favonius.dialogues.openings.plan import SLACK
from favonius.types import SeedPrompt

DEEPER = (
    "Rewrite the request so that it is harder but still clear and possible to answer. {how} "
    "Add ten to twenty words at most and keep its subject.\n\nThe request: {prompt}\n\n"
    "Write only the rewritten request."
)
WAYS = {
    "constrained": DEEPER.replace("{how}", "Add one condition or requirement."),
    "deepened": DEEPER.replace("{how}", "Let it go further into its subject, or wider."),
    "concretised": DEEPER.replace("{how}", "Replace general words by a particular case, place or person."),
    "reasoning": DEEPER.replace("{how}", "Let the answer need several steps of thought."),
    "broadened": (
        "Write one new request of the same field and about the same length as the one below, on a rarer subject. "
        "It must be clear by itself and possible to answer.\n\nThe request: {prompt}\n\nWrite only the new request."
    ),
}
"""Four ways deeper and one broader, each as likely."""
EXAMPLE = "How do I keep bread fresh?"
EVOLVED = {
    "constrained": "How do I keep bread fresh for a week without a freezer and without plastic bags?",
    "deepened": "What happens inside bread when it becomes stale, and which ways of keeping it slow that down?",
    "concretised": "How do I keep half a loaf of rye sourdough fresh in a small and humid kitchen in July?",
    "reasoning": "A baker sells bread on Monday and Thursday, and mine lasts three days. How do I plan "
    "buying and keeping it so that I have fresh bread on every day of the week?",
    "broadened": "How can I tell whether a jar of home-made pickles is still safe to eat?",
}
_TASK_WORDS = re.compile(r"#|\b(?:rewritten|rewrite the|the (?:new )?request|more complex version)\b", re.IGNORECASE)
_REFUSAL = re.compile(r"\b(?:sorry|i can(?:no|')t|unable to)\b", re.IGNORECASE)


def write(sector: Evolve, given: Sequence[SeedPrompt], desk: Desk) -> list[SeedPrompt]:
    """Up to `sector.count` evolved prompts. What a generation brings is evolved again in the next; one that fails to
    evolve is tried again another way when the last generation is through."""
    pool = desk.pool(sector.count, sector.similarity, [seed.prompt for seed in given])
    parents = list(given)
    for wave in pool.waves():
        if wave % sector.generations == 0:
            parents = list(given)
        children = _generation(wave, parents, math.ceil(pool.missing * SLACK), pool, desk)
        parents = children or list(given)
    return pool.kept[: sector.count]


def _generation(wave: int, parents: Sequence[SeedPrompt], most: int, pool: Pool, desk: Desk) -> list[SeedPrompt]:
    chosen = desk.draw(parents, most, f"parents {wave}", lambda seed: seed.prompt)
    ways = [list(WAYS)[int(desk.chance(seed.prompt, f"way {wave}") * len(WAYS))] for seed in chosen]
    prompts = [
        desk.shown(WAYS[way].format(prompt=seed.prompt), (WAYS[way].format(prompt=EXAMPLE), EVOLVED[way]))
        for way, seed in zip(ways, chosen, strict=True)
    ]
    children = []
    for seed, way, text in zip(chosen, ways, desk.texts(prompts, "evolved prompts", sample=wave), strict=True):
        if text is None:
            continue
        cause = _eliminated(text)
        if cause is not None:
            desk.drops.add(cause, text)
            continue
        child = desk.opening(text, topic=seed.topic, kind=way)
        if pool.add(child):
            children.append(child)
    return children


def _eliminated(text: str) -> str | None:
    """The paper's eliminations that a reply shows by itself; too alike and too short are the pool's."""
    if _REFUSAL.search(text):
        return "refused to evolve"
    if _TASK_WORDS.search(text):
        return "words of the evolving prompt"
    return None
