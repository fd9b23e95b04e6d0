"""Writes the same rows in every container that `data.sources` reads, and one dialogue in every shape."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import zstandard

from favonius.types import Messages

RawRows = Sequence[dict[str, Any]]

SHAREGPT_NAMES = {"system": "system", "user": "human", "assistant": "gpt"}


def lines(rows: RawRows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def array(rows: RawRows) -> bytes:
    return json.dumps(rows, indent=2).encode()


def wrapped(rows: RawRows) -> bytes:
    return json.dumps({"version": 12, "note": "[{", "rows": rows, "end": None}).encode()


def one_after_another(rows: RawRows) -> bytes:
    return "\n".join(json.dumps(row, indent=1) for row in rows).encode()


def separated(rows: RawRows, delimiter: str) -> bytes:
    """Lists become JSON in their cell; a field that a row lacks is an empty cell."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)), delimiter=delimiter)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: json.dumps(item) if isinstance(item, list) else item for name, item in row.items()})
    return out.getvalue().encode()


TEXTS = {
    "lines.jsonl": lines,
    "lines.ndjson": lines,
    "lines.json": lines,
    "array.json": array,
    "wrapped.json": wrapped,
    "objects.json": one_after_another,
    "table.csv": lambda rows: separated(rows, ","),
    "table.tsv": lambda rows: separated(rows, "\t"),
}
PACKERS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
CONTAINERS = (*(name + suffix for name in TEXTS for suffix in PACKERS), "table.parquet", "saved.arrow", "folder")


def write(folder: Path, container: str, rows: RawRows) -> Path:
    """`rows` in one of CONTAINERS below `folder`."""
    path = folder / container
    if container == "folder":
        path.mkdir(exist_ok=True)
        half = (len(rows) + 1) // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            (path / f"train-{number:05d}-of-00002.jsonl").write_bytes(lines(part))
        (path / "README.md").write_text("not rows")
    elif container == "table.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=2)
    elif container == "saved.arrow":
        table = pyarrow.Table.from_pylist(list(rows))
        with pyarrow.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    else:
        suffix = Path(container).suffix if Path(container).suffix in PACKERS else ""
        path.write_bytes(PACKERS[suffix](TEXTS[container.removesuffix(suffix)](rows)))
    return path


def messages_row(messages: Messages) -> dict[str, Any]:
    return {"messages": [message.model_dump() for message in messages]}


def sharegpt_row(messages: Messages) -> dict[str, Any]:
    return {"conversations": [{"from": SHAREGPT_NAMES[said.role], "value": said.content} for said in messages]}


def ultrachat_row(messages: Messages) -> dict[str, Any]:
    return {"data": [said.content for said in messages if said.role != "system"], **_system(messages)}


def alpaca_row(messages: Messages) -> dict[str, Any]:
    *earlier, question, answer = [said.content for said in messages if said.role != "system"]
    history = [list(pair) for pair in zip(earlier[::2], earlier[1::2], strict=True)]
    return {"instruction": question, "input": "", "output": answer, "history": history, **_system(messages)}


def _system(messages: Messages) -> dict[str, Any]:
    return {"system": messages[0].content if messages[0].role == "system" else ""}


DIALOGUE_SHAPES = {
    "messages": messages_row,
    "sharegpt": sharegpt_row,
    "ultrachat": ultrachat_row,
    "alpaca": alpaca_row,
}
