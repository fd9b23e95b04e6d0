"""Stage `pairs`: ratings become preferences (zephyr-spec §1.3)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from favonius.data.checks import Drops
from favonius.data.rows import read_rows, write_rows
from favonius.errors import FavoniusError
from favonius.feedback.config import PairsConfig
from favonius.files import write_json
from favonius.run import Context, Inputs
from favonius.types import Pair, Rating


def run(config: PairsConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes pairs.jsonl and stats.json."""
    ratings = read_rows(inputs.folder(config.ratings) / "ratings.jsonl", Rating)
    drops = Drops()
    pairs = [pair for group in by_prompt(ratings) if (pair := binarise(group, config, drops)) is not None]
    if not any(pair.split == "train" for pair in pairs):
        causes = ", ".join(f"{count} {cause}" for cause, count in drops.counts.items())
        raise FavoniusError(f"{out.name}: no prompt gave a pair to train on ({causes})")
    write_rows(out / "pairs.jsonl", pairs)
    write_json(out / "stats.json", {"kept": len(pairs), **drops.record(), **describe(pairs)})


def by_prompt(ratings: Iterable[Rating]) -> list[list[Rating]]:
    groups: dict[str, list[Rating]] = {}
    for rating in ratings:
        groups.setdefault(rating.answer.prompt_id, []).append(rating)
    return list(groups.values())


def binarise(ratings: Sequence[Rating], config: PairsConfig, drops: Drops) -> Pair | None:
    """The best answer without a forbidden flaw against a seeded random lower one, or None, counted.

    Lower: a smaller score, or a forbidden flaw. Answers with the same text as the chosen one are never rejected.
    """
    prompt_id = ratings[0].answer.prompt_id
    sound = [rating for rating in ratings if not set(rating.answer.flaws) & set(config.never_chosen)]
    if not sound:
        drops.add("every answer has a flaw", prompt_id)
        return None
    best = max(sound, key=lambda rating: rating.score)
    others = [rating for rating in ratings if rating.answer.text != best.answer.text]
    if not others:
        drops.add("all answers are the same", prompt_id)
        return None
    lower = [rating for rating in others if rating not in sound or rating.score < best.score]
    if not lower:
        drops.add("tie", prompt_id)
        return None
    # Seeded by the prompt, so that one prompt more or less changes no other pair.
    worse = random.Random(f"{config.seed} {prompt_id}").choice(lower)
    return Pair(
        id=prompt_id, split=best.answer.split, prompt=best.answer.prompt,
        chosen=best.answer.text, rejected=worse.answer.text,
        chosen_finished=best.answer.finished, rejected_finished=worse.answer.finished,
        chosen_source=best.answer.source, rejected_source=worse.answer.source,
        chosen_score=best.score, rejected_score=worse.score,
    )  # fmt: skip


def describe(pairs: Sequence[Pair]) -> dict[str, object]:
    """What a reader wants to know before believing the pairs: who wins, and by length alone how often."""
    longer = sum(len(pair.chosen) > len(pair.rejected) for pair in pairs)
    return {
        "held out": sum(pair.split == "test" for pair in pairs),
        "wins": dict(Counter(pair.chosen_source for pair in pairs).most_common()),
        "losses": dict(Counter(pair.rejected_source for pair in pairs).most_common()),
        "longer_chosen_share": round(longer / len(pairs), 3),
        "mean_chosen_words": _mean_words([pair.chosen for pair in pairs]),
        "mean_rejected_words": _mean_words([pair.rejected for pair in pairs]),
    }


def _mean_words(texts: Sequence[str]) -> float:
    return round(sum(len(text.split()) for text in texts) / len(texts), 1)
