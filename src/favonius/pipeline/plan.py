"""What is done, what must be done again, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic_core import to_jsonable_python

from favonius.errors import UserError
from favonius.files import read_json, sha256_path
from favonius.phrases import QUOTED_CHARACTERS, shortened
from favonius.recipe import AnyStage, Recipe
from favonius.run import FileRef, Identity, Manifest, StageConfig, StepFolder, references
from favonius.types import Noun

State = Literal["done", "ready", "stale", "partial", "waiting"]


@dataclass(frozen=True)
class PlannedStep:
    """Where one step stands.

    `done`: nothing to do. `ready`: never run. `partial`: will go on from where it was stopped. `stale`: made from
    something else, will be made again. `waiting`: an input is not known yet; `identity` is None only here.
    """

    name: str
    config: AnyStage
    state: State
    why: str
    identity: Identity | None
    output_digest: str | None
    """Digest of what a `done` step made."""


def plan(recipe: Recipe, run: Path, folder: Path, models: Mapping[str, str]) -> list[PlannedStep]:
    """Where every step of `recipe` stands in `run`, in order; reads only.

    `folder` is the recipe's, where file references start; `models` has the digests of the models that are known.
    Raises UserError where a step's records cannot be read.
    """
    digests = dict(models)
    steps = []
    for name in recipe.steps:
        step = plan_step(recipe, name, run, folder, digests)
        if step.output_digest is not None:
            digests[name] = step.output_digest
        steps.append(step)
    return steps


def plan_step(recipe: Recipe, name: str, run: Path, folder: Path, digests: Mapping[str, str]) -> PlannedStep:
    """Where one step stands, given the digests of models and of finished earlier steps."""
    config = recipe.steps[name]
    before, manifest, attempts = _records(run / name)
    inputs, missing = _inputs(recipe, config, folder, digests)
    identity = Identity(
        stage=config.stage,
        version=config.version,
        config=identity_of(config),
        inputs=inputs,
    )
    changes = [] if before is None else list(differences(before, identity))
    if missing:
        return PlannedStep(name, config, "waiting", "; ".join([*missing, *changes]), None, None)
    if before is None:
        return PlannedStep(name, config, "ready", "never run", identity, None)
    if before != identity:
        return PlannedStep(name, config, "stale", "; ".join(changes), identity, None)
    if manifest is None:
        return PlannedStep(name, config, "partial", f"was interrupted (attempt {attempts})", identity, None)
    if manifest.left_open:
        return PlannedStep(name, config, "partial", "; ".join(manifest.left_open), identity, None)
    gone = [output for output in manifest.outputs if not (run / name / output).is_file()]
    if gone:
        return PlannedStep(name, config, "stale", f"{gone[0]} was deleted", identity, None)
    return PlannedStep(name, config, "done", f"took {manifest.seconds:g} s", identity, manifest.output_digest())


def identity_of(value: Any) -> Any:
    """A config as plain values, without the fields that say how its work is done."""
    if isinstance(value, Noun):
        names = [name for name in type(value).model_fields if name not in value.not_identity]
        ordered = value.ordered if isinstance(value, StageConfig) else ()
        orders = {f"order of {name}": list(getattr(value, name)) for name in ordered}
        return {name: identity_of(getattr(value, name)) for name in names} | orders
    if isinstance(value, Mapping):
        return {str(key): identity_of(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [identity_of(item) for item in value]
    return to_jsonable_python(value)


def _records(path: Path) -> tuple[Identity | None, Manifest | None, int]:
    """A step's identity, manifest and number of attempts."""
    step = StepFolder(path)
    try:
        identity = step.identity()
        attempts = int(read_json(path / "config.json")["attempts"]) if identity else 0
        return identity, step.manifest(), attempts
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: its config.json or done.json was damaged or written by another version of favonius "
            f"({type(error).__name__}); delete this folder and the step is made again"
        ) from error


def _inputs(
    recipe: Recipe, config: AnyStage, folder: Path, digests: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Digest by name of everything the config names, and phrases for what is not known yet."""
    known: dict[str, str] = {}
    missing: list[str] = []
    steps: list[str] = []
    for reference in dict.fromkeys(references(config)):
        if isinstance(reference, FileRef):
            if (folder / reference).exists():
                known[reference] = sha256_path(folder / reference)
            else:
                missing.append(f"file {reference} is missing")
        elif reference in digests:
            known[reference] = digests[reference]
        elif reference in recipe.models:
            missing.append(f"model {reference} not fetched yet")
        else:
            steps.append(reference)
    return known, [*missing, *([f"waits for {', '.join(steps)}"] if steps else [])]


def differences(old: Identity, new: Identity) -> Iterator[str]:
    """Phrases such as `learning_rate: 5e-07 → 1e-06` and `input pairs changed`, of the inputs that both know."""
    if old.stage != new.stage:
        yield f"stage {old.stage} → {new.stage}"
    elif old.version != new.version:
        yield f"stage version {old.version} → {new.version}"
    before, after = dict(_flat(old.config, "")), dict(_flat(new.config, ""))
    for key in dict.fromkeys([*before, *after]):
        if key not in before or key not in after or before[key] != after[key]:
            yield f"{key}: {_shown(before, key)} → {_shown(after, key)}"
    for name in new.inputs:
        if name in old.inputs and old.inputs[name] != new.inputs[name]:
            yield f"input {name} changed"


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else key)
    else:
        yield path, value


def _shown(config: Mapping[str, Any], key: str) -> str:
    if key not in config:
        return "absent"
    value = config[key]
    is_word = isinstance(value, str) and "\n" not in value
    text = value if is_word else "none" if value is None else json.dumps(value, ensure_ascii=False)
    return shortened(text, QUOTED_CHARACTERS)
