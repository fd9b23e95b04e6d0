"""Stage `constitution`: answer → critique by a principle → revision, and revision > answer is a pair.

After Bai et al. 2022, as the handbook's recipe has it (zephyr-spec §2.7), without its examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from favonius.data.checks import Drops, flaws
from favonius.data.rows import write_rows
from favonius.engines.interview import Interviews, interviews
from favonius.errors import FavoniusError, UserError
from favonius.feedback.amending import NOTHING_TO_MEND, REVISED, Cast, Draft, Result, Revision, amend
from favonius.feedback.articles import Constitution, read_constitution
from favonius.feedback.config import ConstitutionConfig
from favonius.feedback.prompts import Prompt, chosen, read_prompts
from favonius.files import write_json
from favonius.run import Context, Inputs
from favonius.types import Dialogue, Message, Pair, PairOrigin


def run(config: ConstitutionConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes pairs.jsonl, dialogues.jsonl (the revisions), revisions.jsonl (every round) and stats.json.

    FavoniusError where no train prompt gave a pair.
    """
    constitution = read_constitution(None if config.principles is None else inputs.file(config.principles))
    if config.rounds > len(constitution.principles):
        count = len(constitution.principles)
        raise UserError(f"{out.name}: {config.rounds} rounds want as many principles, and there are {count}")
    prompts = chosen(read_prompts(inputs.folder(config.prompts), config.test_share), config.limit)
    with interviews(context) as opened:
        cast = _cast(config, inputs, opened, constitution)
        cast.author.refuse_unanswerable({prompt.id: prompt.messages for prompt in prompts}, config.sampling)
        talks = (amend(cast, prompt) for prompt in prompts)
        found = dict(opened.conduct(talks, "  revisions", len(prompts), unit="prompts"))
        tokens = sum(speaker.tokens for speaker in {cast.author, cast.reviser})
    _write(config, [found[number] for number in range(len(prompts))], tokens, out)


def _cast(config: ConstitutionConfig, inputs: Inputs, opened: Interviews, constitution: Constitution) -> Cast:
    author = opened.open(config.engine, inputs.speaker(config.model))
    if config.reviser is None:
        return Cast(config, author, author, constitution)
    reviser = opened.open(config.reviser_engine, inputs.speaker(config.reviser))
    return Cast(config, author, reviser, constitution)


def _write(config: ConstitutionConfig, results: Sequence[Result], tokens: int, out: Path) -> None:
    drops = Drops()
    kept: list[tuple[Prompt, Draft, Draft]] = []
    for result in results:
        if result.answer is None or result.revision is None:
            drops.add(result.cause, f"{result.prompt.id}: {result.sample}")
        else:
            kept.append((result.prompt, result.answer, result.revision))
    if not any(prompt.split == "train" for prompt, _, _ in kept):
        causes = ", ".join(f"{count} {cause}" for cause, count in drops.counts.items())
        raise FavoniusError(f"{out.name}: no prompt gave a revision to train on ({causes or 'there is none'})")
    write_rows(out / "pairs.jsonl", (_pair(config, *row) for row in kept))
    write_rows(out / "dialogues.jsonl", (_dialogue(prompt, revision) for prompt, _, revision in kept))
    write_rows(out / "revisions.jsonl", (row for result in results for row in result.rounds))
    stats = {"kept": len(kept), **drops.record(), "tokens": tokens, **describe(results)}
    write_json(out / "stats.json", stats)


def _pair(config: ConstitutionConfig, prompt: Prompt, answer: Draft, revision: Draft) -> Pair:
    origin = PairOrigin(
        rule=config.stage,
        seed=config.seed,
        prompt_source=prompt.source,
        chosen=revision.origin,
        rejected=answer.origin,
        chosen_principle=revision.principle,
    )
    return Pair(
        id=prompt.id,
        split=prompt.split,
        prompt=prompt.messages,
        chosen=revision.text,
        rejected=answer.text,
        chosen_finished=revision.finished,
        rejected_finished=answer.finished,
        chosen_source=f"{revision.origin.model} revised",
        rejected_source=answer.origin.model,
        origin=origin,
    )


def _dialogue(prompt: Prompt, revision: Draft) -> Dialogue:
    messages = (*prompt.messages, Message(role="assistant", content=revision.text))
    return Dialogue(id=prompt.id, split=prompt.split, messages=messages, source=prompt.source)


def describe(results: Sequence[Result]) -> dict[str, Any]:
    """For stats.json: what the rounds did, principle by principle, and how revisions differ from answers in length."""
    answers = [result.answer for result in results if result.answer is not None]
    revised = [(result.answer, result.revision) for result in results if result.answer and result.revision]
    lengths = [(len(answer.text.split()), len(revision.text.split())) for answer, revision in revised]
    return {
        "prompts": dict(Counter(result.prompt.split for result in results)),
        "held out": sum(result.prompt.split == "test" for result in results if result.revision is not None),
        "answers without flaw": sum(not flaws(answer.text, answer.finished) for answer in answers),
        "outcomes": dict(Counter(row.outcome for result in results for row in result.rounds).most_common()),
        "principles": dict(_by_principle([row for result in results for row in result.rounds])),
        "mean words of an answer": round(fmean(before for before, _ in lengths), 1) if lengths else None,
        "mean words of a revision": round(fmean(after for _, after in lengths), 1) if lengths else None,
        "longer revision share": round(fmean(after > before for before, after in lengths), 3) if lengths else None,
    }


def _by_principle(rows: Sequence[Revision]) -> Iterator[tuple[str, dict[str, int]]]:
    for name in sorted({row.principle for row in rows}):
        outcomes = Counter(row.outcome for row in rows if row.principle == name)
        asked, revised, clean = outcomes.total(), outcomes[REVISED], outcomes[NOTHING_TO_MEND]
        yield name, {"asked": asked, REVISED: revised, NOTHING_TO_MEND: clean, "unusable": asked - revised - clean}
