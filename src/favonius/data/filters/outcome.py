"""What a filter says of a conversation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from favonius.types import Messages


@dataclass(frozen=True, slots=True)
class Outcome:
    """The conversation as it goes on, None where it is dropped, and why.

    `cause` is counted: of a drop, or of anything else that is worth a number (a trimmed end, an undecided language).
    `detail` stands in the sample of a drop in place of the conversation's beginning.
    """

    messages: Messages | None
    cause: str | None = None
    detail: str | None = None


Filter = Callable[[Messages], Outcome]
