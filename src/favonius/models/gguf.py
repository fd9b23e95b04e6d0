"""GGUF files become folders of safetensors, once per content."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from favonius.errors import FavoniusError, UserError
from favonius.files import cache_folder
from favonius.models.pypi import locked
from favonius.progress import Progress

CONVERSION = 1
"""Raised when conversion writes other files for the same GGUF: old folders in the cache are then left alone."""


def convert(gguf: Path, digest: str, progress: Progress) -> Path:
    """The folder of safetensors, config and tokenizer made from `gguf`, whose content has sha256 `digest`.

    Weights are dequantised to bf16 (fp32 where the file is). Done in a process of its own, which gives its gigabytes
    back and keeps transformers' messages away from the terminal. UserError where the file is damaged or its
    architecture is not supported, FavoniusError where the process dies.
    """
    return _made(
        "model", gguf, _folder(digest), f"converting {gguf.name} to safetensors, once (a minute or so)", progress
    )


def tokenizer_of(gguf: Path, digest: str, progress: Progress) -> Path:
    """The folder of config and tokenizer alone, where nothing but llama.cpp needs the weights; errors as of `convert`.

    The converted folder where there is one: its tokenizer is the same.
    """
    whole = _folder(digest)
    if whole.exists():
        return whole
    words = whole.with_name(f"{whole.name}-tokenizer")
    return _made("tokenizer", gguf, words, f"reading the tokenizer of {gguf.name}, once (some seconds)", progress)


def _folder(digest: str) -> Path:
    return cache_folder() / "converted" / f"{digest}-v{CONVERSION}"


def _made(what: str, gguf: Path, folder: Path, saying: str, progress: Progress) -> Path:
    if folder.exists():
        return folder
    with locked(folder.parent, "waiting for another process that converts a model", progress):
        if not folder.exists():
            progress.say(saying)
            _make_apart(what, gguf, folder)
    return folder


def _make_apart(what: str, gguf: Path, folder: Path) -> None:
    program = [sys.executable, "-m", "favonius.models.dequantise"]
    command = [*program, what, str(gguf.absolute()), str(folder.absolute())]
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    if result.returncode == UserError.exit_code:
        raise UserError(result.stdout.strip())
    if result.returncode < 0:
        raise FavoniusError(
            f"{gguf.name}: conversion was killed by signal {-result.returncode}; it needs memory for the weights in "
            "fp32 and bf16 at once"
        )
    if result.returncode != 0:
        lines = (result.stdout.strip() or result.stderr.strip()).splitlines()
        raise FavoniusError(f"{gguf.name} could not be converted ({lines[-1] if lines else 'no reason given'})")
