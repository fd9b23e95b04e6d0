"""To the Hugging Face hub, with a token from the environment alone."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from favonius.errors import FavoniusError, UserError, brief

TOKEN = "HF_TOKEN"
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Push:
    """Where a folder goes, and who may see it there."""

    repository: str
    private: bool = True

    def __post_init__(self) -> None:
        if not REPOSITORY.fullmatch(self.repository):
            raise UserError(f"--push {self.repository}: write it as owner/name")


def listed(folder: Path) -> list[tuple[str, int]]:
    """Names of the files that a push sends, and their bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]


def push(folder: Path, where: Push, message: str, api: Any = None) -> str:
    """Upload `folder` and return its page's address. `api` is huggingface_hub's HfApi.

    UserError without a token, and where the repository is public and a private one was asked for: what is sent there
    is seen by everyone. FavoniusError where the hub refuses.
    """
    api = HfApi(token=token()) if api is None else api
    try:
        _refuse_public(api, where)
        api.create_repo(where.repository, private=where.private, repo_type="model", exist_ok=True)
        api.upload_folder(repo_id=where.repository, folder_path=str(folder), repo_type="model", commit_message=message)
    except (HfHubHTTPError, OSError) as error:
        raise FavoniusError(
            f"{where.repository}: the hub did not take it ({brief(error)}); the export itself is whole in {folder}"
        ) from error
    return f"https://huggingface.co/{where.repository}"


def _refuse_public(api: Any, where: Push) -> None:
    try:
        there = api.repo_info(where.repository, repo_type="model")
    except RepositoryNotFoundError:
        return
    if where.private and not there.private:
        raise UserError(f"{where.repository} is there already and is public; say --public, or name another")


def token() -> str:
    """The hub's token. UserError where there is none: to be asked before much work is done for a push."""
    found = os.environ.get(TOKEN, "").strip()
    if not found:
        raise UserError(
            f"--push needs a token of the hub in the environment variable {TOKEN}; see what goes with --dry-run"
        )
    return found
