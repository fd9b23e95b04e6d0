"""First pass: every source by itself, through the filters that look at one row.

work/<source>.jsonl    the rows that are left, with their ids and splits
work/<source>.json     what became of the others; written last, so that a source that has it is not read again
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from os import cpu_count
from pathlib import Path
from typing import Any

from favonius.corpus.config import COMPARING, MADE_OF, DataConfig, Source, unchangeable, unlike
from favonius.corpus.kinds import noun_of
from favonius.corpus.steps import file_in, read_step
from favonius.data.checks import Drops
from favonius.data.convert import Row
from favonius.data.filters.apply import filtered_by_many, messages_of
from favonius.data.filters.report import FilterReport
from favonius.data.intake import Intake, read_any
from favonius.data.rows import line_of
from favonius.data.shapes import Shape
from favonius.data.splits import in_fraction, opening, split_of
from favonius.errors import UserError
from favonius.files import read_json, replacing, write_json
from favonius.run import Inputs
from favonius.types import SeedPrompt, Split

OUTSIDE = "outside the fraction"
TOLD_EVERY = 250_000
SMALL_BYTES = 1 << 25
MOST_PROCESSES = 8
"""Faster than these one process cannot read."""


@dataclass(frozen=True)
class Gathered:
    """Rows of one source, as lines of `path`, and the record of how they came about."""

    name: str
    path: Path
    shape: Shape
    record: dict[str, Any]

    @property
    def noun(self) -> type[Row]:
        return noun_of(self.shape)


@dataclass
class _Stream:
    """A source that is being read."""

    name: str
    source: Source
    path: Path | None
    """None on the hub."""
    shape: Shape
    rows: Iterator[Row]
    intake: Intake
    dropped: Drops = field(default_factory=Drops)
    report: FilterReport = field(default_factory=FilterReport)


def gather(config: DataConfig, inputs: Inputs, work: Path, say: Callable[[str], None]) -> dict[str, Gathered]:
    """Every source's rows in `work`. Sources that an earlier attempt finished are taken as they are.

    UserError, before any is read through, where two sources become different things or a filter is not for them; and
    where a source cannot be read (see `data.intake.read_any`).
    """
    found = {name: gathered for name in config.sources if (gathered := _finished(work, name)) is not None}
    streams = [_open(name, source, inputs) for name, source in config.sources.items() if name not in found]
    shapes = {name: gathered.shape for name, gathered in found.items()} | {one.name: one.shape for one in streams}
    if problem := _problem(config, {name: shapes[name] for name in config.sources}):
        raise UserError(problem)
    for stream in streams:
        found[stream.name] = _gather(stream, config, inputs, work, say)
    return {name: found[name] for name in config.sources}


def _finished(work: Path, name: str) -> Gathered | None:
    if not (work / f"{name}.json").exists():
        return None
    record = read_json(work / f"{name}.json")
    return Gathered(name, work / f"{name}.jsonl", record["shape"], record)


def _open(name: str, source: Source, inputs: Inputs) -> _Stream:
    intake = Intake()
    if source.step is not None:
        path = file_in(inputs.folder(source.step), source)
        return _Stream(name, source, path, *read_step(path, source, intake), intake)
    local = None if source.path is None else inputs.file(source.path)
    spec = source.name if local is None else str(local)
    shape, rows = read_any(spec, shape=source.shape, split=source.split, salvage=source.salvage, intake=intake)
    return _Stream(name, source, local, shape, rows, intake)


def _problem(config: DataConfig, shapes: dict[str, Shape]) -> str | None:
    """What is wrong with sources of these shapes; the config knew only those that were stated."""
    held_out = next((name for name, source in config.sources.items() if source.held_out), None)
    if held_out is not None and MADE_OF[shapes[held_out]] == "prompts":
        return f"{held_out}: prompts are held out by the step that makes dialogues of them; leave held_out out"
    return unlike(shapes) or unchangeable(shapes, config.filters)


def _gather(stream: _Stream, config: DataConfig, inputs: Inputs, work: Path, say: Callable[[str], None]) -> Gathered:
    path, kept = work / f"{stream.name}.jsonl", 0
    filters = [entry for entry in config.filters if not isinstance(entry, COMPARING)]
    rows, processes = _taken(stream, config, say), _processes(stream, config)
    with replacing(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            for row in filtered_by_many(rows, filters, inputs.files, stream.report, processes):
                file.write(line_of(row))
                kept += 1
    record = _record(stream, kept)
    write_json(work / f"{stream.name}.json", record)
    dropped = f", {record['read'] - kept:,} dropped" if kept < record["read"] else ""
    say("\n".join([f"  {stream.name}: {record['read']:,} rows ({stream.shape}){dropped}", *_losses(stream)]))
    return Gathered(stream.name, path, stream.shape, record)


def _processes(stream: _Stream, config: DataConfig) -> int:
    """As the config says, or else as many as there are cores; for a small file one, which need not be started."""
    if config.processes is not None:
        return config.processes
    if stream.path is not None and stream.path.is_file() and stream.path.stat().st_size < SMALL_BYTES:
        return 1
    return max(1, min(MOST_PROCESSES, cpu_count() or 1))


def _losses(stream: _Stream) -> list[str]:
    return [f"  {stream.name}: {sentence}" for sentence in stream.intake.losses.sentences()]


def _taken(stream: _Stream, config: DataConfig, say: Callable[[str], None]) -> Iterator[Row]:
    """The fraction of a source's rows, each under an id that no other source has and on its side of the split."""
    prefix = f"{stream.name}/" if len(config.sources) > 1 else ""
    for number, row in enumerate(stream.rows, start=1):
        if number % TOLD_EVERY == 0:
            say(f"  {stream.name}: {number:,} rows so far")
        prompt = opening(messages_of(row))
        if stream.source.fraction < 1 and not in_fraction(prompt, stream.source.fraction, config.seed):
            stream.dropped.add(OUTSIDE, f"{prefix}{row.id}: {prompt}")
            continue
        changes: dict[str, str] = {"id": prefix + row.id}
        if not isinstance(row, SeedPrompt):
            changes["split"] = _split(stream.source, row.split, prompt, config)
        yield row.model_copy(update=changes)


def _split(source: Source, own: Split, prompt: str, config: DataConfig) -> Split:
    if source.held_out:
        return "test"
    return own if source.step is not None else split_of(prompt, config.test_share)


def _record(stream: _Stream, kept: int) -> dict[str, Any]:
    """For stats.json. `read` = `kept` + `dropped`; rows that salvage lost are in `lost` alone."""
    intake = stream.intake.record()
    dropped = Drops()
    dropped.absorb(stream.intake.dropped)
    dropped.absorb(stream.dropped)
    absorb_report(dropped, stream.report)
    return {
        "from": stream.source.name,
        "shape": stream.shape,
        "read": intake["read"],
        "kept": kept,
        **dropped.record(),
        "changed": intake["changed"],
        "changed_samples": intake["changed_samples"],
        "lost": intake["lost"],
        "filters": stream.report.record(),
    }


def absorb_report(dropped: Drops, report: FilterReport) -> None:
    """Count what filters dropped, each cause behind the filter's name."""
    for name, tally in report.tallies.items():
        dropped.absorb(tally.drops, f"{name}: ")
