"""`favonius replay`: the same run again from its card alone, and the name of whatever differs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from favonius.card.nouns import RunCard, read_card, write_card
from favonius.cli import main
from favonius.engines import interview
from favonius.errors import UserError
from favonius.machine import Machine
from favonius.pipeline import work
from favonius.pipeline.replay import Wanted, compare, prepared
from favonius.types import digest
from tests import whole_run
from tests.toy_run import PARTS, RECIPE, outputs, run_toy, write_recipe

Change = Callable[[RunCard], RunCard]


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small files are written, and a busy disk takes its time over each."""
    monkeypatch.setattr("favonius.files.synced", lambda path: None)


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The card of a toy run, and toy stages behind the command. The run's own folders are gone."""
    monkeypatch.setattr(work, "run_recipe", functools.partial(work.run_recipe, parts=PARTS))
    return write(tmp_path, RECIPE)


def write(folder: Path, recipe: str) -> Path:
    path = write_recipe(folder / "there", recipe)
    run_toy(path, folder / "run")
    assert main(["card", str(folder / "run"), "--out", str(folder / "card.json")]) == 0
    (folder / "there").rename(folder / "elsewhere")
    return folder / "card.json"


def changed(card: Path, change: Change) -> Path:
    file = card.with_name("changed.json")
    write_card(file, change(read_card(card)))
    return file


def step_changed(name: str, **fields: Any) -> Change:
    def change(card: RunCard) -> RunCard:
        steps = [step.model_copy(update=fields) if step.name == name else step for step in card.steps]
        return card.model_copy(update={"steps": tuple(steps)})

    return change


def replayed(card: Path, *options: str, out: str = "again") -> tuple[int, Path]:
    folder = card.parent / out
    return main(["replay", str(card), "--out", str(folder), *options]), folder


def row(text: str, step: str) -> str:
    """The line of the table of steps."""
    return next(line for line in text.splitlines() if line.split()[:1] == [step])


