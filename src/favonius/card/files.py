"""Where a run's own files lay, what the card calls them, and which of them it carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from favonius.card.nouns import InputFile
from favonius.card.private import new_names, tells_of_the_machine
from favonius.files import read_json, sha256_path
from favonius.report.gather import Reading, Run
from favonius.report.public import SECRET_SHAPE

MOST_BYTES = 256 * 1024
"""Of all contents that a card carries."""
BUILT_IN = ("own", "zephyr")
"""Chat templates that are no files."""
FILES, MODELS = "files", "models"
"""Folders in which a card puts what had a private path."""


class Place(Reading):
    """origin.json: where the recipe lay, and whether its ablations ran. Nothing of it is shown."""

    recipe: Path = Path()
    with_ablations: bool = False


def read_place(run: Path) -> Place:
    file = run / "origin.json"
    return Place.model_validate(read_json(file)) if file.is_file() else Place()


def card_names(run: Run, place: Place) -> dict[str, str]:
    """Path as the recipe has it → the card's name, of files and local models whose paths tell of the machine."""
    files = [*(name for step in run.steps for name in files_of(run, step.identity.inputs if step.identity else {})),
             *templates(run).values()]  # fmt: skip
    models = (source for source in sources(run).values() if is_local(source, place))
    return new_names(files, FILES) | new_names(models, MODELS)


def files_of(run: Run, inputs: Mapping[str, str]) -> dict[str, str]:
    """Of a step's inputs those that are no step and no model, with their digests."""
    others = {*run.recipe["steps"], *sources(run), *(run.recipe.get("aliases") or {})}
    return {name: digest for name, digest in inputs.items() if name not in others}


def sources(run: Run) -> dict[str, str]:
    """Each model's source, as the recipe has it."""
    return {str(name): str(_field(entry, "source")) for name, entry in (run.recipe.get("models") or {}).items()}


def templates(run: Run) -> dict[str, str]:
    """Of the models whose chat template is a file, its path."""
    found = {str(name): _field(entry, "template") for name, entry in (run.recipe.get("models") or {}).items()}
    return {name: str(path) for name, path in found.items() if path and path not in BUILT_IN}


def is_local(source: str, place: Place) -> bool:
    """Whether weights came from a file or folder of this machine (as `models.spec.parse` tells; the disk may have
    changed since)."""
    if "://" in source:
        return False
    begins_so = tells_of_the_machine(source) or source.startswith(".") or source.lower().endswith(".gguf")
    return begins_so or "/" not in source or (place.recipe.parent / source).is_dir()


def input_files(run: Run, place: Place, names: Mapping[str, str], with_contents: bool) -> tuple[InputFile, ...]:
    """Every file that a step has read and every template, the smallest first; they carry their text while there is
    room, where they are as they were and lie beside the recipe."""
    digests, readers = _read(run, place)
    on_disk = {path: place.recipe.parent / Path(path).expanduser() for path in digests}
    same = {path: file for path, file in on_disk.items() if file.exists() and sha256_path(file) == digests[path]}
    sizes = {path: _size(file) for path, file in same.items()}
    room = MOST_BYTES if with_contents else 0
    found = []
    for path in sorted(digests, key=lambda path: (sizes.get(path, 0), path)):
        content = _text(same.get(path), place.recipe.parent, room)
        room -= 0 if content is None else sizes[path]
        found.append(
            InputFile(
                name=names.get(path, path),
                sha256=digests[path],
                size=sizes.get(path),
                read_by=tuple(dict.fromkeys(readers[path])),
                content=content,
            )
        )
    return tuple(found)


def _read(run: Run, place: Place) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Digest of each file that was read, and who read it."""
    digests: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    for reader, path, digest in (*_by_steps(run), *_by_models(run, place)):
        digests[path] = digest
        readers.setdefault(path, []).append(reader)
    return digests, readers


def _by_steps(run: Run) -> Iterator[tuple[str, str, str]]:
    for step in run.steps:
        for path, digest in files_of(run, step.identity.inputs if step.identity else {}).items():
            yield step.name, path, digest


def _by_models(run: Run, place: Place) -> Iterator[tuple[str, str, str]]:
    for model, path in templates(run).items():
        file = place.recipe.parent / Path(path).expanduser()
        if file.is_file():
            yield model, path, sha256_path(file)


def _text(file: Path | None, folder: Path, room: int) -> str | None:
    """What a card may carry: a text of the recipe's own folder that fits and holds nothing that looks like a key. What
    is only linked there belongs to somebody else."""
    if file is None or not file.is_file() or file.stat().st_size > room:
        return None
    if not file.resolve().is_relative_to(folder.resolve()):
        return None
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if SECRET_SHAPE.search(text) else text


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _all(path))


def _all(path: Path) -> Iterable[Path]:
    return [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file())


def _field(entry: Any, name: str) -> Any:
    """Of a model's entry, which may be its source alone."""
    if isinstance(entry, Mapping):
        return entry.get(name)
    return entry if name == "source" else None
