"""Which files hold rows, and which split each belongs to, by their names.

`train-00000-of-00002.parquet`, `data/train_sft-00000-of-00001-a1b2.parquet`, `train.jsonl.gz` and
`train/data-00000-of-00001.arrow` are of the splits train, train_sft, train and train.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from favonius.data.streams import unpacked_name
from favonius.errors import UserError

TEXT_KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
TABLE_KINDS = (".parquet", ".arrow")
KINDS = ", ".join((*TEXT_KINDS, *TABLE_KINDS)) + " (the text ones also .gz and .zst)"
NOT_ROWS = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"})
CACHES = ("cache-", "indices-")
"""What the datasets library writes beside the rows; files whose names begin so are none either."""
_SHARD = re.compile(r"(?P<split>.+?)[-_.]\d+(?:-of-\d+)?(?:-[0-9a-f]+)?")


def kind_of(name: str) -> str | None:
    """`.jsonl` for `talk.jsonl.gz`; None where a file of this name holds no rows that we can read."""
    path = Path(name)
    suffix = Path(unpacked_name(path)).suffix.lower()
    known = TEXT_KINDS if unpacked_name(path) != path.name else (*TEXT_KINDS, *TABLE_KINDS)
    return suffix if suffix in known else None


def row_files(folder: Path) -> list[str]:
    """Names below `folder` of the files that hold rows, in order; hidden files and caches are left out."""
    return only_rows(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def only_rows(names: Iterable[str]) -> list[str]:
    """Of a listing, the files that hold rows, in order."""
    return sorted(filter(_holds_rows, names))


def _holds_rows(name: str) -> bool:
    parts = PurePosixPath(name).parts
    beside = parts[-1] in NOT_ROWS or parts[-1].startswith(CACHES)
    return kind_of(name) is not None and not beside and not any(part.startswith(".") for part in parts)


def of_split(names: Sequence[str], split: str | None, place: str) -> list[str]:
    """Those of `names` that belong to `split`; None: all. UserError, with the splits there are, where none does."""
    if split is None:
        return list(names)
    found = [name for name in names if split in _splits(name)]
    if not found:
        there = sorted({_splits(name)[-1] for name in names})
        raise UserError(f"{place}: no file belongs to the split {split}; by their names there are {', '.join(there)}")
    return found


def _splits(name: str) -> list[str]:
    """What could be the split's name: the folders, then the file's name without its shard's number."""
    *folders, file = PurePosixPath(name).parts
    stem = Path(unpacked_name(Path(file))).stem
    shard = _SHARD.fullmatch(stem)
    own = shard["split"] if shard else stem
    return folders if own == "data" and folders else [*folders, own]
