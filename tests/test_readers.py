"""data.sources: rows come out of every container as they went in, one at a time, and errors name the place."""

from __future__ import annotations

import errno
import gzip
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.chat.format import ChatFormat
from favonius.data import hub, streams
from favonius.data.intake import read_any
from favonius.data.json_stream import document_rows
from favonius.data.raw import RawRow
from favonius.data.rows import read_rows
from favonius.data.sources import open_rows
from favonius.errors import FavoniusError, UserError
from favonius.types import Dialogue, Message, Messages
from tests.row_files import CONTAINERS, DIALOGUE_SHAPES, array, lines, write
from tests.tiny import tiny_tokenizer

FORM = ChatFormat(tiny_tokenizer())
ROWS = [{"prompt": f"question {index} — «é\u2028»", "n": index} for index in range(5)]

texts = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "</s>" not in text and "<s>" not in text)
said = texts.filter(bool)


@st.composite
def dialogues(draw: st.DrawFn) -> Messages:
    system = [Message(role="system", content=text) for text in draw(st.lists(said, max_size=1))]
    turns = draw(st.lists(st.tuples(said, said), min_size=1, max_size=3))
    spoken = [
        Message(role=role, content=text)
        for pair in turns
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]  # type: ignore[misc]
    return (*system, *spoken)


def values(spec: Path | str, **options: Any) -> list[dict[str, Any]]:
    return [row.value for row in open_rows(str(spec), **options)]


def refusal(spec: Path | str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        values(spec, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_rows(container: str, tmp_path: Path) -> None:
    path = write(tmp_path, container, ROWS)
    as_text = container.startswith(("table.csv", "table.tsv"))
    assert values(path) == ([{**row, "n": str(row["n"])} for row in ROWS] if as_text else ROWS)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=dialogues(), other=dialogues())
def test_a_dialogue_is_the_same_in_every_shape_and_container(
    messages: Messages, other: Messages, tmp_path: Path
) -> None:
    ids = FORM.encode(messages).ids
    for shape, row in DIALOGUE_SHAPES.items():
        for container in CONTAINERS:
            found, rows = read_any(str(write(tmp_path, container, [row(messages), row(other)])))
            first, second = rows
            assert found == shape
            assert isinstance(first, Dialogue) and isinstance(second, Dialogue)
            assert (first.messages, second.messages) == (messages, other), container
            assert FORM.encode(first.messages).ids == ids


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(
            texts,
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers(-(2**53), 2**53)
                | st.floats(allow_nan=False, allow_infinity=False)
                | texts,
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
                max_leaves=5,
            ),
            max_size=4,
        ),
        min_size=1,
        max_size=5,
    ),
    indent=st.none() | st.integers(0, 3),
    ascii=st.booleans(),
    chunk=st.integers(1, 40),
    around=st.sampled_from(["%s", '{"n": 12, "list": [ "[{" ], "rows" : %s, "end": {}}']),
)
def test_an_array_is_read_alike_wherever_its_chunks_end(
    rows: list[dict[str, Any]], indent: int | None, ascii: bool, chunk: int, around: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.json"
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii, allow_nan=False)
    path.write_text(around % text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "PLAIN_BYTES", chunk)
        found = list(document_rows(path))
    assert all(isinstance(row, RawRow) for row in found)
    assert [row.value for row in found if isinstance(row, RawRow)] == json.loads(text)


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_lines_do_not_depend_on_where_chunks_end(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PLAIN_BYTES", chunk)
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}\n{"a": 3}')
    assert [(row.place, row.value["a"]) for row in open_rows(str(path))] == [
        (f"{path}, line 1", 1),
        (f"{path}, line 4", 2),
        (f"{path}, line 5", 3),
    ]


def test_streams_one_after_another_are_one_file(tmp_path: Path) -> None:
    for suffix, pack in ((".gz", gzip.compress), (".zst", zstandard.ZstdCompressor().compress)):
        path = tmp_path / f"lines.jsonl{suffix}"
        path.write_bytes(pack(lines(ROWS[:2])) + pack(lines(ROWS[2:])) + (b"\0" * 512 if suffix == ".gz" else b""))
        assert values(path) == ROWS


def test_our_own_nouns_may_be_compressed(tmp_path: Path) -> None:
    row = {"id": "a", "split": "test", **DIALOGUE_SHAPES["messages"](_exchange())}
    for container in ("lines.jsonl.gz", "lines.jsonl.zst", "table.parquet"):
        [dialogue] = read_rows(write(tmp_path, container, [row]), Dialogue)
        assert (dialogue.id, dialogue.split, dialogue.messages) == ("a", "test", _exchange())


