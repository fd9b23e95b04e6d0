"""A model's folder may hold code of whoever made it: none of it runs, and nobody is asked whether it may."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import favonius
from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.export.gguf_file import architecture_of
from favonius.files import write_json
from favonius.models.config import ModelConfig
from favonius.models.load import load
from favonius.pipeline.planning.outlines import UnknownShapeError, config_of
from favonius.run import ModelSource
from tests.tiny import save_tiny

CODE = """
from pathlib import Path
from transformers import LlamaConfig, PreTrainedTokenizerFast
Path({marker!r}).touch()
class Config(LlamaConfig):
    model_type = "foreign"
class Words(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture
def foreign(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSource:
    """A folder of an architecture that transformers has not, with code for it, and a person who says yes."""
    folder = save_tiny(tmp_path / "foreign")
    (folder / "own.py").write_text(CODE.format(marker=str(marker)), encoding="utf-8")
    write_json(folder / "config.json", {"model_type": "foreign", "auto_map": {"AutoConfig": "own.Config"}})
    words = {"tokenizer_class": "Words", "auto_map": {"AutoTokenizer": ["own.Words", "own.Words"]}}
    write_json(folder / "tokenizer_config.json", words)
    monkeypatch.setattr("builtins.input", lambda question="": "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return ModelSource("foreign", folder, "f" * 64)


@pytest.mark.parametrize(
    "reads",
    [
        ChatFormat.load,
        load,
        architecture_of,
        lambda source: config_of("foreign", ModelConfig(source=str(source.folder)), source.folder),
    ],
)
def test_code_beside_weights_is_not_run(
    reads: Callable[[ModelSource], object], foreign: ModelSource, marker: Path
) -> None:
    with pytest.raises((UserError, UnknownShapeError)) as caught:
        reads(foreign)
    assert not marker.exists()
    assert "\n" not in str(caught.value)


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Every `Auto….from_pretrained(…)` and `Auto….from_config(…)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            named = node.func.value
            if isinstance(named, ast.Name) and named.id.startswith("Auto") and node.func.attr.startswith("from_"):
                yield node


def test_every_reader_of_a_model_says_so() -> None:
    """Left out, transformers asks at the terminal, and runs the code of whoever's folder it is for a y."""
    [package] = favonius.__path__
    found = 0
    for file in sorted(Path(package).rglob("*.py")):
        for call in calls(ast.parse(file.read_text(encoding="utf-8"))):
            said = {word.arg: word.value for word in call.keywords}
            trusted = said.get("trust_remote_code")
            assert isinstance(trusted, ast.Constant) and trusted.value is False, f"{file.name}, line {call.lineno}"
            found += 1
    assert found >= 10
