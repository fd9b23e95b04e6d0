"""Models that a command line names: as in a recipe, of a run, or in a file that says how they are made to answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from favonius.engines.config import EngineConfig, LlamaCpp, Transformers
from favonius.errors import UserError
from favonius.models.config import ModelConfig
from favonius.models.resolve import resolve
from favonius.models.spec import APISpec, FolderSpec, GGUFSpec, HubSpec, PyPISpec, parse
from favonius.pipeline.saved import is_run, read_origin, saved_recipe, trained_model
from favonius.pipeline.talkers import last_trained
from favonius.progress import Progress
from favonius.recipe.document import read_document
from favonius.recipe.problems import problems_of
from favonius.run import ModelSource, ServedModel
from favonius.types import Noun

YAML = (".yaml", ".yml")
_UNFIT = re.compile(r"[^A-Za-z0-9._+-]+")


class ModelFile(Noun):
    """A file that says which model, and how it is made to answer; only so are models behind an API named."""

    model: ModelConfig
    engine: EngineConfig | None = None


@dataclass(frozen=True)
class Named:
    """A model that is not fetched yet."""

    text: str
    """As it was named; references to it are this text."""
    name: str
    """In short, for tables and folders."""
    config: ModelConfig | None
    """None for what a run has trained."""
    folder: Path
    """Where the config's paths start; for what a run has trained, the run folder."""
    engine: EngineConfig | None = None
    """As its file says."""

    def fetch(self, progress: Progress, *, for_llama: bool = False) -> ModelSource | ServedModel:
        """Its weights on this machine, where it has any. UserError or FavoniusError where they cannot be had.
        `for_llama` as of `resolve`."""
        if self.config is not None:
            return resolve(self.name, self.config, self.folder, progress, for_llama=for_llama)
        return trained_model(self.folder, self.name)

    def answers_by(self, context_tokens: int, slots: int | None) -> EngineConfig:
        """The engine of its file, else llama.cpp for GGUF files and our own for other weights.

        UserError for a model behind an API of which no file says where its servers are.
        """
        if self.engine is not None:
            return self.engine
        if self.is_served:
            raise UserError(
                f"{self.text}: its servers are not known; name a YAML file instead that says `model: {self.text}` and "
                "`engine: {kind: openai, endpoints: […]}`"
            )
        if self._is_gguf:
            return LlamaCpp(context_tokens=context_tokens, slots=slots or "auto")
        return Transformers(context_tokens=context_tokens, slots=slots or Transformers().slots)

    @property
    def is_served(self) -> bool:
        return self.config is not None and self.config.source.startswith("api:")

    @property
    def _is_gguf(self) -> bool:
        if self.config is None:
            return False
        return isinstance(parse(self.config.source, self.folder), (GGUFSpec, PyPISpec))


def named(text: str, template: str = "own") -> Named:
    """What `text` stands for: RUN/NAME of a train step or a model of a run, a file of kind `ModelFile`, or a source as
    in a recipe, with `template`. Fetches nothing. UserError, one sentence, where it stands for nothing."""
    path = Path(text)
    if text.lower().endswith(YAML):
        return _from_file(text, path)
    if path.name and is_run(path.parent):
        return _of_run(text, path.parent, path.name)
    if is_run(path):
        raise UserError(f"{text}: this is a run; name a model of it, such as {path / (last_trained(path) or 'STEP')}")
    config = ModelConfig(source=text, template=template)
    return Named(text, _short(config, Path.cwd()), config, Path.cwd())


def _of_run(text: str, run: Path, name: str) -> Named:
    recipe = saved_recipe(run)
    if name in recipe.models:
        return Named(text, name, recipe.models[name], read_origin(run).recipe.parent)
    return Named(text, recipe.aliases.get(name, name), None, run)


def _from_file(text: str, path: Path) -> Named:
    document = read_document(path)
    try:
        found = ModelFile.model_validate(document.value)
    except ValidationError as error:
        first = problems_of(error, ModelFile)[0]
        raise UserError(document.error(first.path, first.sentence)) from None
    return Named(text, _short(found.model, path.parent), found.model, path.parent, found.engine)


def _short(config: ModelConfig, folder: Path) -> str:
    """Last part of where it comes from, in letters that a folder may have."""
    match parse(config.source, folder):
        case PyPISpec(file=file):
            long = Path(file).stem
        case HubSpec(repository=repository):
            long = repository.rpartition("/")[2]
        case GGUFSpec(path):
            long = path.stem
        case FolderSpec(path):
            long = path.resolve().name
        case APISpec(served_as):
            long = served_as.rpartition("/")[2]
    return _UNFIT.sub("-", long).strip("-.") or "model"
