"""A side of the training benchmark in a process of its own, told step by step to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.sides import End, Ready, Side, Step, Work, run


@dataclass
class Running:
    """A side's process, and what it has told."""

    side: Side
    pipe: Connection
    process: Any
    ready: Ready
    steps: list[Step] = field(default_factory=list)
    end: End | None = None

    @classmethod
    def start(cls, side: Side, work: Work) -> Running:
        """Returns when the side is ready for its first step."""
        context = get_context("spawn")
        ours, its = context.Pipe()
        process = context.Process(target=run, args=(side, work, its), name=side.name, daemon=True)
        process.start()
        its.close()
        running = cls(side, ours, process, Ready(0.0, 0.0))
        running.ready = running._told()
        return running

    def step(self) -> Step:
        self.pipe.send("step")
        self.steps.append(self._told())
        return self.steps[-1]

    def finish(self) -> None:
        self.pipe.send("end")
        self.end = self._told()
        self.process.join()

    def _told(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            raise SystemExit(
                f"{self.side.name} died (exit {self.process.exitcode}; -9 is what happens where memory runs out)"
            ) from None
