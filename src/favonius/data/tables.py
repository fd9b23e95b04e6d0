"""Rows of CSV, Parquet and Arrow files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from favonius.data.raw import NOT_UTF8, Fault, RawRow
from favonius.data.streams import DamagedFileError, raw_lines
from favonius.errors import UserError, brief

LONGEST_CELL = 1 << 27
"""Characters. A stray quote swallows what follows it; this is where that ends."""
BATCH_ROWS = 256
"""Rows of a Parquet file in memory at a time, beside the compressed row group."""

BAD_LINE = "this is not a whole CSV row"
WRONG_WIDTH = "the row has another number of cells than the header"
BROKEN_TABLE = "the file is damaged or cut off"


def csv_rows(path: Path, delimiter: str) -> Iterator[RawRow | Fault]:
    """Rows of a table whose first row names the fields; every value is text, as it stands in its cell.

    UserError where the header names a field twice. A row may go over several lines; it is named by its first.
    """
    csv.field_size_limit(LONGEST_CELL)
    name = str(path)
    reader = csv.reader(_text_lines(path), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        where = f"line {line}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Fault(name, where, BAD_LINE, str(error))
            continue
        except UnicodeDecodeError:
            yield Fault(name, where, NOT_UTF8, ends=True)
            return
        except DamagedFileError as error:
            yield Fault(name, f"after line {line - 1}", error.cause, "", int(bool(error.tail)), len(error.tail),
                        sample=error.tail.decode("utf-8", "replace"), ends=True)  # fmt: skip
            return
        if not header:
            header = _header(name, cells)
        elif len(cells) == len(header):
            yield RawRow(f"{name}, {where}", dict(zip(header, cells, strict=True)))
        elif cells:
            text = delimiter.join(cells)
            yield Fault(name, where, WRONG_WIDTH, f"{len(cells)}, not {len(header)}", bytes=len(text), sample=text)


def _text_lines(path: Path) -> Iterator[str]:
    for _, line in raw_lines(path):
        yield line.decode("utf-8") + "\n"


def _header(name: str, cells: list[str]) -> list[str]:
    twice = next((cell for cell in cells if cells.count(cell) > 1), None)
    if twice is not None:
        raise UserError(f"{name}, line 1: the header names the field {twice or '(empty)'} twice; rename one of them")
    return cells


def parquet_rows(path: Path) -> Iterator[RawRow | Fault]:
    """Rows of a Parquet file; a damaged row group is one fault, and reading goes on after it.

    The directory of a Parquet file stands at its end: one that was cut off gives no row at all.
    """
    name = str(path)
    parquet = _pyarrow(name).parquet
    errors = (_pyarrow(name).ArrowException, OSError)
    try:
        file = parquet.ParquetFile(path, page_checksum_verification=True)
    except errors as error:
        yield _damaged(name, "from its first byte", f"it is not a whole Parquet file: {brief(error)}", 0, path)
        return
    with file:
        number = 0
        for group in range(file.num_row_groups):
            first, rows = number, file.metadata.row_group(group).num_rows
            try:
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group]):
                    for value in batch.to_pylist():
                        number += 1
                        yield RawRow(f"{name}, row {number}", value)
            except errors as error:
                lost = first + rows - number
                yield Fault(name, f"after row {number}", BROKEN_TABLE, brief(error), lost)
                number = first + rows


def arrow_rows(path: Path) -> Iterator[RawRow | Fault]:
    """Rows of an Arrow stream, as `datasets.save_to_disk` writes it, or of an Arrow file."""
    name = str(path)
    pyarrow = _pyarrow(name)
    errors = (pyarrow.ArrowException, OSError, EOFError)
    number = 0
    try:
        with pyarrow.memory_map(str(path)) as file:
            for batch in _arrow_batches(pyarrow, file):
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    for value in batch.slice(start, BATCH_ROWS).to_pylist():
                        number += 1
                        yield RawRow(f"{name}, row {number}", value)
    except errors as error:
        yield _damaged(name, f"after row {number}", brief(error), 1, path)


def _arrow_batches(pyarrow: Any, file: Any) -> Iterator[Any]:
    if file.read(6) == b"ARROW1":
        reader = pyarrow.ipc.open_file(file)
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
    else:
        file.seek(0)
        yield from pyarrow.ipc.open_stream(file)


def _damaged(name: str, where: str, detail: str, rows: int, path: Path) -> Fault:
    return Fault(name, where, BROKEN_TABLE, detail, rows, bytes=0 if rows else path.stat().st_size, ends=True)


def _pyarrow(name: str) -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{name}: Parquet and Arrow need pyarrow; run pip install 'favonius[parquet]'") from error
    return pyarrow
