"""data/: rows on disk, and what can be wrong with a text."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.data.checks import MARKERS, Drops, flaws, leaks, loops
from favonius.data.rows import iterate_rows, read_rows, write_rows
from favonius.errors import UserError
from favonius.types import Dialogue, Message, Pair, SeedPrompt

GOOD = {
    "id": "a",
    "split": "train",
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
}

texts = st.text(st.characters(exclude_categories=["Cs"]))
dialogues = st.builds(
    Dialogue,
    id=texts,
    split=st.sampled_from(["train", "test"]),
    messages=st.lists(
        st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=texts), min_size=2, max_size=4
    ).map(tuple),
)


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def refusal(path: Path, *lines: object) -> str:
    with pytest.raises(UserError) as caught:
        read_rows(write_lines(path, *lines), Dialogue)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(dialogues, max_size=5))
def test_rows_come_back_as_they_were(rows: list[Dialogue], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, rows)
    assert read_rows(path, Dialogue) == rows
    # To a reader that takes every Unicode line end for one, a row is still one line.
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(rows)


def test_line_separators_in_a_text_do_not_end_its_row(tmp_path: Path) -> None:
    raw = {**GOOD, "messages": [{"role": "user", "content": "a\u2028b\x85c"}, *GOOD["messages"][1:]]}
    path = tmp_path / "foreign.jsonl"
    path.write_text(json.dumps(raw, ensure_ascii=False) + "\r\n\n", encoding="utf-8-sig", newline="")
    [row] = read_rows(path, Dialogue)
    assert row.messages[0].content == "a\u2028b\x85c"


def test_gzip_and_plain_read_alike(tmp_path: Path) -> None:
    plain = write_lines(tmp_path / "rows.jsonl", GOOD, {**GOOD, "id": "b"})
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_rows(packed, Dialogue) == read_rows(plain, Dialogue)


def test_rows_before_a_bad_one_are_yielded(tmp_path: Path) -> None:
    rows = iterate_rows(write_lines(tmp_path / "rows.jsonl", GOOD, "{"), Dialogue)
    assert next(rows).id == "a"
    with pytest.raises(UserError, match="line 2"):
        next(rows)


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        (
            {**GOOD, "messages": [GOOD["messages"][0], {"role": "tool", "content": "x"}]},
            ["messages[1].role", '"tool"', "'system', 'user' or 'assistant'"],
        ),
        ({**GOOD, "messages": []}, ["messages holds 0", "at least 2"]),
        ({**GOOD, "splitt": 1}, ["splitt", "did you mean split", "known: id, split, messages"]),
        (
            {**GOOD, "messages": [{**GOOD["messages"][0], "contents": 1}, GOOD["messages"][1]]},
            ["messages[0].contents", "did you mean content", "known: role, content"],
        ),
        ({key: GOOD[key] for key in ("id", "split")}, ["messages is missing (needed: id, split, messages)"]),
        ({**GOOD, "id": 7}, ["id is 7", "string"]),
        ({**GOOD, "id": {"long": "x" * 500}}, ["id is", "…"]),
        ('{"id": "a", "split', ["not a whole JSON value", "one object on each line"]),
        ([GOOD], ["the row is [", "one object on each line"]),
        ({"id": 7}, ["(and 2 more)"]),
    ],
)
def test_a_bad_row_is_named(row: object, parts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    sentence = refusal(path, GOOD, "", row)
    for part in [f"{path}, line 3: ", *parts]:
        assert part in sentence
    assert len(sentence) < len(str(path)) + 300


def test_files_that_are_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_rows(tmp_path / "none.jsonl", Dialogue)
    whole = gzip.compress(json.dumps(GOOD).encode() * 50)
    for name, content in (("cut", whole[:-20]), ("other", b"not gzip")):
        path = tmp_path / f"{name}.jsonl.gz"
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or cut off"):
            read_rows(path, SeedPrompt)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "rows.parquet").touch()
    with pytest.raises(UserError, match=r"pip install 'favonius\[parquet\]'"):
        read_rows(tmp_path / "rows.parquet", Dialogue)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([GOOD, {**GOOD, "id": "b"}]), path)
    assert [row.id for row in read_rows(path, Dialogue)] == ["a", "b"]
    parquet.write_table(pyarrow.Table.from_pylist([GOOD, {**GOOD, "split": "dev"}]), path)
    with pytest.raises(UserError, match=r"row 2: split is \"dev\""):
        read_rows(path, Dialogue)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="not a whole Parquet file"):
        read_rows(path, Dialogue)


def test_a_failed_write_leaves_the_old_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [Dialogue.model_validate(GOOD)])
    pairs = [
        Pair(id="a", split="train", prompt=(), chosen="c", rejected="r", chosen_score=score)
        for score in (1.0, float("nan"))
    ]
    with pytest.raises(ValueError):
        write_rows(path, pairs)
    assert [row.id for row in read_rows(path, Dialogue)] == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


POEM = """\
The lamp is low, the house is still,
The frost has drawn its ferns on glass,
A fox goes quietly down the hill,
And so the winter evenings pass.

The kettle hums, the cat has curled,
A letter waits, half read, half true,
The snow has simplified the world,
And so the winter evenings pass.

