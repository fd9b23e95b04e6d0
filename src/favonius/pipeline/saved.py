"""What a run folder keeps of its recipe and its models, so that it can be looked at without either."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from favonius.errors import UserError
from favonius.files import read_json, write_json, write_text
from favonius.models.config import ModelConfig, template_text
from favonius.recipe import Recipe, load_recipe
from favonius.run import ModelSource, ServedModel, StepFolder
from favonius.types import Noun


class Origin(Noun):
    """Where a run's recipe came from and how it was asked for (`origin.json`; never shown, it holds a path)."""

    recipe: Path
    overrides: tuple[str, ...] = ()
    with_ablations: bool = False


class ModelRecord(Noun):
    """An entry of `models.json`: weights as the last run found them."""

    name: str
    source: str
    template: str
    terms: str | None
    digest: str
    folder: Path | None = None
    """Where its weights are; None for a model behind an API."""
    gguf: Path | None = None

    def is_of(self, config: ModelConfig) -> bool:
        return (self.source, self.template) == (config.source, config.template)


def is_run(folder: Path) -> bool:
    """Whether a recipe was run in this folder; one that only holds a `recipe.yaml` is somebody's own."""
    return (folder / "origin.json").is_file()


def save_recipe(run: Path, recipe: Recipe, origin: Origin) -> None:
    """Write `recipe.yaml` (overrides applied, ablations kept) and `origin.json`."""
    write_text(run / "recipe.yaml", yaml.safe_dump(recipe.as_written(), sort_keys=False, allow_unicode=True, width=120))
    write_json(run / "origin.json", origin.model_dump(mode="json"))


def saved_recipe(run: Path) -> Recipe:
    """The recipe of the last run in this folder, without ablations unless it ran them. UserError: no run is here."""
    return load_recipe(_recipe_file(run), (), read_origin(run).with_ablations, check_files=False)


def current_recipe(run: Path) -> Recipe:
    """The recipe that the same command would run now: its file as it is today, or the saved copy where it is gone."""
    origin = read_origin(run)
    if not origin.recipe.is_file():
        return saved_recipe(run)
    return load_recipe(origin.recipe, origin.overrides, origin.with_ablations, check_files=False)


def read_origin(run: Path) -> Origin:
    _recipe_file(run)
    try:
        return Origin.model_validate(read_json(run / "origin.json"))
    except (OSError, ValueError) as error:
        sentence = f"cannot be read ({type(error).__name__}); run the recipe again to rewrite it"
        raise UserError(f"{run / 'origin.json'}: {sentence}") from error


def save_models(run: Path, recipe: Recipe, sources: Iterable[ModelSource | ServedModel]) -> None:
    """Write `models.json`: `sources`, and what an earlier run in this folder fetched for the same recipe entries."""
    records = _records(run, recipe)
    for source in sources:
        config = recipe.models[source.name]
        records[source.name] = ModelRecord(
            name=source.name,
            source=config.source,
            template=config.template,
            terms=config.terms,
            digest=source.digest,
            folder=source.folder if isinstance(source, ModelSource) else None,
            gguf=source.gguf if isinstance(source, ModelSource) else None,
        )
    write_json(run / "models.json", [record.model_dump(mode="json") for record in records.values()])


def known_digests(run: Path, recipe: Recipe) -> dict[str, str]:
    """Digests of those of the recipe's models that a run in this folder fetched from the same source."""
    return {name: record.digest for name, record in _records(run, recipe).items()}


def trained_model(run: Path, step: str | None) -> ModelSource:
    """The weights of a finished train step. UserError where there are none, naming the steps that have some."""
    found = trained_models(run)
    if not found:
        raise UserError(f"{run}: no train step has finished here; `favonius status {run}` tells where the run stands")
    name = next(reversed(found)) if step is None else step
    if name not in found:
        raise UserError(f"{run}: step {name} has no model; those that have: {', '.join(sorted(found))}")
    return found[name]


def trained_models(run: Path) -> dict[str, ModelSource]:
    """The weights of all train steps that are finished, in the order in which they were."""
    folders = [folder for folder in run.iterdir() if (folder / "model").is_dir()] if run.is_dir() else []
    done = [(folder, manifest) for folder in folders if (manifest := StepFolder(folder).manifest()) is not None]
    return {
        folder.name: ModelSource(folder.name, folder / "model", manifest.output_digest())
        for folder, manifest in sorted(done, key=lambda pair: pair[1].finished_at)
    }


def fetched_models(run: Path, recipe: Recipe) -> dict[str, ModelSource]:
    """The recipe's models whose weights a run in this folder fetched, as far as they are still where they were."""
    base = read_origin(run).recipe.parent
    return {
        name: ModelSource(
            name, record.folder, record.digest, gguf=record.gguf, template=template_text(record.template, base)
        )
        for name, record in _records(run, recipe).items()
        if record.folder is not None and record.folder.is_dir()
    }


def _records(run: Path, recipe: Recipe) -> dict[str, ModelRecord]:
    file = run / "models.json"
    if not file.exists():
        return {}
    try:
        records = [ModelRecord.model_validate(entry) for entry in read_json(file)]
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{file}: cannot be read ({type(error).__name__}); delete it and run the recipe again"
        ) from error
    fitting = [record for record in records if record.name in recipe.models]
    return {record.name: record for record in fitting if record.is_of(recipe.models[record.name])}


def _recipe_file(run: Path) -> Path:
    file = run / "recipe.yaml"
    if not file.is_file():
        raise UserError(f"{run}: there is no recipe.yaml here; give the folder of a run, such as runs/quickstart")
    return file
