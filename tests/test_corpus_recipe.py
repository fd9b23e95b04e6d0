"""Data steps in recipes: what is refused, what is counted beforehand, and what later steps take of their rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from favonius.corpus import counting
from favonius.corpus.config import DataConfig
from favonius.data.splits import first_question
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.seeds import read_seeds
from favonius.errors import UserError
from favonius.files import sha256_path
from favonius.pipeline.estimate import Estimate, estimate
from favonius.pipeline.plan import identity_of, plan_step
from favonius.recipe import load_recipe
from favonius.train.config import TrainConfig
from favonius.train.objectives import SFT
from favonius.types import Message
from tests.corpora import Corpus, pair, rows_of, talk
from tests.row_files import lines
from tests.tiny import save_tiny
from tests.training import settings as training
from tests.training import train


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


RECIPE = """\
name: own
models: {base: org/base}
steps:
  data: {stage: data, sources: {ours: {path: rows}}}
  dsft: {stage: train, model: base, rows: data, objective: {kind: sft}, epochs: 1, batch_size: 8, max_length: 64}
"""


def recipe(folder: Path, text: str = RECIPE) -> Path:
    (folder / "rows").mkdir()
    (folder / "rows" / "a.jsonl").write_bytes(lines(rows_of("cats", 30)))
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def test_a_recipe_trains_on_a_folder_of_rows(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    loaded = load_recipe(path)
    found = estimate(loaded, tmp_path)
    assert found["data"] == Estimate(27, 3, prompt_tokens=13)
    assert found["dsft"].read == 27 * 64
    before = plan_step(loaded, "data", tmp_path / "run", tmp_path, {}).identity
    (tmp_path / "rows" / "b.jsonl").write_bytes(lines(rows_of("dogs", 1)))
    after = plan_step(loaded, "data", tmp_path / "run", tmp_path, {}).identity
    assert before is not None
    assert after is not None
    assert before.inputs != after.inputs


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("path: rows", "path: row", r"steps\.data\.sources\.ours\.path: no such file or folder .*did you mean rows\?"),
        ("rows: data", "rows: dat", r"no earlier dialogues, data, .* step is called dat; did you mean data\?"),
        ("ours: {path: rows}", "ours: {path: rows, split: x, frction: 1}", r"unknown key; did you mean fraction\?"),
        ("{path: rows}", "{path: rows, weight: 1}, b: {path: rows}", "the source b has no weight and others have"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_recipe(recipe(tmp_path, RECIPE.replace(old, new)))


def test_the_order_of_sources_is_part_of_the_identity() -> None:
    one = DataConfig.model_validate({"sources": {"a": {"path": "a"}, "b": {"path": "b"}}})
    other = DataConfig.model_validate({"sources": {"b": {"path": "b"}, "a": {"path": "a"}}})
    assert identity_of(one) != identity_of(other)
    assert identity_of(one) == identity_of(one.model_copy(update={"processes": 2}))


def test_rows_that_are_not_fetched_are_not_counted(tmp_path: Path) -> None:
    sources = "{far: {hub: hf://owner/name}, ours: {path: rows}}"
    path = recipe(tmp_path, RECIPE.replace("{ours: {path: rows}}", sources))
    assert estimate(load_recipe(path), tmp_path)["data"].uncounted == ("far",)
    wanted = estimate(load_recipe(path, ["steps.data.rows=1000"]), tmp_path)["data"]
    assert (wanted.train, wanted.test, wanted.uncounted) == (900, 100, ())


def test_held_out_rows_are_bounded_by_their_source_alone(tmp_path: Path) -> None:
    sources = "{far: {hub: hf://owner/name}, test: {hub: hf://owner/name, split: test, fraction: 0.5, held_out: true}}"
    path = recipe(tmp_path, RECIPE.replace("{ours: {path: rows}}", sources))
    sets = ["steps.data.rows=1000", "steps.data.test_share=0"]
    unknown = estimate(load_recipe(path, sets), tmp_path)["data"]
    assert (unknown.train, unknown.test, unknown.uncounted) == (1000, 0, ("test",))
    known = estimate(load_recipe(path, [*sets, "steps.data.sources.test.rows=40"]), tmp_path)["data"]
    assert (known.train, known.test, known.uncounted) == (1000, 20, ())


def test_long_files_are_counted_by_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "READ_THROUGH", 5)
    (tmp_path / "a.jsonl").write_bytes(lines(rows_of("cats", 30)))
    (tmp_path / "a.json").write_text(json.dumps(rows_of("cats", 30)))
    whole = {"a": {"path": "a.jsonl", "fraction": 0.5}}
    most = counting.most_rows(DataConfig.model_validate({"sources": whole, "test_share": 0.2}), tmp_path)
    assert (most.train, most.test, most.uncounted) == (12, 3, ())
    most = counting.most_rows(DataConfig.model_validate({"sources": {"a": {"path": "a.json"}}}), tmp_path)
    assert most.uncounted == ("a",)


def test_a_weighted_mixture_is_bounded_by_its_repeats(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_bytes(lines(rows_of(name, 10)))
    sources = {"a": {"path": "a.jsonl", "weight": 1.0, "max_repeats": 3}, "b": {"path": "b.jsonl", "weight": 0.5}}
    most = counting.most_rows(DataConfig.model_validate({"sources": sources, "test_share": 0}), tmp_path)
    assert most.train in (30, 31)
    unlike = {"a": sources["a"], "b": {"path": "c.jsonl", "weight": 1.0}}
    (tmp_path / "c.jsonl").write_bytes(lines([pair(1)]))
    with pytest.raises(UserError, match="put them into two data steps"):
        counting.most_rows(DataConfig.model_validate({"sources": unlike}), tmp_path)


def test_own_prompts_take_the_place_of_openings(corpus: Corpus) -> None:
    rows = [{"id": str(number), "prompt": f"What is {number}?"} for number in range(40)]
    corpus.run(sources={"a": {"path": corpus.write("a.jsonl", rows)}})
    config = DialoguesConfig.model_validate({"openings": "data", "teacher": "t"})
    assert len(read_seeds(config, corpus.out / "openings.jsonl")) == 40
    text = RECIPE.replace("{path: rows}", "{path: ../a.jsonl}").replace("base: org/base", "base: org/base, t: org/t")
    text = text.replace(
        "  dsft:", "  talks: {stage: dialogues, openings: data, teacher: t, engine: {kind: transformers}}\n  dsft:"
    )
    (corpus.folder / "recipes").mkdir()
    path = recipe(corpus.folder / "recipes", text.replace("rows: data", "rows: talks"))
    found = estimate(load_recipe(path), path.parent)
    assert (found["data"].train, found["data"].test) == (40, 0)
    assert (found["talks"].train, found["talks"].test) == (36, 4)


def test_a_system_message_is_part_of_what_is_asked() -> None:
    system = Message(role="system", content="Be brief.")
    assert first_question((system, *talk("Why?"), *talk("And?"))) == (system, Message(role="user", content="Why?"))
    assert first_question(talk("Why?")) == talk("Why?")[:1]


def test_a_folder_is_known_by_the_names_and_contents_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_text("a")
    first = sha256_path(tmp_path / "rows")
    (tmp_path / "rows" / ".hidden").write_text("x")
    assert sha256_path(tmp_path / "rows") == first
    (tmp_path / "rows" / "a.jsonl").rename(tmp_path / "rows" / "b.jsonl")
    renamed = sha256_path(tmp_path / "rows")
    (tmp_path / "rows" / "b.jsonl").write_text("b")
    assert len({first, renamed, sha256_path(tmp_path / "rows")}) == 3


def test_a_training_takes_the_rows(corpus: Corpus) -> None:
    corpus.run(sources={"a": {"path": corpus.write("a.jsonl", rows_of("cats", 12))}}, test_share=0.2)
    model = save_tiny(corpus.folder / "model")
    config: TrainConfig = training(SFT(), rows="data", epochs=1, batch_size=4, learning_rate=1e-3)
    steps = train(corpus.folder / "trained", model, corpus.out, config.model_copy(update={"rows": "rows"})).lines
    assert steps
    assert all(step["loss"] > 0 for step in steps)
