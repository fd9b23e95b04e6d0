"""What a task's config names, by what it is: two runs may call different weights `dsft`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from favonius.evals.benchmarks.config import TaskConfig
from favonius.files import sha256_path
from favonius.run import FileRef, Inputs, ModelRef


def named(config: TaskConfig, inputs: Inputs) -> dict[str, str]:
    """Digests of the models and files that stand in `config`, by key path, such as `judge.model`."""
    return dict(_digests(config, (), inputs))


def _digests(value: Any, path: tuple[str, ...], inputs: Inputs) -> Iterator[tuple[str, str]]:
    if isinstance(value, ModelRef):
        yield ".".join(path), inputs.speaker(value).digest
    elif isinstance(value, FileRef):
        yield ".".join(path), sha256_path(inputs.file(value))
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _digests(getattr(value, name), (*path, name), inputs)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _digests(item, (*path, str(name)), inputs)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _digests(item, (*path, str(number)), inputs)
