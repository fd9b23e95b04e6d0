"""MT-Bench: its data, its prompts, its parser and the means of a file of judgments."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.errors import UserError
from favonius.evals.mt_bench.judging import JUDGE_SAMPLING, comparing, grading
from favonius.evals.mt_bench.pairwise import Match, standings
from favonius.evals.mt_bench.prompts import BUILT_IN, read_prompts
from favonius.evals.mt_bench.questions import (
    CATEGORIES,
    Question,
    Reference,
    ReferenceTurns,
    asked,
    published_categories,
    read_questions,
    read_references,
    sampling,
)
from favonius.evals.mt_bench.reading import read_rating, read_verdict
from favonius.evals.mt_bench.rows import Judge, Judgment, judgment_of, row_of
from favonius.evals.mt_bench.scores import scores
from tests.mt_bench_rows import QUESTIONS, judged, row, scored, whole

WRITING = Question(question_id=81, category="writing", turns=("Write a {poem}.", "Now shorter."))
MATH = Question(question_id=111, category="math", turns=("1 + 1?", "And 2 + 2?"))
TWO = Reference(question_id=111, choices=(ReferenceTurns(turns=("2", "4")),))


# The parser.


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Rating: [[7]]", 7), ("[[7.5]]", 7.5), ("[[10.]]", 10), ("Rating: [6]", 6), ("see [1]; Rating: [[9]]", 9),
        ("[[3]] and then [[8]]", 3), ("[2] or [4]", 2), ("[[85]]", 85), ("[[0]]", 0), ("[[08]]", 8),
        ("Rating: 7", None), ("[[rating: 7]]", None), ("[[7/10]]", None), ("[[-3]]", None), ("[[ 7 ]]", None),
        ("[[.5]]", None), ("[[٣]]", None), ("", None), ("[[7]", 7), ("$ERROR$", None),
    ],
)  # fmt: skip
def test_ratings_are_read_by_fastchats_rule(reply: str, rating: float | None) -> None:
    assert read_rating(reply) == rating


@settings(deadline=None)
@given(st.text(alphabet="[]0123456789. -a", max_size=24))
def test_the_rule_is_two_searches(reply: str) -> None:
    for pattern in (r"\[\[(\d+\.?\d*)\]\]", r"\[(\d+\.?\d*)\]"):
        if found := re.search(pattern, reply):
            assert read_rating(reply) == float(found.group(1))
            return
    assert read_rating(reply) is None


@pytest.mark.parametrize(
    ("reply", "side"),
    [("so [[A]]", "A"), ("[[B]].", "B"), ("[[C]]", "tie"), ("not [[B]] but [[A]]", "A"), ("[A]", None), ("A", None)],
)
def test_verdicts_need_double_brackets(reply: str, side: str | None) -> None:
    assert read_verdict(reply) == side


# Questions, answers, prompts.


def test_the_published_questions_have_eight_categories_of_ten() -> None:
    known = published_categories()
    assert list(known) == list(range(81, 161))
    assert [known[number] for number in (81, 91, 101, 111, 121, 131, 141, 151)] == list(CATEGORIES)
    assert [known[number] for number in (90, 160)] == ["writing", "humanities"]


def test_each_category_has_its_temperature() -> None:
    assert [sampling(category).temperature for category in CATEGORIES] == [0.7, 0.7, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1]
    assert sampling("cooking").temperature == 0.7
    drawn = sampling("writing", choice=2)
    assert (drawn.seed, drawn.top_p, drawn.max_tokens) == (2, 1.0, 1024)
    assert (JUDGE_SAMPLING.temperature, JUDGE_SAMPLING.max_tokens) == (0.0, 2048)


def test_the_second_turn_sees_the_first_and_the_models_own_answer() -> None:
    assert [(m.role, m.content) for m in asked(WRITING)] == [("user", "Write a {poem}.")]
    second = [(m.role, m.content) for m in asked(WRITING, ["O."])]
    assert second == [("user", "Write a {poem}."), ("assistant", "O."), ("user", "Now shorter.")]
    with pytest.raises(ValueError, match="all of them answered"):
        asked(WRITING, ["O.", "o."])


def test_grading_shows_what_the_turn_and_the_category_ask_for() -> None:
    prompts = read_prompts()
    assert prompts.name == BUILT_IN and len(prompts.rows) == 8
    first = grading(prompts, WRITING, ["An {answer} of {question}"], 1)
    assert first.prompt.name == "favonius-single-v1"
    text = first.messages[-1].content
    assert "Write a {poem}." in text and "An {answer} of {question}" in text and "Now shorter." not in text
    second = grading(prompts, MATH, ["two", "four"], 2, TWO)
    assert second.prompt.name == "favonius-single-math-v1-multi-turn"
    text = second.messages[-1].content
    assert all(f"\n{part}\n" in text for part in ("1 + 1?", "2", "And 2 + 2?", "4", "two", "four"))
    assert [message.role for message in second.messages] == ["system", "user"]
    for reference in (None, TWO.model_copy(update={"question_id": 112})):
        with pytest.raises(ValueError, match=r"question 111 \(math\) is judged with its reference"):
            grading(prompts, MATH, ["two"], 1, reference)


def test_a_comparison_is_two_games_with_the_answers_swapped() -> None:
    prompts = read_prompts()
    for turn, question, reference in ((1, WRITING, None), (2, WRITING, None), (1, MATH, TWO), (2, MATH, TWO)):
        one, other = comparing(prompts, question, ["mine", "mine too"], ["yours", "yours too"], turn, reference)
        assert one.prompt == other.prompt and one.prompt.turn == turn
        assert one.prompt.with_reference is (question is MATH)
        shown, swapped = one.messages[-1].content, other.messages[-1].content
        assert shown.index("mine") < shown.index("yours") and swapped.index("yours") < swapped.index("mine")
        assert shown.replace("mine", "~").replace("yours", "mine").replace("~", "yours") == swapped


def test_every_built_in_prompt_asks_for_what_is_read() -> None:
    for prompt in read_prompts().rows:
        told = prompt.system_prompt + prompt.prompt_template
        assert "[[5]]" in told if prompt.type == "single" else all(f"[[{side}]]" in told for side in "ABC")
        assert prompt.name.startswith(BUILT_IN)


def prompt_row(**others: Any) -> dict[str, Any]:
    plain = {"name": "p", "type": "single", "system_prompt": "", "output_format": "[[rating]]"}
    return {**plain, "prompt_template": "{question} {answer} {{a brace}}", **others}


def test_judge_prompts_load_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(prompt_row()) + "\n")
    prompts = read_prompts(path)
    (message,) = grading(prompts, WRITING, ["x {y}"], 1).messages
    assert message.content == "Write a {poem}. x {y} {a brace}"
    with pytest.raises(UserError, match=r"prompts.jsonl: no single prompt for turn 2 without a reference answer"):
        grading(prompts, WRITING, ["x", "y"], 2)
    listed = tmp_path / "prompts.yaml"
    listed.write_text(json.dumps([prompt_row()]))
    assert read_prompts(listed).digest == prompts.digest


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([prompt_row(prompt_template="{question}")], "line 1: prompt_template needs the place {answer}"),
        ([prompt_row(prompt_template="{question} {answer} {why}")], "prompt_template has no place {why}"),
        ([prompt_row(prompt_template="{question.real} {answer}")], "names in braces and nothing else"),
        ([prompt_row(prompt_template="{question} {answer")], "line 1: "),
        ([prompt_row(output_format="[[A]]")], "output_format of a single prompt must be [[rating]]"),
        ([prompt_row(output_format="[[rating_a,rating_b]]")], "output_format is"),
        ([prompt_row(type="double")], "type is"),
        ([prompt_row(), prompt_row(name="q")], "p and q are for the same"),
    ],
)
def test_faults_of_judge_prompts_are_named(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    with pytest.raises(UserError) as refused:
        read_prompts(path)
    assert said in str(refused.value) and str(path) in str(refused.value)


def test_faults_of_questions_and_references_are_named(tmp_path: Path) -> None:
    path = tmp_path / "question.jsonl"
    good = {"question_id": 81, "category": "writing", "turns": ["a", "b"], "reference": ["c", "d"]}
    for rows, said in [
        ([{**good, "turns": ["a"]}], r"line 1: turns"),
        ([good, good], "two rows are question 81"),
        ([{"question_id": 81, "turns": ["a", "b"]}], "line 1: category is missing"),
        ([], "holds no question"),
    ]:
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        with pytest.raises(UserError, match=said):
            read_questions(path)
    references = tmp_path / "gpt-4.jsonl"
    references.write_text(json.dumps({"question_id": 101, "choices": [{"index": 0, "turns": ["2", "4"]}]}) + "\n")
    assert read_references(references, [WRITING])[101].turns == ("2", "4")
    with pytest.raises(UserError, match=r"gpt-4.jsonl: no reference answer to 111;"):
        read_references(references, [MATH])


# Pairwise mode.


def test_a_win_needs_both_games() -> None:
    sides = {("A", "B"): "first", ("B", "A"): "second", ("A", "A"): "tie", ("B", "B"): "tie", ("tie", "tie"): "tie",
             ("A", "tie"): "tie", ("tie", "A"): "tie", (None, "A"): None, ("A", None): None}  # fmt: skip
    for (game, swapped), winner in sides.items():
        assert Match(81, 1, "x", "y", game, swapped).winner == winner, (game, swapped)  # type: ignore[arg-type]


def test_win_rates_by_hand() -> None:
    """x against y: two wins, one loss, one tie, one unread."""
    games: list[tuple[Any, Any]] = [("A", "B"), ("A", "B"), ("B", "A"), ("A", "A"), (None, "A")]
    matches = [Match(81 + number, 1, "x", "y", *game) for number, game in enumerate(games)]
    x, y = (standings(matches)[name] for name in ("x", "y"))
    assert (x.wins, x.losses, x.ties, x.unread, x.n) == (2, 1, 1, 1, 4)
    assert (y.wins, y.losses, y.ties, y.unread, y.n) == (1, 2, 1, 1, 4)
    assert (x.win_rate, y.win_rate) == (0.5, 0.25)
    assert x.adjusted is not None and y.adjusted is not None
    assert (x.adjusted.value, y.adjusted.value) == (0.625, 0.375)
    silent = standings([Match(81, 1, "x", "y", None, None)])["x"]
    assert (silent.win_rate, silent.adjusted, silent.n) == (None, None, 0)


# Scores.


def test_means_by_turn_and_category() -> None:
    found, notes = scored(whole())
    m = found["m"]
    assert (m["turn_1"], m["turn_2"], m["mean"], m["n"], m["unparsed"]) == (5, 7, 6, 6, 0)
    assert m["by_category"] == {"writing": 5.5, "math": 7.0}
    assert m["questions"] == 3 and m["interval"][0] <= 6 <= m["interval"][1]
    # Questions' means are 5.5, 5.5 and 7: their standard deviation is √0.75.
    assert m["standard_error"] == pytest.approx(0.5)
    assert notes == "" and m["left_out"] == {} and m["missing"] == {"turn_1": [], "turn_2": []}


def test_equal_grades_are_not_certain() -> None:
    """A bootstrap of tens alone would say: exactly ten."""
    found = scored([row(question, 1, 10) for question in QUESTIONS])[0]["m"]
    assert found["mean"] == 10 and found["interval"][0] < 7 and found["interval"][1] == pytest.approx(10)


def test_unread_and_missing_turns_are_no_numbers() -> None:
    rows = whole()
    rows[0] |= {"score": -1, "judgment": "I cannot say."}
    del rows[5]
    found, notes = scored(rows)
    m = found["m"]
    assert (m["turn_1"], m["turn_2"], m["n"], m["unparsed"]) == (6, 7, 4, 1)
    assert m["missing"] == {"turn_1": [], "turn_2": [111]}
    assert "1 question without a judgment of turn 2 (111)" in notes and "1 judgment without a score" in notes


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        ({"score": float("nan")}, "the score is not a finite number"),
        ({"score": float("inf")}, "the score is not a finite number"),
        ({"score": None}, "the score is not a finite number"),
        ({"score": "8"}, "the score is not a finite number"),
        ({"score": True}, "the score is not a finite number"),
        ({"score": 10**400}, "the score is outside 1 to 10"),
        ({"score": 11}, "the score is outside 1 to 10"),
        ({"score": 0}, "the score is outside 1 to 10"),
        ({"turn": 3}, "turn is neither 1 nor 2"),
        ({"turn": True}, "turn is neither 1 nor 2"),
        ({"question_id": 999}, "the question is not one of the benchmark's"),
        ({"question_id": 10**400}, "the question is not one of the benchmark's"),
        ({"question_id": 81.5}, "question_id is not a whole number"),
        ({"question_id": "81"}, "question_id is not a whole number"),
        ({"question_id": float("nan")}, "question_id is not a whole number"),
        ({"judge": None}, "no judge is named"),
        ({"judge": [4]}, "no judge is named"),
    ],
)
def test_bad_rows_are_left_out_and_named(bad: dict[str, Any], cause: str) -> None:
    found, notes = scored([*whole(), row(81, 1, 9) | bad])
    assert found["m"]["left_out"] == {cause: 1} and found["m"]["left_out_samples"] == {cause: ["line 7"]}
    assert (found["m"]["mean"], found["m"]["n"]) == (6, 6)
    assert f"m: 1 row left out, {cause} (line 7)" in notes


def test_rows_without_a_model_belong_to_none() -> None:
    found, notes = scored([*whole(), row(81, 1, 9, model=""), row(81, 1, 9, model=None)])
    assert list(found) == ["m"] and found["m"]["n"] == 6
    assert notes == "rows without a model: 2 rows left out, no model is named (line 7; line 8)"


def test_models_that_are_not_expected_are_left_out() -> None:
    found, notes = scored([*whole(), *whole("n")], models=["m", "absent"])
    assert found["n"]["mean"] is None and found["n"]["left_out"] == {"the model is not one of those asked for": 6}
    assert found["m"]["mean"] == 6 and found["absent"]["n"] == 0
    assert "absent: no row of judge gpt-4/single-v1 counts" in notes


def test_copies_count_once() -> None:
    rows = whole()
    found, notes = scored([*rows, rows[0], rows[0]])
    assert (found["m"]["mean"], found["m"]["n"]) == (6, 6)
    assert found["m"]["left_out"] == {"a copy of another row": 2} and "a copy of another row (line 7; line 8)" in notes


def test_words_settle_scores_that_contradict_each_other() -> None:
    rows = whole()
    for order in ([rows[0] | {"score": 9}, *rows], [*rows, rows[0] | {"score": 9}]):
        found, _ = scored(order)
        assert (found["m"]["turn_1"], found["m"]["n"]) == (5, 6)
        assert found["m"]["left_out"] == {"the score contradicts another row with the same words": 1}


def test_contradictions_that_words_do_not_settle_leave_no_score() -> None:
    rows = whole()
    rows[0] |= {"judgment": "Good."}
    found, _ = scored([*rows, rows[0] | {"score": 9}])
    assert (found["m"]["turn_1"], found["m"]["missing"]["turn_1"]) == (6, [81])
    assert found["m"]["left_out"] == {"the score contradicts another row with the same words": 2}


def test_repetitions_are_in_the_means_and_named() -> None:
    again = row(81, 1, 9, judgment="Rather good. [[9]]")
    found, notes = scored([*whole(), again])
    assert (found["m"]["turn_1"], found["m"]["n"]) == (6, 7)
    assert found["m"]["repeated"] == {"turns": 1, "rows": 2, "of_several_answers": 0}
    assert "1 turn judged more than once, 2 rows, all of them in the means" in notes
    rows = [one | {"user_prompt": "Judge: x"} for one in whole()]
    found, notes = scored([*rows, again | {"user_prompt": "Judge: y"}])
    assert found["m"]["repeated"]["of_several_answers"] == 1 and "several sets go by this name" in notes


def test_scores_that_are_not_the_words_are_named() -> None:
    rows = whole()
    rows[0] |= {"judgment": "Rating: [[4]]"}
    found, notes = scored(rows)
    assert found["m"]["turn_1"] == 5 and found["m"]["not_as_told"] == ["line 1"]
    assert "1 score other than the judge's words say, used as they are (line 1)" in notes


def test_judges_are_not_mixed() -> None:
    others = [row(question, 1, 10, judge=["claude", "single-v1"]) for question in QUESTIONS]
    ours = [row(81, 1, 9, judge=["gpt-4", "favonius-single-v1"])]
    found, notes = scored([*others, *whole(), *ours])
    m = found["m"]
    assert (m["judge"], m["mean"], m["n"]) == ("gpt-4/single-v1", 6, 6)
    assert {name: one["mean"] for name, one in m["other_judges"].items()} == {
        "claude/single-v1": 10,
        "gpt-4/favonius-single-v1": 9,
    }
    assert "4 rows by claude/single-v1, gpt-4/favonius-single-v1 not in the means" in notes
    assert scored([*others, *whole()], judge="claude")[0]["m"]["mean"] == 10
    with pytest.raises(UserError, match=r"--judge gpt-4: several judges \(known: gpt-4/single-v1, gpt-4/favonius-"):
        scored([*whole(), *ours], judge="gpt-4")
    with pytest.raises(UserError, match="--judge gpt-5: no such judge"):
        scored(whole(), judge="gpt-5")


def test_a_set_of_prompts_is_one_judge() -> None:
    names = ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn")
    assert {Judge.of("gpt-4", name) for name in names} == {Judge("gpt-4", "single-v1")}
    assert Judge.of("gpt-4", read_prompts().rows[3].name) == Judge("gpt-4", "favonius-single-v1")


def test_rows_that_we_write_are_read_again() -> None:
    for reply, score in (("Well.\nRating: [[8.5]]", 8.5), ("I will not.", None)):
        written = json.loads(json.dumps(row_of("m", 81, 2, ("gpt-4", "single-v1-multi-turn"), reply)))
        read = judgment_of("line 1", written)
        assert isinstance(read, Judgment) and (read.score, read.turn, read.as_told) == (score, 2, True)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(QUESTIONS)), st.sampled_from([1, 2]), st.integers(1, 10)), min_size=1))
def test_whatever_the_rows_all_are_accounted_for(rows: list[tuple[int, int, int]]) -> None:
    found = scores([judged(row(*one)) for one in rows], QUESTIONS)
    grades, left_out = found.grades("m"), found.models["m"].left_out.counts
    assert len(grades.scored()) + grades.unparsed + left_out.total() == len(rows)
    assert sorted((one.question_id, one.turn, one.score) for one in grades.rows) == sorted(set(rows))
    missing = {(question, turn) for turn in (1, 2) for question in grades.missing(turn)}
    judged_turns = {(one.question_id, one.turn) for one in grades.rows}
    assert judged_turns | missing == {(question, turn) for question in QUESTIONS for turn in (1, 2)}
