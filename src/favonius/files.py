"""Files that are whole or absent, their digests, and the folder that outlives runs."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from favonius.errors import UserError

REFUSALS = {
    errno.EACCES: "its rights do not allow this; change them, or name another place",
    errno.EPERM: "its rights do not allow this; change them, or name another place",
    errno.EROFS: "it lies on a read-only disk; name another place",
    errno.EISDIR: "this is a folder, where a file is needed; name a file",
    errno.ENOTDIR: "a file stands where a folder is needed; name another place",
    errno.EEXIST: "a file stands where a folder is needed; name another place",
    errno.ENAMETOOLONG: "the name is too long for this disk; shorten it",
}
"""What the system says of a place that somebody named and that will not do."""
TEMPORARY = re.compile(r"\.(.+)\.(\d+|new|old)\.tmp")


def cache_folder() -> Path:
    """Where downloads, converted weights and reference log-probs are kept: $FAVONIUS_CACHE, else the user's cache."""
    override = os.environ.get("FAVONIUS_CACHE")
    return Path(override) if override else user_cache_path("favonius")


def require_file(path: Path) -> None:
    """UserError where `path` is no file."""
    if path.is_dir():
        raise UserError(f"{path}: this is a folder; name a file")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")


def refusal(error: OSError) -> str | None:
    """Why a place that somebody named will not do, as one sentence; None where `error` says nothing of a place."""
    named = error.filename2 or error.filename
    if error.errno not in REFUSALS or not isinstance(named, (str, bytes, os.PathLike)):
        return None
    path = Path(os.fsdecode(named))
    if error.errno == errno.EEXIST and path.is_dir():
        return None  # a folder of ours that should not be there yet
    temporary = TEMPORARY.fullmatch(path.name)
    shown = path.with_name(temporary[1]) if temporary else path
    return f"{shown}: {REFUSALS[error.errno]}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes `path`'s place when the block succeeds, durably; on failure nothing changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        synced(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes `folder`'s place when the block succeeds; on failure nothing changes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    temporary = _sibling(folder, "new")
    temporary.mkdir()
    try:
        yield temporary
        readable = temporary.stat().st_mode & 0o666
        for file in (path for path in temporary.rglob("*") if path.is_file()):
            file.chmod(readable)  # safetensors leaves weights closed to everyone else
            synced(file)
        if folder.exists():
            folder.replace(_sibling(folder, "old"))
        temporary.replace(folder)
    finally:
        _sweep(folder)


def _sibling(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}.tmp")


def _sweep(folder: Path) -> None:
    for kind in ("new", "old"):
        shutil.rmtree(_sibling(folder, kind), ignore_errors=True)


def synced(path: Path) -> None:
    """Have what `path`, a file or a folder's list of names, now is reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def drop_leftovers(folder: Path) -> None:
    """Remove what a kill inside `replacing` or `replacing_folder` left under `folder`; nobody else may write there."""
    for temporary in list(folder.rglob(".*.tmp")):
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any, *, finite: bool = False) -> str:
    """JSON as people read it. With `finite`, ValueError for a number that is not."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=not finite)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json_text(value) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_path(path: Path) -> str:
    """Of a file its content; of a folder the names and contents of the files below it, hidden ones left out."""
    if path.is_file():
        return sha256_file(path)
    below = ((file.relative_to(path), file) for file in sorted(path.rglob("*")) if file.is_file())
    seen = {name.as_posix(): sha256_file(file) for name, file in below if not any(p[0] == "." for p in name.parts)}
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
