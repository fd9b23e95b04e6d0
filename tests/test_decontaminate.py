"""Decontamination: what counts as holding an evaluation text, where the texts come from, and what is reported."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.data import benchmarks_known
from favonius.data.benchmarks_known import KNOWN, EvaluationText, read_benchmark
from favonius.data.decontaminate import PART_WORDS, Contamination, EvaluationIndex, Hit
from favonius.data.substrings import ANCHOR_CHARACTERS, SubstringIndex
from favonius.data.word_runs import RUN_WORDS, Run, RunIndex
from favonius.errors import FavoniusError, UserError
from favonius.types import Message, Messages

QUESTION = (
    "Ann has 3 baskets with 12 apples each. She gives 5 apples to each of her 4 friends. "
    "How many apples are left in the baskets?"
)
CODE = 'def add(x: int, y: int):\n    """Add two numbers x and y\n    >>> add(2, 3)\n    5\n    """\n'
HELPED = (
    'def helper(s):\n    """Turn it round."""\n    return s[::-1]\n\ndef main(s):\n    """Say s backwards, twice."""\n'
)
DATA = os.environ.get("FAVONIUS_TEST_DATA")


def asked(*contents: str) -> Messages:
    roles = ("user", "assistant") * len(contents)
    return tuple(Message(role=role, content=text) for role, text in zip(roles, contents, strict=False))


def index_of(*prompts: str) -> EvaluationIndex:
    return EvaluationIndex(EvaluationText("test", str(number), text) for number, text in enumerate(prompts))


def holds(index: EvaluationIndex, *contents: str) -> list[str]:
    return [hit.item for hit in index.hits(asked(*contents))]


def rows_file(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_whole_prompt_is_found_whatever_stands_around_it() -> None:
    index = index_of(QUESTION)
    assert holds(index, f"Please solve: **{QUESTION.upper().replace(' ', '  ')}** Thanks!") == ["0"]


def test_thirteen_words_in_a_row_are_enough_and_twelve_are_not() -> None:
    index = index_of(QUESTION)
    found = QUESTION.split()
    assert holds(index, " ".join(["So"] * 9 + found[4:17] + ["or"] * 9)) == ["0"]
    assert holds(index, " ".join(["So"] * 9 + found[4:16] + ["or"] * 9)) == []


def test_the_match_that_is_shown_is_the_whole_run() -> None:
    (hit,) = index_of(QUESTION).hits(asked("Once " + QUESTION.replace("baskets?", "bags?")))
    assert hit.matched == (
        "ann has 3 baskets with 12 apples each she gives 5 apples to each of her 4 friends "
        "how many apples are left in the"
    )
    assert hit.place == "messages[0]"


@pytest.mark.parametrize(
    ("prompt", "turn", "is_held"),
    [
        ("How did states get names?", "Tell me, how did states get names? Thanks", True),
        ("How did states get names?", "Tell me how did states get namesakes", False),
        ("How did states get names?", "Show did states get names", False),
        ("What is AI", "What is AI good for in a small company?", False),
        ("What is AI", "what is  ai?!", True),
        ("你好世界", "他说：你好世界。", True),
        ("🙂", "🙂 ", True),
        ("🙂", "👍", False),
    ],
)
def test_short_prompts_stand_there_whole_and_the_shortest_alone(prompt: str, turn: str, is_held: bool) -> None:
    assert bool(holds(index_of(prompt), turn)) is is_held


def test_answers_are_not_searched_for_prompts_and_system_turns_are() -> None:
    index = index_of(QUESTION)
    assert holds(index, "Give me a sum.", QUESTION) == []
    assert holds(index, "Give me a sum.", "Which?", QUESTION) == ["0"]
    assert index.hits((Message(role="system", content=QUESTION), *asked("Begin.")))[0].place == "messages[0]"


def test_every_text_is_told_once_for_each_turn_that_holds_it() -> None:
    index = index_of(QUESTION, QUESTION, "Where do the apples come from")
    hits = index.hits(asked(f"{QUESTION} {QUESTION}", "None.", f"Where do the apples come from? {QUESTION}"))
    assert sorted((hit.item, hit.place) for hit in hits) == [
        ("0", "messages[0]"),
        ("0", "messages[2]"),
        ("1", "messages[0]"),
        ("1", "messages[2]"),
        ("2", "messages[2]"),
    ]


few_words = st.lists(st.sampled_from("ab"), max_size=40)


@settings(max_examples=300, deadline=None)
@given(kept=st.lists(few_words, max_size=3), text=few_words)
def test_runs_are_those_that_comparing_everything_finds(kept: list[list[str]], text: list[str]) -> None:
    index = RunIndex()
    for one in kept:
        index.add(one)
    found = list(index.search(text))
    assert all(_stands_in(text[run.begin : run.end], kept[run.kept]) for run in found)
    assert {run.kept for run in found} == {number for number, one in enumerate(kept) if _shares_a_run(one, text)}


def _shares_a_run(one: list[str], other: list[str]) -> bool:
    runs = (one[start : start + RUN_WORDS] for start in range(len(one) - RUN_WORDS + 1))
    return any(_stands_in(run, other) for run in runs)


def _stands_in(part: list[str], whole: list[str]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def test_a_run_reaches_as_far_as_both_texts_agree() -> None:
    index = RunIndex()
    index.add([str(number) for number in range(40)])
    text = ["x", *(str(number) for number in range(10, 40)), "y"]
    assert list(index.search(text)) == [Run(0, 1, 31)]


@given(patterns=st.lists(st.text("ab ", min_size=1, max_size=2 * ANCHOR_CHARACTERS), max_size=5), text=st.text("ab "))
def test_substrings_are_those_that_python_finds(patterns: list[str], text: str) -> None:
    index = SubstringIndex(patterns)
    assert set(index.search(text)) == {number for number, pattern in enumerate(patterns) if pattern in text}
    assert bool(index) is bool(patterns)


def test_an_empty_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        SubstringIndex(["a", ""])


def humaneval(path: Path, *rows: tuple[str, str]) -> EvaluationIndex:
    values = [
        {"task_id": f"HumanEval/{number}", "prompt": prompt, "canonical_solution": solution}
        for number, (prompt, solution) in enumerate(rows)
    ]
    return EvaluationIndex(read_benchmark(f"humaneval={rows_file(path / 'humaneval.jsonl', *values)}"))


def test_humaneval_solutions_and_docstrings_are_found_in_every_turn(tmp_path: Path) -> None:
    index = humaneval(tmp_path, (HELPED, "    turned = s[::-1]\n    return turned + turned\n"))
    assert holds(index, "Help", "Sure:\n```\ndef f(s):\n  Turned = s[::-1]\n  return turned + turned\n```")
    assert holds(index, "Say  s BACKWARDS, twice.")
    assert holds(index, "Help", "Say s backwards,\n twice.")
    assert holds(index, "Turn it round.", "No") == []


@pytest.mark.parametrize(
    "trivial",
    ["return x + y", "return len(string)", "return n**2", "return ''.join(strings)", 'return "".join(strings)'],
)
def test_solutions_that_anybody_writes_are_no_hits(tmp_path: Path, trivial: str) -> None:
    index = humaneval(tmp_path, (CODE, f"    {trivial}\n"))
    assert holds(index, "How?", f"def f():\n    {trivial}") == []
    assert holds(index, 'Do this: "Add two numbers x and y >>> add(2, 3) 5"') == ["HumanEval/0"]


def test_code_without_one_docstring_is_refused_by_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 1: one docstring"):
        humaneval(tmp_path, ("def f(): pass", "return 1"))


@pytest.mark.parametrize(
    ("row", "items"),
    [
        ({"question_id": 81, "turns": ["One?", "Two?"]}, {"81, turn 1": "One?", "81, turn 2": "Two?"}),
        ({"prompt_id": 7, "prompt": ["One?", "Two?"]}, {"7, turn 1": "One?", "7, turn 2": "Two?"}),
        ({"instruction": "One?", "output": "Two."}, {"line 1": "One?"}),
        ({"key": 1000, "prompt": "One?", "kwargs": [{}]}, {"1000": "One?"}),
        ({"question": "One?", "answer": "#### 2"}, {"line 1": "One?"}),
        ({"id": "a", "messages": [asked("One?")[0].model_dump(), asked("One?", "2")[1].model_dump()]}, {"a": "One?"}),
    ],
)  # fmt: skip
def test_rows_of_all_benchmarks_are_known_by_their_fields(tmp_path: Path, row: object, items: dict[str, str]) -> None:
    texts = read_benchmark(f"any={rows_file(tmp_path / 'rows.jsonl', row)}")
    assert {text.item: text.text for text in texts} == items


def test_truthful_qa_comes_as_csv(tmp_path: Path) -> None:
    with open(tmp_path / "TruthfulQA.csv", "w", newline="") as file:
        csv.writer(file).writerows([["Type", "Question"], ["Adversarial", "What happens, if you swallow seeds?"]])
    (text,) = read_benchmark(f"truthful_qa={tmp_path / 'TruthfulQA.csv'}")
    assert text.text == "What happens, if you swallow seeds?"


def test_a_text_that_comes_often_is_read_once(tmp_path: Path) -> None:
    path = rows_file(tmp_path / "rows.jsonl", *[{"model": name, "instruction": "One?"} for name in "abc"])
    assert len(read_benchmark(f"alpaca_eval={path}")) == 1


def test_rows_without_a_prompt_are_refused_by_place_and_keys(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows.jsonl, line 2: no prompt .* keys are answer, known are turns, prompt"):
        read_benchmark(f"x={rows_file(tmp_path / 'rows.jsonl', {'prompt': 'a'}, {'answer': 'b'})}")


def test_a_name_that_nobody_knows_is_refused_with_the_way_to_give_a_file() -> None:
    with pytest.raises(UserError, match=r"gsm9k is no known benchmark \(mt_bench.*gsm9k=PATH"):
        read_benchmark("gsm9k")


@pytest.mark.parametrize("name", KNOWN)
def test_a_hub_that_cannot_be_reached_is_told_with_the_way_to_give_a_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(spec: str, **_: object) -> None:
        raise FavoniusError(f"the dataset {spec} could not be fetched")

    monkeypatch.setattr(benchmarks_known, "open_rows", unreachable)
    with pytest.raises(UserError, match=f"{name} is not at hand.*{name}=PATH.*could not be fetched"):
        read_benchmark(name)


def test_the_record_tells_what_was_found_and_what_was_not(tmp_path: Path) -> None:
    path = rows_file(
        tmp_path / "rows.jsonl", {"id": "q", "prompt": QUESTION}, {"id": "r", "prompt": "Who made the first map?"}
    )
    other = EvaluationText("other", "o", "Nobody ever asks for this one here")
    index = EvaluationIndex([*read_benchmark(f"sums={path}"), other])
    found = Contamination(index)
    rows = {"row 1": "Hi", "row 2": QUESTION, "row 3": f"{QUESTION} Who made the first map?"}
    for name, prompt in rows.items():
        found.add(name, index.hits(asked(prompt)))
    record = found.record()
    assert record["rows"] == 3 and record["hit_rows"] == 2
    sums = record["benchmarks"]["sums"]
    assert {key: sums[key] for key in ("items", "items_hit", "rows_hit")} == {"items": 2, "items_hit": 2, "rows_hit": 2}
    assert sums["samples"][0].startswith("row 2, messages[0] holds of q: ann has 3 baskets")
    assert record["benchmarks"]["other"] == {"items": 1, "items_hit": 0, "rows_hit": 0, "samples": []}
    json.dumps(record, allow_nan=False)


def test_hits_do_not_depend_on_the_order_of_the_texts() -> None:
    prompts = [QUESTION, "Who made the first map?", "What is AI", QUESTION.replace("Ann", "Bob")]
    texts = [EvaluationText("test", str(number), text) for number, text in enumerate(prompts)]
    turns = asked(" and ".join(prompts))

    def found(order: Sequence[EvaluationText]) -> set[Hit]:
        return set(EvaluationIndex(order).hits(turns))

    assert found(texts) == found(random.Random(0).sample(texts, len(texts)))
    assert len(found(texts)) == 3 and PART_WORDS == 4


@pytest.mark.skipif(DATA is None, reason="FAVONIUS_TEST_DATA names no folder with the real evaluation sets")
def test_real_prompts_of_a_benchmark_are_found_and_others_are_not() -> None:
    folder = Path(str(DATA))
    names = {"alpaca_eval": "alpaca_eval/v2_preferences.jsonl.gz", "gsm8k": "gsm8k/test.jsonl"}
    index = EvaluationIndex(text for name, file in names.items() for text in read_benchmark(f"{name}={folder / file}"))
    found = Contamination(index)
    with gzip.open(folder / "feedback" / "gpt4_feedback.train.jsonl.gz") as file:
        for line in file:
            found.add("row", index.hits(asked(json.loads(line)["instruction"])))
    benchmarks = found.record()["benchmarks"]
    assert benchmarks["alpaca_eval"]["rows_hit"] >= 0.99 * found.rows
    assert benchmarks["gsm8k"]["rows_hit"] <= 0.01 * found.rows
