"""Where the result of an evaluation goes: one JSON document, or a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from favonius.errors import UserError, machine_failures
from favonius.files import json_text, write_text
from favonius.progress import Progress


def deliver(found: Mapping[str, Any], page: str, where: str | None) -> None:
    """Print `found` as JSON for "-", write it for a file's name, and print `page` where no JSON was asked for.

    With "-" nothing else may go to stdout: scripts parse it. UserError where the name is a folder's; ValueError for
    a number that is not finite.
    """
    if where is None:
        print(page)
    elif where == "-":
        print(json_text(found, finite=True))
    elif Path(where).is_dir():
        raise UserError(f"--json {where}: this is a folder; name a file in it, or - for the terminal")
    else:
        with machine_failures(Path(where)):
            write_text(Path(where), json_text(found, finite=True) + "\n")
        Progress().say(f"wrote {where}")
