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
from favonius.evals.compare import Contest, Judged
from favonius.evals.config import EvaluateConfig
from favonius.evals.heldout import held_out_logps
from favonius.evals.results import Units, results
from favonius.files import write_json
from favonius.judges.open import open_judge
from favonius.run import Context, Inputs, ModelRef, references
from favonius.types import Answer, Completion, Dialogue, Feedback, Pair, RatedText


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
    judged = _judged(config, inputs, answers, context)
    judge_is_teacher = _judge_is_teacher(config, inputs)
    said = [answer for own in answers.values() for answer in own]
    write_rows(out / "answers.jsonl", said)
    write_json(out / "results.json", results(config, judged, held_out, Units.of(dialogues, pairs), judge_is_teacher))
    write_json(
        out / "stats.json",
        {
            "kept": len(said),
            "dropped": {},
            "tokens": sum(answer.tokens for answer in said),
            "held-out prompts": len(dialogues),
            "held-out pairs": len(pairs),
            "rows left out of log-probs": sum(rows.left_out.counts.total() for rows in held_out.values()),
            "judge": judged.mark.name,
            "tokens of the judge": judged.tokens,
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


def _judged(
    config: EvaluateConfig, inputs: Inputs, answers: Mapping[str, Sequence[Answer]], context: Context
) -> Judged:
    """All models' answers of one draw to one prompt are one case."""
    rows = [dict(zip(answers, row, strict=True)) for row in zip(*answers.values(), strict=True)]
    cases = [_case(row, number % config.samples) for number, row in enumerate(rows)]
    with open_judge(config.judge, inputs, context) as judge:
        judgements = judge.judge(cases)
        contests = tuple(Contest(row, judgement) for row, judgement in zip(rows, judgements, strict=True))
        return Judged(judge.mark, contests, judge.tokens)


def _case(answers: Mapping[str, Answer], sample: int) -> Feedback:
    any_answer = next(iter(answers.values()))
    completions = tuple(
        RatedText(source=label, text=answer.text, finished=answer.finished, flaws=answer.flaws)
        for label, answer in answers.items()
    )
    name = f"{any_answer.prompt_id}/{sample}"
    return Feedback(id=name, split="test", prompt=any_answer.prompt, completions=completions)


def _judge_is_teacher(config: EvaluateConfig, inputs: Inputs) -> bool:
    """Whether the teacher is the judge, or one of the models that a judge is made of."""
    if config.teacher is None:
        return False
    models = [reference for reference in references(config.judge) if isinstance(reference, ModelRef)]
    return inputs.speaker(config.teacher).digest in {inputs.speaker(model).digest for model in models}
