"""The recipe file: what is refused, and how the sentence reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.errors import UserError
from favonius.recipe import Recipe, load_recipe
from favonius.recipe.document import scalar
from favonius.recipe.model import validated
from favonius.recipe.parameters import with_files_from_here
from favonius.recipe.schema import json_schema
from favonius.run import ModelRef, StepRef
from favonius.train.config import TrainConfig
from tests.toy_run import RECIPE, STEPS, write_recipe


def refusal(path: Path, *overrides: str, with_ablations: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides, with_ablations)
    return str(caught.value)


def test_a_recipe_is_typed_and_ordered(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path), with_ablations=True)
    assert tuple(recipe.steps) == (*STEPS[:6], "ddpo-without-dsft", "evaluate")
    ddpo = recipe.steps["ddpo"]
    assert isinstance(ddpo, TrainConfig)
    assert ddpo.learning_rate == 5e-7
    assert isinstance(ddpo.model, ModelRef)
    assert isinstance(ddpo.rows, StepRef)
    assert recipe.models["base"].source == "org/base"


MISTAKES = [
    (
        "learning_rate: 5e-7",
        "learning_rte: 5e-7",
        0,
        "steps.ddpo.learning_rte: unknown key; did you mean learning_rate?",
    ),
    ("beta: 0.1", "betta: 0.1", 0, "steps.ddpo.objective.betta: unknown key; did you mean beta?"),
    (
        "temperature: 1.1",
        "temprature: 1.1",
        0,
        "steps.answers.pool.dsft.sampling.temprature: unknown key; did you mean temperature?",
    ),
    ("name: toy", "name: toy\nstepps: {}", 0, "stepps: unknown key; did you mean steps?"),
    ("name: toy", "name: toy\nqqq: {}", 0, "qqq: unknown key; there are name, parameters, models, budget, steps"),
    ("learning_rate: 5e-7", "learning_rate: fast", 0, "steps.ddpo.learning_rate: must be a number, not 'fast'"),
    ("learning_rate: 5e-7", "learning_rate: '5e-7'", 0, "steps.ddpo.learning_rate: must be a number, not '5e-7'"),
    ("learning_rate: 5e-7", "learning_rate: 1e999", 0, "steps.ddpo.learning_rate: must be a number, not '1e999'"),
    ("learning_rate: 5e-7", "learning_rate: .nan", 0, "steps.ddpo.learning_rate: must be a number, not '.nan'"),
    ("learning_rate: 5e-7", "learning_rate: -1", 0, "steps.ddpo.learning_rate: must be greater than 0, not -1"),
    ("learning_rate: 5e-7", "learning_rate:", 0, "steps.ddpo.learning_rate: must be a number, not nothing"),
    ("learning_rate: 5e-7", "epochs: 1.5", 0, "steps.ddpo.epochs: must be a whole number, not 1.5"),
    ("learning_rate: 5e-7", "epochs: true", 0, "steps.ddpo.epochs: must be a whole number, not true"),
    ("learning_rate: 5e-7", "epochs: 0", 0, "steps.ddpo.epochs: must be at least 1, not 0"),
    ("learning_rate: 5e-7", "freeze: [1]", 0, "steps.ddpo.freeze.0: must be text, not 1"),
    ("learning_rate: 5e-7", "freeze: embed", 0, "steps.ddpo.freeze: must be a list, not 'embed'"),
    ("learning_rate: 5e-7", "warmup_share: 1", 0, "steps.ddpo.warmup_share: must be less than 1, not 1"),
    ("learning_rate: 5e-7", "schedule: Linaer", 0, "steps.ddpo.schedule: unknown value 'Linaer'; did you mean linear?"),
    (
        "{kind: dpo, beta: 0.1}",
        "{kind: dppo, beta: 0.1}",
        0,
        "steps.ddpo.objective.kind: unknown kind 'dppo'; did you mean dpo?",
    ),
    ("{kind: dpo, beta: 0.1}", "{beta: 0.1}", 0, "steps.ddpo.objective.kind: missing key; it is one of sft, dpo"),
    ("{kind: dpo, beta: 0.1}", "dpo", 0, "steps.ddpo.objective: must be a mapping (lines of `key: value`), not 'dpo'"),
    ("    rows: dialogues\n", "", -3, "steps.dsft.rows: missing key"),
    (
        "  dsft:\n    stage: train",
        "  dsft:\n    stage: trian",
        0,
        "steps.dsft.stage: unknown stage 'trian'; did you mean train?",
    ),
    (
        "  dsft:\n    stage: train\n",
        "  dsft:\n",
        -1,
        "steps.dsft.stage: missing key; it is one of data, openings, dialogues, answers, ratings, pairs",
    ),
    ("  dsft:", "  dSFT!:", 0, "steps.dSFT!: 'dSFT!' may hold only small letters, digits and hyphens"),
    ("name: toy", "name: ../toy", 0, "name: '../toy' may hold only small letters, digits and hyphens"),
    ("name: toy", "name: 7", 0, "name: must be text, not 7"),
    (
        "  pairs: {stage: pairs, ratings: ratings}",
        "  pairs: 3",
        0,
        "steps.pairs: must be a mapping (lines of `key: value`), not 3",
    ),
    (
        "    model: base\n",
        "    model: bsae\n",
        0,
        "steps.dsft.model: no earlier model or train step is called bsae; did you mean base?",
    ),
    (
        "    model: base\n",
        "    model: ddpo\n",
        0,
        "steps.dsft.model: ddpo is not an earlier step; move it before this one",
    ),
    (
        "    model: base\n",
        "    model: dsft\n",
        0,
        "steps.dsft.model: dsft is not an earlier step; move it before this one",
    ),
    (
        "    model: base\n",
        "    model: dialogues\n",
        0,
        "steps.dsft.model: dialogues is of stage dialogues; name an earlier model or train step",
    ),
    (
        "    rows: dialogues",
        "    rows: dialogs",
        0,
        "steps.dsft.rows: no earlier dialogues, data, best or constitution step is called dialogs",
    ),
    (
        "    rows: pairs",
        "    rows: dialogues",
        0,
        "steps.ddpo.rows: dialogues is of stage dialogues; name an earlier pairs, data or constitution step",
    ),
    (
        "    rows: dialogues",
        "    rows: base",
        0,
        "steps.dsft.rows: base is a model; name an earlier dialogues, data, best or constitution step",
    ),
    (
        "answers: answers",
        "answers: dialogues",
        0,
        "steps.ratings.answers: dialogues is of stage dialogues; name an earlier answers or data step",
    ),
    (
        "baseline: dSFT",
        "baseline: dsft",
        0,
        "steps.evaluate.baseline: no model of this step is labelled dsft; did you mean dSFT?",
    ),
    ("seeds: seeds.jsonl", "seeds: seed.jsonl", 0, "steps.dialogues.seeds: no such file"),
    (
        "  pairs: {",
        "  teacher: {stage: pairs, ratings: ratings}\n  pairs: {",
        0,
        "steps.teacher: a model is called this too; rename the step",
    ),
    (
        "  pairs: {",
        "  lock: {stage: pairs, ratings: ratings}\n  pairs: {",
        0,
        "steps.lock: the run folder has a file of this name; rename the step",
    ),
    (
        "      base: {model: base}",
        "      base: {model: base, engine: {kind: llamacpp}}",
        0,
        "steps.answers.pool.base.model: base is no .gguf file, which engine llamacpp needs; use engine transformers",
    ),
    ("org/base", "nowhere.gguf", 0, "models.base.source: source nowhere.gguf: there is no such file"),
    (
        "org/base",
        "{source: org/base, template: zefyr}",
        0,
        "models.base.template: zefyr is neither own, nor zephyr, nor a Jinja file",
    ),
    (
        "org/base",
        "{source: org/base, licence: MIT}",
        0,
        "models.base.licence: unknown key; there are source, template, terms",
    ),
    ("name: toy", "name: toy\nname: toy", 0, "name: this key was given before"),
    (
        "name: toy",
        "name: !!python/name:os.system toy",
        0,
        "name: the tag tag:yaml.org,2002:python/name:os.system has no meaning",
    ),
    ("  base: org/base", "  base: &x [*x]", 0, "models.base.0: this alias refers to what it stands in"),
    ("name: toy", "[a]: toy", 0, "a key must be one word"),
    ("    rows: dialogues", "     rows: dialogues", 0, "not valid YAML:"),
    (
        "pool:",
        "pool: {one: {model: base}}\n    limit: 0\n    polo:",
        1,
        "steps.answers.limit: must be at least 1, not 0",
    ),
    ("pool:", "pool: {}\n    polo:", 0, "steps.answers.pool: needs at least 1 entry, not 0"),
]
"""Text of the recipe, what to put in its place, lines from the first changed one to the one named, the sentence."""


@pytest.mark.parametrize(("old", "new", "lines", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line(tmp_path: Path, old: str, new: str, lines: int, sentence: str) -> None:
    assert old in RECIPE
    path = write_recipe(tmp_path, RECIPE.replace(old, new, 1))
    before, after = RECIPE.splitlines(), path.read_text(encoding="utf-8").splitlines()
    changed = next(number for number, (one, other) in enumerate(zip(before, after, strict=False), 1) if one != other)
    expected = f"{path}:{changed + lines}: {sentence}"
    assert any(problem.startswith(expected) for problem in refusal(path).splitlines()), refusal(path)


def test_several_mistakes_are_all_named(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, RECIPE.replace("beta: 0.1", "beta: -1").replace("baseline: dSFT", "base: dSFT"))
    lines = refusal(path).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}:") for line in lines)


def test_reference_problems_are_all_named_too(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, RECIPE.replace("model: teacher}", "model: nobody}"))
    assert [line.split(": ")[1] for line in refusal(path).splitlines()] == [
        "steps.ratings.judge.model",
        "steps.evaluate.judge.model",
    ]


@pytest.mark.parametrize("text", ["", "3", "- a\n- b", "just words"])
def test_what_is_no_mapping_is_no_recipe(tmp_path: Path, text: str) -> None:
    assert "a recipe is a mapping with the keys name, parameters, models, budget, steps" in refusal(
        write_recipe(tmp_path, text)
    )


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml").endswith("none.yaml: no such file")
    assert "this is a folder" in refusal(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: caf\xe9".encode("latin-1"))
    assert refusal(tmp_path / "latin.yaml").endswith("save it as UTF-8")
    (tmp_path / "control.yaml").write_bytes(b"name: \x07")
    assert "not valid YAML" in refusal(tmp_path / "control.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "recipes" / "rows").mkdir(parents=True)
    path = write_recipe(tmp_path / "recipes", RECIPE.replace("seeds: seeds.jsonl", "seeds: rows"))
    assert refusal(path).endswith(f"steps.dialogues.seeds: {path.parent / 'rows'} is a folder; name a file")


def test_what_the_file_says_keeps_its_letters(tmp_path: Path) -> None:
    text = """
