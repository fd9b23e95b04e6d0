"""Benchmarks without a recipe: a folder of results that grows task by task, each made again only where it changed.

evals/mine/
  ledger.sqlite  lock  results.json
  mine/ifeval/   result.json  items.jsonl  config.json  done.json
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from favonius.errors import UserError
from favonius.evals.benchmarks import stage
from favonius.evals.benchmarks.config import READ_TASKS, AnyTask, BenchmarkConfig
from favonius.evals.benchmarks.record import read
from favonius.evals.benchmarks.summary import summary
from favonius.files import read_json, sha256_path, write_json
from favonius.pipeline.plan import differences, identity_of
from favonius.progress import Progress
from favonius.run import Context, FileRef, Identity, Inputs, ModelRef, StepFolder, references

SUMMARY = "results.json"
MODEL = "the model itself"
"""Its place among an identity's inputs; no reference is called so."""


def run_bench(config: BenchmarkConfig, inputs: Inputs, out: Path, progress: Progress) -> None:
    """Bring the folder `out` to what `config` says, and write its results.json, of all that lies there.

    What an earlier call finished is not done again; what it was stopped in goes on from the ledger. UserError where
    `out` has results of another model under one of the labels, and what a task or model raises.
    """
    identities = {label: _identities(config, label, inputs) for label in config.models}
    for label, own in identities.items():
        _refuse_other_model(out, label, own)
    before = read_json(out / SUMMARY) if (out / SUMMARY).is_file() else {}
    for label, own in identities.items():
        _measure(config, label, own, inputs, Context(out, progress, step=label))
    write_json(out / SUMMARY, _summary(config, before, out))
    (out / "stats.json").unlink(missing_ok=True)  # of the last call alone


def _measure(
    config: BenchmarkConfig, label: str, identities: Mapping[str, Identity], inputs: Inputs, context: Context
) -> None:
    """The tasks of one model that are not done."""
    folders = {name: StepFolder(context.run / label / name) for name in identities}
    missing = [name for name, identity in identities.items() if not _is_done(folders[name], identity)]
    for name in identities:
        context.progress.say(f"{label}, {name}: {_why(folders[name], identities[name], name in missing)}")
    if not missing:
        return
    for name in missing:
        (folders[name].path / "done.json").unlink(missing_ok=True)
    own = config.model_copy(
        update={
            "models": {label: config.models[label]},
            "baseline": None,
            "tasks": {name: config.tasks[name] for name in missing},
        }
    )
    started = time.monotonic()
    stage.run(own, inputs, context.run, context)
    left_open = context.still_open()
    for name in missing:
        write_json(folders[name].path / "config.json", {"identity": identities[name].model_dump(), "attempts": 1})
        folders[name].finish(identities[name], 1, time.monotonic() - started, left_open)
    for sentence in left_open:
        context.progress.say(f"{label}: {sentence}")


def _identities(config: BenchmarkConfig, label: str, inputs: Inputs) -> dict[str, Identity]:
    """Of each task, all that its result for one model depends on."""
    return {name: _identity(config, task, label, inputs) for name, task in config.tasks.items()}


def _identity(config: BenchmarkConfig, task: AnyTask, label: str, inputs: Inputs) -> Identity:
    digests = {MODEL: inputs.speaker(config.models[label]).digest}
    for reference in (*references(task), *config.training):
        if isinstance(reference, ModelRef):
            digests[reference] = inputs.speaker(reference).digest
        elif isinstance(reference, FileRef):
            digests[reference] = sha256_path(inputs.file(reference))
        else:
            manifest = StepFolder(inputs.folder(reference)).manifest()
            digests[reference] = manifest.output_digest() if manifest else sha256_path(inputs.folder(reference))
    return Identity(
        stage=config.stage,
        version=config.version,
        config={
            "task": identity_of(task),
            "engine": None if isinstance(task, READ_TASKS) else identity_of(config.engine),
            "training": list(config.training),
        },
        inputs=digests,
    )


def _is_done(folder: StepFolder, identity: Identity) -> bool:
    """Whether there is nothing to do. Other room for prompts and answers changes nothing where none was left out."""
    manifest, before = folder.manifest(), folder.identity()
    if manifest is None or before is None or manifest.left_open:
        return False
    if not all((folder.path / output).is_file() for output in manifest.outputs):
        return False
    if before == identity:
        return True
    changed = [phrase.partition(":")[0] for phrase in differences(before, identity)]
    return changed == ["engine.context_tokens"] and not read(folder.path).told["left_out"]


def _why(folder: StepFolder, identity: Identity, is_missing: bool) -> str:
    if not is_missing:
        return "done before"
    before = folder.identity()
    changes = [] if before is None else list(differences(before, identity))
    return f"made again ({'; '.join(changes)})" if changes else "starts" if before is None else "goes on"


def _refuse_other_model(out: Path, label: str, identities: Mapping[str, Identity]) -> None:
    ours = {identity.inputs[MODEL] for identity in identities.values()}
    for file in sorted((out / label).glob("*/config.json")):
        before = StepFolder(file.parent).identity()
        if before is not None and before.inputs.get(MODEL) not in ours:
            raise UserError(
                f"{out}: {label} there is another model, with results of its own; give this one another --label or "
                "--out, or delete that folder"
            )


def _summary(config: BenchmarkConfig, before: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Of all that is done in `out`, in the order in which it came; `before` is the results.json of the last call."""
    done = sorted((file.parts[-3], file.parts[-2]) for file in out.glob("*/*/done.json"))
    labels = _order(before.get("labels", []), config.models, [label for label, _ in done])
    names = _order([task["name"] for task in before.get("tasks", [])], config.tasks, [name for _, name in done])
    results = {name: {label: read(out / label / name) for label in labels if (label, name) in done} for name in names}
    there = [label for label in labels if any(label in own for own in results.values())]
    baseline = (config.baseline or before.get("baseline") or there[0]) if len(there) > 1 else None
    return summary({name: own for name, own in results.items() if own}, there, baseline)


def _order(*names: Iterable[str]) -> list[str]:
    """Each once."""
    return list(dict.fromkeys(chain(*names)))
