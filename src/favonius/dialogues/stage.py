"""Stage `dialogues`: the teacher answers the seeds, asks on in the user's place, and answers again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from favonius.data.checks import Drops, flaws
from favonius.data.rows import write_rows
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.prompts import FOLLOW_UP_TOKENS, clean_question, follow_up_request
from favonius.dialogues.seeds import goes_on, read_seeds, split_of
from favonius.engines.ask import Failure
from favonius.engines.interview import Interview, interview
from favonius.errors import FavoniusError
from favonius.files import write_json
from favonius.run import Context, Inputs
from favonius.types import Completion, Dialogue, Message, Messages

Conversations = Mapping[str, Messages]
FIRST_TURN_KEPT = " (first turn kept)"


def run(config: DialoguesConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes dialogues.jsonl (both splits) and stats.json."""
    seeds = read_seeds(config, inputs.file(config.seeds))
    drops = Drops()
    openings = {seed.id: (Message(role="user", content=seed.prompt),) for seed in seeds}
    with interview(config.engine, inputs.model(config.teacher), context) as teacher:
        teacher.refuse_unanswerable(_asked(config, openings), config.sampling)
        answered = _answer(config, teacher, openings, "  first answers", drops)
        going_on = {name: talk for name, talk in answered.items() if goes_on(config, name)}
        asked = _ask_on(config, teacher, going_on, drops)
        answered |= _answer(config, teacher, asked, "  second answers", drops, FIRST_TURN_KEPT)
    dialogues = [
        Dialogue(id=seed.id, split=split_of(seed.id, config.test_share), messages=answered[seed.id])
        for seed in seeds
        if seed.id in answered
    ]
    if {dialogue.split for dialogue in dialogues} != {"train", "test"}:
        causes = ", ".join(f"{count} {cause}" for cause, count in drops.counts.items())
        raise FavoniusError(
            f"{out.name}: too few of the teacher's answers can be used ({causes}); change its `system` or `max_tokens`"
        )
    write_rows(out / "dialogues.jsonl", dialogues)
    write_json(
        out / "stats.json",
        {
            "kept": len(dialogues),
            **drops.record(),
            "tokens": teacher.tokens,
            "seeds": len(seeds),
            "held out": sum(dialogue.split == "test" for dialogue in dialogues),
            "with a second turn": sum(len(dialogue.messages) > 2 for dialogue in dialogues),
        },
    )


def _answer(
    config: DialoguesConfig, teacher: Interview, talks: Conversations, label: str, drops: Drops, note: str = ""
) -> dict[str, Messages]:
    """Each conversation with the teacher's answer; those whose answer has a flaw are left out and counted."""
    replies = teacher.ask(_asked(config, talks), config.sampling, label)
    answered: dict[str, Messages] = {}
    for name, reply in replies.items():
        text = _usable(name, reply, drops, note)
        if text is not None:
            answered[name] = (*talks[name], Message(role="assistant", content=text))
    return answered


def _asked(config: DialoguesConfig, talks: Conversations) -> dict[str, Messages]:
    """Conversations as the teacher sees them: behind its system message."""
    system = () if config.system is None else (Message(role="system", content=config.system),)
    return {name: (*system, *talk) for name, talk in talks.items()}


def _usable(name: str, reply: Completion | Failure, drops: Drops, note: str) -> str | None:
    if isinstance(reply, Failure):
        drops.add(f"teacher failed: {reply.cause}{note}", name)
        return None
    text = reply.text.strip()
    found = flaws(text, finished=reply.finish == "stop")
    if found:
        drops.add(f"answer {found[0]}{note}", f"{name}: {text}")
        return None
    return text


def _ask_on(config: DialoguesConfig, teacher: Interview, talks: Conversations, drops: Drops) -> dict[str, Messages]:
    """Each conversation with the user's next question. One without a usable question keeps its first turn."""
    sampling = config.sampling.model_copy(update={"max_tokens": FOLLOW_UP_TOKENS})
    requests = {name: follow_up_request(talk) for name, talk in talks.items()}
    replies = teacher.ask(requests, sampling, "  follow-up questions")
    asked: dict[str, Messages] = {}
    for name, reply in replies.items():
        question = None if isinstance(reply, Failure) else clean_question(reply.text)
        if question is None:
            said = reply.cause if isinstance(reply, Failure) else reply.text
            drops.add(f"no usable follow-up question{FIRST_TURN_KEPT}", f"{name}: {said}")
        else:
            asked[name] = (*talks[name], Message(role="user", content=question))
    return asked
