"""Votes on two answers, kept the moment they are cast: one JSON line each, on the disk before anybody is told.

Several programs may add to one file. A line that a kill tore off is left where it is and counted when the file is
read; the next vote begins on a line of its own.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError
from pydantic_core import from_json

from favonius.data.rows import explain, line_of
from favonius.errors import FavoniusError, UserError
from favonius.files import require_file
from favonius.types import Messages, Noun, Sampling, digest

BUSY_SECONDS = 30.0
Side = Literal["a", "b"]
Verdict = Literal["a", "b", "tie", "both_bad"]


class Reply(Noun):
    """One of the two answers."""

    model: str
    """As its server calls it."""
    fingerprint: str | None = None
    """What the server says its weights are known by (`system_fingerprint`); ours says the digest of weights and
    template. None where it says nothing."""
    text: str
    finished: bool
    """False where the token limit cut it off."""


class Vote(Noun):
    """What a person said of two answers to one prompt without knowing whose they were."""

    id: str
    time: str
    """When it was cast, in ISO 8601, UTC."""
    prompt: Messages = Field(min_length=1)
    sampling: Sampling
    """Of both answers, with the seed that both were asked with."""
    a: Reply
    """The one shown on the left, or above the other where the page is narrow; sides were drawn at random."""
    b: Reply
    verdict: Verdict

    @property
    def sides(self) -> tuple[Reply, Reply]:
        return self.a, self.b


def new_vote(prompt: Messages, sampling: Sampling, a: Reply, b: Reply, verdict: Verdict) -> Vote:
    """A vote cast now."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return Vote(
        id=f"vote-{secrets.token_hex(8)}", time=time, prompt=prompt, sampling=sampling, a=a, b=b, verdict=verdict
    )


def prompt_of(vote: Vote) -> str:
    """Equal for votes on one prompt: the unit that intervals are drawn over."""
    return digest([message.model_dump() for message in vote.prompt])


def add(path: Path, vote: Vote) -> None:
    """Append a vote; it is on the disk when this returns. FavoniusError where it cannot be."""
    line = line_of(vote).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=BUSY_SECONDS), open(path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except Timeout:
        raise FavoniusError(f"{path}: another program has kept it locked for {BUSY_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise FavoniusError(f"{path}: the vote could not be stored ({error.strerror})") from error


@dataclass
class Reading:
    """What is met while a file of votes is read."""

    torn: int = 0
    """Lines that a kill tore off."""
    repeated: int = 0
    """Lines of a vote that stands there already, as where files were joined."""


def read(path: Path, reading: Reading) -> Iterator[Vote]:
    """The votes of `path` in their order, each once.

    UserError where there is no such file, or a line is a whole JSON value and no vote, naming line and field.
    """
    require_file(path)
    seen: set[str] = set()
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            vote = _vote(line, f"{path}, line {number}")
            if vote is None:
                reading.torn += bool(line.strip())
            elif vote.id in seen:
                reading.repeated += 1
            else:
                seen.add(vote.id)
                yield vote


def _vote(line: bytes, place: str) -> Vote | None:
    """None where the line is no whole JSON value."""
    try:
        value = from_json(line)
    except ValueError:
        return None
    try:
        return Vote.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{place}: {explain(error, Vote)}") from None
