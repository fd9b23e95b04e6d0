"""`favonius data check`: its exit codes, its JSON and its colours, and nothing that a file could do to a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from favonius.cli import main
from favonius.data import preferences
from favonius.errors import UserError
from favonius.train import rows as training
from tests.diagnoses import PAIRS, diagnosed, talk
from tests.row_files import lines
from tests.tiny import tiny_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Only a tokenizer, with no weights beside it."""
    folder = tmp_path / "tokenizer"
    tiny_tokenizer(None).save_pretrained(folder)
    return str(folder)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_bytes(lines(rows))
    return str(path)


CLEAN = [talk("a question", "an answer"), talk("another question", "another answer")]


def test_a_clean_file_exits_with_0_and_a_faulty_one_with_1(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, faulty = write(tmp_path / "clean.jsonl", CLEAN), write(tmp_path / "faulty.jsonl", [*CLEAN, CLEAN[0]])
    tokenizer = ["--model", model, "--template", "zephyr"]
    assert main(["data", "check", clean, *tokenizer]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"{clean}: no faults" and "\x1b" not in out and not err
    assert main(["data", "check", clean, faulty, *tokenizer]) == 1
    assert f"{faulty}: 1 kind of fault: duplicate_row × 1" in capsys.readouterr().out
    assert main(["data", "check", faulty, "--limit", "2"]) == 0
    assert main(["data", "check", clean, "--test", faulty]) == 1
    assert main(["data", "check", clean, "--benchmarks", f"mine={clean}"]) == 1


def test_mistakes_of_the_user_exit_with_2(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    clean = write(tmp_path / "clean.jsonl", CLEAN)
    (tmp_path / "empty.jsonl").write_bytes(b"")
    mistakes = {
        "there is no such file": [str(tmp_path / "no.jsonl")],
        "there are no rows in it": [str(tmp_path / "empty.jsonl")],
        "did you mean sharegpt?": [clean, "--shape", "shargpt"],
        "--template needs --model": [clean, "--template", "zephyr"],
        "--max-length 3: must be 8 or more": [clean, "--model", model, "--max-length", "3"],
        "neither a folder that exists nor a hub id": [clean, "--model", "nowhere"],
        "has no tokenizer here": [clean, "--model", "api://gpt"],
        "has no chat template": [clean, "--model", model],
        "is no known benchmark": [clean, "--benchmarks", "nonsense"],
    }
    for sentence, arguments in mistakes.items():
        assert main(["data", "check", *arguments]) == 2, sentence
        out, err = capsys.readouterr()
        assert sentence in err and not out


def keys(value: Any) -> Any:
    """The shape of a JSON document: the fields of its objects."""
    match value:
        case dict():
            return {name: keys(item) for name, item in value.items()}
        case list():
            return [keys(value[0])] if value else []
    return None


def test_json_is_one_document_of_a_fixed_shape(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "pairs.jsonl", [row for row, _ in PAIRS])
    assert main(["data", "check", path, "--model", model, "--template", "zephyr", "--json"]) == 1
    out, _ = capsys.readouterr()
    document = json.loads(out)
    assert (document["schema"], document["faults"], len(document["files"])) == (1, True, 1)
    bins = [{"low": None, "high": None, "count": None}]
    sizes = ("count", "sum", "least", "median", "p90", "p99", "most")
    distribution = {**dict.fromkeys(sizes), "bins": bins}
    assert keys(document["files"][0]) == {
        "found": {**dict.fromkeys(("source", "shape", "in_words", "read", "usable", "refusal")), "losses": [],
                  "dropped": {preferences.DIFFER_EARLY: None}},
        "training": {**dict.fromkeys(("max_length", "truncation", "kept", "held_out", "tokens", "trained_tokens")),
                     "dropped": {training.SAME: None, training.EMPTY_ANSWER: None}, "stops": []},
        "samples": [{"place": None, "id": None, "parts": [
            {"name": None, "tokens": None, "spans": [{"text": None, "mark": None, "special": None}]}]}],
        "lengths": {"unit": None, "whole": distribution, "trained": distribution, "over": None},
        "turns": distribution,
        "gap": {"unit": None, "difference": distribution, "longer": None, "equal": None},
        "findings": [{**dict.fromkeys(("kind", "severity", "what", "effect", "count", "share", "sample")),
                      "places": [None]}],
        "unchecked": [None],
    }  # fmt: skip


def test_colours_are_for_terminals_that_want_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "clean.jsonl", CLEAN)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def coloured(*arguments: str) -> bool:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert main(["data", "check", path, *arguments]) == 0
        return "\x1b[" in capsys.readouterr().out

    assert coloured()
    assert not coloured("--no-color") and not coloured("--json")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured()


def test_without_a_model_nothing_heavy_is_imported(tmp_path: Path) -> None:
    path = write(tmp_path / "clean.jsonl", CLEAN)
    code = (
        "import sys\nfrom favonius.cli import main\nassert main(['data', 'check', sys.argv[1]]) == 0\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'xllamacpp'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_rows_and_unknown_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="there are no rows in it"):
        diagnosed([])
    with pytest.raises(UserError, match="no known shape"):
        diagnosed([{"turns": ["a", "b"]}])


def test_text_of_a_file_does_nothing_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps([talk("clear\x1b[2J half\r", "so\tbe it", id="\x1b]0;title\x07")]))
    assert main(["data", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "clear\\u001b[2J half\\u000d" in out and "so\tbe it" in out
    assert main(["data", "check", str(path), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["files"][0]["samples"]
    assert row["parts"][0]["spans"][0]["text"] == "clear\x1b[2J half\r"


def test_of_a_model_on_the_hub_only_the_tokenizer_is_fetched(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def download(repository: str, allow_patterns: Sequence[str], **_: object) -> str:
        fetched.extend([repository, *allow_patterns])
        return model

    monkeypatch.setattr("favonius.models.hub.snapshot_download", download)
    path = write(tmp_path / "clean.jsonl", CLEAN)
    assert main(["data", "check", path, "--model", "someone/model", "--template", "zephyr"]) == 0
    assert fetched[0] == "someone/model" and "*.json" in fetched and "*.safetensors" not in fetched
