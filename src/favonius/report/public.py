"""What may leave the machine: text of a run without its folders and without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from favonius.files import cache_folder

HIDDEN = "(hidden)"
SECRET_NAME = re.compile(r"(^|_)(api_?key|token|secret|password|authorization)$", re.IGNORECASE)
SECRET_SHAPE = re.compile(
    r"\b(?:(?:sk|gsk|xai|nvapi)[-_][\w-]{16,}|(?:hf|gh[opsu]|github_pat)_\w{16,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}"
    r"|Bearer\s+[\w.~+/-]{8,})"
)
SERVER_NAMES = frozenset({"base_url", "endpoints"})
"""Fields that say where a server is."""
ADDRESS = re.compile(r"https?://[^\s'\"<>()]+")
URL_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


class Public:
    """Makes values of one run fit to be shown: `public(value)`."""

    def __init__(self, run: Path) -> None:
        folders = ((run.resolve(), run.resolve().name), (cache_folder().resolve(), "(cache)"), (Path.home(), "~"))
        # A home of "/" (some containers) would match every path.
        self._folders = [
            (re.compile(re.escape(str(folder)) + r"(?![\w.-])"), name) for folder, name in folders if folder.name
        ]

    def __call__(self, value: Any) -> Any:
        """`value` with every string (keys too) made public and strings under secret names hidden."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self(key): self._item(key, item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self(item) for item in value]
        return value

    def _item(self, key: Any, item: Any) -> Any:
        if isinstance(item, (list, tuple)) and key in SERVER_NAMES:
            return [self._item(key, entry) for entry in item]
        is_hidden = isinstance(item, str) and (key in SERVER_NAMES or SECRET_NAME.search(str(key)))
        return HIDDEN if is_hidden else self(item)

    def told(self, sentence: str) -> str:
        """What an engine said of a failure, without the addresses of servers."""
        return self.text(ADDRESS.sub("(address)", sentence))

    def text(self, text: str) -> str:
        """Hide known folders inside `text`, keep only the last part of a `text` that is itself an absolute path."""
        for folder, name in self._folders:
            text = folder.sub(name.replace("\\", r"\\"), text)
        text = SECRET_SHAPE.sub(HIDDEN, URL_LOGIN.sub("", text))
        bare = text.removeprefix("file://")
        if "\n" not in bare and (PurePosixPath(bare).is_absolute() or PureWindowsPath(bare).is_absolute()):
            return "…/" + PureWindowsPath(bare).name
        return text


CONTROLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` as it can stand in a UTF-8 page: controls as their pictures (␛), lone surrogates as �, CRLF as LF."""
    return LONE_SURROGATE.sub("\ufffd", text.replace("\r\n", "\n").translate(CONTROLS))
