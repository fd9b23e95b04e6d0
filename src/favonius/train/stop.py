"""Being asked to stop, in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ASKED = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """`signal` is the name of the signal that asked; None until one did."""

    signal: str | None = None


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Inside the block a first SIGTERM or Ctrl-C is only noted; a second one does what it did before the block.

    Handlers belong to the main thread: in another one nothing is changed, and nothing is ever noted.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number).name
        _restore(before)

    for asked in ASKED:
        before[asked] = signal.signal(asked, note)
    try:
        yield request
    finally:
        _restore(before)


def _restore(before: dict[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