def _exchange() -> Messages:
    return (Message(role="user", content="Hi"), Message(role="assistant", content="Hello"))


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("one.json", '{"messages": [{"role": "user"}]}', 1),  # a row, not a list of rows
        ("one_line.json", '{"data": [{"a": 1}, {"a": 2}]}\n', 2),
        ("chat.json", '{"instruction": "a", "completions": [{"model": "b"}]}', 1),
        ("texts.json", '{"id": 1, "data": ["a", "b"]}', 1),
        ("two_lists.json", '{"train": [{"a": 1}], "test": [{"a": 2}, {"a": 3}]}', 3),
        ("empty.json", "[]", 0),
        ("nothing.json", "", 0),
        ("nothing.csv", "", 0),
        ("spaced.json", ' \n [ {"a": [1, {"b": "]}"}]} ,\n {} ] \n', 2),
    ],
)
def test_what_a_json_file_may_hold(name: str, content: str, rows: int, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert len(values(path)) == rows


@pytest.mark.parametrize(("name", "form"), [("a.json", "[{}]"), ("a.jsonl", "{}\n")])
def test_numbers_that_only_python_writes_are_missing(name: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(form.format('{"a": NaN, "b": [-Infinity, 1], "c": "NaN"}'))
    assert values(path) == [{"a": None, "b": [None, 1], "c": "NaN"}]


def test_lines_are_known_for_lines_though_the_first_lacks_a_number(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": NaN}\n{"a" 1}\n{"a": 2}\n')
    assert [row.value["a"] for row in open_rows(str(path), salvage=True)] == [None, 2]


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        (
            "a.jsonl",
            '{"a": 1}\n{"a": \n',
            ["line 2", "not a whole JSON value", "1 whole row stands", "--salvage, in a recipe"],
        ),
        ("a.jsonl", '{"a": 1}\n[2]\n', ["line 2", "one JSON object"]),
        ("a.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}\n', ["line 2: the text is not UTF-8; 1 whole row stands"]),
        ("a.jsonl", '{"a": "\\ud83d"}\n', ["line 1", "surrogate"]),
        ("a.json", '[{"a": 1},\n{"a": NaN, "b": "\\ud83d"}]', ["row 2", "not a whole JSON value"]),
        ("a.json", '[{"a": 1},\n{"a": 2},\n{"a" 3}, {"a": 4, "b": "a long enough text"}]', ["line 3, after row 2"]),
        ("a.json", '[{"a": 1}, 7]', ["row 2", "one JSON object"]),
        ("a.json", '[{"a": 1}] {"a": 2}', ["after row 1", "more after the end"]),
        ("a.json", "nonsense that is long enough not to be cut off", ["line 1", "expected {, found n"]),
        ("a.csv", 'prompt,n\n"two\nlines",1\nb\n', ["line 4", "another number of cells", "1, not 2"]),
        ("a.csv", 'prompt,n\na,"b"c\n', ["line 2", "not a whole CSV row"]),
        ("a.csv", "prompt,prompt\na,b\n", ["line 1", "prompt twice"]),
        ("a.csv", b"prompt,n\n\xff,b\n", ["line 2", "not UTF-8"]),
        ("a.txt", "", ["known are .jsonl"]),
        ("a.parquet.gz", "", ["known are .jsonl"]),
        ("a.parquet", "PAR1", ["not a whole Parquet file", "0 whole rows"]),
        ("a.jsonl.gz", "plain", ["gzip data are damaged"]),
        ("a.jsonl.zst", "plain", ["zstandard data are damaged"]),
    ],
)
def test_a_bad_file_is_named(name: str, content: str | bytes, parts: list[str], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    sentence = refusal(path)
    for part in [str(path), *parts]:
        assert part in sentence


def test_a_file_that_is_not_there_is_refused_before_a_row_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder; a dataset on the hub"):
        open_rows(str(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match="no file of rows"):
        open_rows(str(tmp_path))
    with pytest.raises(UserError, match="split chooses among files"):
        open_rows(str(write(tmp_path, "lines.jsonl", ROWS)), split="train")


def test_a_folder_is_read_in_name_order_and_by_split(tmp_path: Path) -> None:
    data = tmp_path / "set" / "data"
    (data / ".cache").mkdir(parents=True)
    for name, first in (("train-00000-of-00002", 0), ("train-00001-of-00002-a1b2c3", 1), ("test_sft", 2)):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS[first : first + 1]), data / f"{name}.parquet")
    (data / ".cache" / "train.jsonl").write_bytes(lines(ROWS))
    (tmp_path / "set" / "dataset_info.json").write_text("{}")
    assert values(data.parent, split="train") == ROWS[:2]
    assert values(data.parent, split="test_sft") == ROWS[2:3]
    assert [row["n"] for row in values(data.parent)] == [2, 0, 1]
    assert "there are test_sft, train" in refusal(data.parent, split="test")


def test_what_the_datasets_library_saves_can_be_read(tmp_path: Path) -> None:
    parts = {"train": datasets.Dataset.from_list(ROWS[:3]), "test": datasets.Dataset.from_list(ROWS[3:])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved", num_shards={"train": 2, "test": 1})
    assert values(tmp_path / "saved", split="train") == ROWS[:3]
    assert values(tmp_path / "saved", split="test") == ROWS[3:]
    assert values(tmp_path / "saved" / "test") == ROWS[3:]


CARD = """---
configs:
- config_name: default
  data_files:
  - split: train_sft
    path: data/train_sft-*
  - split: test_sft
    path: data/test_sft-*
- config_name: extra
  data_files: extra/*.jsonl
---
# A card
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a hub that has one dataset, owner/name."""
    folder = tmp_path / "hub"
    for name, row in (("data/train_sft-0-of-1", 0), ("data/test_sft-0-of-1", 1), ("other/all", 2)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS[row : row + 1]), folder / f"{name}.parquet")
    (folder / "extra").mkdir()
    (folder / "extra" / "a.jsonl").write_bytes(lines(ROWS[3:]))

    def dataset_info(self: object, name: str, revision: str | None = None) -> SimpleNamespace:
        assert (name, revision) == ("owner/name", "v1")
        found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        return SimpleNamespace(sha="c0ffee", siblings=[SimpleNamespace(rfilename=name) for name in found])

    def download(name: str, file: str, *, repo_type: str, revision: str) -> str:
        assert (name, repo_type, revision) == ("owner/name", "dataset", "c0ffee")
        return str(folder / file)

    monkeypatch.setattr(hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    return folder


def test_a_hub_dataset_is_chosen_by_its_card(repository: Path) -> None:
    (repository / "README.md").write_text(CARD)
    assert values("hf://owner/name@v1", split="train_sft") == ROWS[:1]
    assert [row["n"] for row in values("hf://owner/name@v1")] == [1, 0]
    assert values("hf://owner/name@v1/extra") == ROWS[3:]
    assert "its card lists train_sft, test_sft" in refusal("hf://owner/name@v1", split="train")
    assert "has no config none" in refusal("hf://owner/name@v1/none")


def test_a_hub_dataset_without_a_card_is_chosen_by_names(repository: Path) -> None:
    assert values("hf://owner/name@v1/data", split="test_sft") == ROWS[1:2]
    assert values("hf://owner/name@v1/extra") == ROWS[3:]
    assert [row["n"] for row in values("hf://owner/name@v1")] == [1, 0, 2], "Parquet where there is Parquet"
    assert "there are data, extra, other" in refusal("hf://owner/name@v1/none")


@pytest.mark.parametrize("spec", ["hf://name", "hf://owner/name@", "hf://owner/name/a/b"])
def test_a_hub_spec_is_strict(spec: str) -> None:
    assert "hf://owner/name[@revision][/config]" in refusal(spec)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.ZstdCompressor().compress)])
