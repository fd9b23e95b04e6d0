"""Stage `ratings`: a judge scores every answer."""

from __future__ import annotations

from pathlib import Path

from favonius.data.checks import Drops
from favonius.data.rows import read_rows, write_rows
from favonius.errors import FavoniusError
from favonius.feedback.config import RatingsConfig
from favonius.files import write_json
from favonius.judges.judge import Failure
from favonius.judges.open import open_judge
from favonius.run import Context, Inputs
from favonius.types import Answer, Rating


def run(config: RatingsConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes ratings.jsonl and stats.json; what the judge could not rate is counted by cause."""
    answers = read_rows(inputs.folder(config.answers) / "answers.jsonl", Answer)
    judge = open_judge(config.judge, inputs)
    drops = Drops()
    ratings = []
    tokens = 0
    prompts = len({answer.prompt_id for answer in answers})
    with context.progress.bar("  ratings", prompts, "prompts") as bar:

        def done(count: int, run_tokens: int) -> None:
            nonlocal tokens
            tokens += run_tokens
            bar.advance(count, run_tokens)

        verdicts = judge.rate(answers, done)
    for answer, verdict in zip(answers, verdicts, strict=True):
        if isinstance(verdict, Failure):
            drops.add(verdict.cause, f"{answer.prompt_id} ({answer.source}): {answer.text}")
        else:
            ratings.append(Rating(answer=answer, judge=judge.name, score=verdict.value))
    if not ratings:
        raise FavoniusError(f"{out.name}: the judge could rate no answer ({', '.join(drops.counts)})")
    write_rows(out / "ratings.jsonl", ratings)
    stats = {"kept": len(ratings), **drops.record(), "tokens": tokens, "judge": judge.name}
    write_json(out / "stats.json", {**stats, **_mean_scores(ratings)})


def _mean_scores(ratings: list[Rating]) -> dict[str, float]:
    means = {}
    for source in dict.fromkeys(rating.answer.source for rating in ratings):
        scores = [rating.score for rating in ratings if rating.answer.source == source]
        means[f"mean score of {source}"] = round(sum(scores) / len(scores), 3)
    return means
