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
    "3. Draft a short and funny {text} in which it rains for a whole month.",
    "1. Create {a_text} for children who are afraid of thunder.\n"
    "2. Compose {a_text} on the quiet after snow has fallen.\n"
    "3. Write {a_text} that warns people in the hills of the coming frost.",
    "1. I need {a_text} about a summer without rain.\n"
    "2. Draft {a_text} in which a sailor and a weather forecaster disagree.\n"
    "3. Write {a_text} that thanks those who cleared the streets of snow.",
)
REFINE = (
    "A writing assistant got this request: {instruction}\n"
    "Rewrite the request in two to four sentences so that it is more exact: "
    "for whom the text is, how long, in which tone, and what must be in it. "
    "Write only the new request. Do not write the text that it asks for."
)
REFINE_SHOWN = (
    (
        "Write {a_text} that explains how farmers read the clouds.",
        "Write {a_text} of about 300 words that explains how farmers read the clouds, for readers who live in a city. "
        "Keep the tone light, name two kinds of clouds, and close with a piece of advice.",
    ),
    (
        "Compose {a_text} on the quiet after snow has fallen.",
        "Compose {a_text} on the quiet after snow has fallen in a village, as someone sees it who comes home late. It "
        "should be calm, have no more than twelve lines or sentences, and never use the word white.",
    ),
    (
        "Draft {a_text} in which a sailor and a weather forecaster disagree.",
        "Draft {a_text} in which an old sailor and a young weather forecaster disagree about tomorrow, for readers "
        "who know the sea. Let both be partly right, stay serious, and fill about a page.",
    ),
)
"""Several, drawn for each request, or all that is written would follow one pattern."""
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
    examples = [_example(kind, desk.chance(f"{kind} {topic}", "example")) for kind, topic in combinations]
    shown = [desk.shown(prompt, example) for prompt, example in zip(prompts, examples, strict=True)]
    lists = desk.lists(shown, "instructions")
    for (kind, topic), found in zip(combinations, lists, strict=True):
        for instruction in found[:WRITING_ITEMS]:
            pool.add(desk.opening(instruction, manner="writing", topic=topic, kind=kind), most_words=MOST_WORDS)


def _refined(sector: Writing, chosen: Sequence[SeedPrompt], desk: Desk) -> list[SeedPrompt]:
    """An instruction whose refinement cannot be used stays as it was."""
    plain = [opening for opening in chosen if desk.chance(opening.prompt, "refined") < sector.refined_share]
    examples = [_refined_example(str(opening.kind), desk.chance(opening.prompt, "example")) for opening in plain]
    prompts = [REFINE.format(instruction=opening.prompt) for opening in plain]
    shown = [desk.shown(prompt, example) for prompt, example in zip(prompts, examples, strict=True)]
    texts = desk.texts(shown, "refined instructions")
    replies = {opening.id: text for opening, text in zip(plain, texts, strict=True)}
    found = []
    for opening in chosen:
        text = replies.get(opening.id)
        if text is not None and _is_refined(text, opening.prompt, desk):
            opening = desk.opening(text, manner="writing", topic=opening.topic, kind=opening.kind)
        found.append(opening)
    return found


def _is_refined(text: str, instruction: str, desk: Desk) -> bool:
    shared = set(words(text)) & set(words(instruction))
    cause = desk.fault(text, MOST_WORDS)
    if cause is None and len(text) < LEAST_GAIN * len(instruction):
        cause = "no more exact than before"
    if cause is None and len(shared) < LEAST_SHARED * len(set(words(instruction))):
        cause = "about something else"
    if cause is None and not desk.is_new(text):
        cause = "said before"
    if cause is not None:
        desk.drops.add(f"refined instruction: {cause} (kept as it was)", text)
    return cause is None


def _example(text_type: str, chance: float) -> tuple[str, str]:
    """A good reply about another topic. It is of the same text type: small models take over that of an example."""
    reply = INSTRUCTIONS_SHOWN[int(chance * len(INSTRUCTIONS_SHOWN))]
    return INSTRUCTIONS.format(count=3, text_type=text_type, topic="weather"), reply.format(**_named(text_type))


def _refined_example(text_type: str, chance: float) -> tuple[str, str]:
    plain, refined = (text.format(**_named(text_type)) for text in REFINE_SHOWN[int(chance * len(REFINE_SHOWN))])
    return REFINE.format(instruction=plain), refined


def _named(text_type: str) -> dict[str, str]:
    """`email or letter` → `email` and `an email`."""
    text = text_type.partition(" or ")[0]
    article = "an" if text[0].lower() in "aeiou" else "a"
    return {"text": text, "a_text": text if text.endswith("s") else f"{article} {text}"}
