"""A folder in which the documentation's commands work: the recipes, a finished run of tiny models, files by the names
that the pages give theirs.

`runs/quickstart` has the real stages on random models of 320 words; `Desk.give` gives a command in that folder, in this
process. `favonius run` works with stages that only hash (tests/toy_run.py), as no test has the hours of the real ones.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import io
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from favonius.cli import main, parser, serve
from favonius.engines import interview
from favonius.judges.config import ASPECTS
from favonius.pipeline import work
from favonius.recipe import load_recipe
from favonius.recipe.parameters import with_files_from_here
from favonius.serve import terminal
from favonius.serve.server import listening
from tests import tiny, toy_run, weights, whole_run
from tests.docs_text import ROOT, Command

OWN_TESTS = {"export": "test_export.py", "demo": "test_demo.py", "card": "test_card.py", "replay": "test_replay.py"}
"""Commands that need more than a tiny run (a model that llama.cpp reads, a browser), and the tests that give them."""
FILLED_IN = {"FILE": "ultrafeedback.jsonl", "RUN": "runs/mine"}
"""Names in capitals, and what is there for them."""
SECOND_JUDGE = {
    "stage": "ratings",
    "answers": "answers",
    "judge": {"kind": "likelihood", "model": "base"},
    "card": None,
}
BENCHMARK = {
    "stage": "benchmark",
    "models": {"base": "base", "dSFT": "dsft", "dDPO": "ddpo"},
    "baseline": "dSFT",
    "tasks": {"preference": {"task": "preference", "step": "pairs"}},
}


@dataclass(frozen=True)
class Desk:
    """`world` has a finished run; `toys` has the same files and runs of stages that only hash."""

    world: Path
    toys: Path

    def give(self, command: Command, patch: pytest.MonkeyPatch) -> int:
        """Exit code of `command`, in little."""
        words = [word for word in command.words if "=" not in word or not word.split("=")[0].isupper()]
        words = [FILLED_IN.get(word, word) for word in words[1 : words.index(">") if ">" in words else None]]
        patch.chdir(self.toys if words[0] == "run" else self.world)
        said = io.StringIO("What is the weather?\n")
        patch.setattr(terminal, "chat", functools.partial(terminal.chat, reading=said, writing=sys.stdout))
        patch.setattr("sys.stdin", io.StringIO(""))
        patch.setattr(serve, "serve", _answered_once)
        patch.setattr(gc, "collect", lambda *_: 0)  # after every step, of all that a process of tests holds
        patch.setattr(work, "run_recipe", functools.partial(work.run_recipe, parts=toy_run.PARTS))
        return main(words + _in_little(words))


def fault(command: Command, desk: Desk, patch: pytest.MonkeyPatch) -> str | None:
    """Why `command` does not do what a page says that it does; None where it does."""
    if command.kind == "mention" and command.words[-1] == "…":  # any command of that kind
        return None
    if command.text.startswith("make "):
        made = subprocess.run(["make", "-n", command.words[1]], cwd=ROOT, capture_output=True, text=True)
        return made.stderr.strip() or None if made.returncode else None
    if command.text.startswith("python -m "):
        return _options_in_source(command)
    if command.kind != "line":
        return _options_of_form(command.text)
    if command.mark is not None or command.words[1] in OWN_TESTS:
        return _as_far_as_known(command, desk, patch)
    code = desk.give(command, patch)
    return None if code in _allowed(command.words) else f"exit code {code}"


def build(folder: Path, patch: pytest.MonkeyPatch) -> Desk:
    """The folder with everything in it. Takes some twenty seconds."""
    patch.setenv("FAVONIUS_CACHE", str(folder / "cache"))
    world, toys = folder / "world", folder / "toys"
    for place in (world, toys):
        shutil.copytree(ROOT / "recipes", place / "recipes")
        _write_files(place)
    _write_models(world, patch)
    patch.setattr(interview, "open_engine", whole_run._open)
    recipe = yaml.safe_load(whole_run.RECIPE.replace("name: whole", "name: quickstart"))
    recipe["steps"]["ratings"]["card"] = None  # its forty known cases are most of the work
    recipe["steps"]["other-ratings"] = SECOND_JUDGE
    del recipe["steps"]["evaluate"]
    recipe["steps"]["benchmark"] = BENCHMARK
    (world / "tiny").mkdir()
    tiny_recipe = whole_run.write_recipe(world / "tiny")
    # Our reader of YAML takes 1e-3 for a number, PyYAML for a text; the text is what must be written.
    tiny_recipe.write_text(yaml.safe_dump(recipe, sort_keys=False).replace("'1e-3'", "1e-3"), encoding="utf-8")
    with patch.context() as here:
        here.chdir(world)
        assert main(["run", str(tiny_recipe), "--out", "runs/quickstart"]) == 0
    for name in ("mine", "a", "b"):
        shutil.copytree(world / "runs" / "quickstart", world / "runs" / name)
    for name, step in (("first", "ratings"), ("second", "other-ratings")):
        shutil.copytree(world / "runs" / "mine" / step, world / "runs" / "mine" / name)
    shutil.copy(world / "runs" / "mine" / "ratings" / "feedback.jsonl", world / "labels.jsonl")
    patch.undo()
    patch.setenv("FAVONIUS_CACHE", str(folder / "cache"))
    return Desk(world, toys)


def _allowed(words: list[str]) -> tuple[int, ...]:
    """Exit codes of a command that did as it should: faults that it found, and what only `--yes` does, have theirs."""
    if words[1:3] == ["data", "check"]:
        return (0, 1)
    return (0, 2) if "--prune" in words and "--yes" not in words else (0,)


def _write_files(place: Path) -> None:
    """What readers are told to write, and rows where a page says FILE."""
    mine = (place / "recipes" / "own-topic.yaml").read_text(encoding="utf-8")
    (place / "recipes" / "mine.yaml").write_text(
        mine.replace("\nname: own-topic\n", "\nname: mine\n"), encoding="utf-8"
    )
    rows = "".join(json.dumps(_ultrafeedback(number)) + "\n" for number in range(12))
    (place / "ultrafeedback.jsonl").write_text(rows, encoding="utf-8")
    (place / "my.jsonl").write_text('{"id": "a", "prompt": "Why?"}\n{"id": "b", "prompt": "How?"}\n', encoding="utf-8")
    for name in ("my.txt", "my-texts.txt"):
        (place / name).write_text("bicycles\n\nhelmets\n", encoding="utf-8")


def _ultrafeedback(number: int) -> dict[str, Any]:
    """A row as UltraFeedback has them: its judge's two scores, which differ on the best answer."""
    answers = {"a": (10.0, 1), "b": (7.0, 5), "c": (3.0, 2)}
    completions = [
        {
            "model": name,
            "response": f"The answer of {name} to question {number}.",
            "overall_score": overall,
            "annotations": {aspect: {"Rating": str(rating), "Rationale": "."} for aspect in ASPECTS},
        }
        for name, (overall, rating) in answers.items()
    ]
    return {"source": "flan", "instruction": f"Question {number}?", "completions": completions}


