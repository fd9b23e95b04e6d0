"""A folder of safetensors: is it all there, what is its content's digest. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from favonius.errors import UserError
from favonius.files import sha256_file
from favonius.types import digest

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
BESIDE_WEIGHTS = ("*.json", "*.jinja", "tokenizer.model", "*.txt")
MATTERING = ("*.safetensors", *BESIDE_WEIGHTS)
"""The files that a model or its tokenizer can depend on: also what is fetched from a hub."""


def check_folder(name: str, folder: Path) -> None:
    """UserError where `folder`, the weights of model `name`, lacks its config, its tokenizer or its weights."""
    if not folder.is_dir():
        raise UserError(f"model {name}: there is no folder {folder}")
    if not (folder / "config.json").is_file():
        raise UserError(f"model {name}: {folder} has no config.json; give the folder that save_pretrained wrote")
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"model {name}: {folder} has no .safetensors file (pickled weights, .bin or .pt, are not read: "
            "save the model as safetensors first)"
        )
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise UserError(f"model {name}: {folder} has no tokenizer.json; save the model's tokenizer beside its weights")


def folder_digest(folder: Path) -> str:
    """sha256 over names and contents of the files that matter; other files (a README, a log) do not change it."""
    files = {file.name: file for pattern in MATTERING for file in folder.glob(pattern) if file.is_file()}
    return digest({name: sha256_file(file) for name, file in files.items()})
