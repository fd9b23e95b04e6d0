"""The run card: it says what a run was, says it of every kind of step, and tells nothing of the machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from favonius.card.build import run_card
from favonius.card.nouns import MeasuredModel, RunCard, read_card, write_card
from favonius.card.private import PATH_IN_TEXT, new_names
from favonius.card.words import model_card, run_in_words, shown_source
from favonius.cli import main
from favonius.errors import UserError
from favonius.files import sha256_file, write_json
from favonius.judges.card import Evidence, judge_card
from favonius.judges.figures import Figure
from favonius.machine import this_machine
from favonius.report.page import write
from favonius.report.public import Public
from favonius.run import Identity, StepFolder
from favonius.statistics import Estimate
from favonius.types import JudgedBy
from tests.report_benchmark_run import make_benchmark_run
from tests.report_feedback_run import make_feedback_run
from tests.report_run import make_run
from tests.toy_run import RECIPE, run_toy, write_recipe

KEY = "sk-abcdefghijklmnop1234"
HUB_TOKEN = "hf_abcdefghijklmnopqrstuvwx"
HOST = "teacher.corp.example"
USER = "annamaria"
PRIVATE = (KEY, HUB_TOKEN, HOST, USER, "/home", "/data", "teacher-key")


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small files are written, and a busy disk takes its time over each."""
    monkeypatch.setattr("favonius.files.synced", lambda path: None)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    recipe = write_recipe(tmp_path / "recipes")
    run_toy(recipe, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def private_run(tmp_path: Path) -> Path:
    """A run whose recipe and records are full of what must not leave the machine."""
    own = tmp_path / "home" / USER
    recipe = write_recipe(own / "recipes")
    (own / "secret-rows.jsonl").write_text('{"id": "a", "prompt": "Why?"}\n', encoding="utf-8")
    (own / "chat.jinja").write_text("{{ messages }}", encoding="utf-8")
    told = yaml.safe_load(RECIPE)
    told["models"] |= {
        "base": {"source": str(own / "weights" / "mistral"), "template": str(own / "chat.jinja")},
        "big": {"source": "api://big-teacher", "terms": f"as in /data/{USER}/LICENCE"},
    }
    (own / "weights" / "mistral").mkdir(parents=True)
    engine = {
        "kind": "openai",
        "endpoints": [{"base_url": f"https://{HOST}:8000/v1", "key_file": f"/home/{USER}/teacher-key"}],
        "extra": {"api_key": "plain-words-but-a-key"},
    }
    told["steps"]["dialogues"] |= {
        "teacher": "big", "seeds": str(own / "secret-rows.jsonl"), "engine": engine, "system": f"Never say {HUB_TOKEN}."
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
    run = own / "runs" / "mine"
    run_toy(recipe, run)
    causes = {f"request failed (https://{USER}@{HOST}/v1 said {KEY}: no /data/{USER}/rows.jsonl)": 3, "too long": 2}
    samples = {cause: [f"a row of {USER}"] for cause in causes}
    write_json(run / "dialogues" / "stats.json", {"kept": 12, "dropped": causes, "samples": samples})
    return run


def shown(card: RunCard) -> str:
    return card.model_dump_json() + run_in_words(card) + model_card(card, "ddpo", "T", "How.", ["checked"], "gguf")


def test_a_card_says_what_every_step_was_made_of_and_made(toy: Path) -> None:
    card = run_card(toy)
    assert [step.name for step in card.done()] == [
        "dialogues", "dsft", "answers", "ratings", "pairs", "ddpo", "evaluate"
    ]  # fmt: skip
    assert {step.name: step.state for step in card.steps}["ddpo-without-dsft"] == "left out"
    pairs, ddpo = card.step("pairs"), card.step("ddpo")
    assert pairs is not None and ddpo is not None
    assert ddpo.inputs["pairs"] == pairs.output_digest
    assert ddpo.outputs == {"model/weights.txt": sha256_file(toy / "ddpo" / "model" / "weights.txt")}
    identity = StepFolder(toy / "ddpo").identity()
    assert identity is not None and ddpo.identity == identity.digest()
    assert ddpo.versions["favonius"] and ddpo.machine is not None and ddpo.machine.cores >= 1
    assert card.seeds["ddpo.seed"] == 0
    [base, teacher] = card.models
    assert (base.source, base.roles[0], base.local) == ("org/base", "base of dsft", False)
    assert teacher.roles[:2] == ("teacher of dialogues", "judge of ratings") and teacher.terms == "Apache-2.0"
    assert not [role for role in (*base.roles, *teacher.roles) if role.startswith("order of")]
    assert yaml.safe_load(card.recipe)["steps"]["ddpo"]["learning_rate"] == 5e-7


def test_a_card_carries_small_files_of_the_recipes_folder(toy: Path) -> None:
    [file] = run_card(toy).files
    seeds = toy.parent / "recipes" / "seeds.jsonl"
    assert (file.name, file.read_by, file.content) == ("seeds.jsonl", ("dialogues",), seeds.read_text())
    assert (file.sha256, file.size) == (sha256_file(seeds), seeds.stat().st_size)
    assert [one.content for one in run_card(toy, with_contents=False).files] == [None]
    seeds.write_text("another\n")
    [file] = run_card(toy).files  # what lies there now is not what the run read
    assert file.content is None and file.size is None and file.sha256 != sha256_file(seeds)


def test_files_are_carried_while_there_is_room(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("favonius.card.files.MOST_BYTES", 10)
    assert [one.content for one in run_card(toy).files] == [None]


def test_a_file_that_holds_a_key_is_not_carried(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipes")
    (recipe.parent / "seeds.jsonl").write_text(json.dumps({"id": "a", "prompt": f"Is {KEY} a key?"}) + "\n")
    run_toy(recipe, tmp_path / "run")
    assert KEY not in shown(run_card(tmp_path / "run"))


@pytest.mark.parametrize(
    "opening", ["sk-", "gsk_", "xai-", "nvapi-", "hf_", "ghp_", "github_pat_", "AKIA", "AIza", "Bearer "]
)
def test_keys_are_known_by_how_they_begin(opening: str, tmp_path: Path) -> None:
    public, key = Public(tmp_path), opening + "A7" * (8 if opening == "AKIA" else 18)
    assert public(f"say {key}!") == "say (hidden)!"
    assert public(f"say {opening}short") == f"say {opening}short"


def test_nothing_private_leaves(private_run: Path, tmp_path: Path) -> None:
    card = run_card(private_run)
    text = shown(card)
    assert [secret for secret in (*PRIVATE, str(tmp_path), "plain-words-but-a-key") if secret in text] == []
    write_card(tmp_path / "card.json", card)
    assert read_card(tmp_path / "card.json") == card


def test_what_had_a_private_path_gets_a_name(private_run: Path) -> None:
    card = run_card(private_run)
    recipe = yaml.safe_load(card.recipe)
    assert recipe["steps"]["dialogues"]["seeds"] == "files/secret-rows.jsonl"
    assert recipe["steps"]["dialogues"]["engine"]["endpoints"] == ["(hidden)"]
    assert recipe["models"]["base"] == {"source": "models/mistral", "template": "files/chat.jinja"}
    base = card.model("base")
    assert base is not None and base.local and base.source == "models/mistral"
    files = {file.name: file for file in card.files}
    assert set(files) == {"files/secret-rows.jsonl", "files/chat.jinja"}
    assert all(file.content is None for file in files.values())  # not of the recipe's folder
    dialogues = card.step("dialogues")
    assert dialogues is not None and dialogues.config is not None
    assert dialogues.config["seeds"] == "files/secret-rows.jsonl" and "files/secret-rows.jsonl" in dialogues.inputs
    again = Identity(
        stage="dialogues", version=dialogues.version or 0, config=dialogues.config, inputs=dialogues.inputs
    )
    assert again.digest() == dialogues.identity
    assert dialogues.dropped["too long"] == 2 and sum(dialogues.dropped.values()) == 5


def test_names_stay_apart() -> None:
    names = new_names(["/a/x.jsonl", "/b/x.jsonl", "seeds/x.jsonl", "../x.jsonl", "~/y", "/a/x.jsonl"], "files")
    assert names == {
        "/a/x.jsonl": "files/x.jsonl", "/b/x.jsonl": "files/2-x.jsonl", "../x.jsonl": "files/3-x.jsonl",
        "~/y": "files/y",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "is_one"),
    [("no /srv/models/x.gguf here", True), (r"at C:\Users\me\x", True), ("~/models/x", True),
     ("3/4 and/or 5 tokens/s", False), ("https://example.org/a/b", False), ("owner/name@main", False)],
)  # fmt: skip
def test_paths_in_sentences_are_seen(sentence: str, is_one: bool) -> None:
    assert bool(PATH_IN_TEXT.search(sentence)) == is_one


def test_evaluations_have_their_numbers_and_intervals(tmp_path: Path) -> None:
    card = run_card(make_run(tmp_path))
    [table] = card.evaluations
    metric = table.metrics[0]
    value = metric.values["dDPO"]
    assert value is not None and value.low is not None and value.high is not None
    assert value.low < value.value < value.high
    assert (table.models["dDPO"].name, table.judge_is_teacher) == ("ddpo", True)
    assert any("The judge of evaluate is the teacher" in limit for limit in card.limits)
    assert any("safety was not measured" in limit for limit in card.limits)
    page = run_in_words(card)
    assert f"| {metric.title} (%) ↑ | 13.6 [3.6, 23.6] | — | 66.0 [53.0, 79.0] | " in page
    noted = next(metric for metric in table.metrics if metric.note)
    assert f"- {noted.title}: {noted.note}" in page


def test_benchmarks_tell_of_safety_contamination_and_the_paper(tmp_path: Path) -> None:
    card = run_card(make_benchmark_run(tmp_path))
    assert [one.kind for one in card.evaluations] == ["mt-bench", "alpacaeval", "ifeval", "safety", "preference"]
    limits = "\n".join(card.limits)
    assert "Safety. dDPO: Of 20 harmful requests it refuses" in limits and "less safe than dSFT" in limits
    assert re.search(r"Contamination\. Of 30 questions of IFEval, 2 stand in the training rows of dialogues", limits)
    assert any(
        one.label == "dDPO" and one.metric == "refused" and one.told_apart for one in card.evaluations[3].against
    )
    assert {table.title[:7] for table in card.published} == {"Table 1", "Table 3"}
    assert "**Published numbers, not measured here**" in run_in_words(card)


def test_a_run_without_benchmarks_copies_no_published_rows(tmp_path: Path) -> None:
    assert run_card(make_run(tmp_path)).published == ()


def test_judges_and_money_are_told(tmp_path: Path) -> None:
    mine = make_feedback_run(tmp_path)
    card = run_card(mine)
    assert sum(one.requests for one in card.asked) > 0 and card.judges == ()
    assert "| step | model asked |" in run_in_words(card)
    (mine / "ratings" / "card.json").write_text("{}")
    assert "The judge card of ratings is not told: another version of Favonius wrote it." in run_card(mine).limits
    judge = judge_card(JudgedBy(name="the judge", kind="likelihood"), Evidence(cases=[], judgements=[]))
    figure = Figure(estimate=Estimate(0.75, 0.5, 0.9, 40))
    judge = judge.model_copy(update={"answers": 40, "failed": figure, "failures": {"mute": 30}})
    write_json(mine / "ratings" / "card.json", judge.model_dump(mode="json"))
    [told] = run_card(mine).judges
    assert (told.judge, told.figures[0].title, told.figures[0].low) == ("the judge", "answers without a score", 0.5)
    assert told.findings[0].sentence in run_in_words(run_card(mine))


def test_an_unfinished_run_has_a_card_that_says_so(tmp_path: Path) -> None:
    card = run_card(make_run(tmp_path, until="answers", unfinished="ratings"))
    states = {step.name: step.state for step in card.steps}
    assert (states["answers"], states["ratings"], states["pairs"]) == ("done", "unfinished", "not started")
    assert any(limit.startswith("The run is not finished: ratings, pairs") for limit in card.limits)
    assert any(limit.startswith("Nothing was evaluated") for limit in card.limits)


def test_a_step_of_older_inputs_is_told(toy: Path) -> None:
    recipe = toy.parent / "recipes" / "recipe.yaml"
    run_toy(recipe, toy, "steps.pairs.seed=7", until="pairs")
    limits = run_card(toy).limits
    assert "Step ddpo was made of another pairs than the one that the run holds now." in limits


def test_a_models_page_tells_its_own_lineage(toy: Path) -> None:
    page = model_card(run_card(toy), "dsft", "toy-dsft", "Read it.", ["it was checked"], "transformers")
    head, _, rest = page.removeprefix("---\n").partition("---\n")
    front: dict[str, Any] = yaml.safe_load(head)
    assert (front["base_model"], front["library_name"]) == ("org/base", "transformers")
    assert "| dsft | train |" in rest and "| ddpo |" not in rest and "- it was checked" in rest
    assert "No evaluation of this model" in rest


@pytest.mark.parametrize(
    ("terms", "front"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        (
            "Gemma Terms of Use, https://ai.google.dev/gemma/terms",
            {"license": "other", "license_name": "gemma-terms-of-use",
             "license_link": "https://ai.google.dev/gemma/terms"},
        ),
        ("https://example.org/terms", {"license": "other", "license_name": "see-link",
                                       "license_link": "https://example.org/terms"}),
        ("Ask Mia!", {"license": "other", "license_name": "ask-mia"}),
    ],
)  # fmt: skip
def test_terms_become_the_hubs_fields(terms: str, front: dict[str, str], toy: Path) -> None:
    card = run_card(toy)
    models = tuple(model.model_copy(update={"terms": terms, "roles": ("base of ddpo",)}) for model in card.models)
    page = model_card(card.model_copy(update={"models": models}), "dsft", "T", "How.", [], "gguf")
    head: dict[str, Any] = yaml.safe_load(page.removeprefix("---\n").partition("---\n")[0])
    assert head["library_name"] == "gguf"
    assert {key: value for key, value in head.items() if key.startswith("license")} == front


def intro(card: RunCard, step: str) -> str:
    page = model_card(card, step, "T", "How.", [], "gguf")
    return next(line for line in page.splitlines() if line.startswith("A chat model"))


def test_the_introduction_is_true_of_every_kind_of_model(toy: Path) -> None:
    card = run_card(toy)
    learned = f"A chat model, trained with Favonius {card.favonius}: the base model learned "
    dsft = "from its teacher's dialogues (dSFT)"
    assert intro(card, "dsft") == f"{learned}{dsft}. How."
    judged = "from which of two answers was judged better"
    assert intro(card, "ddpo") == f"{learned}{dsft}, then {judged} (dDPO). How."

    def altered(stage: str, config: dict[str, Any]) -> RunCard:
        """The rows of dDPO from another stage, and its config changed."""
        steps = {step.name: step for step in card.steps}
        steps["pairs"] = steps["pairs"].model_copy(update={"stage": stage})
        told = {**(steps["ddpo"].config or {}), **config}
        steps["ddpo"] = steps["ddpo"].model_copy(update={"config": told})
        return card.model_copy(update={"steps": tuple(steps.values())})

    ipo = {"objective": {"kind": "apo_zero"}}
    assert intro(altered("pairs", ipo), "ddpo") == f"{learned}{dsft}, then {judged} (APO-ZERO). How."
    assert intro(altered("data", {}), "ddpo") == f"{learned}{dsft}, then from given preferences (DPO). How."
    assert intro(altered("pairs", {"model": "base"}), "ddpo") == f"{learned}{judged} (dDPO). How."
    best = {"objective": {"kind": "sft"}}
    assert "then from the best rated of several answers (SFT)." in intro(altered("best", best), "ddpo")
    again = altered("pairs", {})
    third = next(step for step in again.steps if step.name == "ddpo")
    third = third.model_copy(update={"name": "ddpo-2", "config": {**(third.config or {}), "model": "ddpo"}})
    again = again.model_copy(update={"steps": (*again.steps, third)})
    assert intro(again, "ddpo-2") == f"{learned}{dsft}, then {judged} (dDPO) in 2 rounds. How."


def test_a_models_page_has_the_settings_of_its_trainings(toy: Path) -> None:
    page = model_card(run_card(toy), "ddpo", "T", "How.", [], "gguf")
    assert "| dsft | base | dialogues | sft | 1 | 32 | 5e-07 | adamw, linear | 1,024 tokens | all weights |" in page
    assert "| ddpo | dsft | pairs | dpo, β 0.1 | 1 | 32 | 5e-07 | adamw, linear | 1,024 tokens | all weights |" in page
    assert re.search(r"^Finished on \d{4}-\d\d-\d\d\.$", page, re.MULTILINE)
    config = {"adapter": {"rank": 8, "quantize": "nf4"}, "freeze": []}
    card = run_card(toy)
    steps = tuple(
        step.model_copy(update={"config": {**(step.config or {}), **config}}) if step.name == "ddpo" else step
        for step in card.steps
    )
    page = model_card(card.model_copy(update={"steps": steps}), "ddpo", "T", "How.", [], "gguf")
    assert "| QLoRA of rank 8 |" in page


def benchmarked(toy: Path, folder: Path) -> RunCard:
    """The toy run with the tables of benchmarks that another one was put to."""
    return run_card(toy).model_copy(update={"evaluations": run_card(make_benchmark_run(folder)).evaluations})


def test_a_model_whose_safety_nobody_measured_is_said_to_be_one(toy: Path, tmp_path: Path) -> None:
    card, unknown = benchmarked(toy, tmp_path), "The safety of this model was not measured"
    own = card.step("ddpo")
    assert own is not None and unknown not in run_in_words(card)

    def measured(kinds: set[str]) -> RunCard:
        """These very weights in tables of `kinds`, others in the rest."""
        digests = {kind: own.output_digest if kind in kinds else "0" * 64 for kind in ("safety", "ifeval")}
        tables = (one for one in card.evaluations if one.kind in digests)
        mine = (
            one.model_copy(update={"models": {"dDPO": MeasuredModel(name="ddpo", digest=digests[one.kind])}})
            for one in tables
        )
        return card.model_copy(update={"evaluations": tuple(mine)})

    assert unknown not in model_card(measured({"safety", "ifeval"}), "ddpo", "T", "How.", [], "gguf")
    assert unknown in model_card(measured({"ifeval"}), "ddpo", "T", "How.", [], "gguf")


def test_evaluations_come_in_the_recipes_order(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for name in ("a-later-look", "another"):
        (run / name).mkdir()
        for file in ("config.json", "results.json"):
            (run / name / file).write_bytes((run / "evaluate" / file).read_bytes())
    assert [one.step for one in run_card(run).evaluations] == ["evaluate", "a-later-look", "another"]


def test_tables_are_whole(toy: Path, tmp_path: Path) -> None:
    """A blank line ends a table in Markdown."""
    card = benchmarked(toy, tmp_path)
    for page in (run_in_words(card), model_card(card, "ddpo", "T", "How.", [], "gguf")):
        lines = page.splitlines()
        ruled = [number for number, line in enumerate(lines) if line.startswith("|---")]
        assert len(ruled) > 3
        for number in ruled:
            widths = {line.replace("\\|", "").count("|") for line in lines[number - 1 : number + 2]}
            assert len(widths) == 1 and widths != {0}, lines[number - 1 : number + 2]


def test_a_recipe_cannot_break_its_fence(toy: Path) -> None:
    card = run_card(toy)
    recipe = card.recipe + "# \n```\n# and ````\n"
    page = run_in_words(card.model_copy(update={"recipe": recipe}))
    assert f"`````yaml\n{recipe}`````\n" in page


def test_text_cannot_break_a_table(tmp_path: Path) -> None:
    card = run_card(make_run(tmp_path))
    first = card.steps[0].model_copy(update={"dropped": {"a | b\nc": 1}})
    page = run_in_words(card.model_copy(update={"steps": (first, *card.steps[1:])}))
    assert "1 a \\| b c" in page


def test_the_command_writes_both_kinds(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(toy)]) == 0
    assert f"card: {toy}/card.json" in capsys.readouterr().out
    assert read_card(toy / "card.json") == run_card(toy)
    assert main(["card", str(toy), "--out", str(tmp_path / "card.md"), "--no-files"]) == 0
    assert "not in it: the text of seeds.jsonl" in capsys.readouterr().out
    assert (tmp_path / "card.md").read_text().startswith("# Run toy")
    assert main(["card", str(toy), "--out", str(tmp_path / "card.txt")]) == 2
    assert main(["card", str(tmp_path)]) == 2
    assert main(["status", str(toy)]) == 0  # the card in the run folder disturbs nothing


def test_what_is_no_card_is_refused(tmp_path: Path) -> None:
    for text, amiss in (
        (b"no json", "it is not one JSON object"),
        (b"[]", "it is not one JSON object"),
        (b'{"kind": "\xe9"}', "it is not one JSON object"),
        (b"{}", "wrong or missing: favonius, name, finished_at, …"),
        (b'{"kind": "favonius run card", "schema_version": 2}', "wrong or missing: schema_version"),
    ):
        (tmp_path / "card.json").write_bytes(text)
        with pytest.raises(UserError, match=rf"card\.json: this is no run card of schema 1 \({amiss}"):
            read_card(tmp_path / "card.json")
    with pytest.raises(UserError, match="no such file"):
        read_card(tmp_path / "nowhere.json")
    with pytest.raises(UserError, match="this is a folder"):
        read_card(tmp_path)


def test_sources_lose_their_folders() -> None:
    assert shown_source("models/mistral") == "mistral"
    assert shown_source("owner/name") == "owner/name"


def test_the_report_is_the_same_beside_a_card(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = write(run).read_text()
    assert main(["card", str(run)]) == 0
    assert write(run).read_text() == before


def test_gpus_are_asked_of_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200'\necho 'NVIDIA H200'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = this_machine()
    assert found.gpus == ("NVIDIA H200", "NVIDIA H200") and found.processor and found.memory_bytes > 2**28
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert this_machine().gpus == ()
