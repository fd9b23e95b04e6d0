"""GSM8K: numbers read out of all kinds of answers, problems out of files, what is asked, and the scores."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.data.checks import Drops
from favonius.data.raw import RawRow
from favonius.data.sources import open_rows
from favonius.errors import UserError
from favonius.evals.benchmarks.config import Gsm8k
from favonius.evals.benchmarks.record import figure
from favonius.evals.gsm8k.problems import AGAIN, NO_NUMBER, TOLD, examples, read_problems
from favonius.evals.gsm8k.reading import flexible, numbers, strict
from favonius.evals.gsm8k.task import Gsm8kTask
from favonius.run import FileRef, Inputs
from tests.asked_tasks import desk, said

DATA = Path(os.environ.get("FAVONIUS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "gsm8k"

# An answer, and what the strict and the flexible reading make of it.
TABLE: list[tuple[str, str | None, str | None]] = [
    ("She has 16 - 3 = 13.\n#### 13", "13", "13"),
    ("####13", "13", "13"),
    ("#### $1,234.50", "1234.5", "1234.5"),
    ("#### **72**", "72", "72"),
    ("#### `72`", "72", "72"),
    (r"#### \$18.00.", "18", "18"),
    ("#### 18 dollars", "18", "18"),
    ("#### 20%", "20", "20"),
    ("#### -7", "-7", "-7"),
    ("#### −7.50", "-7.5", "-7.5"),
    ("#### -$5", "-5", "-5"),
    ("#### $-5", "-5", "-5"),
    ("#### .5", "0.5", "0.5"),
    ("#### 0.50", "0.5", "0.5"),
    ("#### 0", "0", "0"),
    ("#### 007", "7", "7"),
    ("#### 1,00,000", "100000", "100000"),
    ("#### 5\nQuestion: what is 2 + 2?\n#### 4", "5", "5"),  # it goes on with problems of its own
    ("#### Step 1\nAdd 2.\n#### 9", "9", "9"),  # a heading
    ("#### Solution\nIt is 9.", None, "9"),
    ("#### 3 + 4 = 7", None, "7"),
    ("#### 1/2", None, "2"),
    ("#### 10:30", None, "30"),
    ("#### 3,4", None, "4"),
    ("#### 1 or 2", None, "2"),
    ("####", None, None),
    ("#### number", None, None),
    (r"The answer is \boxed{42}.", None, "42"),
    ("So she pays $1,200.", None, "1200"),
    ("It makes 10-5", None, "5"),
    ("It makes (10)-5", None, "5"),
    ("It is now -5 degrees.", None, "-5"),
    ("- 5 apples", None, "5"),  # a bullet
    ("They are 3,", None, "3"),
    ("In version 1.2.3", None, "1.2"),
    ("It holds H2O.", None, None),
    ("eighteen", None, None),
    ("", None, None),
    (" \n", None, None),
]


@pytest.mark.parametrize(("answer", "by_line", "by_any"), TABLE)
def test_both_readings_of_an_answer(answer: str, by_line: str | None, by_any: str | None) -> None:
    assert strict(answer) == (None if by_line is None else Decimal(by_line))
    assert flexible(answer) == (None if by_any is None else Decimal(by_any))


@given(st.text(st.sampled_from("0123456789.,-−#$ \n/ab"), max_size=60))
def test_what_is_read_strictly_is_read_flexibly(answer: str) -> None:
    found = strict(answer)
    assert found is None or found == flexible(answer)


@given(
    st.decimals(-(10**9), 10**9, places=2, allow_nan=False), st.sampled_from(["{:,}", "{}", "{:,}.", "**{}**", "{} cm"])
)
def test_a_number_is_read_however_it_is_written(number: Decimal, form: str) -> None:
    answer = f"Work 1 + 2.\n#### {form.format(number)}"
    assert strict(answer) == flexible(answer) == number


@pytest.mark.skipif(not DATA.is_dir(), reason="FAVONIUS_TEST_DATA names no folder with GSM8K")
def test_every_published_answer_is_read_as_itself() -> None:
    rows = list(open_rows(str(DATA / "test.jsonl")))
    left_out = Drops()
    problems = read_problems(rows, left_out)
    assert len(problems) == 1319 and not left_out.counts
    golds = [Decimal(row.value["answer"].rpartition("####")[2].strip().replace(",", "")) for row in rows]
    assert [problem.number for problem in problems.values()] == golds


def test_rows_that_cannot_be_scored_are_counted() -> None:
    values = [("Two and two?", "#### 4"), ("Two and two?", "#### 4"), ("Half of one?", "#### 1/2"), ("Six?", "6")]
    rows = [RawRow(f"line {number}", {"question": q, "answer": a}) for number, (q, a) in enumerate(values, 1)]
    left_out = Drops()
    assert list(read_problems(rows, left_out)) == ["1"]
    assert left_out.counts == {AGAIN: 1, NO_NUMBER: 2}
    assert left_out.samples[NO_NUMBER] == ["line 3: #### 1/2", "line 4: 6"]
    with pytest.raises(UserError, match="line 9: the field answer is missing"):
        read_problems([RawRow("line 9", {"question": "?"})], left_out)


def test_the_worked_examples_are_right_and_none_is_published() -> None:
    shown = examples()
    assert len(shown) == 8
    for example in shown:
        *lines, last = example.answer.splitlines()
        result = strict(last)
        assert result is not None and last == f"#### {result}"
        assert list(numbers(lines[-1])).count(result) >= 1


def task(tmp_path: Path, count: int = 3, **options: object) -> Gsm8kTask:
    path = tmp_path / "sums.jsonl"
    rows = [
        {"question": f"{number} and {number}?", "answer": f"So.\n#### {2 * number}"} for number in range(1, count + 1)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = Gsm8k.model_validate({"problems": "sums", **options})
    return Gsm8kTask.of(config, Inputs({}, {}, {FileRef("sums"): path}))


def test_a_problem_is_asked_with_examples_as_turns(tmp_path: Path) -> None:
    bare, shown = task(tmp_path).items()[0], task(tmp_path, shots=2).items()[0]
    assert [message.content for message in bare.messages] == [f"1 and 1?\n\n{TOLD}"]
    assert [message.role for message in shown.messages] == ["user", "assistant"] * 2 + ["user"]
    assert all(message.content.endswith(TOLD) for message in shown.messages if message.role == "user")
    assert shown.messages[-1] == bare.messages[-1] and bare.about == {"number": "2"}


def test_right_answers_count_by_either_reading(tmp_path: Path) -> None:
    sums = task(tmp_path)
    answers = {"1": "#### 2", "2": "It is 4.", "3": "no idea"}
    found = sums.scored(said(sums, lambda item: answers[item.id]), desk(tmp_path))
    assert [row.scores for row in found.rows] == [
        {"strict": 1.0, "flexible": 1.0}, {"strict": 0.0, "flexible": 1.0}, {"strict": 0.0, "flexible": 0.0},
    ]  # fmt: skip
    assert [row.note for row in found.rows] == [None, None, "the result is 6, read was no number"]
    assert found.rows[0].prompt == "1 and 1?"
    assert found.protocol == {"shots": 0, "without_last_line": 2, "without_number": 1}
    assert [figure(found.rows, metric).value for metric in sums.metrics] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]


def test_a_subset_is_drawn_with_the_seed_and_keeps_its_names(tmp_path: Path) -> None:
    whole = {item.id: item for item in task(tmp_path, 30).items()}
    drawn = [task(tmp_path, 30, limit=5, seed=seed).items() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(item == whole[item.id] for item in drawn[0]) and len(drawn[0]) == 5
    assert task(tmp_path, 3, limit=9).questions == "sums.jsonl"
    assert len(task(tmp_path, 3, limit=9).texts) == 3


def test_a_file_without_problems_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    path.write_text('{"question": "?", "answer": "many"}\n')
    with pytest.raises(UserError, match="no problem whose answer ends in ####"):
        Gsm8kTask.of(Gsm8k(problems=FileRef("none")), Inputs({}, {}, {"none": path}))
