"""What a person sees of long work, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest

from favonius import progress
from favonius.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock: its only element is the time."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_plain_line_now_and_then_and_one_at_the_end(seconds: list[float]) -> None:
    log = io.StringIO()
    with Progress(log).bar("steps", 40, "rows", done=10) as bar:
        for _ in range(30):
            seconds[0] += 1.0
            bar.advance(1, 50, note="loss 1.5")
    lines = log.getvalue().splitlines()
    assert lines == [
        "steps: 20/40 rows  50 tokens/s  20s left  loss 1.5",
        "steps: 30/40 rows  50 tokens/s  10s left  loss 1.5",
        "steps: 40/40 rows  50 tokens/s  took 30s  loss 1.5",
    ]


def test_a_terminal_gets_one_line_that_is_rewritten(seconds: list[float]) -> None:
    terminal = Terminal()
    shown = Progress(terminal)
    with shown.bar("answers", 3) as bar:
        for _ in range(3):
            seconds[0] += 0.3
            bar.advance()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("\r\x1b[Kanswers: 3/3  took 1s\n")


def test_work_done_before_does_not_count_as_speed(seconds: list[float]) -> None:
    bar = Progress(io.StringIO()).bar("answers", 100, done=90)
    bar.done += 5
    assert bar.line(10.0) == "answers: 95/100  10s left"


@pytest.mark.parametrize(("value", "text"), [(0.4, "0s"), (59.6, "1m00s"), (75, "1m15s"), (7260, "2h01m")])
def test_clock(value: float, text: str) -> None:
    assert clock(value) == text
