"""Tasks that a command line names, with the judge, the baseline and the fields that it sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import orjson
from pydantic import BaseModel, ValidationError

from favonius.errors import UserError
from favonius.evals.benchmarks.config import AnyTask, TaskName
from favonius.recipe.document import Document, KeyPath, read_document
from favonius.recipe.override import override
from favonius.recipe.parameters import with_files_from_here
from favonius.recipe.problems import choice, problems_of
from favonius.recipe.references import named_in
from favonius.run import FileRef, RowsRef, StepRef
from favonius.types import Noun

HERE = Path()
JUDGED = ("mt-bench", "alpacaeval")
"""Tasks that are nothing without a judge."""


class _Tasks(BaseModel):
    tasks: dict[TaskName, AnyTask]


@dataclass(frozen=True)
class Judge:
    """A judge that a command line names."""

    text: str
    """As it was named."""
    fields: Mapping[str, Any]
    """Of a judge of alpacaeval."""
    is_model: bool
    """Whether it is one model that is asked whatever a task asks, and no judge of a kind of its own."""


@dataclass(frozen=True)
class Wanted:
    """Tasks as they are named, and what is said of all of them."""

    names: Sequence[str]
    """Of tasks, and of files of tasks."""
    judge: Judge | None = None
    baseline: str | None = None
    limit: int | None = None
    overrides: Sequence[str] = ()
    """`TASK.FIELD=VALUE`."""


@dataclass
class _Gathered:
    """Tasks as plain values, and where each was written."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=lambda: {(): "eval run"})
    folders: dict[str, Path] = field(default_factory=dict)
    """Where a task's paths start."""

    def add(self, name: str, value: Any, folder: Path, places: Mapping[KeyPath, str]) -> None:
        if name in self.values:
            raise UserError(f"eval run: there are two tasks {name}; name each once")
        self.values[name], self.folders[name] = value, folder
        self.places |= {path: place for path, place in places.items() if path[:1] == (name,)}


def known_tasks() -> tuple[str, ...]:
    """Names by which tasks can be asked for, in the order of their configs."""
    members = get_args(get_args(AnyTask)[0])
    return tuple(name for member in members for name in get_args(member.model_fields["task"].annotation))


def tasks_of(wanted: Wanted) -> dict[str, AnyTask]:
    """The tasks' configs, by name, in the order in which they are named; paths in them start at the current folder.

    UserError, one line per problem, for tasks, fields and files that are not there, and judges that are missing.
    """
    gathered = _gathered(wanted.names)
    for name, value in gathered.values.items():
        if isinstance(value, dict):
            gathered.values[name] = _filled(name, value, wanted)
    document = Document(gathered.values, gathered.places)
    for text in wanted.overrides:
        document = _overridden(document, text, gathered.folders)
    values = {name: _with_baseline(value, wanted.baseline) for name, value in document.value.items()}
    document = replace(document, value=values)
    _refuse_without_judge(document)
    try:
        tasks = _Tasks.model_validate_json(orjson.dumps({"tasks": document.value}), strict=True).tasks
    except ValidationError as error:
        found = problems_of(error, _Tasks)
        raise UserError("\n".join(document.error(one.path[1:], one.sentence) for one in found)) from None
    missing = list(_missing_files(tasks, gathered.folders, document))
    if missing:
        raise UserError("\n".join(missing))
    return {name: _moved(task, gathered.folders[name]) for name, task in tasks.items()}


def _gathered(names: Sequence[str]) -> _Gathered:
    gathered = _Gathered()
    for name in names:
        if name.lower().endswith((".yaml", ".yml")):
            document = read_document(Path(name))
            if not isinstance(document.value, dict):
                raise UserError(
                    f"{name}: a file of tasks is a mapping of names to tasks, such as `short: {{task: ifeval}}`"
                )
            for own, value in document.value.items():
                gathered.add(own, value, Path(name).parent, document.places)
        elif name in known_tasks():
            gathered.add(name, {"task": name}, HERE, {})
        else:
            raise UserError(f"eval run {name}: no such task{choice(name, known_tasks())}")
    return gathered


def _filled(name: str, value: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """With the limit, and with the judge where the task names none itself."""
    limit = {} if wanted.limit is None else {"limit": wanted.limit}
    judge = {} if wanted.judge is None or "judge" in value else _judging(name, value, wanted.judge)
    return value | limit | judge


def _with_baseline(value: Any, baseline: str | None) -> Any:
    """With the baseline where the task has a use for one and names none itself."""
    if baseline is None or not isinstance(value, dict):
        return value
    match value:
        case {"task": "alpacaeval"} | {"task": "mt-bench", "mode": "pairwise"}:
            return {"baseline": baseline} | value
        case {"task": "preference"}:
            return {"reference": baseline} | value
    return value


def _judging(name: str, value: Mapping[str, Any], judge: Judge) -> dict[str, Any]:
    """A task's fields for its judge."""
    match value.get("task"):
        case "alpacaeval":
            return {"judge": judge.fields}
        case "mt-bench" | "safety" if judge.is_model:
            return {"judge": judge.fields["model"], "engine": judge.fields["engine"]}
        case "mt-bench" | "safety":
            raise UserError(
                f"--judge {judge.text}: the judge of {name} is a model that is asked; leave `kind` out of the file"
            )
    return {}


def _overridden(document: Document, text: str, folders: Mapping[str, Path]) -> Document:
    task, dot, _ = text.partition(".")
    if not dot or "=" not in text:
        raise UserError(f"--set {text}: write it as TASK.FIELD=VALUE, such as mt-bench.limit=10")
    if task not in folders:
        raise UserError(f"--set {text}: {task} is not among the tasks{choice(task, folders)}")
    return override(document, with_files_from_here(text, folders[task]))


def _refuse_without_judge(document: Document) -> None:
    for name, value in document.value.items():
        if isinstance(value, dict) and value.get("task") in JUDGED and value.get("judge") is None:
            raise UserError(
                f"eval run: {name} needs a judge; name one with --judge, such as --judge judge.yaml, a file that says "
                "which model and where its servers are, or a model's weights"
            )


def _missing_files(tasks: Mapping[str, AnyTask], folders: Mapping[str, Path], document: Document) -> Iterator[str]:
    for name, task in tasks.items():
        for place, reference in named_in(task, (name,)):
            is_file = isinstance(reference, FileRef)
            path = folders[name] / reference if is_file else Path(reference)
            may_be_folder = isinstance(reference, (RowsRef, StepRef))
            if (is_file or isinstance(reference, StepRef)) and not (path.exists() if may_be_folder else path.is_file()):
                kind = "file" if not may_be_folder else "file or folder" if is_file else "step's folder"
                yield document.error(place, f"there is no {kind} {path}")


def _moved(value: Any, folder: Path) -> Any:
    """`value` with its files named from the current folder and not from `folder`."""
    if isinstance(value, FileRef):
        return type(value)(folder / value)
    if isinstance(value, Noun):
        return value.model_copy(update={name: _moved(getattr(value, name), folder) for name in value.model_fields_set})
    if isinstance(value, Mapping):
        return {key: _moved(item, folder) for key, item in value.items()}
    return value
