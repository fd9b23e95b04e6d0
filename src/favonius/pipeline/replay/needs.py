"""What a replay needs that is not in its card: files, local weights, servers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from favonius.card.nouns import CardModel, InputFile, RunCard
from favonius.card.private import CUT, SERVERS, tells_of_the_machine
from favonius.errors import UserError
from favonius.files import sha256_path
from favonius.recipe.document import Document, KeyPath, dotted
from favonius.report.public import HIDDEN

State = Literal["in the card", "found", "another", "missing"]
CARD, RECIPE = "card.json", "recipe.yaml"
"""What a replay writes beside the files of a card."""


@dataclass(frozen=True)
class Need:
    """A file, or a local model's weights, under the name that the card's recipe has for it.

    `another`: found, with another content than the card's run read; weights are compared once they are loaded.
    """

    name: str
    what: str
    state: State
    at: Path | None = None
    content: str | None = None


@dataclass(frozen=True)
class Needs:
    things: Sequence[Need]
    hidden: Sequence[str]
    """Paths in the recipe of what a card hides: where servers are, texts with a machine's paths or a key."""
    servers: Sequence[str] = ()
    """Paths of servers that a card names all the same; whoever changed it may be listening there."""

    def missing(self) -> list[str]:
        """A sentence for each thing that is nowhere."""
        things = [
            f"{need.what} is not in the card; put it as {PurePosixPath(need.name).name} into a folder and name that "
            "folder with --files"
            for need in self.things
            if need.state == "missing"
        ]
        servers = (
            f"{path}: the card names servers of its own, and all that the run asks would be sent there; give yours "
            f"with --set {path}=…"
            for path in self.servers
        )
        return [
            *things,
            *(f"{path} is not in the card; give it with --set {path}=…" for path in self.hidden),
            *servers,
        ]


def needs_of(card: RunCard, recipe: Document, files: Path | None) -> Needs:
    """What `recipe`, the card's with overrides applied, still names; looked for in the folder `files`.

    UserError where a name in the card leads out of the folder that it is to be put into, its recipe names something
    outside of that folder, or a content is not what its digest says.
    """
    if files is not None and not files.is_dir():
        raise UserError(f"--files {files}: there is no such folder")
    named = set(_texts(recipe.value))
    wanted = [file for file in card.files if file.name in named]
    weights = [model for model in card.models if model.local and model.source in named]
    _refuse_names([*(file.name for file in wanted), *(model.source for model in weights)])
    _refuse_paths(recipe)
    things = [*(_file(file, files) for file in wanted), *(_weights(model, files) for model in weights)]
    idle = _idle(card, recipe)
    hidden = list(_hidden(recipe.value, (), idle))
    servers = (dotted(path) for path in _servers(recipe.value, (), idle) if _is_the_cards(recipe, path))
    return Needs(things, hidden, [path for path in servers if path not in hidden])


def _file(file: InputFile, files: Path | None) -> Need:
    size = "" if file.size is None else f", {file.size:,} bytes"
    what = f"{file.name} (sha256 {file.sha256[:12]}…{size}), which {' and '.join(file.read_by)} read"
    if file.content is not None and hashlib.sha256(file.content.encode()).hexdigest() != file.sha256:
        raise UserError(
            f"the card's content of {file.name} is not what its sha256 says; get the card as it was written"
        )
    given = _given(file.name, files)
    if given is not None:
        return Need(file.name, what, "found" if sha256_path(given) == file.sha256 else "another", given)
    return Need(file.name, what, "missing" if file.content is None else "in the card", content=file.content)


def _weights(model: CardModel, files: Path | None) -> Need:
    roles = f", {model.roles[0]}" if model.roles else ""
    what = f"{model.source} (weights of model {model.name}{roles}; digest {model.digest[:12]}…)"
    given = _given(model.source, files)
    return Need(model.source, what, "missing" if given is None else "found", given)


def _given(name: str, files: Path | None) -> Path | None:
    """In the folder `files`, what has the whole name or else its last part."""
    if files is None or tells_of_the_machine(name):
        return None
    places = (files / name, files / PurePosixPath(name).name)
    return next((place.resolve() for place in places if place.exists()), None)


def _refuse_names(names: Sequence[str]) -> None:
    """A card comes from anywhere: it must not write beyond its folder, over what the replay itself has there, nor into
    a folder that somebody lent it."""
    for name in names:
        if tells_of_the_machine(name) or any(ord(letter) < ord(" ") for letter in name):
            raise UserError(
                f"the card's file {name!r} leads out of the folder of the replay; the card is not to be trusted"
            )
        first = next(iter(PurePosixPath(name).parts), "").casefold()
        if first in ("", CARD, RECIPE):
            raise UserError(f"the card's file {name!r} would stand in the place of the replay's own; mend the card")
    paths = {PurePosixPath(name) for name in names}
    for path in paths:
        if above := paths.intersection(path.parents):
            raise UserError(f"the card's file {path} lies in {above.pop()}, which is a file of its own; mend the card")


def _refuse_paths(recipe: Document) -> None:
    """What a run reads it may send to a teacher: a card's recipe names nothing outside of its folder (`card.private`
    sees to that), and one that does was written to fetch something."""
    for path, text in _places(recipe.value, ()):
        if _leads_out(text) and _is_the_cards(recipe, path):
            raise UserError(
                f"the card's recipe says {text!r} at {dotted(path)}, which leads out of the folder of the replay; the "
                f"card is not to be trusted, or say what you mean with --set {dotted(path)}=…"
            )


def _leads_out(text: str) -> bool:
    """Whether `text` could be a path out of the folder; a sentence may begin with ~ too."""
    is_sentence = "\n" in text or (text.startswith("~") and " " in text.partition("/")[0])
    return not is_sentence and tells_of_the_machine(text)


def _is_the_cards(recipe: Document, path: KeyPath) -> bool:
    """Whether what stands there is the card's word, and not that of whoever replays it."""
    return not recipe.place(path).startswith("--set ")


def _texts(value: Any) -> Iterator[str]:
    return (text for _, text in _places(value, ()))


def _places(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every text under `value`, with its own path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _places(item, (*path, str(key)))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _places(item, (*path, number))
    elif isinstance(value, str):
        yield path, value


def _servers(value: Any, path: tuple[str, ...], idle: Set[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Paths of all lists of servers, but those of steps that are `idle`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            below = (*path, str(key))
            if key == SERVERS:
                yield below
            elif below not in idle:
                yield from _servers(item, below, idle)


def _idle(card: RunCard, recipe: Document) -> set[tuple[str, ...]]:
    """Places of steps that a replay does not run, by the recipe itself: what a card says of them may be changed."""
    found = recipe.value.get("steps") if isinstance(recipe.value, Mapping) else None
    steps = found if isinstance(found, Mapping) else {}
    ablations = {name for name, step in steps.items() if isinstance(step, Mapping) and step.get("ablation") is True}
    if card.with_ablations or not ablations.isdisjoint(step.name for step in card.done()):
        return set()
    return {("steps", name) for name in ablations}


def _hidden(value: Any, path: tuple[str, ...], idle: Set[tuple[str, ...]]) -> Iterator[str]:
    """Dotted paths, as --set takes them, of what is not told in full; a list is given as a whole. What a run does not
    depend on, steps that are `idle` and the terms of models, may stay as it is."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            below = (*path, str(key))
            if below not in idle and key != "terms":
                yield from _hidden(item, below, idle)
    elif any(mark in text for text in _texts(value) for mark in (HIDDEN, CUT)):
        yield dotted(path)
