"""Models as their configs alone describe them: shapes without weights, on torch's meta device. Nothing is fetched."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from favonius.errors import brief
from favonius.files import cache_folder
from favonius.models.config import ModelConfig
from favonius.models.folder import TOKENIZER_FILES
from favonius.models.gguf import CONVERSION
from favonius.models.hub import in_cache
from favonius.models.spec import APISpec, FolderSpec, GGUFSpec, HubSpec, PyPISpec, parse
from favonius.recipe import Recipe
from favonius.train.config import TrainConfig
from favonius.trees.attention import NAME


class UnknownShapeError(Exception):
    """What a model looks like cannot be told here; the message is one sentence that says why."""


def root_of(recipe: Recipe, name: str) -> str:
    """The entry of `models` that the weights of `name`, which may be a train step, were once made from."""
    while name not in recipe.models:
        config = recipe.steps[recipe.aliases.get(name, name)]
        assert isinstance(config, TrainConfig)
        name = config.model
    return name


def config_of(name: str, model: ModelConfig, folder: Path) -> Any:
    """Transformers' config of an entry of `models`, from files on this machine. UnknownShapeError where it is not here.

    `folder` is the recipe's, where relative paths start.
    """
    place, gguf = _files(name, model, folder)
    try:
        config = AutoConfig.from_pretrained(
            place, local_files_only=True, trust_remote_code=False, **({"gguf_file": gguf} if gguf else {})
        )
    except (OSError, ValueError, KeyError) as error:
        raise UnknownShapeError(f"model {name}: its config cannot be read ({brief(error)})") from error
    config.use_cache = False
    return config


def outline(config: Any, dtype: torch.dtype) -> PreTrainedModel:
    """The model of `config` in `dtype`, every tensor with its shape and without content."""
    return built(config, dtype, torch.device("meta"))


def built(config: Any, dtype: torch.dtype, place: torch.device) -> PreTrainedModel:
    """The same on `place`; random weights where that is a real device."""
    with place:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), dtype=dtype, attn_implementation=NAME, trust_remote_code=False
        )
    model.config.use_cache = False
    return model.eval()


def truncated(config: Any, layers: int) -> Any:
    """`config` with its first `layers` decoder layers only."""
    short = copy.deepcopy(config)
    text = short.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = list(text.layer_types[:layers])
    return short


def period(config: Any) -> int:
    """After how many layers their kinds repeat: 1 where all are alike, 6 of Gemma 3."""
    kinds = getattr(config.get_text_config(), "layer_types", None) or [""]
    for length in range(1, len(kinds)):
        if all(kind == kinds[index % length] for index, kind in enumerate(kinds)):
            return length
    return len(kinds)


def numbers(model: PreTrainedModel) -> int:
    """Parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _files(name: str, model: ModelConfig, folder: Path) -> tuple[Path, str | None]:
    """The folder with the model's config.json, or with the GGUF file that is named beside it."""
    match parse(model.source, folder):
        case FolderSpec(path):
            return path, None
        case GGUFSpec(path):
            return path.parent, path.name
        case HubSpec() as spec:
            if (found := in_cache(spec, "config.json")) is not None:
                return found.parent, None
            raise UnknownShapeError(
                f"model {name}: the config.json of {spec.repository} is not on this machine and nothing is fetched "
                "here; run the recipe once, or `hf download` it"
            )
        case PyPISpec(file=file, sha256=sha256):
            cache = cache_folder()
            if (converted := cache / "converted" / f"{sha256}-v{CONVERSION}").is_dir():
                return converted, None
            if (cache / "downloads" / sha256 / file).is_file():
                return cache / "downloads" / sha256, file
            raise UnknownShapeError(
                f"model {name}: {file} is not on this machine and nothing is fetched here; run the recipe once"
            )
        case APISpec():
            raise UnknownShapeError(f"model {name}: it is behind an API, and its servers' memory is their own")


def gguf_of(name: str, model: ModelConfig, folder: Path) -> Path:
    """The GGUF file of an entry of `models`. UnknownShapeError where it is not on this machine, or it has none."""
    match parse(model.source, folder):
        case GGUFSpec(path):
            return path
        case PyPISpec(file=file, sha256=sha256):
            if (path := cache_folder() / "downloads" / sha256 / file).is_file():
                return path
    raise UnknownShapeError(f"model {name}: its GGUF file is not on this machine, and nothing is fetched here")


def tokenizer_folder(name: str, model: ModelConfig, folder: Path) -> Path | None:
    """Where the model's tokenizer is on this machine, as a folder that transformers reads; None: it is not."""
    try:
        place, gguf = _files(name, model, folder)
    except UnknownShapeError:
        return None
    has_one = any((place / file).is_file() for file in TOKENIZER_FILES)
    return place if gguf is None and has_one else None
