"""How fast rows of text become tokens: reading, filtering and tokenising, each alone and one after another.

    python -m benchmarks.data --rows FILE --model FOLDER [--processes 2] [--json OUT.json]

`--rows` is any source that `favonius` reads, or `synthetic`: made-up English-like dialogues of about UltraChat's shape.
All filters take part but those for near duplicates and contamination. MB are those of the messages' text in UTF-8. The
stages take turns, round by round; the first round is not counted. "per CPU second" counts all processes and threads:
on a machine that does other work too, it says more than the wall clock.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from favonius.data.filters.apply import AnyRow, FilterReport, filtered_by_many, messages_of
from favonius.data.filters.casing_words import ENGLISH
from favonius.data.filters.config import (
    AnyFilter,
    ExactDuplicates,
    Flaws,
    Language,
    Length,
    Politeness,
    Refusals,
    Truecase,
)
from favonius.data.intake import read_any
from favonius.data.parallel import chunked
from favonius.data.rows import write_rows
from favonius.errors import UserError
from favonius.progress import Progress
from favonius.run import ModelSource
from favonius.types import Dialogue, Message

if TYPE_CHECKING:
    from favonius.chat.format import ChatFormat

FILTERS: tuple[AnyFilter, ...] = (
    Truecase(), Refusals(), Politeness(), Language(), Length(min_turn=1, max_dialogue=10_000), Flaws(),
    ExactDuplicates(),
)  # fmt: skip
ENCODED_CHARACTERS = 4_000_000
SYLLABLES = tuple(head + tail for head in "bdfghklmnprstvz" for tail in ("a", "e", "i", "o", "u", "an", "er", "ol"))


@dataclass(frozen=True)
class Stage:
    name: str
    run: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    seconds: float
    cpu_seconds: float


def main() -> None:
    arguments = parsed()
    say = Progress()
    form = chat_format(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.rows
        if source == "synthetic":
            source = str(Path(folder) / "synthetic.jsonl")
            write_rows(Path(source), made_up(arguments.megabytes))
        rows = list(read(source, arguments.megabytes))
        stages = [
            Stage("read", lambda: sum(1 for _ in read(source, arguments.megabytes))),
            Stage("filter", lambda: kept(rows, 1)),
            Stage(f"filter, {arguments.processes} processes", lambda: kept(rows, arguments.processes)),
            Stage("tokenise", lambda: tokens(form, rows)),
            Stage("all", lambda: tokens(form, pipeline(source, arguments.megabytes, 1))),
            Stage(
                f"all, {arguments.processes} processes",
                lambda: tokens(form, pipeline(source, arguments.megabytes, arguments.processes)),
            ),
        ]
        timings = measure(stages, arguments.rounds, say)
    found = summary(rows, timings, form, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    say.say(page(found))


def chat_format(folder: Path) -> ChatFormat:
    """With the model's own template, or Zephyr's for a model that has none."""
    # Here, and not above: the processes at the filters load this module too, and have no use for transformers.
    from favonius.chat.format import ChatFormat
    from favonius.chat.template import ZEPHYR

    source = ModelSource(folder.name, folder, "")
    try:
        return ChatFormat.load(source)
    except UserError:
        return ChatFormat.load(replace(source, template=ZEPHYR))


def read(source: str, megabytes: float) -> Iterator[AnyRow]:
    """The first rows of a source, until so much text has been read."""
    _, rows = read_any(source)
    left = megabytes * 1e6
    for row in rows:
        yield row
        left -= _size(row)
        if left <= 0:
            return


def pipeline(source: str, megabytes: float, processes: int) -> Iterator[AnyRow]:
    return filtered_by_many(read(source, megabytes), FILTERS, {}, FilterReport(), processes)


def kept(rows: Iterable[AnyRow], processes: int) -> int:
    return sum(1 for _ in filtered_by_many(rows, FILTERS, {}, FilterReport(), processes))


def tokens(form: ChatFormat, rows: Iterable[AnyRow]) -> int:
    """How many tokens; rows that the tokenizer or template refuses are left out, as in training."""
    total = 0
    for chunk in chunked(rows, _size, ENCODED_CHARACTERS):
        total += sum(len(one.ids) for one in form.encode_many(list(map(messages_of, chunk))) if hasattr(one, "ids"))
    return total


def measure(stages: list[Stage], rounds: int, say: Progress) -> dict[str, list[Timing]]:
    timings: dict[str, list[Timing]] = {stage.name: [] for stage in stages}
    for number in range(rounds + 1):
        for stage in stages:
            began, cpu = time.perf_counter(), _cpu_seconds()
            stage.run()
            timing = Timing(time.perf_counter() - began, _cpu_seconds() - cpu)
            say.say(f"{f'round {number}' if number else 'warm-up'}  {stage.name}: {timing.seconds:.1f} s")
            if number:
                timings[stage.name].append(timing)
    return timings


def summary(
    rows: list[AnyRow], timings: dict[str, list[Timing]], form: ChatFormat, arguments: argparse.Namespace
) -> dict[str, Any]:
    from benchmarks import machine

    size = sum(map(_size, rows)) / 1e6
    report = FilterReport()
    list(filtered_by_many(rows, FILTERS, {}, report, 1))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.name(),
        "rows": Path(arguments.rows).name,
        "model": arguments.model.name,
        "processes": arguments.processes,
        "dialogues": len(rows),
        "megabytes": round(size, 2),
        "stages": {name: speeds(size, found) for name, found in timings.items()},
        "tokeniser": form.batches.ways.record(),
        "filters": {
            name: {"changed": tally.changed, "dropped": tally.drops.counts.total()}
            for name, tally in report.tallies.items()
        },
        "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def speeds(size: float, found: list[Timing]) -> dict[str, Any]:
    wall = sorted(round(size / one.seconds, 2) for one in found)
    cpu = median(size / one.cpu_seconds for one in found)
    return {"mb_per_s": median(wall), "range": [wall[0], wall[-1]], "mb_per_cpu_s": round(cpu, 2)}


def page(found: dict[str, Any]) -> str:
    lines = [
        f"{found['machine']}, load {found['load']}; {found['dialogues']:,} dialogues, {found['megabytes']} MB of text "
        f"({found['rows']}), tokenizer of {found['model']}",
        "",
        "| | MB/s | range | MB per CPU second |",
        "|---|---|---|---|",
    ]
    for name, stage in found["stages"].items():
        low, high = stage["range"]
        lines.append(f"| {name} | {stage['mb_per_s']:.1f} | {low:.1f} to {high:.1f} | {stage['mb_per_cpu_s']:.1f} |")
    counts = (
        f"{name} {tally['changed']} changed, {tally['dropped']} dropped" for name, tally in found["filters"].items()
    )
    return "\n".join([*lines, "", "; ".join(counts)])


def made_up(megabytes: float) -> Iterator[Dialogue]:
    """Dialogues of 2 to 4 rounds, answers of 50 to 250 words, half of them English function words; seeded."""
    draw = random.Random(0)
    english = [word for word in sorted(ENGLISH) if not word.startswith("i")]  # a lone i would be mended
    nouns = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(20_000)]

    def text(words: int) -> str:
        sentences = []
        while words > 0:
            length = draw.randint(5, 20)
            drawn = [draw.choice(english if draw.random() < 0.5 else nouns) for _ in range(length)]
            sentences.append(" ".join(drawn).capitalize() + draw.choice("..?"))
            words -= length
        if draw.random() < 0.02:  # as in UltraChat, some forget their capitals
            sentences = [sentence[0].lower() + sentence[1:] for sentence in sentences]
        return " ".join(sentences)

    left = megabytes * 1e6
    for number in range(10**9):
        rounds = draw.randint(2, 4)
        sizes = [size for _ in range(rounds) for size in (draw.randint(8, 40), draw.randint(50, 250))]
        roles = ("user", "assistant") * rounds
        messages = tuple(
            Message.model_validate({"role": role, "content": text(size)})
            for role, size in zip(roles, sizes, strict=True)
        )
        yield Dialogue(id=str(number), split="train", messages=messages)
        left -= sum(len(message.content) for message in messages)
        if left <= 0:
            return


def _size(row: AnyRow) -> int:
    return sum(len(message.content.encode("utf-8", "surrogatepass")) for message in messages_of(row))


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="synthetic", help="any source of rows, or `synthetic` (the default)")
    parser.add_argument("--model", type=Path, required=True, help="a folder with a fast tokenizer")
    parser.add_argument("--megabytes", type=float, default=60.0, help="of text at the most (60)")
    parser.add_argument("--processes", type=int, default=2, help="at the filters, beside this one (2)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