def test_a_compressed_file_must_say_so_in_its_name(
    name: str, suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(pack(lines(ROWS)))
    sentence = f"{path}: it is compressed, and its name does not say so; call it {name}{suffix}"
    for salvage in (False, True):  # its rows are not lost
        with pytest.raises(UserError) as caught:
            list(open_rows(str(path), salvage=salvage))
        assert str(caught.value) == sentence
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert list(open_rows(str(tmp_path / "a.jsonl"))) == []


def test_a_hub_that_cannot_be_reached_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(hub.HfApi, "dataset_info", offline)
    with pytest.raises(FavoniusError, match=r"owner/name could not be fetched from the hub \(no route to host\)"):
        open_rows("hf://owner/name")


def test_a_full_disk_and_a_cache_that_is_not_ours_are_no_missing_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(code: int) -> None:
        def info(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code), str(tmp_path / "blobs"))

        monkeypatch.setattr(hub.HfApi, "dataset_info", info)

    failing(errno.ENOSPC)
    with pytest.raises(FavoniusError, match=rf"no space left on the disk that holds {tmp_path}/blobs; free some"):
        open_rows("hf://owner/name")
    failing(errno.EACCES)
    with pytest.raises(UserError, match=rf"^{tmp_path}/blobs: its rights do not allow this"):
        open_rows("hf://owner/name")


@pytest.mark.parametrize(("name", "count", "length"), [("many.jsonl", 200_000, 150), ("many.json.gz", 40_000, 800)])
def test_many_rows_take_no_more_memory_than_few(name: str, count: int, length: int, tmp_path: Path) -> None:
    row = {"prompt": "x" * length}
    content = lines([row] * count) if name.endswith("l") else array([row] * count)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    size = len(content)
    del content
    tracemalloc.start()
    read = sum(1 for _ in open_rows(str(path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == count
    assert peak < 10e6 < size / 3
