"""Stage `evaluate`: models answer held-out prompts, a judge compares, log-probs are taken on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from favonius.data.checks import flaws
from favonius.data.rows import read_rows, write_rows
from favonius.data.splits import first_question
from favonius.engines.asked import Failure
from favonius.engines.interview import interview
from favonius.errors import FavoniusError
from favonius.evals.compare import Judged
from favonius.evals.config import EvaluateConfig
from favonius.evals.heldout import held_out_logps
from favonius.evals.results import results
from favonius.files import write_json
from favonius.judges.judge import Score
from favonius.judges.open import open_judge
from favonius.run import Context, Inputs
from favonius.types import Answer, Completion, Dialogue, Pair


def run(config: EvaluateConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes results.json (what the report shows), answers.jsonl and stats.json."""
    all_dialogues = read_rows(inputs.folder(config.prompts) / "dialogues.jsonl", Dialogue)
    all_pairs = read_rows(inputs.folder(config.pairs) / "pairs.jsonl", Pair)
    dialogues = [dialogue for dialogue in all_dialogues if dialogue.split == "test"]
    pairs = [pair for pair in all_pairs if pair.split == "test"]
    if not dialogues:
        raise FavoniusError(f"{out.name}: step {config.prompts} left no held-out prompt; raise its test_share")
    answers = {label: _answers(config, inputs, label, dialogues, context) for label in config.models}
    held_out = {
        label: held_out_logps(inputs.model(model), label, dialogues, pairs, config.max_length, context)
        for label, model in config.models.items()
    }
    judged, judge = _judge(config, inputs, answers, context)
    same = config.teacher is not None and inputs.model(config.teacher).digest == inputs.model(config.judge.model).digest
    write_rows(out / "answers.jsonl", [answer for own in answers.values() for answer in own])
    write_json(out / "results.json", results(config, judged, held_out, judge, judge_is_teacher=same))
    said = [answer for own in answers.values() for answer in own]
    write_json(
        out / "stats.json",
        {
            "kept": len(said),
            "dropped": {},
            "tokens": sum(answer.tokens for answer in said),
            "held-out prompts": len(dialogues),
            "held-out pairs": len(pairs),
            "rows left out of log-probs": sum(rows.left_out for rows in held_out.values()),
        },
    )


def _answers(
    config: EvaluateConfig, inputs: Inputs, label: str, dialogues: Sequence[Dialogue], context: Context
) -> list[Answer]:
    """`samples` answers of one model to every held-out prompt, prompt by prompt."""
    prompts = {dialogue.id: first_question(dialogue.messages) for dialogue in dialogues}
    draws: list[Mapping[str, Completion | Failure]] = []
    with interview(config.engine, inputs.speaker(config.models[label]), context) as model:
        model.refuse_unanswerable(prompts, config.sampling)
        for sample in range(config.samples):
            draws.append(model.ask(prompts, config.sampling, f"  {label}, answer {sample + 1}", sample))
    answers = []
    for dialogue in dialogues:
        for draw in draws:
            reply = draw[dialogue.id]
            if isinstance(reply, Failure):  # a comparison with holes in it is no comparison
                raise FavoniusError(f"evaluate: {label} gave no answer to {dialogue.id} ({reply.cause}); run again")
            text, finished = reply.text.strip(), reply.finish == "stop"
            answers.append(
                Answer(
                    prompt_id=dialogue.id,
                    split="test",
                    prompt=first_question(dialogue.messages),
                    source=label,
                    text=text,
                    finished=finished,
                    tokens=reply.completion_tokens,
                    flaws=flaws(text, finished),
                )
            )
    return answers


def _judge(
    config: EvaluateConfig, inputs: Inputs, answers: Mapping[str, Sequence[Answer]], context: Context
) -> tuple[dict[str, list[Judged]], str]:
    """Every answer with the judge's score, or none where it could not be judged; and the judge's name."""
    judge = open_judge(config.judge, inputs)
    flat = [answer for own in answers.values() for answer in own]
    with context.progress.bar("  judging", len({answer.prompt_id for answer in flat}), "prompts") as bar:
        verdicts = judge.rate(flat, bar.advance)
    judged: dict[str, list[Judged]] = {label: [] for label in answers}
    for answer, verdict in zip(flat, verdicts, strict=True):
        judged[answer.source].append(Judged(answer, verdict.value if isinstance(verdict, Score) else None))
    return judged, judge.name