name: own
models: {}
steps:
  rows:
    stage: data
    sources: {talks: {hub: HuggingFaceH4/ultrachat_200k}}
"""
    assert "HuggingFaceH4/ultrachat_200k: write a hub dataset as hf://" in refusal(write_recipe(tmp_path, text))


def test_a_file_named_like_a_step_must_be_told_apart(tmp_path: Path) -> None:
    text = RECIPE.replace("seeds: seeds.jsonl", "seeds: pairs")
    (tmp_path / "pairs").write_text("", encoding="utf-8")
    assert "write ./pairs for the file" in refusal(write_recipe(tmp_path, text))
    load_recipe(write_recipe(tmp_path, text.replace("seeds: pairs", "seeds: ./pairs")))


# overrides


def test_overrides_replace_add_and_win(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    overrides = [
        "steps.ddpo.learning_rate=1e-6",
        "steps.dsft.epochs=2",
        "steps.dsft.epochs=3",
        "steps.dialogues.sampling.max_tokens=16",
        "steps.ddpo.objective={kind: dpo, beta: 0.5}",
        "models.base=other/base",
    ]
    recipe = load_recipe(path, overrides)
    dsft, ddpo = recipe.steps["dsft"], recipe.steps["ddpo"]
    assert isinstance(dsft, TrainConfig) and isinstance(ddpo, TrainConfig)
    assert (dsft.epochs, ddpo.learning_rate, ddpo.objective.model_dump()["beta"]) == (3, 1e-6, 0.5)
    assert recipe.steps["dialogues"].model_dump()["sampling"]["max_tokens"] == 16
    assert recipe.models["base"].source == "other/base"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps.ddpo.learning_rte=1e-6", "steps.ddpo.learning_rte: unknown key; did you mean learning_rate?"),
        ("steps.dppo.learning_rate=1e-6", "steps.dppo: the recipe has no such step; did you mean ddpo?"),
        ("models.bse=org/x", "models.bse: the recipe has no such model; did you mean base?"),
        ("stops.ddpo.epochs=1", "stops: unknown key; did you mean steps?"),
        ("steps.ddpo.samplng.seed=1", "steps.ddpo.samplng: unknown key"),
        ("steps.ddpo.epochs=many", "steps.ddpo.epochs: must be a whole number, not 'many'"),
        ("steps.ddpo.objective={kind: dpo, bta: 1}", "steps.ddpo.objective.bta: unknown key; did you mean beta?"),
        ("steps.ddpo.epochs.x=1", "steps.ddpo.epochs: must be a whole number"),
        ("steps.ddpo.learning_rate.x=1", "steps.ddpo.learning_rate holds 5e-07 and no keys; set it as a whole"),
        ("steps.ddpo.rows=nothing", "steps.ddpo.rows: no earlier pairs, data or constitution step is called nothing"),
        ("steps.ddpo.epochs=[", "not valid YAML"),
        ("steps.ddpo.epochs", "write it as path=value"),
        ("=1", "write it as path=value"),
        ("steps..epochs=1", "write it as path=value"),
    ],
)  # fmt: skip
def test_a_wrong_override_names_itself(tmp_path: Path, text: str, sentence: str) -> None:
    assert refusal(write_recipe(tmp_path), text).startswith(f"--set {text}: {sentence}")


# ablations


def test_without_ablations_they_and_what_lists_them_are_gone(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    assert tuple(load_recipe(path).steps) == STEPS
    assert "dDPO without dSFT" not in load_recipe(path).steps["evaluate"].model_dump()["models"]
    assert "dDPO without dSFT" in load_recipe(path, with_ablations=True).steps["evaluate"].model_dump()["models"]


@pytest.mark.parametrize("with_ablations", [False, True])
def test_an_ordinary_step_cannot_rest_on_an_ablation(tmp_path: Path, with_ablations: bool) -> None:
    text = RECIPE.replace("  pairs: {stage: pairs,", "  pairs: {stage: pairs, ablation: true,")
    message = refusal(write_recipe(tmp_path, text), with_ablations=with_ablations)
    assert "steps.ddpo.rows: pairs runs only with --with-ablations; mark this step `ablation: true` too" in message


def test_a_baseline_that_is_an_ablation_is_refused(tmp_path: Path) -> None:
    text = RECIPE.replace("baseline: dSFT", "baseline: dDPO without dSFT")
    assert "steps.evaluate.baseline: no model of this step is labelled" in refusal(write_recipe(tmp_path, text))


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path), ["steps.ddpo.learning_rate=1e-6"], with_ablations=True)
    written = recipe.as_written()
    assert "max_length" not in written["steps"]["ddpo"]  # defaults stay out
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml", with_ablations=True) == recipe


# scalars and schema


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15) | st.booleans() | st.none())
def test_scalars_read_back_from_json(value: float | int | bool | None) -> None:
    read = scalar(json.dumps(value))
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "1:30", "2024-01-01", "0x10", "1_000", "1e", "+", "NaN", ".inf", "١"]
)
def test_what_yaml_1_1_would_turn_into_something_else_stays_text(text: str) -> None:
    assert scalar(text) == text


def test_the_schema_describes_the_recipe() -> None:
    schema = json_schema()
    assert schema["properties"]["steps"]["minProperties"] == 1
    assert "description" in schema["properties"]["models"]
    train = schema["$defs"]["TrainConfig"]
    assert train["additionalProperties"] is False
    assert train["properties"]["rows"]["description"].startswith("Of dialogues for SFT")
    assert {"type": "integer", "minimum": 1} in train["properties"]["batch_size"]["anyOf"]
    assert {"type": "string", "description": "The model's source."} in schema["properties"]["models"][
        "additionalProperties"
    ]["anyOf"]
    json.dumps(schema)


def test_a_recipe_made_in_python_has_defaults_too() -> None:
    steps = {"dialogues": {"stage": "dialogues", "seeds": "s", "teacher": "t"}}
    recipe = validated({"name": "x", "models": {"t": "a.gguf"}, "steps": steps})
    assert isinstance(recipe, Recipe)
    assert recipe.without_ablations() == recipe


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["base", "pairs"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("kind"), inner, max_size=3)
    ),
    max_leaves=5,
)


def test_a_key_with_a_line_break_is_refused_on_one_line(tmp_path: Path) -> None:
    value = yaml.safe_load(RECIPE)
    value["models"]["a\rb"] = 3
    with pytest.raises(UserError) as caught:
        load_recipe(write_recipe(tmp_path, yaml.safe_dump(value, sort_keys=False)))
    assert "a\\rb" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_somewhere_is_loaded_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """No value anywhere makes an error of ours."""
    value = yaml.safe_load(RECIPE)
    here, path = value, []
    while isinstance(here, dict) and here and (not path or data.draw(st.booleans())):
        path.append(data.draw(st.sampled_from([*here, "new"])))
        here = here.get(path[-1])
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = data.draw(JSON)
    file = write_recipe(tmp_path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    try:
        load_recipe(file)
    except UserError as error:
        assert all(line.startswith(f"{file}:") for line in str(error).splitlines())


def test_aliases_name_steps_and_nothing_else(tmp_path: Path) -> None:
    path = write_recipe(
        tmp_path, RECIPE.replace("steps:", "aliases: {best: ddpo}\nsteps:").replace("dDPO: ddpo", "dDPO: best")
    )
    assert load_recipe(path).as_written()["steps"]["evaluate"]["models"]["dDPO"] == "ddpo"
    assert "aliases.best: no such step; did you mean ddpo?" in refusal(path, "aliases.best=dpo")
    assert "aliases.dsft: a model or step is called dsft too" in refusal(path, "aliases.dsft=ddpo")


def test_parameters_are_filled_in_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = RECIPE.replace("seeds: seeds.jsonl", "seeds: $prompts").replace(
        "steps:", "parameters: {prompts: seeds.jsonl, rate: 0.5}\nsteps:"
    )
    path = write_recipe(tmp_path, text)
    assert load_recipe(path).steps["dialogues"].seeds == "seeds.jsonl"  # type: ignore[union-attr]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.jsonl").write_text('{"id": "b", "prompt": "Who?"}\n')
    monkeypatch.chdir(tmp_path / "elsewhere")
    given = with_files_from_here("prompts=mine.jsonl", tmp_path)
    mine = load_recipe(path, [given]).steps["dialogues"].seeds  # type: ignore[union-attr]
    assert mine == str(tmp_path / "elsewhere" / "mine.jsonl")
    assert load_recipe(path, ["parameters.rate=2"]).parameters["rate"] == 2
    assert "$promts names no parameter; did you mean prompts?" in refusal(
        write_recipe(tmp_path / "wrong", text.replace("$prompts", "$promts"))
    )
    assert "the recipe has no such parameter" in refusal(path, "parameters.topics=x")
