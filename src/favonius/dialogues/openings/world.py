"""Questions about the world: topics → subtopics → questions → related questions; entities → questions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from favonius.data.words import words
from favonius.dialogues.draws import spread
from favonius.dialogues.openings.config import World
from favonius.dialogues.openings.desk import Desk, Pool
from favonius.dialogues.openings.plan import LEAST_ITEMS, SLACK, Fan, entity_count, entity_fan, world_fan
from favonius.types import SeedPrompt

SUBTOPICS = (
    'Name {count} narrower subjects within the field of "{topic}". '
    "Write a numbered list with one subject of two to five words on each line and no explanations."
)
SUBTOPICS_EXAMPLE = (
    SUBTOPICS.format(count=3, topic="weather"),
    "1. How clouds form\n2. Reading a weather map\n3. Storms at sea",
)
QUESTIONS = (
    'Write {count} different questions that people ask about "{subject}"{field}. '
    "Write a numbered list with one question on each line. Each question must be clear to a reader who sees only it."
)
QUESTIONS_EXAMPLE = (
    QUESTIONS.format(count=3, subject="storms at sea", field=" (weather)"),
    "1. Why are storms stronger over warm water?\n2. How do sailors know that a storm is coming?\n"
    "3. What was the worst storm that was ever recorded in the Atlantic?",
)
RELATED = (
    "Someone asked: {question}\n"
    "Write {count} other questions on the same subject that ask for something else. "
    "Write a numbered list with one question on each line. Each question must be clear to a reader who sees only it."
)
RELATED_EXAMPLE = (
    RELATED.format(count=3, question="Why are storms stronger over warm water?"),
    "1. How warm must the sea be for a hurricane to form?\n2. Why do storms grow weak when they reach land?\n"
    "3. Will storms become stronger as the oceans get warmer?",
)
ABOUT_ENTITY = (
    'Write {count} different questions about "{entity}" that open a conversation. '
    'Write a numbered list with one question on each line. Each question names "{entity}".'
)
ABOUT_ENTITY_EXAMPLE = (
    ABOUT_ENTITY.format(count=3, entity="Venice"),
    "1. What is Venice best known for?\n2. How was Venice built on water?\n3. Why did Venice become so rich?",
)
WITHIN = (
    'A question about "{entity}": {question}\n'
    "Write {count} questions that go into particulars of it: exact facts, parts, cases, causes, numbers. "
    "Write a numbered list with one question on each line. Each question must be clear to a reader who sees only it."
)
WITHIN_EXAMPLE = (
    WITHIN.format(count=3, entity="Venice", question="How was Venice built on water?"),
    "1. Which kinds of wood are under the houses of Venice?\n2. How many islands does Venice stand on?\n"
    "3. How long did it take to build the church of San Marco in Venice?",
)
AROUND = (
    'A question about "{entity}": {question}\n'
    "Write {count} questions that look further than it: comparisons, history, consequences, neighbouring subjects. "
    "Write a numbered list with one question on each line. Each question must be clear to a reader who sees only it."
)
AROUND_EXAMPLE = (
    AROUND.format(count=3, entity="Venice", question="How was Venice built on water?"),
    "1. Which other cities are built on water as Venice is?\n2. How do rising seas threaten cities like Venice?\n"
    "3. Why did people in the Middle Ages settle in marshes?",
)
SHARES = {"meta": 0.1, "specific": 0.4, "general": 0.5}
"""Of UltraChat's questions about entities (zephyr-spec §3.2)."""
MOST_SUBTOPIC_WORDS = 10
MOST_QUESTION_WORDS = 50
QUESTION_MARKS = ("?", "？", "؟")


def write(sector: World, topics: Sequence[str], entities: Sequence[str], desk: Desk) -> list[SeedPrompt]:
    """Up to `sector.count` questions, spread evenly over topics and entities."""
    of_entities = entity_count(sector)
    found = _about_entities(of_entities, entities, desk) if of_entities else []
    of_topics = sector.count - of_entities
    return [*(_about_topics(sector, of_topics, topics, desk) if of_topics else []), *found]


def _about_topics(sector: World, count: int, topics: Sequence[str], desk: Desk) -> list[SeedPrompt]:
    fan = world_fan(sector, count, len(topics))
    pool = desk.pool(count)
    subjects = _subtopics(fan, desk.draw(topics, fan.roots, "topics"), desk)
    prompts = [
        QUESTIONS.format(count=fan.leaves, subject=subtopic or topic, field=f" ({topic})" if subtopic else "")
        for topic, subtopic in subjects
    ]
    lists = desk.lists([desk.shown(prompt, QUESTIONS_EXAMPLE) for prompt in prompts], "questions")
    for (topic, subtopic), found in zip(subjects, lists, strict=True):
        for question in found[: fan.leaves]:
            _add(question, desk, pool, topic=topic, subtopic=subtopic, kind="question")
    _add_related(sector, desk, pool)
    by_subtopic = spread(pool.kept, len(pool.kept), lambda opening: (opening.topic, opening.subtopic))
    return spread(by_subtopic, count, lambda opening: opening.topic)


