"""Stage `answers`: models of a pool answer prompts, each told a principle where asked for (zephyr-spec §4.2–4.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from favonius.data.checks import Drops, flaws
from favonius.data.rows import write_rows
from favonius.engines.asked import Failure
from favonius.engines.config import OpenAI
from favonius.engines.interview import Question, Reply, interviews
from favonius.errors import FavoniusError, UserError
from favonius.feedback.config import AnswersConfig, PoolMember
from favonius.feedback.draws import drawn
from favonius.feedback.principles import Wordings, principle_for, read_wordings
from favonius.feedback.prompts import Prompt, chosen, read_prompts
from favonius.files import write_json
from favonius.run import Context, Inputs
from favonius.types import Answer, Completion, Message, Messages, Origin, Principle, Sampling


@dataclass(frozen=True)
class Slot:
    """An answer that is to be given: by whom, to what, and how it is drawn."""

    prompt: Prompt
    member: str
    sample: int
    sampling: Sampling
    principle: Principle | None
    asked: Messages
    """The prompt as the member sees it."""


@dataclass(frozen=True)
class Heard:
    """What a member said in a slot."""

    slot: Slot
    question: Question
    reply: Reply


def run(config: AnswersConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes answers.jsonl (prompt by prompt, members in the pool's order, then samples) and stats.json.

    FavoniusError where nobody answered anything; a prompt of which fewer answers came than were asked for stays.
    """
    prompts = chosen(read_prompts(inputs.folder(config.prompts), config.test_share), config.limit, config.part)
    if not prompts:
        raise UserError(f"{out.name}: step {config.prompts} has no prompt for it; look at `part` and at that step")
    slots = plan(config, prompts, _wordings(config, inputs))
    drops = Drops()
    answers = []
    for heard in _all_heard(config, slots, inputs, context):
        if isinstance(heard.reply, Failure):
            cause = f"{heard.slot.member} failed: {heard.reply.countable}"
            drops.add(cause, f"{heard.slot.prompt.id}: {heard.reply.cause}")
        else:
            answers.append(_answer(config, heard, heard.reply))
    if not answers:
        raise FavoniusError(f"{out.name}: no model of the pool answered ({', '.join(drops.counts)})")
    write_rows(out / "answers.jsonl", answers)
    told = describe(config.pool, prompts, slots, answers)
    write_json(out / "stats.json", {"kept": len(answers), **drops.record(), **told})


def _wordings(config: AnswersConfig, inputs: Inputs) -> Wordings | None:
    if config.principles is None:
        return None
    return read_wordings(None if config.principles.file is None else inputs.file(config.principles.file))


def plan(config: AnswersConfig, prompts: Sequence[Prompt], wordings: Wordings | None) -> list[Slot]:
    """Every answer that is to be given. Each depends on its prompt, its member and the seed alone."""
    return [
        _slot(config, prompt, name, sample, wordings)
        for prompt in prompts
        for name in _members(config, prompt)
        for sample in range(config.samples)
    ]


def _members(config: AnswersConfig, prompt: Prompt) -> list[str]:
    """Who answers a prompt, in the pool's order."""
    count = len(config.pool) if config.per_prompt is None else config.per_prompt
    members = set(drawn(config.pool, count, f"member {config.seed}", prompt.id))
    return [name for name in config.pool if name in members]


def _slot(config: AnswersConfig, prompt: Prompt, name: str, sample: int, wordings: Wordings | None) -> Slot:
    member, principle, sampling = config.pool[name], None, config.pool[name].sampling
    if config.principles is not None and wordings is not None:
        shown = member.shows_principle
        principle = principle_for(config.principles, wordings, prompt, name, sample, config.seed, shown)
    if member.temperatures:
        [drawn_at] = drawn(member.temperatures, 1, f"temperature {config.seed} {sample} {name}", prompt.id)
        sampling = sampling.model_copy(update={"temperature": drawn_at})
    return Slot(prompt, name, sample, sampling, principle, _asked(prompt.messages, member, principle))


