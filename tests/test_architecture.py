"""The shape of the house: imports go down the floors, files stay small, what is shipped loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from favonius.errors import UserError
from favonius.recipe import load_recipe

ROOT = Path(__file__).parent.parent
LONGEST_FILE = 400
SHIPPED = (
    "ablations", "constitutional", "feedback", "iterative", "notus-7b", "own-data", "own-topic", "quickstart", "smoke",
    "smollm2-135m", "smollm2-360m", "zephyr-7b-beta-handbook", "zephyr-7b-beta-lora", "zephyr-7b-beta-qlora",
    "zephyr-7b-beta", "zephyr-7b-gemma",
)  # fmt: skip


def test_imports_go_down_the_floors() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_every_module_stands_on_a_floor() -> None:
    """A new package must be given its place in pyproject.toml, or the floors would not hold it."""
    floors = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    folder = ROOT / "src" / "favonius"
    found = {path.stem for path in folder.iterdir() if path.name[0] != "_" and (path.is_dir() or path.suffix == ".py")}
    assert [name for name in sorted(found) if f"favonius.{name}" not in floors] == []


def test_files_stay_small() -> None:
    files = sorted((ROOT / "src").rglob("*.py"))
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_the_shipped_recipes_load() -> None:
    paths = sorted((ROOT / "recipes").glob("*.yaml"))
    assert tuple(path.stem for path in paths) == SHIPPED
    for path in paths:
        assert load_recipe(path).name == path.stem
        assert load_recipe(path, with_ablations=True).name == path.stem


@pytest.mark.parametrize("name", SHIPPED)
def test_a_typing_error_in_a_shipped_recipe_is_refused(tmp_path: Path, name: str) -> None:
    text = (ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    (tmp_path / "broken.yaml").write_text(text.replace("max_", "mx_"), encoding="utf-8")
    with pytest.raises(UserError, match=r"unknown key; did you mean max_(tokens|length)\?"):
        load_recipe(tmp_path / "broken.yaml")


def test_configs_need_no_torch() -> None:
    code = (
        "import sys, favonius.recipe, favonius.pipeline.plan\n"
        "heavy = {'torch', 'transformers', 'numpy', 'xllamacpp'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_constraints_pin_what_the_project_asks_for() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"  # no build in the name: see the file
    for name in ("transformers", "pydantic", "PyYAML", "xllamacpp", "pytest", "ruff", "mypy"):
        assert name in pins
