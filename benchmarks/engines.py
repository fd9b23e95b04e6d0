"""Favonius' engines: the whole path of a request, and the local engines' tokens/s.

    python -m benchmarks.engines --requests 1000000                 # against a loop-back stub
    python -m benchmarks.engines --llamacpp MODEL.gguf              # against a bare llama.cpp server
    python -m benchmarks.engines --student FOLDER --gguf FILE       # transformers against llama.cpp
    … --json OUT.json --keep                                        # and today's files in benchmarks/results/

Local engines take turns, round by round, on the same prompts; the first round of each is not counted. The path's
client is a process of its own, whose memory is looked at while it works; the stub is a third.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all sides, and before torch is loaded

from benchmarks import engine_local, engine_path, engine_results, machine
from favonius.models.config import ModelConfig
from favonius.models.resolve import resolve
from favonius.progress import Progress
from favonius.run import ModelSource

PACKAGES = ("aiohttp", "xllamacpp", "torch", "transformers")


def main() -> None:
    arguments = parsed()
    say = Progress()
    before = machine.state()
    measured = list(measure(arguments, say))
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.name(),
        "versions": {package: version(package) for package in PACKAGES},
        "machine_before": before,
        "machine_after": machine.state(),
    }
    found = [{**one, **about} for one in measured]
    say.say(engine_results.page(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.keep:
        say.say(str(engine_results.keep(found)))


def measure(arguments: argparse.Namespace, say: Progress) -> Iterator[dict[str, Any]]:
    """Every part that was asked for."""
    if arguments.requests:
        for latency in arguments.latency:
            yield engine_path.measure(arguments.requests, arguments.concurrency, latency, say)
    if arguments.llamacpp:
        source = model(arguments.llamacpp, say)
        for slots in arguments.slots or (16,):
            yield engine_local.against_bare_server(source, slots, arguments.tokens, arguments.rounds, say)
    if arguments.student:
        student = replace(model(arguments.student, say), name=arguments.gguf.name, gguf=arguments.gguf)
        for slots in arguments.slots or (1, 4, 16, 32):
            yield engine_local.transformers_against_llamacpp(student, slots, arguments.tokens, arguments.rounds, say)


def model(spec: str, say: Progress) -> ModelSource:
    source = resolve("model", ModelConfig(source=spec), Path.cwd(), say)
    if not isinstance(source, ModelSource):
        raise SystemExit(f"{spec}: weights are needed, not a served model")
    return replace(source, name=Path(spec.split("#")[0]).name)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, help="so many through the whole path")
    parser.add_argument("--concurrency", type=int, default=64, help="of the path (64)")
    parser.add_argument("--latency", type=_floats, default=(0.0,), help="the stub's seconds, several with commas (0)")
    parser.add_argument("--llamacpp", metavar="GGUF", help="a file, or any model source of a recipe that is one")
    parser.add_argument("--student", metavar="FOLDER", help="a student's folder; needs --gguf")
    parser.add_argument("--gguf", type=Path, help="the same student as GGUF")
    parser.add_argument("--slots", type=_integers, help="several with commas (16; for --student 1,4,16,32)")
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of an answer (64)")
    parser.add_argument("--rounds", type=int, default=3, help="that are counted (3)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="write today's files in benchmarks/results/")
    arguments = parser.parse_args()
    if not (arguments.requests or arguments.llamacpp or arguments.student):
        parser.error("nothing to measure: --requests, --llamacpp or --student")
    if bool(arguments.student) != bool(arguments.gguf):
        parser.error("--student and --gguf go together")
    return arguments


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


if __name__ == "__main__":
    main()
