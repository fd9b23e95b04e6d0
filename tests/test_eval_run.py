"""`favonius eval run`: what it asks, what it keeps, what it refuses. Models are scripted, their weights empty files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from favonius.cli import main
from favonius.cli.eval_page import page
from favonius.cli.eval_tasks import Judge, Wanted, known_tasks, tasks_of
from favonius.cli.named_models import named
from favonius.engines.config import LlamaCpp, OpenAI, Transformers
from favonius.engines.scripted import ScriptedEngine
from favonius.errors import UserError
from favonius.evals.benchmarks.config import AlpacaEval, IFEval, MtBench, Preference
from favonius.types import Request
from tests.toy_run import RECIPE
from tests.voices import speak

SUMS = {"1 + 1": 2, "2 + 3": 5, "4 + 4": 8, "9 + 1": 10}
JUDGE = Judge("judge", {"kind": "ranking", "model": "judge", "engine": {"kind": "transformers"}}, is_model=True)
SERVED = """\
model: api://big-one
engine: {kind: openai, endpoints: [http://127.0.0.1:9/v1]}
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models `good` and `bad` and a file of sums; commands run in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("good", "bad"):
        weights(tmp_path / name)
    rows = [{"question": f"What is {sum_}?", "answer": f"#### {result}"} for sum_, result in SUMS.items()]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, ScriptedEngine]:
    """`good` knows every sum, `bad` none but the first."""
    return speak(monkeypatch, {"good": knows(SUMS), "bad": knows({"1 + 1": 2}), "theirs": knows(SUMS)})


def weights(folder: Path) -> Path:
    """A folder that passes for a model's until it is loaded."""
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text(json.dumps(folder.name))
    return folder


def knows(sums: Mapping[str, int]) -> Any:
    def answer(request: Request) -> str:
        question = request.messages[-1].content
        found = next((result for sum_, result in sums.items() if sum_ in question), 0)
        return f"It must be {found}.\n#### {found}"

    return answer


def run(*arguments: object) -> int:
    return main(["eval", "run", *map(str, arguments)])


SUMMING = ("gsm8k", "--set", "gsm8k.problems=sums.jsonl")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence that a command is refused with."""
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("error: "), err
    return err


def test_a_run_and_its_table(
    world: Path, engines: Mapping[str, ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SUMMING, "--model", "good") == 0
    out, _ = capsys.readouterr()
    assert re.search(r"^gsm8k +right, after #### +100\.0 % +51\.0 to 100\.0 +4 ", out, re.MULTILINE), out
    assert out.rstrip().endswith("results: evals/good/results.json")
    found = read(world / "evals/good/results.json")
    assert found["labels"] == ["good"] and found["baseline"] is None
    assert found["tasks"][0]["values"]["good"]["strict"]["value"] == 1.0
    assert (world / "evals/good/ledger.sqlite").is_file()
    assert {file.name for file in (world / "evals/good/good/gsm8k").iterdir()} == {
        "result.json", "items.jsonl", "config.json", "done.json"
    }  # fmt: skip


def test_the_length_controlled_rate_stands_in_the_table_with_its_interval() -> None:
    metric = {"key": "preference", "title": "win rate", "unit": "%"}
    figure = {"value": 0.6, "low": 0.5, "high": 0.7, "n": 30, "unreadable": 0}
    task = {
        "name": "alpacaeval",
        "judge": None,
        "metrics": [metric],
        "values": {"mine": {"preference": figure}},
        "compared": {},
        "answers": {"mine": {"tokens": 40.0}},
        "protocol": {"mine": {"length_controlled_winrate": 55.0, "length_controlled_standard_error": 2.5, "n": 30}},
        "notes": [],
        "left_out": {},
    }
    shown = page({"tasks": [task], "baseline": None}, ["alpacaeval"], ["mine"], Path("out"))
    line = next(line for line in shown.splitlines() if "length-controlled" in line)
    assert line.split() == ["length-controlled", "55.0", "%", "50.1", "to", "59.9", "30"]


def test_json_alone_on_stdout(
    world: Path, engines: Mapping[str, ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SUMMING, "--model", "good", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == read(world / "evals/good/results.json")


def test_the_same_command_again_asks_nothing(
    world: Path, engines: Mapping[str, ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SUMMING, "--model", "good") == 0
    before = (world / "evals/good/results.json").read_bytes()
    asked = len(engines["good"].asked)
    assert run(*SUMMING, "--model", "good") == 0
    assert "good, gsm8k: done before" in capsys.readouterr().err
    assert len(engines["good"].asked) == asked == 4
    assert (world / "evals/good/results.json").read_bytes() == before


def test_what_was_stopped_goes_on(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third question is a Ctrl-C; the next run asks only what has no answer yet."""
    told = knows(SUMS)

    def stops(request: Request) -> str:
        if "4 + 4" in request.messages[-1].content:
            raise KeyboardInterrupt
        return str(told(request))

    first = speak(monkeypatch, {"good": stops})["good"]
    first.slots = 1
    assert run(*SUMMING, "--model", "good") == 130
    assert not (world / "evals/good/good/gsm8k/done.json").exists()
    second = speak(monkeypatch, {"good": told})["good"]
    assert run(*SUMMING, "--model", "good") == 0
    answered = len(first.asked) - 1
    assert answered > 0 and len(second.asked) == 4 - answered
    assert read(world / "evals/good/results.json")["tasks"][0]["values"]["good"]["strict"]["value"] == 1.0


def test_another_task_joins_the_results(
    world: Path, engines: Mapping[str, ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "more.yaml").write_text("first-sum: {task: gsm8k, problems: sums.jsonl, limit: 1}\n")
    assert run(*SUMMING, "--model", "good") == 0
    assert run("more.yaml", "--model", "good") == 0
    assert [task["name"] for task in read(world / "evals/good/results.json")["tasks"]] == ["gsm8k", "first-sum"]
    assert len(engines["good"].asked) == 4  # its one question had been asked
    assert "gsm8k" not in capsys.readouterr().out.rpartition("task ")[2]  # the last table is of the task asked for


def test_a_changed_task_is_made_again_and_says_why(
    world: Path, engines: Mapping[str, ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SUMMING, "--model", "good", "--limit", 2) == 0
    assert len(engines["good"].asked) == 2
    assert run(*SUMMING, "--model", "good") == 0
    assert "good, gsm8k: made again (task.limit: 2 → none)" in capsys.readouterr().err
    assert len(engines["good"].asked) == 4
    (world / "sums.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "#### 2"}\n')
    assert run(*SUMMING, "--model", "good") == 0
    assert "input sums.jsonl changed" in capsys.readouterr().err


def test_more_room_alone_makes_nothing_again(world: Path, engines: Mapping[str, ScriptedEngine]) -> None:
    assert run(*SUMMING, "--model", "good") == 0
    written = (world / "evals/good/good/gsm8k/done.json").stat().st_mtime_ns
    assert run(*SUMMING, "--model", "good", "--context-tokens", 4096, "--slots", 2) == 0
    assert (world / "evals/good/good/gsm8k/done.json").stat().st_mtime_ns == written


def test_another_model_in_the_folder_is_refused(
    world: Path, engines: Mapping[str, ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SUMMING, "--model", "good") == 0
    capsys.readouterr()
    (world / "good/model.safetensors").write_text("trained further")
    assert "good there is another model" in refused(capsys, *SUMMING, "--model", "good")
    assert read(world / "evals/good/results.json")["labels"] == ["good"]


def test_a_baseline_answers_too_and_is_compared_with(
    world: Path, engines: Mapping[str, ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SUMMING, "--model", "good", "--baseline", "bad") == 0
    found = read(world / "evals/good/results.json")
    assert found["labels"] == ["good", "bad"] and found["baseline"] == "bad"
    compared = found["tasks"][0]["compared"]["good"]["strict"]
    assert (compared["difference"]["value"], compared["wins"], compared["ties"]) == (0.75, 3, 1)
    assert "− bad" in capsys.readouterr().out
    assert main(["eval", "compare", "evals/good", "evals/good/bad", "--json", "-"]) == 0  # as eval run left them
    held = json.loads(capsys.readouterr().out)["tasks"][0]["metrics"]["strict"]
    assert (held["difference"]["value"], held["wins"], held["losses"]) == (0.75, 3, 0)


def test_several_models_and_labels(
    world: Path, engines: Mapping[str, ScriptedEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    named_twice = (*SUMMING, "--model", "good", "--model", "bad")
    assert run(*named_twice, "--label", "A", "--label", "B", "--out", "both") == 0
    assert read(world / "both/results.json")["labels"] == ["A", "B"]
    capsys.readouterr()
    assert "one each" in refused(capsys, *named_twice, "--label", "A")
    assert "two models would be called good" in refused(capsys, *SUMMING, "--model", "good", "--model", "./good")
    assert "--label: " in refused(capsys, *SUMMING, "--model", "good", "--label", "a/b")
    assert "is the model itself" in refused(capsys, *SUMMING, "--model", "good", "--baseline", "good")


def test_mistakes_are_told_in_one_sentence(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = ("--model", "good")
    assert "no such task; did you mean ifeval?" in refused(capsys, "ifevla", *good)
    assert "there are two tasks gsm8k" in refused(capsys, "gsm8k", *SUMMING, *good)
    assert "mt-bench needs a judge; name one with --judge" in refused(capsys, "mt-bench", *good)
    assert "alpacaeval needs a judge" in refused(capsys, "alpacaeval", *good)
    assert "did you mean problems?" in refused(capsys, "gsm8k", *good, "--set", "gsm8k.problem=x")
    assert "did you mean gsm8k?" in refused(capsys, "gsm8k", *good, "--set", "gsm8.limit=1")
    assert "TASK.FIELD=VALUE" in refused(capsys, "gsm8k", *good, "--set", "limit=1")
    assert "there is no file nowhere.jsonl" in refused(capsys, "gsm8k", *good, "--set", "gsm8k.problems=nowhere.jsonl")
    assert "--limit 0" in refused(capsys, *SUMMING, *good, "--limit", 0)
    assert "neither a folder that exists nor a hub id" in refused(capsys, *SUMMING, "--model", "nothing")
    assert "its servers are not known" in refused(capsys, *SUMMING, "--model", "api://big-one")
    assert "there is no such folder" in refused(capsys, *SUMMING, *good, "--training", "run/dialogues")
    (world / "tasks.yaml").write_text("mine:\n  task: gsm8k\n  shots: many\n")
    assert "tasks.yaml:3: mine.shots: must be a whole number" in refused(capsys, "tasks.yaml", *good)
    assert not (world / "evals").exists()


def test_tasks_know_their_names() -> None:
    assert set(known_tasks()) == {
        "mt-bench", "alpacaeval", "ifeval", "safety", "gsm8k", "preference", "perplexity", "health", "arc",
        "hellaswag", "mmlu", "truthfulqa", "gsm8k-harness", "medconceptsqa",
    }  # fmt: skip


def test_the_judge_goes_where_one_is_needed() -> None:
    tasks = tasks_of(Wanted(("mt-bench", "alpacaeval", "ifeval"), JUDGE, limit=5))
    first, second, third = tasks.values()
    assert isinstance(first, MtBench) and (first.judge, first.engine, first.limit) == ("judge", Transformers(), 5)
    assert isinstance(second, AlpacaEval) and (second.judge.kind, second.judge.model) == ("ranking", "judge")
    assert isinstance(third, IFEval) and third.limit == 5


def test_what_is_set_of_a_task_stands_above_the_rest() -> None:
    texts = ("alpacaeval.judge.model=other", "alpacaeval.limit=3", "alpacaeval.baseline=theirs")
    (task,) = tasks_of(Wanted(("alpacaeval",), JUDGE, baseline="base", limit=5, overrides=texts)).values()
    assert isinstance(task, AlpacaEval)
    assert (task.judge.model, task.limit, task.baseline) == ("other", 3, "theirs")


def test_a_judge_of_a_kind_of_its_own_is_alpacaevals_alone() -> None:
    judge = Judge("judge.yaml", {"kind": "pairwise", "model": "judge"}, is_model=False)
    (task,) = tasks_of(Wanted(("alpacaeval",), judge)).values()
    assert isinstance(task, AlpacaEval) and task.judge.kind == "pairwise"
    with pytest.raises(UserError, match="the judge of mt-bench is a model that is asked"):
        tasks_of(Wanted(("mt-bench",), judge))


def test_the_baseline_goes_where_it_is_played_against(world: Path) -> None:
    texts = ("mt-bench.mode=pairwise", "preference.file=sums.jsonl")
    names = ("mt-bench", "alpacaeval", "preference")
    games, rates, pairs = tasks_of(Wanted(names, JUDGE, baseline="base", overrides=texts)).values()
    assert isinstance(games, MtBench) and games.baseline == "base"
    assert isinstance(rates, AlpacaEval) and rates.baseline == "base"
    assert isinstance(pairs, Preference) and pairs.reference == "base"
    (single,) = tasks_of(Wanted(("mt-bench",), JUDGE, baseline="base")).values()
    assert isinstance(single, MtBench) and single.baseline is None


def test_files_of_a_file_of_tasks_lie_beside_it(world: Path) -> None:
    (world / "far").mkdir()
    (world / "far/sums.jsonl").write_text((world / "sums.jsonl").read_text())
    (world / "far/tasks.yaml").write_text("mine: {task: gsm8k, problems: sums.jsonl}\nown: {task: ifeval}\n")
    (world / "other.jsonl").write_text("{}\n")
    mine, own = tasks_of(Wanted(("far/tasks.yaml",))).values()
    assert str(mine.problems) == str(Path("far/sums.jsonl")) and own.prompts is None  # type: ignore[union-attr]
    mine, _ = tasks_of(Wanted(("far/tasks.yaml",), overrides=("mine.problems=other.jsonl",))).values()
    assert Path(mine.problems) == world / "other.jsonl"  # type: ignore[union-attr]


def test_models_are_named_as_people_call_them(world: Path) -> None:
    (world / "small-q4.gguf").write_bytes(b"")
    (world / "big.yaml").write_text(SERVED)
    assert named("good").name == "good" and named("./good/").name == "good"
    assert isinstance(named("good").answers_by(512, None), Transformers)
    assert named("HuggingFaceH4/zephyr-7b-beta").name == "zephyr-7b-beta"
    small = named("small-q4.gguf")
    assert small.name == "small-q4" and small.answers_by(512, 3) == LlamaCpp(context_tokens=512, slots=3)
    served = named("big.yaml")
    assert served.name == "big-one" and served.is_served
    assert isinstance(served.answers_by(512, None), OpenAI)


def test_models_of_a_run(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = world / "recipes/toy.yaml"
    recipe.parent.mkdir()
    recipe.write_text(RECIPE.replace("SHA", "0" * 64))
    os.chdir(world / "recipes")
    (world / "recipes/seeds.jsonl").write_text("")
    (world / "toy").mkdir()
    (world / "toy/recipe.yaml").write_text(recipe.read_text())
    (world / "toy/origin.json").write_text(json.dumps({"recipe": str(recipe)}))
    os.chdir(world)
    assert named("toy/teacher").config is not None and named("toy/teacher").name == "teacher"
    assert isinstance(named("toy/teacher").answers_by(512, None), LlamaCpp)
    assert named("toy/dsft").config is None and named("toy/dsft").folder == Path("toy")
    assert "this is a run; name a model of it" in refused(capsys, *SUMMING, "--model", "toy")
    assert "toy: no train step has finished here" in refused(capsys, *SUMMING, "--model", "toy/dsft")


def test_one_command_asks_by_one_engine(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "big.yaml").write_text(SERVED)
    assert "by one engine" in refused(capsys, *SUMMING, "--model", "good", "--baseline", "big.yaml")
