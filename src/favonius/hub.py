"""What the Hugging Face hub refuses, or cannot give just now, as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from favonius.errors import FavoniusError, UserError, brief, machine_failures
from favonius.files import refusal

UNREACHABLE = cast("tuple[type[Exception], ...]", (LocalEntryNotFoundError, *HfHubHTTPError.__bases__))
"""Among them OSError, and what the client's HTTP library raises itself where there is no network."""


@contextmanager
def hub_failures(repository: str, revision: str | None, missing: str) -> Iterator[None]:
    """UserError where repository or revision is not there (`missing` says so) or not open to this user, and where the
    hub's cache on this machine may not be written; FavoniusError where that disk is full, or where the hub cannot be
    reached and the cache does not hold what is wanted."""
    try:
        with machine_failures(Path(HF_HUB_CACHE)):
            yield
    except GatedRepoError as error:
        raise UserError(
            f"{repository} wants its terms accepted on its hub page first, and a login (hf auth login)"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{repository} has no revision {revision} on the hub") from error
    except RepositoryNotFoundError as error:
        raise UserError(missing) from error
    except UNREACHABLE as error:
        if isinstance(error, OSError) and (sentence := refusal(error)) is not None:
            raise UserError(sentence) from error
        at = f" at {revision}" if revision else ""
        raise FavoniusError(
            f"{repository}{at} could not be fetched from the hub ({brief(error)}) and is not wholly in its cache; "
            "go online and run again, or give a local folder"
        ) from error
