"""Creation and writing: text types → instructions, most of them rewritten with more detail."""

from __future__ import annotations

from collections.abc import Sequence

from favonius.data.words import words
from favonius.dialogues.draws import spread
from favonius.dialogues.openings.config import Writing
from favonius.dialogues.openings.desk import Desk, Pool
from favonius.dialogues.openings.plan import WRITING_ITEMS, writing_lists
from favonius.types import SeedPrompt

INSTRUCTIONS = (
    "Write {count} different requests that people send to a writing assistant. "
    'Each request asks for one {text_type} that has to do with "{topic}". '
    "Write a numbered list with one request of one sentence on each line. Begin each request with a verb such as Write."
)
INSTRUCTIONS_SHOWN = (
    "1. Write {a_text} about the first storm of the autumn.\n"
    "2. Write {a_text} that explains how farmers read the clouds.\n"
    "3. Draft a short and funny {text} in which it rains for a whole month."
)
REFINE = (
    "A writing assistant got this request: {instruction}\n"
    "Rewrite the request in two to four sentences so that it is more exact: "
    "for whom the text is, how long, in which tone, and what must be in it. "
    "Write only the new request. Do not write the text that it asks for."
)
REFINE_SHOWN = (
    "Write {a_text} of about 300 words that explains how farmers read the clouds, for readers who live in a city. "
    "Keep the tone light, name two kinds of clouds, and close with a piece of advice."
)
MOST_WORDS = 120
LEAST_GAIN = 1.2
"""A refined instruction is so many times as long at least, ..."""
LEAST_SHARED = 0.5
"""... and has this share of the words that it had."""


def write(sector: Writing, text_types: Sequence[str], topics: Sequence[str], desk: Desk) -> list[SeedPrompt]:
    """Up to `sector.count` instructions, spread evenly over text types; `refined_share` of them with more detail."""
    pool = desk.pool(sector.count)
    types = desk.draw(text_types, len(text_types), "text types")
    themes = desk.draw(topics, len(topics), "topics")
    lists = writing_lists(sector, len(text_types))
    most = len(types) * len(themes)
    for wave in pool.waves():
        places = range(wave * lists, min((wave + 1) * lists, most))
        _add_instructions([_combination(place, types, themes) for place in places], desk, pool)
    chosen = spread(pool.kept, sector.count, lambda opening: opening.kind)
    return _refined(sector, chosen, desk)


def _combination(place: int, types: Sequence[str], themes: Sequence[str]) -> tuple[str, str]:
    """Every text type in turn, each time with another topic."""
    turn, which = divmod(place, len(types))
    return types[which], themes[(which + turn) % len(themes)]


def _add_instructions(combinations: Sequence[tuple[str, str]], desk: Desk, pool: Pool) -> None:
    prompts = [INSTRUCTIONS.format(count=WRITING_ITEMS, text_type=kind, topic=topic) for kind, topic in combinations]
    shown = [desk.shown(prompt, _example(kind)) for prompt, (kind, _) in zip(prompts, combinations, strict=True)]
    lists = desk.lists(shown, "instructions")
    for (kind, topic), found in zip(combinations, lists, strict=True):
        for instruction in found[:WRITING_ITEMS]:
            pool.add(desk.opening(instruction, manner="writing", topic=topic, kind=kind), most_words=MOST_WORDS)


def _refined(sector: Writing, chosen: Sequence[SeedPrompt], desk: Desk) -> list[SeedPrompt]:
    """An instruction whose refinement cannot be used stays as it was."""
    plain = [opening for opening in chosen if desk.chance(opening.prompt, "refined") < sector.refined_share]
    prompts = [
        desk.shown(REFINE.format(instruction=opening.prompt), _refined_example(str(opening.kind))) for opening in plain
    ]
    texts = desk.texts(prompts, "refined instructions")
    replies = {opening.id: text for opening, text in zip(plain, texts, strict=True)}
    found = []
    for opening in chosen:
        text = replies.get(opening.id)
        if text is not None and _is_refined(text, opening.prompt, desk):
            opening = desk.opening(text, manner="writing", topic=opening.topic, kind=opening.kind)
        found.append(opening)
    return list({opening.id: opening for opening in found}.values())


def _is_refined(text: str, instruction: str, desk: Desk) -> bool:
    shared = set(words(text)) & set(words(instruction))
    cause = desk.fault(text, MOST_WORDS)
    if cause is None and len(text) < LEAST_GAIN * len(instruction):
        cause = "no more exact than before"
    if cause is None and len(shared) < LEAST_SHARED * len(set(words(instruction))):
        cause = "about something else"
    if cause is not None:
        desk.drops.add(f"refined instruction: {cause} (kept as it was)", text)
    return cause is None


def _example(text_type: str) -> tuple[str, str]:
    """A good reply about another topic. It is of the same text type: small models take over that of an example."""
    asked = INSTRUCTIONS.format(count=3, text_type=text_type, topic="weather")
    return asked, INSTRUCTIONS_SHOWN.format(**_named(text_type))


def _refined_example(text_type: str) -> tuple[str, str]:
    instruction = INSTRUCTIONS_SHOWN.format(**_named(text_type)).splitlines()[1].removeprefix("2. ")
    return REFINE.format(instruction=instruction), REFINE_SHOWN.format(**_named(text_type))


def _named(text_type: str) -> dict[str, str]:
    """`email or letter` → `email` and `an email`."""
    text = text_type.partition(" or ")[0]
    article = "an" if text[0].lower() in "aeiou" else "a"
    return {"text": text, "a_text": text if text.endswith("s") else f"{article} {text}"}