We count the coals, we bank the fire,
We hear the church bell strike the hour,
The stars come nearer to the spire,
And so the winter evenings pass.
"""
SHOPPING = "\n".join(f"- 1 cup of {food}" for food in ("flour", "sugar", "milk", "rice", "oats", "water", "lentils"))
STEPS = "\n".join(f"{number}. Press the {colour} button." for number, colour in enumerate(("red", "blue", "green"), 1))
TIMES_TABLE = "\n".join(f"7 x {factor} = {7 * factor}" for factor in range(1, 21))
CODE = """\
def area(shape):
    if shape.kind == "circle":
        return math.pi * shape.radius ** 2
    if shape.kind == "square":
        return shape.side ** 2
    if shape.kind == "rectangle":
        return shape.width * shape.height
    return None

grid = [
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
]
"""
MARKUP = "<ul>\n" + "".join(f"  <li><a href='/{name}'>{name}</a></li>\n" for name in "abcdefgh") + "</ul>\n"
TABLE = "| name | age |\n|------|-----|\n| Ada | 36 |\n| Alan | 41 |\n| Grace | 85 |\n"
CHINESE = "月亮是地球唯一的天然卫星。它绕地球一圈大约需要二十七天。因为自转和公转的时间相同,我们总是看到同一面。"
FINE = [POEM, SHOPPING, STEPS, TIMES_TABLE, CODE, MARKUP, TABLE, CHINESE, "Yes.", "ha ha ha ha!", "No, no, no. No!"]
FINE += ["They sang: ha ha ha ha ha", "Go. Go. Go. We left at once, all of us, in the rain."]
FINE += [
    "Use `<|` and `|>` to pipe.",
    "### Instructions\n1. Mix.\n2. Bake.",
    "* User: a row per person.",
    "1" + "0" * 100,
]

SENTENCE = "I am happy to help you with that."
LOOPS = [
    " ".join([SENTENCE] * 3),
    "First, a good beginning of the answer.\n" + "\n".join([SENTENCE] * 4),
    "\n".join(f"{number}. Be kind to other people." for number in range(1, 6)),
    " ".join(f"{number}. Be kind to other people." for number in range(1, 6)),
    "A fine start. " + "and then and again " * 12,
    "A fine start, and then: " + "the cat sat on the mat, " * 5 + "the cat s",
    "word " * 20,
    "我喜欢你的猫和狗,你呢?" * 5,
    "ก" + "สวัสดีครับคุณ" * 5,
    "abcde" * 9,
    f"{SENTENCE} Rain fell on the hills all day. {SENTENCE} Nobody knew the way to town. {SENTENCE} Bread is cheap.",
    " ".join(
        ["One thing is this now.", "Some other is that one.", "A third is like both.", "Then all begins again."] * 4
    )
    + " The end.",
]


@pytest.mark.parametrize("text", FINE)
def test_ordinary_texts_have_no_flaw(text: str) -> None:
    assert flaws(text, finished=True) == ()


@pytest.mark.parametrize("text", LOOPS)
def test_loops_are_seen(text: str) -> None:
    assert flaws(text, finished=True) == ("loop",)


@pytest.mark.parametrize("marker", [*MARKERS, "<|user|>", "<|im_end|>", "<|endoftext|>", "<|assistant>"])
def test_markers_are_seen(marker: str) -> None:
    assert leaks(f"An answer.{marker}\nMore.")
    assert leaks(marker)


def test_other_turns_are_seen() -> None:
    assert leaks("Fine.\nUser: and you?")
    assert leaks("Assistant: fine.")
    assert leaks("Fine.\n**Human:** and you?")
    assert not leaks("The user: a person.")


def test_markers_can_be_chosen() -> None:
    assert leaks("a ¦turn¦ b", markers=["¦turn¦"])
    assert not leaks("[INST]", markers=["¦turn¦"])


def test_flaws_are_named_in_order() -> None:
    assert flaws(" \n", finished=True) == ("empty",)
    assert flaws("", finished=False) == ("empty", "unfinished")
    assert flaws("<|user|>\n" * 20, finished=False) == ("unfinished", "loop", "leak")


@settings(max_examples=150, deadline=None)
@given(text=st.text(), finished=st.booleans())
def test_checks_take_any_text(text: str, finished: bool) -> None:
    assert ("unfinished" in flaws(text, finished)) == (not finished)


@settings(max_examples=80, deadline=None)
@given(start=texts, piece=st.text(st.characters(categories=["Ll", "Lo"]), min_size=1, max_size=30))
def test_a_piece_over_and_over_at_the_end_is_a_loop(start: str, piece: str) -> None:
    assert loops(start + piece * (4 + 40 // len(piece)))


def test_a_long_loop_takes_no_quadratic_time() -> None:
    assert loops("ab" * 200_000)


def test_drops_count_all_and_keep_a_few_short_samples() -> None:
    drops = Drops()
    for number in range(5):
        drops.add("too long", f"{number} " + "x" * 500)
    drops.add("empty", "")
    record = drops.record()
    assert record["dropped"] == {"too long": 5, "empty": 1}
    assert [sample[:2] for sample in record["samples"]["too long"]] == ["0 ", "1 ", "2 "]
    assert {len(sample) for sample in record["samples"]["too long"]} == {200}
    assert json.loads(json.dumps(record)) == record