def _asked(question: Messages, member: PoolMember, principle: Principle | None) -> Messages:
    """The question behind one system message: the member's own text, or else the dialogue's, then the principle."""
    own = [message.content for message in question if message.role == "system"]
    texts = own if member.system is None else [member.system]
    if principle is not None and principle.shown:
        texts = [*texts, principle.text]
    system = "\n\n".join(text for text in texts if text)
    turns = tuple(message for message in question if message.role != "system")
    return (Message(role="system", content=system), *turns) if system else turns


def _all_heard(config: AnswersConfig, slots: Sequence[Slot], inputs: Inputs, context: Context) -> list[Heard]:
    """Every slot's reply, in the order of the slots."""
    found: dict[int, Heard] = {}
    for group in groups(config):
        own = {number: slot for number, slot in enumerate(slots) if slot.member in group}
        if own:
            found |= zip(own, _heard(group, config, list(own.values()), inputs, context), strict=True)
    return [found[number] for number in range(len(slots))]


def groups(config: AnswersConfig) -> list[list[str]]:
    """Members asked together: all that servers answer for, and local ones that are one model and engine.

    The others wait for each other: their weights would fill the memory.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for name, member in config.pool.items():
        remote = isinstance(member.engine, OpenAI)
        key = ("", "") if remote else (member.model, member.engine.model_dump_json())
        found.setdefault(key, []).append(name)
    return list(found.values())


def _heard(
    group: Sequence[str], config: AnswersConfig, slots: Sequence[Slot], inputs: Inputs, context: Context
) -> list[Heard]:
    with interviews(context) as opened:
        members = {name: config.pool[name] for name in group}
        speakers = {name: opened.open(member.engine, inputs.speaker(member.model)) for name, member in members.items()}
        for slot in slots:
            speakers[slot.member].refuse_unanswerable({slot.prompt.id: slot.asked}, slot.sampling)
        questions = [speakers[slot.member].question(slot.asked, slot.sampling, slot.sample) for slot in slots]
        replies = opened.replies(questions, f"  {', '.join(group)}")
    return [Heard(*heard) for heard in zip(slots, questions, replies, strict=True)]


def _answer(config: AnswersConfig, heard: Heard, reply: Completion) -> Answer:
    slot, text, finished = heard.slot, reply.text.strip(), reply.finish == "stop"
    origin = Origin(
        model=config.pool[slot.member].model,
        sampling=slot.sampling,
        sample=slot.sample,
        request=heard.question.request.key(),
    )
    return Answer(
        prompt_id=slot.prompt.id,
        split=slot.prompt.split,
        prompt=slot.prompt.messages,
        source=slot.member,
        text=text,
        finished=finished,
        tokens=reply.completion_tokens,
        flaws=flaws(text, finished),
        principle=slot.principle,
        origin=origin,
        prompt_source=slot.prompt.source,
        knowledge=slot.prompt.knowledge,
    )


def describe(
    pool: Iterable[str], prompts: Sequence[Prompt], slots: Sequence[Slot], answers: Sequence[Answer]
) -> dict[str, Any]:
    """For stats.json: what was drawn, and what came of it."""
    found = Counter(answer.prompt_id for answer in answers)
    return {
        "tokens": sum(answer.tokens for answer in answers),
        "prompts": dict(Counter(prompt.split for prompt in prompts)),
        "prompts with fewer than two answers": sum(found[prompt.id] < 2 for prompt in prompts),
        "prompt sources": dict(Counter(prompt.source or "unknown" for prompt in prompts).most_common()),
        "members": {
            name: _describe_member(
                [slot for slot in slots if slot.member == name], [answer for answer in answers if answer.source == name]
            )
            for name in pool
        },
        "principles": _principles(slots),
    }


def _describe_member(slots: Sequence[Slot], answers: Sequence[Answer]) -> dict[str, Any]:
    return {
        "drawn": len(slots),
        "answered": len(answers),
        "without flaw": sum(not answer.flaws for answer in answers),
        "flaws": dict(Counter(flaw for answer in answers for flaw in answer.flaws).most_common()),
        "mean tokens": round(fmean(answer.tokens for answer in answers), 1) if answers else None,
        "temperatures": {str(at): n for at, n in sorted(Counter(slot.sampling.temperature for slot in slots).items())},
        "principles": _principles(slots),
    }


def _principles(slots: Sequence[Slot]) -> dict[str, int]:
    return dict(Counter(slot.principle.kind for slot in slots if slot.principle is not None).most_common())
