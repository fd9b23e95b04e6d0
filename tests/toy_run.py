"""A whole run whose stages only hash: the real recipe, pipeline and command over toy work.

`python -m tests.toy_run run recipe.yaml --out DIR` is the command `favonius` with toy stages. FAVONIUS_TOY_DELAY is
the seconds that one row takes.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from pathlib import Path
from typing import Any

from favonius.cli import main
from favonius.files import write_text
from favonius.models.config import ModelConfig
from favonius.pipeline import work
from favonius.progress import Progress
from favonius.recipe import Recipe, load_recipe
from favonius.run import RECORDS, WORK, Context, Inputs, ModelSource
from favonius.train.config import TrainConfig
from favonius.types import digest

ROWS = 12
STEPS = ("dialogues", "dsft", "answers", "ratings", "pairs", "ddpo", "evaluate")
RECIPE = """\
name: toy
models:
  base: org/base
  teacher: {source: pypi://teacher==1.0/teacher.gguf#sha256=SHA, terms: Apache-2.0}
steps:
  dialogues: {stage: dialogues, seeds: seeds.jsonl, teacher: teacher}
  dsft:
    stage: train
    model: base
    rows: dialogues
    objective: {kind: sft}
  answers:
    stage: answers
    prompts: dialogues
    pool:
      base: {model: base}
      dsft: {model: dsft, sampling: {temperature: 1.1}}
  ratings: {stage: ratings, answers: answers, judge: {kind: likelihood, model: teacher}}
  pairs: {stage: pairs, ratings: ratings}
  ddpo:
    stage: train
    model: dsft
    rows: pairs
    objective: {kind: dpo, beta: 0.1}
    learning_rate: 5e-7
  ddpo-without-dsft: {stage: train, ablation: true, model: base, rows: pairs, objective: {kind: dpo}}
  evaluate:
    stage: evaluate
    models:
      base: base
      dSFT: dsft
      dDPO: ddpo
      dDPO without dSFT: ddpo-without-dsft
    baseline: dSFT
    prompts: dialogues
    pairs: pairs
    judge: {kind: likelihood, model: teacher}
""".replace("SHA", 64 * "0")


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    """The toy recipe and its seeds in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    (folder / "seeds.jsonl").write_text('{"id": "a", "prompt": "Why?"}\n', encoding="utf-8")
    return folder / "recipe.yaml"


def run_toy(recipe: Path, run: Path, *overrides: str, parts: work.Parts | None = None, **options: Any) -> list[str]:
    """Run the toy recipe; the names of the steps that worked."""
    calls = run / "calls.txt"
    calls.unlink(missing_ok=True)
    loaded: Recipe = load_recipe(recipe, overrides, with_ablations=True)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        progress = Progress(nowhere)
        work.run_recipe(loaded, recipe, run, progress, overrides=overrides, parts=parts or PARTS, **options)
    return calls.read_text(encoding="utf-8").split() if calls.exists() else []


def toy_stage(config: Any, inputs: Inputs, out: Path, context: Context) -> None:
    """ROWS rows that follow from config and inputs alone, made one by one, continued where a kill cut them off.

    `system` of dialogues is without effect, so changing it makes the same rows again.
    """
    _note(context.run / "calls.txt", out.name)
    essence = config.model_dump_json(exclude={"ablation", "system"})
    files = [path for folder in inputs.folders.values() for path in _files(folder)] + list(inputs.files.values())
    essence += "".join(path.read_text(encoding="utf-8") for path in files)
    essence += "".join(model.digest for model in inputs.models.values())
    half_done = out / WORK / "rows.txt"
    half_done.parent.mkdir(exist_ok=True)
    have = len(half_done.read_text(encoding="utf-8").splitlines()) if half_done.exists() else 0
    for row in range(have, ROWS):
        time.sleep(float(os.environ.get("FAVONIUS_TOY_DELAY", "0")))
        _note(context.run / "produced.txt", out.name)
        _note(half_done, digest([essence, row]))
    name = "model/weights.txt" if isinstance(config, TrainConfig) else "rows.txt"
    write_text(out / name, half_done.read_text(encoding="utf-8"))
    write_text(out / "stats.json", "{}")


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in RECORDS]


def _note(path: Path, line: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def toy_model(name: str, config: ModelConfig, folder: Path, progress: Progress, for_llama: bool) -> ModelSource:
    return ModelSource(name, folder / "no-weights", digest([config.source, config.template]))


def toy_report(run: Path) -> Path:
    write_text(run / "report.html", "<html></html>")
    return run / "report.html"


def outputs(run: Path) -> dict[str, str]:
    """Every file that later steps may depend on, of every step."""
    kept = [path for path in _files(run) if len(path.relative_to(run).parts) > 1]
    return {str(path.relative_to(run)): path.read_text(encoding="utf-8") for path in kept}


PARTS = work.Parts(stage_of=lambda config: toy_stage, fetch=toy_model, report=toy_report)

if __name__ == "__main__":
    work.run_recipe = functools.partial(work.run_recipe, parts=PARTS)
    sys.exit(main(sys.argv[1:]))
