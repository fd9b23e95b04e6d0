"""What a card may say: names that mean something anywhere, and nothing of the machine that wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from favonius.report.public import HIDDEN, Public

SERVERS = "endpoints"
"""The field of an engine that says where its servers are, and who may ask them."""
CUT = "…/"
"""What stands for the folders of a path, as in `Public`."""
PATH_IN_TEXT = re.compile(r"(?<![\w.:/~])(?:~|[A-Za-z]:)?(?:[/\\][\w.@+-]+){2,}")


@dataclass(frozen=True)
class Private:
    """Makes values of one run fit for its card. `names` are the card's own names of files and folders whose paths tell
    of the machine."""

    public: Public
    names: Mapping[str, str]

    def value(self, value: Any) -> Any:
        """A config or recipe: servers, secrets and paths gone, everything else as it is."""
        return self._without_paths(self.public(self._renamed(value)))

    def told(self, sentence: str) -> str:
        """What a stage or an engine said: no address, and of a path its last part."""
        return self.text(self.public.told(sentence))

    def text(self, text: str) -> str:
        """A sentence that may well name a public address."""
        return PATH_IN_TEXT.sub(_last_part, self.public.text(text))

    def _without_paths(self, value: Any) -> Any:
        if isinstance(value, str):
            return PATH_IN_TEXT.sub(_last_part, value)
        if isinstance(value, Mapping):
            return {self._without_paths(key): self._without_paths(item) for key, item in value.items()}
        return [self._without_paths(item) for item in value] if isinstance(value, list) else value

    def _renamed(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.names.get(value, value)
        if isinstance(value, Mapping):
            return {
                self._renamed(key): [HIDDEN] if key == SERVERS else self._renamed(item) for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._renamed(item) for item in value]
        return value


def _last_part(found: re.Match[str]) -> str:
    return CUT + PureWindowsPath(found[0]).name


def tells_of_the_machine(name: str) -> bool:
    """Whether a path, written as in a recipe, says where the recipe lies or who wrote it."""
    whole = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    return whole or name.startswith("~") or ".." in Path(name).parts


def new_names(paths: Iterable[str], folder: str) -> dict[str, str]:
    """For every path that tells of the machine another in `folder`: the last part of it, which is made the only one."""
    found: dict[str, str] = {}
    for path in paths:
        if path not in found and tells_of_the_machine(path):
            last = PureWindowsPath(path).name or "unnamed"
            taken = set(found.values())
            numbered = (f"{folder}/{number}-{last}" for number in range(2, len(taken) + 3))
            found[path] = next(name for name in (f"{folder}/{last}", *numbered) if name not in taken)
    return found
