"""The two kinds of failure that a person meets as one sentence.

Everything else that is raised is a fault of ours and keeps its traceback.
"""

from __future__ import annotations


class FavoniusError(Exception):
    """A run cannot go on for a reason outside the program (a full disk, a dead teacher, a loss that is not a number).

    The message is one sentence that names the place and says what to do; the command exits with `exit_code`.
    """

    exit_code = 1


class UserError(FavoniusError):
    """The recipe, a row, a file or a command line needs mending by its author."""

    exit_code = 2


def brief(error: BaseException, most: int = 200) -> str:
    """What another library's error says, for the middle of a sentence: its first line, `most` characters of it."""
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return text if len(text) <= most else text[: most - 1] + "…"
