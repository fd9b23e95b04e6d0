"""The whole path of a request (policy, ledger, budget) against the stub: requests/s, and memory while it lasts."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.engine_rows import requests
from benchmarks.stub_server import bare_rate, stub
from favonius.engines.asked import Failure
from favonius.engines.config import OpenAI
from favonius.engines.interview import Question, Reply, interviews
from favonius.engines.openai.live import answering
from favonius.progress import Progress
from favonius.run import Budget, Context, ServedModel
from favonius.types import Completion, Price, Request

SERVED = ServedModel("stub", "stub", "stub", Price(prompt=0.5, completion=1.5))
SAMPLE_SECONDS = 0.25
MOST_SAMPLES = 100
FLAT = 1.05
"""Memory that has grown by less than this factor from the first third to the last is called flat."""


@dataclass(frozen=True)
class Sample:
    """The driving process after so many answers."""

    done: int
    seconds: float
    cpu_seconds: float
    rss_bytes: int
    ledger_bytes: int


def engine_config(url: str, concurrency: int) -> OpenAI:
    return OpenAI.model_validate({"endpoints": [{"base_url": url, "concurrency": concurrency}]})


def drive(
    asked: Iterable[Request], url: str, folder: Path, concurrency: int, total: int
) -> Iterator[Completion | Failure]:
    """The one call into the product: ask as a step does, with a purse that is never empty."""
    context = Context(folder, Progress(io.StringIO()), "benchmark", Budget(dollars=1e6))
    with interviews(context) as opened:
        speaker = opened.open(engine_config(url, concurrency), SERVED)

        def talk(request: Request) -> Generator[Question, Reply, Reply]:
            return (yield Question(speaker, request))

        for _, reply in opened.conduct(map(talk, asked), "requests", total):
            yield reply


def measure(count: int, concurrency: int, latency: float, say: Progress) -> dict[str, Any]:
    """Drive `count` requests in a process of their own and watch it. SystemExit where one was not answered."""
    with stub(latency) as url, tempfile.TemporaryDirectory() as folder:
        ceiling = asyncio.run(bare_rate(url, 2.0, concurrency))
        say.say(f"the stub answers a bare client's {ceiling:,.0f} requests/s, {concurrency} at once")
        samples = _watched([str(count), url, folder, str(concurrency)], Path(folder), count, say)
    end = samples[-1]
    return {
        "kind": "path",
        "requests": count,
        "concurrency": concurrency,
        "latency_seconds": latency,
        "requests_per_s": round(count / end.seconds, 1),
        "requests_per_cpu_s": round(count / end.cpu_seconds, 1),
        "stub_requests_per_s": round(ceiling, 1),
        "seconds": round(end.seconds, 2),
        "ledger_bytes": end.ledger_bytes,
        **memory(samples),
        "samples": [asdict(sample) for sample in samples[:: -(-len(samples) // MOST_SAMPLES)]],
    }


def memory(samples: Sequence[Sample]) -> dict[str, Any]:
    """Peak, and growth from the first third of the samples to the last. SystemExit where there are too few to say."""
    if len(samples) < 3:
        raise SystemExit("the run was too short to say anything of its memory; ask for more --requests")
    third = len(samples) // 3
    early, late = (median(one.rss_bytes for one in part) for part in (samples[:third], samples[-third:]))
    return {
        "peak_rss_bytes": max(sample.rss_bytes for sample in samples),
        "rss_growth": round(late / early, 4),
        "rss_flat": late / early < FLAT,
    }


def _watched(arguments: list[str], folder: Path, count: int, say: Progress) -> list[Sample]:
    """A sample for every line that the driving process says of itself."""
    samples = []
    # Not multiprocessing: that would load the parent's main module there, and torch with it.
    command = [sys.executable, "-m", "benchmarks.engine_path", *arguments]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        say.bar("whole path", count, "requests") as bar,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            ledger_bytes = sum(file.stat().st_size for file in folder.glob("ledger.sqlite*"))
            samples.append(Sample(**json.loads(line), ledger_bytes=ledger_bytes))
            bar.advance(samples[-1].done - bar.done)
    if process.returncode != 0:
        raise SystemExit(f"the driving process ended with exit code {process.returncode}")
    return samples


def main() -> None:
    """The driving process; says how it stands every now and then, and when all is answered and the ledger closed."""
    count, url, folder, concurrency = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    model = answering(engine_config(url, concurrency), SERVED)
    began, began_cpu, done = time.perf_counter(), time.process_time(), 0
    shown = began

    def show() -> None:
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        rss = psutil.Process().memory_info().rss
        print(json.dumps({"done": done, "seconds": seconds, "cpu_seconds": cpu, "rss_bytes": rss}), flush=True)

    for reply in drive(requests(count, model), url, folder, concurrency, count):
        if not isinstance(reply, Completion):
            raise SystemExit(f"a request was not answered: {reply.cause}")
        done += 1
        if (now := time.perf_counter()) - shown >= SAMPLE_SECONDS:
            shown = now
            show()
    show()


if __name__ == "__main__":
    main()
