"""The documentation as a site: it builds, is whole, asks nothing of other hosts, and leaves nothing unrendered."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from favonius.cli import parser
from favonius.recipe import load_recipe
from favonius.train.config import TrainConfig
from tests.docs_text import ROOT, blocks, pages

needs_mkdocs = pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed")
LINK = re.compile(r"\]\(([^)\s]+)\)")
UNRENDERED = re.compile(r"^(- |\||```)|\n\s*(- |\* |\d+\. |\||```)")
"""The beginning of a list, a table or a block of code: within a paragraph it was meant to be one."""


class Page(HTMLParser):
    """What a built page names: its own anchors, where its links lead, what it loads, and its paragraphs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.paragraphs: list[str] = []
        self._inside = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attributes}
        self.anchors |= {of[name] for name in ("id", "name") if name in of}
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        elif tag == "link" and of.get("rel") != "canonical":
            self.loaded.append(of.get("href", ""))
        elif "src" in of:
            self.loaded.append(of["src"])
        if tag == "p":
            self._inside = True
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


@needs_mkdocs
def test_links_and_anchors_of_the_site_lead_somewhere(built: dict[Path, Page]) -> None:
    dead = []
    for page in built.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or page.path.name == "404.html":
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            target = target / "index.html" if target.is_dir() else target
            anchors = built[target].anchors if target in built else None
            if anchors is None or (parts.fragment and unquote(parts.fragment) not in anchors):
                dead.append(f"{page.path.name}: {link}")
    assert dead == []


@needs_mkdocs
def test_the_site_loads_nothing_from_other_hosts(site: Path, built: dict[Path, Page]) -> None:
    elsewhere = [f"{page.path.name}: {url}" for page in built.values() for url in page.loaded if urlsplit(url).netloc]
    styles = [
        path for path in site.rglob("*.css") if re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text())
    ]
    assert (elsewhere, styles) == ([], [])


@needs_mkdocs
def test_lists_and_tables_are_rendered(built: dict[Path, Page]) -> None:
    raw = [
        f"{page.path.name}: {text[:80]}"
        for page in built.values()
        for text in page.paragraphs
        if UNRENDERED.search(text)
    ]
    assert raw == []


@needs_mkdocs
def test_the_reference_has_every_key_and_every_command(site: Path) -> None:
    recipe = (site / "reference" / "recipe.html").read_text(encoding="utf-8")
    missing = [name for name in TrainConfig.model_fields if name != "stage" and f"<code>{name}</code>" not in recipe]
    commands = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    at = next(action for action in parser()._actions if isinstance(action.choices, dict))
    missing += [name for name in at.choices or () if f"favonius {name}" not in commands]
    copied = (site / "reference" / "recipes.html").read_text(encoding="utf-8")
    missing += [path.name for path in ROOT.glob("recipes/*.yaml") if f"<code>recipes/{path.name}</code>" not in copied]
    assert missing == []
    assert "zephyr-spec" not in recipe and "PydanticUndefined" not in recipe


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in pages()])
def test_links_in_the_texts_lead_to_files_and_headings(page: str) -> None:
    """As they are read in the repository: README.md too, which is no page of the site."""
    dead = []
    for link in LINK.findall(_without_code(ROOT / page)):
        parts = urlsplit(link)
        target = (ROOT / page).parent / unquote(parts.path) if parts.path else ROOT / page
        generated = target.resolve().parent == ROOT / "docs" / "reference"
        if parts.scheme or generated:
            continue
        if not target.exists() or (parts.fragment and parts.fragment not in set(_headings(target))):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in pages()])
def test_the_texts_name_no_machine(page: str) -> None:
    assert re.findall(r"(?<![\w.])/(?:work|root|tmp|home)/\S*", (ROOT / page).read_text(encoding="utf-8")) == []


def test_every_recipe_that_a_text_names_is_there() -> None:
    named = {
        name for page in pages() for name in re.findall(r"recipes/[\w./-]*\.yaml", page.read_text(encoding="utf-8"))
    }
    named -= {"recipes/mine.yaml", "recipes/x.yaml"}
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_tutorials_teacher_and_judge_fit_the_recipe_that_it_has_copied(tmp_path: Path) -> None:
    """A reader puts these two lines in the place of the recipe's own; the rest must go with an API's teacher."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    mine = tmp_path / "recipes" / "mine.yaml"
    lines = (ROOT / "recipes" / "own-topic.yaml").read_text(encoding="utf-8").splitlines()
    told = [line for block in blocks(ROOT / "docs" / "tutorial.md") for line in block.text.splitlines()]
    for mark in ("&teacher", "&judge"):
        (new,) = (line.strip() for line in told if mark in line)
        (place,) = (number for number, line in enumerate(lines) if f": {mark} " in line and "#" not in line)
        lines[place] = lines[place][: len(lines[place]) - len(lines[place].lstrip())] + new
    mine.write_text("\n".join(lines), encoding="utf-8")
    recipe = load_recipe(mine, ['models.teacher={source: "api://gpt-4.1-mini"}'])
    judge = recipe.steps["evaluate"].judge  # type: ignore[union-attr]
    assert (judge.kind, judge.model) == ("pairwise", "teacher")


def test_every_page_stands_in_the_table_of_contents() -> None:
    """mkdocs --strict says so too; this says it where mkdocs is not installed."""
    listed = set(_leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert there - listed == set()
    assert {name for name in listed - there if not name.startswith("reference/")} == set()


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)


def _without_code(page: Path) -> str:
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page):
        for number in range(block.line - 1, block.line - 1 + len(block.text.splitlines())):
            lines[number] = ""
    return re.sub(r"`[^`\n]*`", "", "\n".join(lines))


def _headings(page: Path) -> Iterator[str]:
    """Anchors that a reader of the repository has: the headings' words, joined by hyphens."""
    for heading in re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8")):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        yield re.sub(r" ", "-", words.strip())