def test_a_replay_makes_the_same(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, folder = replayed(card)
    said = capsys.readouterr().out
    assert code == 0 and "Equal: all 7 steps made the same, byte for byte." in said
    made = {name: text for name, text in outputs(folder).items() if not name.startswith("card_files")}
    assert made == outputs(card.parent / "run")
    before, after = read_card(card), read_card(folder / "card.json")
    assert [step.identity for step in before.steps] == [step.identity for step in after.steps]
    assert main(["status", str(folder)]) == 0
    assert "never run" not in capsys.readouterr().out


def test_a_replay_goes_on_where_it_was(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replayed(card)
    capsys.readouterr()
    code, _ = replayed(card)
    assert code == 0 and "dialogues: done before" in capsys.readouterr().err


def test_another_seed_file_is_named(card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "seeds.jsonl").write_text('{"id": "a", "prompt": "Why not?"}\n')
    code, _ = replayed(card, "--files", str(tmp_path / "given"))
    out, err = capsys.readouterr()
    assert code == 1
    assert "is another; the replay goes on with it" in err
    assert "file seeds.jsonl has another content" in row(out, "dialogues")
    assert "step dialogues made something else" in row(out, "dsft")
    assert "file seeds.jsonl: sha256" in out and "Different: 0 of 7 steps made the same." in out


def test_another_setting_is_named(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = replayed(card, "--set", "steps.ddpo.learning_rate=1e-6")
    said = capsys.readouterr().out
    assert code == 1 and "learning_rate: 5e-07 → 1e-06" in row(said, "ddpo")
    assert "step ddpo made something else" in row(said, "evaluate")
    assert "the same" in row(said, "pairs") and "Different: 5 of 7" in said


def test_another_version_is_named_and_harmless_where_the_bytes_agree(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = read_card(card).step("dsft")
    assert old is not None
    code, _ = replayed(changed(card, step_changed("dsft", versions=old.versions | {"torch": "1.0.0"})))
    said = capsys.readouterr().out
    assert code == 0 and "Versions:" in said and "and 1.0.0 → " in said


def test_a_tampered_digest_is_named(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = replayed(changed(card, step_changed("pairs", outputs={"rows.txt": "0" * 64})))
    said = capsys.readouterr().out
    assert code == 1
    assert "differs in 1 of 1 files" in row(said, "pairs") and "a card that was changed" in row(said, "pairs")
    assert "Step pairs: the digests of its files do not give the digest of its outputs" in said
    config = read_card(card).step("pairs")
    assert config is not None and config.config is not None
    code, _ = replayed(changed(card, step_changed("pairs", config=config.config | {"seed": 9})), out="other")
    assert code == 1 and "Step pairs: its config and inputs do not give its identity" in capsys.readouterr().out


def test_bytes_that_differ_are_laid_to_versions_and_machine(card: Path) -> None:
    before = read_card(card)
    other = {"rows.txt": "0" * 64}
    dsft = before.step("pairs")
    assert dsft is not None and dsft.machine is not None
    machine = Machine(processor="Abacus", cores=1, memory_bytes=1, gpus=("H200",))
    after = step_changed(
        "pairs", outputs=other, output_digest=digest(other), versions=dsft.versions | {"torch": "9.9"}, machine=machine
    )(before)
    held = {step.name: step for step in compare(before, after).steps}
    reasons = "; ".join(held["pairs"].reasons)
    assert "torch" in reasons and "→ 9.9" in reasons and "→ Abacus" in reasons and "GPUs none → H200" in reasons
    assert held["ddpo"].verdict == "the same"


def test_a_servers_answers_are_the_reason(card: Path) -> None:
    before = read_card(card)
    other = {"rows.txt": "0" * 64}
    served = [
        model.model_copy(update={"source": "api://big"}) if model.name == "teacher" else model
        for model in before.models
    ]
    after = step_changed("dialogues", outputs=other)(before).model_copy(update={"models": tuple(served)})
    held = {step.name: step for step in compare(before, after).steps}
    assert held["dialogues"].reasons == ("teacher answered from a server, which need not say the same twice",)


def test_numbers_are_held_against_the_intervals(tmp_path: Path) -> None:
    from favonius.card.build import run_card
    from tests.report_run import make_run

    before = run_card(make_run(tmp_path))

    def moved(by: float) -> RunCard:
        [table] = before.evaluations
        first = table.metrics[0]
        values = {
            label: None if one is None else one.model_copy(update={"value": one.value + by})
            for label, one in first.values.items()
        }
        metrics = (first.model_copy(update={"values": values}), *table.metrics[1:])
        return before.model_copy(update={"evaluations": (table.model_copy(update={"metrics": metrics}),)})

    for by, place in ((0.0, "the same"), (0.05, "within"), (0.3, "outside")):
        found = compare(before, moved(by))
        mine = [one for one in found.numbers if one.title == before.evaluations[0].metrics[0].title and one.before]
        assert {one.place for one in mine} == {place}
        assert found.equal == (place == "the same")
    gone = compare(before, before.model_copy(update={"evaluations": ()}))
    assert {one.place for one in gone.numbers} == {"gone"}


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A card that lacks a file, the base's weights and the teacher's server."""
    monkeypatch.setattr(work, "run_recipe", functools.partial(work.run_recipe, parts=PARTS))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "rows.jsonl").write_text('{"id": "a", "prompt": "Why?"}\n')
    (mine / "mistral").mkdir()
    told = yaml.safe_load(RECIPE)
    told["models"] |= {"base": str(mine / "mistral"), "big": "api://big"}
    told["steps"]["dialogues"] |= {
        "teacher": "big",
        "seeds": str(mine / "rows.jsonl"),
        "engine": {"kind": "openai", "endpoints": ["https://teacher.example/v1"]},
    }
    return write(tmp_path, yaml.safe_dump(told, sort_keys=False))


SERVER = "steps.dialogues.engine.endpoints=[http://127.0.0.1:1/v1]"


def test_what_is_missing_is_asked_for(private: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, folder = replayed(private)
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 3 and not folder.exists()
    assert (
        "files/rows.jsonl (sha256 " in lines[0]
        and "which dialogues read is not in the card; put it as rows" in lines[0]
    )
    assert "models/mistral (weights of model base, base of dsft; digest " in lines[1]
    assert "--set steps.dialogues.engine.endpoints=…" in lines[2]


def test_a_dry_run_tells_what_it_takes(private: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, folder = replayed(private, "--dry-run")
    said = capsys.readouterr().out
    assert code == 1 and not folder.exists()
    assert "files/rows.jsonl  missing" in said and "Missing:" in said and "nothing that is known" in said
    mine = str(private.parent / "mine")
    code, folder = replayed(private, "--dry-run", "--files", mine, "--set", SERVER)
    said = capsys.readouterr().out
    assert code == 0 and not folder.exists()
    assert "files/rows.jsonl  found" in said and "models/mistral    found" in said and "Missing" not in said


def test_a_dry_run_tells_what_this_version_does_otherwise(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed(changed(card, step_changed("ratings", version=0)), "--dry-run")[0] == 0
    said = capsys.readouterr().out
    assert "\n  step ratings: stage version 0 → " in said and said.count("stage version") == 1


def test_given_files_make_the_same_run(private: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = private.parent / "mine"
    code, folder = replayed(private, "--files", str(mine), "--set", SERVER)
    said = capsys.readouterr().out
    # A toy model's digest and a toy stage's rows follow from names, which the card has others for.
    assert (folder / "card_files" / "files" / "rows.jsonl").resolve() == mine / "rows.jsonl"
    assert (folder / "card_files" / "models" / "mistral").resolve() == mine / "mistral"
    assert code == 1 and "model base has other weights" in row(said, "dsft")
    before, after = read_card(private), read_card(folder / "card.json")
    assert before.files == after.files and "file " not in said
    assert [card.steps[0].identity for card in (before, after)] == [before.steps[0].identity] * 2
    assert "big answered from a server" in row(said, "dialogues")


def test_a_text_that_the_card_cut_is_asked_for(card: Path, tmp_path: Path) -> None:
    told = read_card(card)
    recipe = yaml.safe_load(told.recipe)
    recipe["steps"]["dialogues"]["system"] = "Read …/notes.txt first."
    recipe["steps"]["ddpo-without-dsft"]["rows"] = "…/never-run"
    recipe["models"]["teacher"]["terms"] = "as in …/LICENCE"
    cut = told.model_copy(update={"recipe": yaml.safe_dump(recipe, allow_unicode=True)})
    needs = prepared(Wanted(cut, tmp_path / "again"))
    assert needs.missing() == ["steps.dialogues.system is not in the card; give it with --set steps.dialogues.system=…"]
    assert prepared(Wanted(cut, tmp_path / "again", overrides=("steps.dialogues.system=Hm.",))).missing() == []


def test_a_lent_folder_is_not_written_into(card: Path, tmp_path: Path) -> None:
    told = read_card(card)
    [file] = told.files
    below = file.model_copy(update={"name": "seeds.jsonl/more"})
    recipe = told.recipe + "# \n" + "parameters: {more: seeds.jsonl/more}\n"
    with pytest.raises(UserError, match=r"lies in seeds\.jsonl, which is a file of its own"):
        prepared(Wanted(told.model_copy(update={"files": (file, below), "recipe": recipe}), tmp_path / "again"))


@pytest.mark.parametrize("name", ["../outside.jsonl", "/tmp/outside.jsonl", "~/outside.jsonl"])
def test_a_card_cannot_write_outside_its_folder(card: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def evil(card: RunCard) -> RunCard:
        [file] = card.files
        recipe = card.recipe.replace("seeds.jsonl", name)
        return card.model_copy(update={"files": (file.model_copy(update={"name": name}),), "recipe": recipe})

    code, folder = replayed(changed(card, evil))
    assert code == 2 and not folder.exists() and "leads out of the folder" in capsys.readouterr().err


def recipe_changed(change: Callable[[dict[str, Any]], object]) -> Change:
    """Its recipe as somebody else might have left it."""

    def changing(card: RunCard) -> RunCard:
        told = yaml.safe_load(card.recipe)
        change(told)
        return card.model_copy(update={"recipe": yaml.safe_dump(told, sort_keys=False)})

    return changing


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda told: told["steps"]["dialogues"].update(seeds="/etc/hostname"), "steps.dialogues.seeds"),
        (lambda told: told["steps"]["dialogues"].update(seeds="a/../../rows.jsonl"), "steps.dialogues.seeds"),
        (lambda told: told["models"].update(base={"source": "org/base", "template": "~/.netrc"}), "base.template"),
        (lambda told: told["models"].update(base="../../weights"), "models.base"),
        (lambda told: told.update(parameters={"rows": "/etc/hostname"}), "parameters.rows"),
    ],
)
def test_a_card_cannot_have_this_machines_files_read(
    change: Callable[[dict[str, Any]], object], place: str, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a run reads it may send to a teacher."""
    for options in ([], ["--dry-run"]):
        code, folder = replayed(changed(card, recipe_changed(change)), *options)
        said = capsys.readouterr().err
        assert code == 2 and not folder.exists() and place in said and "leads out of the folder" in said


def test_whoever_replays_may_name_files_of_hers(card: Path) -> None:
    seeds = card.parent / "elsewhere" / "seeds.jsonl"
    told = recipe_changed(lambda told: told["steps"]["dialogues"].update(seeds="/etc/hostname"))
    assert replayed(changed(card, told), "--dry-run", "--set", f"steps.dialogues.seeds={seeds}")[0] == 0
    spoken = recipe_changed(lambda told: told["steps"]["dialogues"].update(system="~10 words/answer, and/or ../ none"))
    assert replayed(changed(card, spoken), "--dry-run")[0] == 0


def test_servers_of_a_card_are_not_asked(private: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever put them there would be sent prompts, and the key that is in the variable of their choice."""
    theirs = [{"base_url": "https://evil.example/v1", "key_env": "OPENAI_API_KEY"}]
    told = changed(private, recipe_changed(lambda told: told["steps"]["dialogues"]["engine"].update(endpoints=theirs)))
    mine = str(private.parent / "mine")
    code, folder = replayed(told, "--files", mine)
    said = capsys.readouterr().err
    assert code == 2 and not folder.exists()
    assert "names servers of its own" in said and "--set steps.dialogues.engine.endpoints=…" in said
    assert replayed(told, "--files", mine, "--set", SERVER, "--dry-run")[0] == 0

    blind = step_changed("dialogues", state="left out")  # the recipe says otherwise
    assert replayed(changed(told, blind), "--files", mine, "--dry-run")[0] == 1

    def left_out(told: dict[str, Any]) -> None:
        """A step that did not run may say what it likes."""
        engine = {"kind": "openai", "endpoints": ["(hidden)"]}
        told["steps"]["ddpo-without-dsft"] |= {"engine": engine}

    idle = changed(told, recipe_changed(left_out))
    assert replayed(idle, "--files", mine, "--set", SERVER, "--dry-run")[0] == 0


@pytest.mark.parametrize("name", ["recipe.yaml", "./Card.json", "card.json/x", "", "."])
def test_a_cards_file_takes_no_place_of_the_replays_own(
    name: str, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else another recipe would run than the one that was looked through."""

    def evil(card: RunCard) -> RunCard:
        [file] = card.files
        recipe = yaml.safe_load(card.recipe)
        recipe["steps"]["dialogues"]["seeds"] = name
        named = {"files": (file.model_copy(update={"name": name}),), "recipe": yaml.safe_dump(recipe, sort_keys=False)}
        return card.model_copy(update=named)

    code, folder = replayed(changed(card, evil))
    assert code == 2 and not folder.exists() and "in the place of the replay's own" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "..", ""])
def test_a_cards_name_is_one_folder(name: str, card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(card.read_text()) | {"name": name}
    card.write_text(json.dumps(told))
    assert main(["replay", str(card), "--dry-run"]) == 2
    assert "wrong or missing: name" in capsys.readouterr().err


def test_what_a_card_says_does_not_steer_the_terminal(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = read_card(card)
    models = tuple(model.model_copy(update={"terms": "\x1b[2J\u202egood"}) for model in told.models)
    assert replayed(changed(card, lambda card: card.model_copy(update={"models": models})), "--dry-run")[0] == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\u202e" not in said and "\\u001b[2J" in said


def test_a_changed_content_is_refused(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(card: RunCard) -> RunCard:
        [file] = card.files
        return card.model_copy(update={"files": (file.model_copy(update={"content": "{}"}),)})

    code, _ = replayed(changed(card, change))
    assert code == 2 and "content of seeds.jsonl is not what its sha256 says" in capsys.readouterr().err


def test_mistakes_exit_with_2(card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path / "nothing.json")]) == 2
    assert replayed(card, "--files", str(tmp_path / "nowhere"))[0] == 2
    assert replayed(card, "--set", "steps.nothing.seed=1")[0] == 2
    assert replayed(card, out="run")[0] == 2  # the run itself
    assert "is no replay of this card" in capsys.readouterr().err
    nothing = changed(card, lambda card: card.model_copy(update={"steps": ()}))
    assert replayed(nothing)[0] == 2


def test_a_card_of_half_a_run_replays_that_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "run_recipe", functools.partial(work.run_recipe, parts=PARTS))
    recipe = write_recipe(tmp_path / "there")
    run_toy(recipe, tmp_path / "run", until="answers")
    assert main(["card", str(tmp_path / "run"), "--out", str(tmp_path / "card.json")]) == 0
    code, folder = replayed(tmp_path / "card.json")
    assert code == 0 and not (folder / "ratings").exists()


def test_a_whole_run_is_the_same_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real stages, real trainings, tiny models: every file of every step, byte for byte."""
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(interview, "open_engine", whole_run._open)
    (tmp_path / "there").mkdir()
    recipe = whole_run.write_recipe(tmp_path / "there")
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 0
    assert main(["card", str(tmp_path / "run"), "--out", str(tmp_path / "card.json")]) == 0
    assert str(tmp_path) not in (tmp_path / "card.json").read_text()
    capsys.readouterr()
    code, folder = replayed(tmp_path / "card.json", "--files", str(tmp_path / "there"))
    said = capsys.readouterr().out
    assert code == 0, said
    assert "Equal: all 7 steps" in said and "28 the same" in said
    results = [json.loads((run / "evaluate" / "results.json").read_text()) for run in (tmp_path / "run", folder)]
    assert results[0] == results[1]
