"""Pairs on their way to files, in any of the forms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from favonius.data.checks import Drops
from favonius.data.exports import PairForm, exported
from favonius.data.rows import json_line
from favonius.data.turns import UnfitRowError
from favonius.errors import UserError, machine_failures
from favonius.files import replacing
from favonius.types import Pair, Split


class PairFiles:
    """One file, or, for forms whose rows cannot say that they are held out, another beside it for those that are."""

    def __init__(self, path: Path, form: PairForm, stack: ExitStack) -> None:
        self.rows: dict[Path, int] = {}
        self.unfit = Drops()
        """Pairs that the form cannot hold."""
        self._paths: dict[Split, Path] = {"train": path, "test": path if form == "favonius" else held_out_path(path)}
        self._form = form
        self._files: dict[Path, IO[str]] = {}
        self._stack = stack

    def add(self, pair: Pair) -> None:
        try:
            value = exported(pair, self._form)
        except UnfitRowError as error:
            self.unfit.add(error.cause, pair.id)
            return
        path = self._paths[pair.split]
        if path not in self._files:
            self._files[path] = self._stack.enter_context(_writing(path))
        self._files[path].write(json_line(value))
        self.rows[path] = self.rows.get(path, 0) + 1


@contextmanager
def _writing(path: Path) -> Iterator[IO[str]]:
    with replacing(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            yield file


def held_out_path(path: Path) -> Path:
    """`pairs.jsonl` → `pairs.test.jsonl`"""
    return path.with_suffix(f".test{path.suffix}")


@contextmanager
def pair_files(path: Path, form: PairForm) -> Iterator[PairFiles]:
    """Files that are there when the block ends well, and not before. UserError where one is there already,
    FavoniusError where the disk is full."""
    for target in dict.fromkeys((path, path if form == "favonius" else held_out_path(path))):
        if target.exists():
            raise UserError(f"{target} is there already; move it away, or name another file with --out")
    with machine_failures(path), ExitStack() as stack:
        yield PairFiles(path, form, stack)
