"""The command: what it prints, how it exits, what it does not import."""

from __future__ import annotations

import errno
import functools
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from favonius.cli import main, tables
from favonius.errors import FavoniusError
from favonius.pipeline import work
from favonius.pipeline.talkers import last_trained, talkers
from favonius.recipe.schema import json_schema
from favonius.types import Sampling
from tests.toy_run import PARTS, RECIPE, STEPS, run_toy, write_recipe


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy recipe, and toy stages behind `favonius run`."""
    monkeypatch.setattr(work, "run_recipe", functools.partial(work.run_recipe, parts=PARTS))
    return write_recipe(tmp_path / "recipes")


def with_seeds(recipe: Path, seeds: int = 40) -> Path:
    rows = [json.dumps({"id": f"seed-{number}", "prompt": f"Why {number}?"}) for number in range(seeds)]
    (recipe.parent / "seeds.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return recipe


def without_traceback(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom favonius.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'yaml', 'matplotlib', 'xllamacpp', 'asyncio'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("run", "check", "schema", "status", "report", "chat"):
        assert re.search(rf"^    {command} ", done.stdout, re.MULTILINE)


def test_the_help_of_chat_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["chat", "--help"])
    told = re.findall(r"\(default:\s+([\d.]+)\)", capsys.readouterr().out)
    drawn = Sampling()
    assert told == [str(value) for value in (drawn.temperature, drawn.top_p, drawn.max_tokens, drawn.seed)]


def test_status_imports_no_torch(tmp_path: Path, recipe: Path) -> None:
    run_toy(recipe, tmp_path / "run")
    code = (
        "import sys\nfrom favonius.cli import main\nassert main(['status', sys.argv[1]]) == 0\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'xllamacpp'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_version_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as version:
        main(["--version"])
    assert version.value.code == 0
    assert capsys.readouterr().out.startswith("favonius 0.")
    for arguments in (["rnu"], [], ["run"], ["status", "x", "--untill", "y"]):
        with pytest.raises(SystemExit) as wrong:
            main(arguments)
        assert wrong.value.code == 2


def test_run_status_and_rerun(tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["run", str(recipe), "--out", run]) == 0
    out, err = without_traceback(capsys)
    assert f"report: {run}/report.html" in out
    assert f"favonius chat {run}" in out
    assert [line.split(":")[0] for line in err.splitlines() if " starts (never run)" in line] == list(STEPS)
    assert main(["run", str(recipe), "--out", run, "--set", "steps.ddpo.learning_rate=1e-6"]) == 0
    err = without_traceback(capsys)[1]
    assert "pairs: done before" in err
    assert "ddpo: starts (learning_rate: 5e-07 → 1e-06)" in err
    assert main(["status", run]) == 0
    rows = [line.split() for line in without_traceback(capsys)[0].splitlines()]
    assert rows[0] == ["step", "stage", "state", "why"]
    assert [(row[0], row[2]) for row in rows[1:]] == [(name, "done") for name in STEPS]


def test_the_run_folder_is_named_by_the_recipe(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(recipe), "--until", "dialogues"]) == 0
    assert (tmp_path / "runs" / "toy" / "dialogues" / "done.json").exists()
    assert "chat" not in without_traceback(capsys)[0]


def test_a_users_mistake_exits_with_2(tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(RECIPE.replace("learning_rate", "learning_rte").replace("beta", "betta"), encoding="utf-8")
    for command in ("run", "check"):
        assert main([command, str(recipe)]) == 2
        lines = without_traceback(capsys)[1].splitlines()
        assert len(lines) == 2
        assert all(re.match(rf"error: {recipe}:\d+: steps\.ddpo\.", line) for line in lines)
    for arguments in (["run", "nowhere.yaml"], ["status", str(tmp_path)], ["report", str(tmp_path)]):
        assert main(arguments) == 2
        assert without_traceback(capsys)[1].startswith("error: ")


def failing(error: BaseException) -> Callable[..., None]:
    def run(*arguments: object, **named: object) -> None:
        raise error

    return run


def test_other_failures_exit_with_1(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(work, "run_recipe", failing(FavoniusError("the teacher is gone")))
    assert main(["run", str(recipe)]) == 1
    assert without_traceback(capsys)[1] == "error: the teacher is gone\n"
    assert main(["run", str(recipe), "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: the teacher is gone\n")
    monkeypatch.setattr(work, "run_recipe", failing(KeyboardInterrupt()))
    assert main(["run", str(recipe)]) == 130
    assert without_traceback(capsys)[1].strip() == "stopped; run the same command again to go on"


def test_a_fault_of_ours_shows_its_traceback(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(work, "run_recipe", failing(ZeroDivisionError("by nought")))
    assert main(["run", str(recipe)]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: by nought" in err
    assert "this is a fault of favonius, not of yours; finished steps are safe" in err.splitlines()[-1]


def test_a_place_that_will_not_do_is_named(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("", encoding="utf-8")
    for out in (taken, taken / "run"):
        assert main(["run", str(recipe), "--out", str(out)]) == 2
        said = without_traceback(capsys)[1]
        assert said == f"error: {out}: a file stands where a folder is needed; name another place\n"
    page = tmp_path / "report.html"
    for denied in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENAMETOOLONG):
        error = OSError(denied, "no", str(tmp_path / ".report.html.17.tmp"))
        monkeypatch.setattr(work, "run_recipe", failing(error))
        assert main(["run", str(recipe)]) == 2
        assert re.fullmatch(rf"error: {page}: [^\n]+; [^\n]+\n", without_traceback(capsys)[1])
    assert main(["run", str(recipe), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [OSError("no number"), OSError(errno.EACCES, "no place"), FileNotFoundError(errno.ENOENT, "gone", "x")]
)
def test_what_names_no_place_is_a_fault_of_ours(
    error: OSError, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(work, "run_recipe", failing(error))
    assert main(["run", str(recipe)]) == 1
    assert "this is a fault of favonius" in capsys.readouterr().err


def test_check_prints_the_plan_and_makes_nothing(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", str(with_seeds(recipe)), "--set", "steps.dsft.batch_size=1", "--with-ablations"]) == 0
    out = without_traceback(capsys)[0]
    assert f"{recipe} is valid; its run folder is runs/toy." in out
    assert re.search(r"^base +hub: org/base +not named$", out, re.MULTILINE)
    assert re.search(r"^teacher +package index: teacher 1.0, teacher.gguf +Apache-2.0$", out, re.MULTILINE)
    assert re.search(r"^ddpo +train +dsft, pairs +[\d,]+ +\d+$", out, re.MULTILINE)
    assert "ddpo-without-dsft" in out
    assert "at most" in out
    steps = re.search(r"^dsft +train +base, dialogues +[\d,]+ +(\d+)$", out, re.MULTILINE)
    assert steps is not None
    assert 30 < int(steps[1]) < 40  # 40 seeds less the held-out tenth, one row per step
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipes"]


def test_check_refuses_bad_seeds(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe.parent / "seeds.jsonl").write_text('{"id": "a", "promt": "Why?"}\n', encoding="utf-8")
    assert main(["check", str(recipe)]) == 2
    assert "seeds.jsonl" in without_traceback(capsys)[1]
    for content, sentence in ((b"\n", "there are no rows in it"), (b'{"id": "a", "prompt": "caf\xe9"}', "not UTF-8")):
        (recipe.parent / "seeds.jsonl").write_bytes(content)
        assert main(["check", str(recipe)]) == 2
        assert sentence in without_traceback(capsys)[1]


def test_schema_is_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_chat_speaks_with_the_last_step_that_is_no_ablation(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = pytest.importorskip("favonius.serve.terminal")
    heard: list[tuple[object, ...]] = []
    monkeypatch.setattr(terminal, "chat", lambda *arguments: heard.append(arguments))
    run = tmp_path / "run"
    run_toy(recipe, run, with_ablations=True)
    assert main(["chat", str(run), "--temperature", "0", "--max-tokens", "9"]) == 0
    assert main(["chat", str(run), "--step", "dsft"]) == 0
    assert [(folder, step) for folder, _, step, _, _ in heard] == [(run, "ddpo"), (run, "dsft")]
    assert [getattr(heard[0][3], name) for name in ("temperature", "max_tokens")] == [0.0, 9]
    assert main(["chat", str(run), "--step", "answers"]) == 2
    assert "there is no model of answers to talk to" in without_traceback(capsys)[1]
    assert main(["chat", str(run), "--top-p", "2"]) == 2
    assert without_traceback(capsys)[1] == "error: --top-p: must be at most 1, not 2.0\n"


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    command = f"'{sys.executable}' -c 'from favonius.cli import main; main([\"schema\"])' | head -c 10"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_tables_align_numbers_to_the_right_and_leave_out_noughts() -> None:
    assert tables.table(("name", "count"), [["a", 1234], ["long name", 0]]).splitlines() == [
        "name       count",
        "a          1,234",
        "long name",
    ]
    assert tables.table(("name",), []) == "name"


def test_the_models_of_a_run_are_its_trainings_in_order(tmp_path: Path, recipe: Path) -> None:
    run_toy(recipe, tmp_path / "run", until="ddpo")
    assert list(talkers(tmp_path / "run")) == ["dsft", "ddpo"]  # the toy base has no weights to talk to
    assert last_trained(tmp_path / "run") == "ddpo"


SCORED = [
    "eval alpacaeval score {}",
    "eval mt-bench score {}",
    "eval ifeval score --prompts {0} --responses {0}",
    "pairs {} --compare",
]


@pytest.mark.parametrize("command", SCORED)
def test_a_packed_file_and_a_folder_of_nothing_are_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed, folder = tmp_path / "rows.jsonl", tmp_path / "rows"
    packed.write_bytes(gzip.compress(b'{"prompt": "p"}\n'))
    folder.mkdir()
    sentences = {
        packed: "it is compressed, and its name does not say so; call it rows.jsonl.gz",
        folder: "(this is a folder; name a file|the folder holds no file of rows; known are [^\n]+)",
    }
    for place, sentence in sentences.items():
        assert main(command.format(place).split()) == 2
        assert re.fullmatch(f"error: {place}: {sentence}\n", without_traceback(capsys)[1])


def test_comparing_wants_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    file.write_text("{}", encoding="utf-8")
    assert main(["eval", "compare", str(file), str(file)]) == 2
    assert re.fullmatch(
        f"error: {file}: this is a file; give the model's folder, [^\n]+\n", without_traceback(capsys)[1]
    )
