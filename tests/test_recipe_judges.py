"""What recipes may ask of models behind an API and of judges, and what is refused before the first call."""

from __future__ import annotations

from pathlib import Path

import pytest

from favonius.errors import UserError
from favonius.recipe import load_recipe
from tests.toy_run import write_recipe


def refusal(path: Path, *overrides: str, with_ablations: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides, with_ablations)
    return str(caught.value)


API = """\
name: api
models:
  base: org/base
  teacher: {source: "api://served", price: {prompt: 1, completion: 2}}
budget: {dollars: 1}
steps:
  dialogues:
    stage: dialogues
    seeds: seeds.jsonl
    teacher: teacher
    engine: {kind: openai, endpoints: [https://host/v1]}
  dsft: {stage: train, model: base, rows: dialogues, objective: {kind: sft}}
"""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "kind: openai, endpoints: [https://host/v1]",
            "kind: llamacpp",
            "teacher is served by an API and engine llamacpp",
        ),
        ("teacher: teacher", "teacher: base", "base is no api:// model, and engine openai talks to those only"),
        ("model: base", "model: teacher", "teacher is served by an API and this field needs its weights"),
        ("dollars: 1", "dollars: 1, steps: {dialoges: 1}", "no such step; did you mean dialogues?"),
        (
            "base: org/base",
            "base: {source: org/base, price: {prompt: 1, completion: 1}}",
            "only api:// models have a price",
        ),
        ("api://served", "api://", "write it as api:// and the name"),
        ("https://host/v1", "https://user:secret@host/v1", "must hold no user, password"),
    ],
)
def test_what_cannot_be_asked_of_an_api_is_said_before_the_first_call(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    path = write_recipe(tmp_path, API)
    load_recipe(path)
    assert sentence in refusal(write_recipe(tmp_path / "wrong", API.replace(old, new)))


JUDGED = API.replace(
    "  dsft: {stage",
    """\
  answers: {stage: answers, prompts: dialogues, pool: {base: {model: base}}}
  ratings: {stage: ratings, answers: answers, judge: JUDGE}
  judge: {stage: train, model: base, rows: ratings, objective: {kind: reward}}
  constitution: {stage: constitution, prompts: dialogues, model: base, reviser: teacher, reviser_engine: SERVED}
  again: {stage: ratings, answers: answers, judge: {kind: distilled, model: judge}}
  best: {stage: best, ratings: again}
  dsft-on-best: {stage: train, model: base, rows: best, objective: {kind: sft}}
  ddpo: {stage: train, model: base, rows: constitution, objective: {kind: dpo}}
  evaluate:
    stage: evaluate
    models: {base: base, dDPO: ddpo}
    baseline: base
    prompts: best
    pairs: constitution
    teacher: teacher
    judge: {kind: ensemble, judges: {one: JUDGE, two: {kind: likelihood, model: base}}}
  dsft: {stage""",
).replace("SERVED", "{kind: openai, endpoints: [https://host/v1]}")
ASPECTS = "{kind: aspects, model: teacher, engine: {kind: openai, endpoints: [https://host/v1]}}"


def judged(old: str = "", new: str = "", judge: str = ASPECTS) -> str:
    assert old in JUDGED
    return JUDGED.replace(old, new, 1).replace("JUDGE", judge)


def test_stages_of_feedback_take_one_anothers_rows(tmp_path: Path) -> None:
    load_recipe(write_recipe(tmp_path, judged()))


@pytest.mark.parametrize(
    ("old", "new", "judge", "sentence"),
    [
        ("", "", "{kind: likelihood, model: teacher}", "steps.ratings.judge.model: teacher is served by an API"),
        ("", "", "{kind: likelihood, model: teacher}", "steps.evaluate.judge.judges.one.model: teacher is served by"),
        ("", "", "{kind: critique, model: teacher}", "teacher is served by an API and engine transformers needs its"),
        ("", "", "{kind: contrast, model: base, base: teacher}", "steps.ratings.judge.base: teacher is served"),
        ("", "", ASPECTS.replace("model: teacher", "model: base"), "base is no api:// model, and engine openai talks"),
        ("", "", "{kind: rubric, model: base}", "steps.ratings.judge.kind: unknown kind 'rubric'"),
        ("", "", "{model: base}", "steps.ratings.judge.kind: missing key; it is one of likelihood, contrast"),
        ("", "", ASPECTS.replace("kind: aspects", "kind: aspects, template: t.yaml"), "judge.template: no such file"),
        ("reviser: teacher", "reviser: base", ASPECTS, "steps.constitution.reviser: base is no api:// model"),
        ("model: base, reviser", "model: teacher, reviser", ASPECTS, "steps.constitution.model: teacher is served"),
        ("distilled, model: judge", "distilled, model: ddpo", ASPECTS, "again.judge.model: ddpo is not an earlier"),
        ("rows: ratings, objective: {kind: reward}", "rows: dialogues, objective: {kind: sft}", ASPECTS,
         "steps.again.judge.model: judge gives no rewards; a judge of kind distilled takes a train step"),
        ("dDPO: ddpo}", "dDPO: judge}", ASPECTS, "steps.evaluate.models.dDPO: judge gives rewards and writes no text"),
        ("model: base, rows: best", "model: judge, rows: best", ASPECTS, "dsft-on-best.model: judge gives rewards"),
        ("rows: ratings", "rows: answers", ASPECTS, "answers is of stage answers; name an earlier ratings or"),
        ("rows: best", "rows: ratings", ASPECTS, "name an earlier dialogues, data, best or constitution step"),
        ("ratings: again", "ratings: answers", ASPECTS, "answers is of stage answers; name an earlier ratings"),
        ("prompts: best", "prompts: ratings", ASPECTS, "name an earlier dialogues, data, best or constitution step"),
    ],
)  # fmt: skip
def test_what_judges_and_feedback_cannot_take_is_said(
    tmp_path: Path, old: str, new: str, judge: str, sentence: str
) -> None:
    assert sentence in refusal(write_recipe(tmp_path, judged(old, new, judge)))
