"""Run folders: what has been done, from what, and whether it must be done again.

    runs/quickstart/
      recipe.yaml  lock  ledger.sqlite  report.html
      dsft/
        config.json    the step's identity, written first
        model/ …       what it makes
        metrics.jsonl  stats.json  work/    records and half-done work; no later step depends on them
        done.json      written last

A step is its identity: stage, stage version, config and the digests of its inputs. Same identity and a done.json: the
step is skipped. Same identity, no done.json: it continues from what lies there. Another identity: it starts afresh.
Outputs are identified by their content, so a step that runs again and makes the same rows disturbs nothing after it.
"""

from __future__ import annotations

import platform
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from favonius import __version__
from favonius.errors import UserError
from favonius.files import drop_leftovers, read_json, sha256_file, write_json
from favonius.machine import Machine, this_machine
from favonius.phrases import counted
from favonius.progress import Progress
from favonius.types import Noun, Price, digest


class Reference(str):
    """A string in a stage's config that names something else; the recipe resolves it and orders the steps by it."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))


class StepRef(Reference):
    """Names an earlier step; `Inputs.folder` gives its folder."""


class ModelRef(Reference):
    """Names an entry of the recipe's `models` or an earlier train step; `Inputs.model` gives its weights."""


class FileRef(Reference):
    """Names a file, relative to the recipe; `Inputs.file` gives its path. Its content is in the step's identity."""


class RowsRef(FileRef):
    """Names a file of rows, or a folder of such files."""


class StageConfig(Noun):
    """What every step's config has. A subclass fixes `stage` with a Literal and a default."""

    version: ClassVar[int] = 1
    """Raised when the stage makes something else of the same config and inputs. Here, to be read without torch."""
    not_identity: ClassVar[frozenset[str]] = frozenset({"ablation"})
    ordered: ClassVar[frozenset[str]] = frozenset()
    """Fields that hold a mapping whose order matters; it is part of the identity then."""

    stage: str
    ablation: bool = False
    """Runs only with --with-ablations; without it, whatever lists this step leaves it out."""


def references(value: Any) -> Iterator[Reference]:
    """Every reference in a config, depth first."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from references(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)


RECORDS = frozenset({"config.json", "done.json", "stats.json", "metrics.jsonl", "comparison.json", "card.json"})
WORK = "work"


@dataclass(frozen=True)
class ModelSource:
    """Weights on this machine, ready to load.

    `folder` holds safetensors, config and tokenizer; `gguf` is the file they were converted from, where there was one;
    `template` is Jinja text that replaces the tokenizer's own chat template; `digest` covers all of them.
    """

    name: str
    folder: Path
    digest: str
    gguf: Path | None = None
    template: str | None = None


@dataclass(frozen=True)
class ServedModel:
    """A model that can only be talked to: `served_as` is the name that its servers know it by.

    `digest` covers that name and no address, so that answers stay paid for when the servers move.
    """

    name: str
    served_as: str
    digest: str
    price: Price | None = None


@dataclass(frozen=True)
class Inputs:
    """What a stage's config names, resolved: `inputs.folder(config.rows)`, `inputs.model(config.base)`."""

    folders: Mapping[str, Path]
    models: Mapping[str, ModelSource | ServedModel]
    files: Mapping[str, Path]

    def folder(self, name: str) -> Path:
        return self.folders[name]

    def speaker(self, name: str) -> ModelSource | ServedModel:
        """A model that is only to be talked to, wherever it is."""
        return self.models[name]

    def model(self, name: str) -> ModelSource:
        """A model whose weights are needed. UserError where nobody here has them."""
        model = self.models[name]
        if isinstance(model, ServedModel):
            raise UserError(f"model {name} is served by an API, and its weights are needed here; name another")
        return model

    def file(self, name: str) -> Path:
        return self.files[name]


class Budget(Noun):
    """What a run may spend on models that are paid for, in dollars."""

    dollars: float = Field(ge=0.0)
    steps: dict[str, float] = Field(default={})
    """Purses of single steps, within the whole."""
    at_cap: Literal["stop", "go_on"] = "stop"
    """Whether the run ends after a step whose money is spent, or later steps take what there is of it."""


