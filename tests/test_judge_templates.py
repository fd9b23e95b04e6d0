"""Prompts of one's own for judges that are asked in words, and what is wrong with some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from favonius.errors import UserError
from favonius.judges.config import AspectsJudge, CritiqueJudge, PairwiseJudge
from favonius.judges.open import open_judge
from favonius.judges.spoken.templates import PairwisePrompt, fill, read_template
from favonius.run import FileRef
from favonius.types import Knowledge
from tests.spoken import JUDGE, Bench, Voice, by_worth, case, inputs, prefers_first, said, values
from tests.voices import context, speak


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Voice], Bench]:
    return lambda voice: Bench(tmp_path, monkeypatch, voice)


PAIR_FILE = """
kind: pairwise
system: >-
  Please compare two assistants. Write [[A]], [[B]] or [[C]] and {{nothing}} else, {"as": "said"}.
user: |
  [User Question]
  {instruction}

  Reference: {knowledge}

  [The Start of Assistant A's Answer]
  {first}
  [The End of Assistant A's Answer]

  [The Start of Assistant B's Answer]
  {second}
  [The End of Assistant B's Answer]
knowledge: "{correct}"
"""
ALPACA_FILE = """
kind: pairwise
user: |
  I require a leaderboard. {"instruction": "{instruction}"}
  {"m": {"output": "{first}"}, "M": {"output": "{second}"}}
verdicts: {first: m, second: M, tie: null}
"""
SINGLE_FILE = """
kind: critique
user: |
  Explain, then rate the answer from 1 to 10 in this form: "[[rating]]", for example: "Rating: [[5]]".
  {instruction}
  Written by: {principle}
  {answer}
"""
ASPECTS_FILE = """
kind: aspects
system: You rate.
user: "# {rubric}\\n{instruction}\\n{texts}"
text: "<text {number}>\\n{text}\\n</text {number}>"
aspects:
  honesty: {rubric: Honesty}
  helpfulness:
    rubric: Helpfulness
    user: "{rubric}, by {count}: {instruction}\\n{texts}\\n{outputs}"
    output: "Text {number}: Rating:"
"""


def test_a_pairwise_prompt_of_ones_own(bench: Callable[[Voice], Bench]) -> None:
    one = bench(lambda request: "[[B]]" if "It is right" in said(request).partition("Assistant B")[2] else "[[A]]")
    config = PairwiseJudge(model=JUDGE, template=FileRef("mt.yaml"), explain=True)
    answers = ("It is right", "It is {second} and [[A]] {instruction}")
    [judgement] = one.judge(config, case(*answers), **{"mt.yaml": PAIR_FILE})
    assert values(judgement) == [1.0, 0.0]
    system, user = one.asked[0].messages
    assert (
        system.content
        == 'Please compare two assistants. Write [[A]], [[B]] or [[C]] and {nothing} else, {"as": "said"}.'
    )
    assert user.content == (
        "[User Question]\nName a river.\n\n[The Start of Assistant A's Answer]\nIt is right\n[The End of Assistant A's "
        "Answer]\n\n[The Start of Assistant B's Answer]\nIt is {second} and [[A]] {instruction}\n[The End of Assistant "
        "B's Answer]"
    )
    one.judge(config, case(*answers, id="p2", knowledge=Knowledge(correct=("Rhine",))), **{"mt.yaml": PAIR_FILE})
    assert "\nReference: Rhine\n" in said(one.asked[-1])


def test_verdicts_of_ones_own(bench: Callable[[Voice], Bench]) -> None:
    one = bench(lambda request: "M" if '"M": {"output": "Rhine"}' in said(request) else "m")
    config = PairwiseJudge(model=JUDGE, template=FileRef("alpaca.yaml"))
    [judgement] = one.judge(config, case("Rhine", "Rhone"), **{"alpaca.yaml": ALPACA_FILE})
    assert values(judgement) == [1.0, 0.0]
    assert len(one.asked[0].messages) == 1


def test_a_grading_prompt_of_ones_own(bench: Callable[[Voice], Bench]) -> None:
    one = bench(lambda request: "It scores on two points: a score of 3 would be low.\n\nRating: [[1]]")
    config = CritiqueJudge(model=JUDGE, template=FileRef("single.yaml"))
    [judgement] = one.judge(config, case("good"), **{"single.yaml": SINGLE_FILE})
    assert values(judgement) == [1.0]
    assert said(one.asked[0]).endswith('"Rating: [[5]]".\nName a river.\ngood')


def test_aspects_of_ones_own(bench: Callable[[Voice], Bench]) -> None:
    one = bench(by_worth)
    config = AspectsJudge(model=JUDGE, template=FileRef("own.yaml"), aspects=("honesty", "helpfulness"))
    [judgement] = one.judge(config, case("good", "poor"), **{"own.yaml": ASPECTS_FILE})
    assert values(judgement) == [5, 1]
    asked = sorted(said(request) for request in one.asked)
    assert asked[0].startswith("# Honesty\nName a river.\n<text 1>\n")
    assert asked[1].startswith("Helpfulness, by 2: Name") and asked[1].endswith("Text 1: Rating:\n\nText 2: Rating:")
    with pytest.raises(
        UserError, match=r"own.yaml: aspects.instruction_following: is missing, and the judge is to rate it"
    ):
        one.judge(AspectsJudge(model=JUDGE, template=FileRef("own.yaml")), case("x"), **{"own.yaml": ASPECTS_FILE})


def test_what_was_asked_is_marked_by_the_templates_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"judge": prefers_first})
    marks = []
    for config in (
        PairwiseJudge(model=JUDGE),
        PairwiseJudge(model=JUDGE, explain=True),
        PairwiseJudge(model=JUDGE, template=FileRef("a.yaml")),
        PairwiseJudge(model=JUDGE, template=FileRef("b.yaml")),
    ):
        files = inputs(tmp_path, **{"a.yaml": PAIR_FILE, "b.yaml": PAIR_FILE})
        with open_judge(config, files, context(tmp_path)) as judge:
            marks.append(judge.mark.template)
    assert marks[2] == marks[3] and len(set(marks)) == 3 and None not in marks


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"^t.yaml: "),
        ("kind: pairwise\nuser: [", r"^t.yaml:2: not valid YAML: "),
        ("kind: critique\nuser: x", r"^t.yaml: kind: .*'pairwise'"),
        ("kind: pairwise", r"^t.yaml: user: is missing$"),
        ("kind: pairwise\nuser: '{instruction} {first}'", r"^t.yaml: user needs the place \{second\}$"),
        (
            "kind: pairwise\nuser: '{instruction} {first} {second} {third}'",
            r"^t.yaml: user has no place \{third\}; it may",
        ),
        ("kind: pairwise\nuser: x\nsytem: y", r"^t.yaml: sytem: is no key of such a template$"),
        (
            "kind: pairwise\nuser: '{instruction} {first} {second}'\nknowledge: '{facts}'",
            r"^t.yaml: knowledge has no place \{facts\}; it may have correct, incorrect, note$",
        ),
        (
            "kind: pairwise\nuser: '{instruction} {first} {second}'\nverdicts: {first: A, second: A}",
            r"^t.yaml: verdicts: the names of verdicts must differ$",
        ),
    ],
)
def test_a_template_with_a_fault_is_refused_with_file_and_key(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_template(text, PairwisePrompt, "t.yaml")


def test_places_are_filled_once() -> None:
    assert fill("{a}{{a}}{b} {c d} {}", {"a": "{b}", "b": "2"}) == "{b}{a}2 {c d} {}"
    assert fill("x\n\n{a}\n\n{b}: {a}\n\ny", {"a": "", "b": ""}) == "x\n\ny"
    assert fill("x\n{a} {b}\ny", {"a": "", "b": "1"}) == "x\n 1\ny"
