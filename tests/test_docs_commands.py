"""What the documentation tells its readers to type and to write: every command works, or says what it needs; every
block of YAML is read by what reads it in earnest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import docs_world
from tests.docs_text import ROOT, Command, blocks, commands, pages
from tests.docs_yaml import fault as yaml_fault

PAGES = [page.relative_to(ROOT).as_posix() for page in pages()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[docs_world.Desk]:
    with pytest.MonkeyPatch.context() as patch:
        yield docs_world.build(tmp_path_factory.mktemp("docs"), patch)


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands(ROOT / page))])
def test_every_command_of_a_page_does_what_it_says(
    page: str, desk: docs_world.Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the page's order, as later ones need what earlier ones have made."""
    faults = []
    for command in commands(ROOT / page):
        with pytest.MonkeyPatch.context() as patch:
            try:
                found = docs_world.fault(command, desk, patch)
            except (Exception, SystemExit) as error:
                found = f"{type(error).__name__}: {error}"
        said = capsys.readouterr()
        if found is not None:
            faults.append(f"{command.place}: {command.text}\n    {found}\n    {said.err.strip()[-400:]}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_yaml_is_what_a_recipe_may_hold(page: str, tmp_path: Path) -> None:
    found = [
        (block.place, yaml_fault(block.text, tmp_path))
        for block in blocks(ROOT / page)
        if block.language in ("yaml", "yml")
    ]
    assert [(place, fault) for place, fault in found if fault is not None] == []


def a_command(text: str, comment: str = "", kind: str = "line") -> Command:
    return Command("a page", text, comment, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "command",
    [
        a_command("favonius status runs/nowhere"),
        a_command("favonius run recipes/quickstart.yaml --set steps.dpo.epochs=2", "minutes"),
        a_command("favonius run recipes/quickstart.yaml --until dpo", "the hub"),
        a_command("favonius eval run --modle x", "asks an API"),
        a_command("favonius eval compare A B [--text N]", kind="form"),
        a_command("favonius talk RUN", kind="mention"),
        a_command("make tea"),
        a_command("python -m benchmarks.pairs --promts 3", "minutes"),
    ],
)
def test_a_wrong_command_is_found(command: Command, desk: docs_world.Desk) -> None:
    with pytest.MonkeyPatch.context() as patch:
        try:
            assert docs_world.fault(command, desk, patch) is not None
        except Exception as error:
            assert str(error)


@pytest.mark.parametrize(
    "text",
    [
        "dsft: {stage: train, model: base, rows: r, objective: {kind: sft}, learning_rte: 1e-4}",
        "engine: {kind: openai, endpoints: [host]}",
        "anything: else",
        "kind: pairwise\nuser: which?",
    ],
)
def test_a_wrong_block_is_found(text: str, tmp_path: Path) -> None:
    assert yaml_fault(text, tmp_path) is not None