def _subtopics(fan: Fan, topics: Sequence[str], desk: Desk) -> list[tuple[str, str | None]]:
    """`fan.branches` subtopics of each topic; one that the teacher finds none for stands alone."""
    prompts = [SUBTOPICS.format(count=max(LEAST_ITEMS, fan.branches), topic=topic) for topic in topics]
    subjects: list[tuple[str, str | None]] = []
    lists = desk.lists([desk.shown(prompt, SUBTOPICS_EXAMPLE) for prompt in prompts], "subtopics")
    for topic, found in zip(topics, lists, strict=True):
        usable = [name.rstrip(".") for name in found if _is_subtopic(name, desk)]
        chosen = desk.draw(dict.fromkeys(usable), fan.branches, f"subtopics of {topic}")
        subjects += [(topic, subtopic) for subtopic in chosen] or [(topic, None)]
    return subjects


def _is_subtopic(name: str, desk: Desk) -> bool:
    fits = 0 < len(words(name)) <= MOST_SUBTOPIC_WORDS and not name.endswith(QUESTION_MARKS)
    if not fits:
        desk.drops.add("no subtopic", name)
    return fits


def _add_related(sector: World, desk: Desk, pool: Pool) -> None:
    """Fill what is missing with questions related to those that are there, each of which is asked for others once."""
    waiting = desk.draw(pool.kept, len(pool.kept), "related", lambda opening: opening.prompt)
    for _ in pool.waves():
        count = math.ceil(pool.missing * SLACK / sector.related)
        parents, waiting = waiting[:count], waiting[count:]
        prompts = [RELATED.format(question=parent.prompt, count=sector.related) for parent in parents]
        lists = desk.lists([desk.shown(prompt, RELATED_EXAMPLE) for prompt in prompts], "related questions")
        for parent, found in zip(parents, lists, strict=True):
            for question in found[: sector.related]:
                _add(question, desk, pool, topic=parent.topic, subtopic=parent.subtopic, kind="related")


def _about_entities(count: int, entities: Sequence[str], desk: Desk) -> list[SeedPrompt]:
    """Questions about an entity, and within and around each of these, in UltraChat's shares."""
    fan = entity_fan(count, len(entities))
    pool = desk.pool(count)
    chosen = desk.draw(entities, fan.roots, "entities")
    metas = max(LEAST_ITEMS, fan.branches // 2)
    prompts = [ABOUT_ENTITY.format(count=metas, entity=entity) for entity in chosen]
    stems: list[tuple[str, str]] = []
    lists = desk.lists([desk.shown(prompt, ABOUT_ENTITY_EXAMPLE) for prompt in prompts], "questions about entities")
    for entity, found in zip(chosen, lists, strict=True):
        kept = [question for question in found[:metas] if _add(question, desk, pool, topic=entity, kind="meta")]
        stems += [(entity, question) for question in kept[: fan.branches // 2]]
    for kind, template, example in (("specific", WITHIN, WITHIN_EXAMPLE), ("general", AROUND, AROUND_EXAMPLE)):
        prompts = [template.format(entity=entity, question=stem, count=fan.leaves) for entity, stem in stems]
        lists = desk.lists([desk.shown(prompt, example) for prompt in prompts], f"{kind} questions")
        for (entity, _), found in zip(stems, lists, strict=True):
            for question in found[: fan.leaves]:
                _add(question, desk, pool, topic=entity, kind=kind)
    return _in_shares(pool.kept, count)


def _in_shares(found: Sequence[SeedPrompt], count: int) -> list[SeedPrompt]:
    """`count` openings, each kind's share of them where it has enough, evenly over entities."""
    by_kind = {
        kind: spread([opening for opening in found if opening.kind == kind], len(found), lambda opening: opening.topic)
        for kind in SHARES
    }
    first = [opening for kind, share in SHARES.items() for opening in by_kind[kind][: round(share * count)]]
    rest = [opening for kind in SHARES for opening in by_kind[kind][round(SHARES[kind] * count) :]]
    return [*first, *spread(rest, len(rest), lambda opening: opening.topic)][:count]


def _add(question: str, desk: Desk, pool: Pool, **fields: str | None) -> bool:
    """Other languages may do without the mark."""
    if desk.config.language is None and not question.endswith(QUESTION_MARKS):
        desk.drops.add("not a question", question)
        return False
    return pool.add(desk.opening(question, manner="world", **fields), most_words=MOST_QUESTION_WORDS)
