"""Stage `answers`: every member of the pool answers every prompt."""

from __future__ import annotations

from pathlib import Path

from favonius.data.checks import Drops, flaws
from favonius.data.rows import read_rows, write_rows
from favonius.data.splits import first_question
from favonius.engines.asked import Failure
from favonius.engines.interview import interview
from favonius.errors import FavoniusError
from favonius.feedback.config import AnswersConfig, PoolMember
from favonius.files import write_json
from favonius.run import Context, Inputs
from favonius.types import Answer, Dialogue, Message, Messages


def run(config: AnswersConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes answers.jsonl (prompt by prompt, members in the pool's order) and stats.json."""
    dialogues = chosen_prompts(config, inputs)
    drops = Drops()
    found: dict[tuple[str, str], Answer] = {}
    tokens = 0
    for name, member in config.pool.items():
        prompts = {dialogue.id: _asked(member, first_question(dialogue.messages)) for dialogue in dialogues}
        with interview(member.engine, inputs.speaker(member.model), context) as model:
            model.refuse_unanswerable(prompts, member.sampling)
            replies = model.ask(prompts, member.sampling, f"  {name}")
            tokens += model.tokens
        for dialogue in dialogues:
            reply = replies[dialogue.id]
            if isinstance(reply, Failure):
                drops.add(f"{name} failed: {reply.cause}", dialogue.id)
                continue
            text, finished = reply.text.strip(), reply.finish == "stop"
            found[dialogue.id, name] = Answer(
                prompt_id=dialogue.id, split=dialogue.split, prompt=first_question(dialogue.messages), source=name,
                text=text, finished=finished, tokens=reply.completion_tokens, flaws=flaws(text, finished),
            )  # fmt: skip
    answers = [
        found[dialogue.id, name] for dialogue in dialogues for name in config.pool if (dialogue.id, name) in found
    ]
    if not answers:
        raise FavoniusError(f"{out.name}: no model of the pool answered ({', '.join(drops.counts)})")
    write_rows(out / "answers.jsonl", answers)
    write_json(out / "stats.json", {"kept": len(answers), **drops.record(), "tokens": tokens, **_flaw_shares(answers)})


def chosen_prompts(config: AnswersConfig, inputs: Inputs) -> list[Dialogue]:
    """All held-out dialogues and the first `limit` others."""
    dialogues = read_rows(inputs.folder(config.prompts) / "dialogues.jsonl", Dialogue)
    train = [dialogue for dialogue in dialogues if dialogue.split == "train"][: config.limit]
    kept = {dialogue.id for dialogue in train}
    return [dialogue for dialogue in dialogues if dialogue.split == "test" or dialogue.id in kept]


def _asked(member: PoolMember, question: Messages) -> Messages:
    """The question behind the member's own system message, where it has one, or else the dialogue's."""
    if member.system is None:
        return question
    own = Message(role="system", content=member.system)
    return (own, *(message for message in question if message.role != "system"))


def _flaw_shares(answers: list[Answer]) -> dict[str, str]:
    """Per source, in words, how many answers have a flaw."""
    shares = {}
    for source in dict.fromkeys(answer.source for answer in answers):
        own = [answer for answer in answers if answer.source == source]
        shares[f"{source} without flaw"] = f"{sum(not answer.flaws for answer in own)} of {len(own)}"
    return shares
