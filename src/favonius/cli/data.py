"""`favonius data check`: what is in files of rows, and what is the matter with it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from favonius.data.benchmarks_known import read_benchmark
from favonius.data.decontaminate import EvaluationIndex
from favonius.data.intake import read_any
from favonius.data.near_duplicates import ExactDuplicateIndex
from favonius.data.raw import Losses, RawRow
from favonius.data.shapes import SHAPES
from favonius.data.sources import open_rows
from favonius.doctor.characters import Characters
from favonius.doctor.diagnosis import Diagnosis
from favonius.doctor.examine import Source, diagnose
from favonius.doctor.measure import Measure
from favonius.doctor.paint import Paint
from favonius.doctor.sums import Limits
from favonius.doctor.text import text
from favonius.doctor.texts import Against
from favonius.doctor.views import view
from favonius.errors import UserError
from favonius.files import json_text
from favonius.models.config import ModelConfig
from favonius.progress import LIVE_SECONDS, Progress
from favonius.recipe.problems import choice

SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes."""
FAULTS = 1


def run(options: argparse.Namespace) -> int:
    """Examine each file by itself and print what was found. 1 where there are faults, else 0.

    UserError for options that do not fit, files that are not there, and files of which nothing can be told.
    """
    refuse_misfits(options)
    progress = Progress()
    limits = _limits(options)
    measure = _measure(options, limits, progress)
    against = _against(options)
    paint = Paint(colours=not options.no_color and not os.environ.get("NO_COLOR") and sys.stdout.isatty())
    found = []
    for spec in options.files:
        diagnosis = _examined(spec, options, measure, against, limits, progress)
        found.append(diagnosis)
        if not options.json:
            print(("\n\n" if len(found) > 1 else "") + text(diagnosis, paint), flush=True)
    if options.json:
        print(json_text(record(found)))
    return FAULTS if any(diagnosis.faults for diagnosis in found) else 0


def record(found: list[Diagnosis]) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "faults": any(diagnosis.faults for diagnosis in found),
        "files": [diagnosis.record() for diagnosis in found],
    }


def refuse_misfits(options: argparse.Namespace) -> None:
    if options.shape is not None and options.shape not in SHAPES:
        raise UserError(f"--shape {options.shape}: no such shape{choice(options.shape, SHAPES)}")
    for name in ("template", "max_length", "truncation"):
        if getattr(options, name) is not None and options.model is None:
            raise UserError(f"--{name.replace('_', '-')} needs --model, whose tokenizer does the counting")
    for name, least in (("max_length", 8), ("limit", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be {least} or more")


def _limits(options: argparse.Namespace) -> Limits:
    given = {name: getattr(options, name) for name in ("max_length", "truncation")}
    return Limits(**{name: value for name, value in given.items() if value is not None})


def _measure(options: argparse.Namespace, limits: Limits, progress: Progress) -> Measure:
    if options.model is None:
        return Characters()
    # Only here, as they import torch.
    from favonius.chat.format import ChatFormat
    from favonius.doctor.tokens import Tokens
    from favonius.models.resolve import resolve_tokenizer
    from favonius.train.rows import Encoder

    config = ModelConfig(source=options.model, template=options.template or "own")
    form = ChatFormat.load(resolve_tokenizer(options.model, config, Path.cwd(), progress))
    return Tokens(Encoder(form, limits.max_length, limits.truncation))


def _against(options: argparse.Namespace) -> Against:
    held_out = None
    if options.test is not None:
        held_out = ExactDuplicateIndex()
        _, rows = read_any(options.test, salvage=options.salvage)
        for row in rows:
            held_out.add(view(row).asked_key, f"{options.test}, {row.id}")
    texts = [text for spec in options.benchmarks for text in read_benchmark(spec)]
    return Against(held_out, EvaluationIndex(texts) if texts else None, options.near)


def _examined(
    spec: str, options: argparse.Namespace, measure: Measure, against: Against, limits: Limits, progress: Progress
) -> Diagnosis:
    losses = Losses()
    rows = open_rows(spec, split=options.split, salvage=options.salvage, losses=losses)
    source = Source(spec, _counted(islice(rows, options.limit), spec, progress), options.shape, losses)
    return diagnose(source, measure, against, limits)


def _counted(rows: Iterable[RawRow], spec: str, progress: Progress) -> Iterator[RawRow]:
    """On a terminal, a line that says how far the reading is; it is gone in the end."""
    if not progress.live:
        yield from rows
        return
    shown = time.monotonic()
    for number, row in enumerate(rows, start=1):
        yield row
        if time.monotonic() - shown > LIVE_SECONDS:
            shown = time.monotonic()
            progress.stream.write(f"\r\x1b[K{spec}: {number:,} rows")
            progress.stream.flush()
    progress.stream.write("\r\x1b[K")
    progress.stream.flush()
