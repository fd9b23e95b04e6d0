"""Rows out of whatever people have: a file, a folder, a hub dataset. One row at a time, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from favonius.data import hub
from favonius.data.folders import KINDS, kind_of, of_split, row_files
from favonius.data.json_stream import json_rows, line_rows
from favonius.data.raw import Fault, Losses, RawRow
from favonius.data.tables import arrow_rows, csv_rows, parquet_rows
from favonius.errors import UserError


def open_rows(
    spec: str, *, split: str | None = None, salvage: bool = False, losses: Losses | None = None
) -> Iterator[RawRow]:
    """Rows of `spec`: a file, a folder (all its files of rows, in name order) or `hf://owner/name[@revision][/config]`.

    `split` chooses among the files of a folder or hub dataset by their names or the dataset card; None reads them all.
    The spec is looked at now, the files only as rows are asked for.

    A file that is broken somewhere is refused (UserError) when its whole rows before the break have been yielded;
    with `salvage` all its whole rows are yielded, and `losses` says what was lost. UserError also where there is no
    such file, split or config; FavoniusError where the hub cannot be reached.
    """
    files = _files(spec, split)
    return _rows(files, salvage, losses if losses is not None else Losses())


def source_name(spec: str) -> str:
    """What rows of `spec` are said to come from: a hub dataset's name or the last part of a path."""
    return hub.HubDataset.parse(spec).repository if spec.startswith(hub.PREFIX) else Path(spec).resolve().name


def _files(spec: str, split: str | None) -> Iterable[Path]:
    if spec.startswith(hub.PREFIX):
        return hub.find(hub.HubDataset.parse(spec), split).fetched()
    path = Path(spec).expanduser()
    if path.is_dir():
        names = row_files(path)
        if not names:
            raise UserError(f"{spec}: the folder holds no file of rows; known are {KINDS}")
        return [path / name for name in of_split(names, split, spec)]
    if not path.is_file():
        raise UserError(f"{spec}: there is no such file or folder; a dataset on the hub is written hf://owner/name")
    if kind_of(path.name) is None:
        raise UserError(f"{spec}: rows cannot be read from this kind of file; known are {KINDS}")
    if split is not None:
        raise UserError(f"{spec}: a split chooses among files, and this is one file; leave the split {split} out")
    return [path]


def _rows(files: Iterable[Path], salvage: bool, losses: Losses) -> Iterator[RawRow]:
    for path in files:
        whole = 0
        for found in _read(path):
            if isinstance(found, RawRow):
                whole += 1
                yield found
            elif salvage:
                losses.add(found, whole)
            else:
                raise UserError(found.sentence(whole))
        losses.close(str(path), whole)


def _read(path: Path) -> Iterator[RawRow | Fault]:
    match kind_of(path.name):
        case ".jsonl" | ".ndjson":
            return line_rows(path)
        case ".json":
            return json_rows(path)
        case ".csv":
            return csv_rows(path, ",")
        case ".tsv":
            return csv_rows(path, "\t")
        case ".parquet":
            return parquet_rows(path)
        case ".arrow":
            return arrow_rows(path)
        case kind:
            raise AssertionError(kind)
