"""The prompts that models are to answer, from whatever step has some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from favonius.data.rows import iterate_rows
from favonius.data.splits import first_question, opening, share_of, split_of
from favonius.errors import UserError
from favonius.types import Dialogue, Feedback, Knowledge, Message, Messages, SeedPrompt, Split


@dataclass(frozen=True)
class Prompt:
    """What is to be answered: a user turn, behind a system message where its row has one.

    `source` is the data set or sector that it comes from.
    """

    id: str
    split: Split
    messages: Messages
    source: str | None = None
    knowledge: Knowledge | None = None


def read_prompts(folder: Path, test_share: float) -> list[Prompt]:
    """The prompts of a step's folder, in its order: of dialogues their first question, of feedback and openings all.

    Openings have no split: a hash of their text holds out `test_share`, as stage `dialogues` does with the same share.
    UserError where the folder has none of the three, or an id is used twice.
    """
    prompts = list(_prompts(folder, test_share))
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise UserError(f"{folder}: the id {prompt.id} is used twice; ids must differ")
        seen.add(prompt.id)
    return prompts


def _prompts(folder: Path, test_share: float) -> Iterator[Prompt]:
    if (path := folder / "dialogues.jsonl").exists():
        for row in iterate_rows(path, Dialogue):
            yield Prompt(row.id, row.split, first_question(row.messages), row.source)
    elif (path := folder / "feedback.jsonl").exists():
        for rated in iterate_rows(path, Feedback):
            yield Prompt(rated.id, rated.split, rated.prompt, rated.source, rated.knowledge)
    elif (path := folder / "openings.jsonl").exists():
        for seed in iterate_rows(path, SeedPrompt):
            asked = (Message(role="user", content=seed.prompt),)
            yield Prompt(seed.id, split_of(seed.prompt, test_share), asked, seed.sector)
    else:
        raise UserError(f"{folder}: there are no prompts in it; name a step of dialogues, openings or feedback")


def chosen(prompts: Sequence[Prompt], limit: int | None, part: tuple[int, int] | None = None) -> list[Prompt]:
    """All held-out prompts, and of the others the first `limit` of part k of n.

    Parts follow the prompt's text, so that prompts that read alike share one. Held-out prompts are in every part: the
    rounds of an iterative run are then measured on the same ones.
    """
    train = [prompt for prompt in prompts if prompt.split == "train" and (part is None or _is_in(part, prompt))]
    kept = {prompt.id for prompt in train[:limit]}
    return [prompt for prompt in prompts if prompt.split == "test" or prompt.id in kept]


def _is_in(part: tuple[int, int], prompt: Prompt) -> bool:
    number, count = part
    return int(share_of("part", opening(prompt.messages)) * count) == number - 1
