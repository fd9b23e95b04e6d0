"""The kinds of failure that a person meets as one sentence.

Everything else that is raised is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from favonius.phrases import shortened

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXTS = ("No space left on device", "database or disk is full", "Disk quota exceeded")
"""What SQLite, safetensors and torch say; they do not raise OSError."""
MEMORY_TEXTS = ("can't allocate memory", "out of memory")


class FavoniusError(Exception):
    """A run cannot go on for a reason outside the program (a full disk, a dead teacher, a loss that is not a number).

    The message is one sentence that names the place and says what to do; the command exits with `exit_code`.
    """

    exit_code = 1


class UserError(FavoniusError):
    """The recipe, a row, a file or a command line needs mending by its author."""

    exit_code = 2


class BudgetError(FavoniusError):
    """The money that the recipe allows is spent; the step that spent it has written what it has."""


class StoppedError(FavoniusError):
    """Asked to stop (Ctrl-C, a scheduler's SIGTERM), the run did so in good order; running it again goes on."""

    exit_code = 130


def brief(error: BaseException, most: int = 200) -> str:
    """What another library's error says, for the middle of a sentence: its first line, `most` characters of it."""
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return shortened(text, most)


@contextmanager
def machine_failures(run: Path) -> Iterator[None]:
    """Turn a full disk or memory inside the block into FavoniusError; let everything else through."""
    try:
        yield
    except FavoniusError:
        raise
    except Exception as error:
        sentence = _sentence(error, run)
        if sentence is None:
            raise
        raise FavoniusError(sentence) from error


def _sentence(error: Exception, run: Path) -> str | None:
    for cause in _chain(error):
        if (isinstance(cause, OSError) and cause.errno in FULL) or any(text in str(cause) for text in FULL_TEXTS):
            path = cause.filename if isinstance(cause, OSError) and cause.filename else run
            return (
                f"no space left on the disk that holds {os.fsdecode(path)}; free some and run the same command again: "
                "nothing finished is lost"
            )
        if isinstance(cause, MemoryError) or _is_out_of_memory(cause):
            return (
                "not enough memory; lower pack_tokens, batch_size, max_length or the engine's slots in the recipe, "
                "or close other programs, and run the same command again: nothing finished is lost"
            )
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """Torch raises RuntimeErrors; asking for their class would import it."""
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MEMORY_TEXTS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
