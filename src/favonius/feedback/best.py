"""Stage `best`: best-of-n. Each prompt's best rated answer becomes a dialogue (rejection-sampling dSFT)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from favonius.data.checks import Drops
from favonius.data.rows import iterate_rows, write_rows
from favonius.errors import FavoniusError
from favonius.feedback.binarise import ALL_FLAWED, Candidate, candidates, drawn_best, scores_of
from favonius.feedback.config import BestConfig
from favonius.files import write_json
from favonius.run import Context, Inputs
from favonius.statistics import mean
from favonius.types import Dialogue, Feedback, Message

NO_SCORE = "no answer has a score"
LOW = "the best answer scores below `least`"
NOT_AT_TOP = "the best answer is not in the top share"


class Best(NamedTuple):
    """A prompt's best answer, its score, and the score of its answers on average: what one drawn blindly would have."""

    row: Feedback
    answer: Candidate
    average: float


def run(config: BestConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes dialogues.jsonl and stats.json. FavoniusError where no train prompt has an answer left."""
    drops = Drops()
    rows = iterate_rows(inputs.folder(config.ratings) / "feedback.jsonl", Feedback)
    kept = at_top(best_answers(rows, config, drops), config.top_share, drops)
    if not any(best.row.split == "train" for best in kept):
        causes = ", ".join(f"{count:,} {cause}" for cause, count in drops.counts.most_common())
        raise FavoniusError(f"{out.name}: no prompt has an answer to train on ({causes})")
    write_rows(out / "dialogues.jsonl", map(dialogue, kept))
    write_json(out / "stats.json", {"kept": len(kept), **drops.record(), **describe(kept)})


def best_answers(rows: Iterable[Feedback], config: BestConfig, drops: Drops) -> list[Best]:
    """Each prompt's best answer that has no flaw of `never_chosen`; of several best ones one is drawn by the prompt.

    Prompts without one, or whose best scores less than `least`, are counted in `drops`.
    """
    found = []
    for row in rows:
        _, numbers = scores_of(row.completions, config.score)
        scored = candidates(row.completions, numbers, frozenset(config.never_chosen))
        sound = [answer for answer in scored if answer.sound and row.completions[answer.place].finished]
        if not sound:
            drops.add(ALL_FLAWED if scored else NO_SCORE, row.id)
            continue
        answer = drawn_best(sound, config.seed, row.id)
        if config.least is not None and answer.score < config.least:
            drops.add(LOW, row.id)
            continue
        found.append(Best(row, answer, sum(one.score for one in scored) / len(scored)))
    return found


def at_top(found: Sequence[Best], top_share: float, drops: Drops) -> list[Best]:
    """The held-out ones, and of the others the share with the highest scores; all that tie with the last stay."""
    scores = sorted((best.answer.score for best in found if best.row.split == "train"), reverse=True)
    if top_share == 1 or not scores:
        return list(found)
    bar = scores[max(1, math.ceil(top_share * len(scores))) - 1]
    kept = [best for best in found if best.row.split == "test" or best.answer.score >= bar]
    for best in found:
        if best.row.split == "train" and best.answer.score < bar:
            drops.add(NOT_AT_TOP, best.row.id)
    return kept


def dialogue(best: Best) -> Dialogue:
    """The prompt and its best answer."""
    row, said = best.row, best.row.completions[best.answer.place]
    messages = (*row.prompt, Message(role="assistant", content=said.text))
    return Dialogue(id=row.id, split=row.split, messages=messages, source=row.source)


def describe(kept: Sequence[Best]) -> dict[str, object]:
    """What a reader wants to know: whose answers they are, and what choosing them was worth."""
    wins = Counter(best.row.completions[best.answer.place].source for best in kept)
    gain = mean([best.answer.score - best.average for best in kept])
    return {
        "held out": sum(best.row.split == "test" for best in kept),
        "wins": dict(wins.most_common()),
        "mean_score": round(sum(best.answer.score for best in kept) / len(kept), 3),
        "mean_answers": round(sum(len(best.row.completions) for best in kept) / len(kept), 2),
        "gain_over_average": None if gain is None else gain._asdict(),
    }
