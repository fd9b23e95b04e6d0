"""Weights from the Hugging Face hub, through its own client and its own cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download, try_to_load_from_cache

from favonius.hub import hub_failures
from favonius.models.folder import MATTERING
from favonius.models.spec import HubSpec
from favonius.progress import Progress

NEEDLESS = ("*/*", "consolidated*.safetensors")
"""Other runtimes' copies of the same weights."""


def fetch(spec: HubSpec, terms: str | None, progress: Progress, files: Sequence[str] = MATTERING) -> Path:
    """The folder that holds the repository's safetensors, config and tokenizer, or only `files`; never a pickle.

    UserError and FavoniusError as `hub_failures` says.
    """
    at = f" at {spec.revision}" if spec.revision else ""
    progress.say(f"looking up {spec.repository}{at} on the hub" + (f" (terms: {terms})" if terms else ""))
    missing = f"there is no folder {spec.repository} here and no repository of that name on the hub that you may read"
    with hub_failures(spec.repository, spec.revision, missing):
        folder = snapshot_download(
            spec.repository, revision=spec.revision, allow_patterns=list(files), ignore_patterns=list(NEEDLESS)
        )
    return Path(folder)


def in_cache(spec: HubSpec, file: str) -> Path | None:
    """`file` of the repository where the hub's client keeps it on this machine; None: it is not there. Asks nobody."""
    found = try_to_load_from_cache(spec.repository, file, revision=spec.revision)
    return Path(found) if isinstance(found, str) else None