@dataclass(frozen=True)
class LeftOpen:
    """Requests of a step that got no answer and may get one in another run."""

    cause: Literal["budget", "failures"]
    requests: int
    cap: str = ""
    """The budget, as it is told."""

    @property
    def sentence(self) -> str:
        requests, one = counted(self.requests, "request"), self.requests == 1
        if self.cause == "budget":
            return f"the budget of {self.cap} is spent and {requests} {'was' if one else 'were'} not asked"
        return f"{requests} failed and {'is' if one else 'are'} asked again in the next run"


@dataclass(frozen=True)
class Context:
    """What a stage may use of the world around it."""

    run: Path
    progress: Progress
    step: str = ""
    budget: Budget | None = None
    left_open: list[LeftOpen] = field(default_factory=list)
    """What the step could not finish; the next run goes on with it."""

    @property
    def ledger(self) -> Path:
        return self.run / "ledger.sqlite"

    def still_open(self) -> list[str]:
        """A sentence for each cause in `left_open`, whichever parts of the step met it."""
        requests: Counter[tuple[Literal["budget", "failures"], str]] = Counter()
        for left in self.left_open:
            requests[left.cause, left.cap] += left.requests
        return [LeftOpen(cause, count, cap).sentence for (cause, cap), count in requests.items()]


class Identity(Noun):
    """All that a step's result depends on."""

    stage: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, str]

    def digest(self) -> str:
        return digest(self.model_dump())


class Manifest(Noun):
    """What done.json says."""

    identity: str
    outputs: dict[str, str]
    seconds: float
    attempts: int
    finished_at: str
    versions: dict[str, str]
    machine: Machine | None = None
    """None in what older versions of Favonius wrote."""
    left_open: tuple[str, ...] = ()
    """Why there is more to do (see `Context.left_open`); empty where the step is finished."""

    def output_digest(self) -> str:
        return digest(self.outputs)


class StepFolder:
    """One step's folder. `begin`, work, `finish`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def identity(self) -> Identity | None:
        file = self.path / "config.json"
        return Identity.model_validate(read_json(file)["identity"]) if file.exists() else None

    def manifest(self) -> Manifest | None:
        file = self.path / "done.json"
        return Manifest.model_validate(read_json(file)) if file.exists() else None

    def stats(self) -> dict[str, Any]:
        file = self.path / "stats.json"
        return dict(read_json(file)) if file.exists() else {}

    def begin(self, identity: Identity) -> int:
        """Make the folder ready for `identity` and return this attempt's number; what another identity left goes."""
        attempt = 1
        manifest = self.manifest()
        if self.identity() == identity and (manifest is None or manifest.left_open):
            attempt = int(read_json(self.path / "config.json")["attempts"]) + 1
            (self.path / "done.json").unlink(missing_ok=True)
            drop_leftovers(self.path)
        elif self.path.exists():
            # config.json goes first: were this killed half-way, what remains must not pass for this identity's work.
            (self.path / "done.json").unlink(missing_ok=True)
            (self.path / "config.json").unlink(missing_ok=True)
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "config.json", {"identity": identity.model_dump(), "attempts": attempt})
        return attempt

    def finish(self, identity: Identity, attempt: int, seconds: float, left_open: Sequence[str] = ()) -> Manifest:
        """Digest the outputs, write done.json, drop half-done work."""
        manifest = Manifest(
            identity=identity.digest(),
            outputs={name: sha256_file(self.path / name) for name in self.outputs()},
            seconds=round(seconds, 2),
            attempts=attempt,
            finished_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            versions=versions(),
            machine=this_machine(),
            left_open=tuple(left_open),
        )
        write_json(self.path / "done.json", manifest.model_dump())
        shutil.rmtree(self.path / WORK, ignore_errors=True)
        return manifest

    def outputs(self) -> list[str]:
        """Names of the files that later steps may depend on, relative, sorted."""
        files = (path.relative_to(self.path) for path in sorted(self.path.rglob("*")) if path.is_file())
        return [file.as_posix() for file in files if file.as_posix() not in RECORDS and file.parts[0] != WORK]


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run folder; a second run on it is refused. The lock dies with its process, however that ends."""
    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{run}: another run is at work in this folder; wait for it, or give a run another with --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def versions() -> dict[str, str]:
    """Versions of what a number may depend on."""
    found = {"favonius": __version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "xllamacpp", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