def _write_models(world: Path, patch: pytest.MonkeyPatch) -> None:
    tiny.save_tiny(world / "their-model", "llama")
    weights.write_gguf(world / "model.gguf", weights.gguf_tensors(weights.wide_llama(patch)))


def _in_little(words: list[str]) -> list[str]:
    """Options behind those of the page that make a benchmark small: two items of each task, eight tokens an answer."""
    if words[:2] != ["eval", "run"]:
        return []
    tasks = [word for word in words[2:] if word in ("ifeval", "safety")]
    short = [text for task in tasks for text in ("--set", f"{task}.sampling.max_tokens=8")]
    return ["--limit", "2", "--context-tokens", "384", *short]


def _answered_once(models: Any, host: str, port: int, say: Any, limits: Any, key: str | None) -> None:
    """In place of serving until Ctrl-C: the server's list of models is asked for, and it ends."""

    async def ask() -> None:
        async with listening(models, "127.0.0.1", 0, limits, key) as address:
            answer = await asyncio.to_thread(lambda: urlopen(f"{address}/models", timeout=30).read())
            assert {one["id"] for one in json.loads(answer)["data"]} == set(models.names)

    asyncio.run(ask())


def _as_far_as_known(command: Command, desk: Desk, patch: pytest.MonkeyPatch) -> str | None:
    """What can be told of a command that is not given: its options, and its recipe with what it sets there."""
    words = [word for word in command.words if "=" not in word or not word.split("=")[0].isupper()]
    try:
        options = parser().parse_args(words[1:])
    except SystemExit:
        return "its options are refused"
    if options.command in OWN_TESTS:
        test = ROOT / "tests" / OWN_TESTS[options.command]
        return None if test.exists() else f"it has no test of its own: {test.name}"
    if options.command in ("run", "check"):
        patch.chdir(desk.toys)
        overrides = [with_files_from_here(text, options.recipe.parent) for text in options.overrides]
        recipe = load_recipe(options.recipe, overrides, with_ablations=True)
        until = getattr(options, "until", None)
        return f"--until {until}: no such step" if until not in (None, *recipe.steps, *recipe.aliases) else None
    return None


def _options_of_form(text: str) -> str | None:
    """Whether the command of a form exists, and each of its options."""
    words = text.replace("[", " ").replace("]", " ").split()
    at = parser()
    for word in words[1:]:
        below = [action for action in at._actions if getattr(action, "choices", None) and action.dest != "to"]
        choices: dict[str, Any] = next((dict(a.choices) for a in below if isinstance(a.choices, dict)), {})
        first = word.split("|")[0]
        if not choices or word.startswith("-"):
            break
        if first not in choices:
            return None if first.isupper() or first == "…" else f"there is no command {first}"
        at = choices[first]
    known = {option for action in at._actions for option in action.option_strings}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
    return f"no such option: {', '.join(unknown)}" if unknown else None


def _options_in_source(command: Command) -> str | None:
    """Of a program that is no part of the package: whether it is there, and has the options."""
    source = ROOT / (command.words[2].replace(".", "/") + ".py")
    if not source.exists():
        return f"there is no {source.relative_to(ROOT)}"
    text = source.read_text(encoding="utf-8")
    unknown = [word for word in command.words if word.startswith("--") and f'"{word}"' not in text]
    return f"no such option: {', '.join(unknown)}" if unknown else None
