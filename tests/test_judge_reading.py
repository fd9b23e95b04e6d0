"""How judges' replies are read: everything that is meant in one way only, and nothing else."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.judges.spoken.numerals import Scale, Unreadable
from favonius.judges.spoken.reading import read_ratings, read_score
from favonius.judges.spoken.verdicts import Names, read_verdict

TEN = Scale(1, 10)
FIVE = Scale(1, 5)
NAMES = Names()
DATA = os.environ.get("FAVONIUS_TEST_DATA")


def cause(text: str, cut_off: bool = False) -> str:
    with pytest.raises(Unreadable) as refused:
        read_score(text, TEN, cut_off)
    return str(refused.value)


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("1", 1),
        ("1/10", 1),
        ("10", 10),
        ("10/10", 10),
        ("8.5/10", 8.5),
        ("8 out of 10", 8),
        ("**8**", 8),
        ("[[8]]", 8),
        (" 8.\n", 8),
        ("Overall Score: 1", 1),
        ("Overall Score: 1.", 1),
        ("Overall Score: 1/10.", 1),
        ("Overall Score: 1 / 10", 1),
        ("Overall Score: 1.0", 1),
        ("Overall Score: 10", 10),
        ("Overall Score: 10.0", 10),
        ("Overall Score: 8.", 8),
        ("Score: [8]", 8),
        ("Score: [8]/10", 8),
        ("**Overall Score:** 7", 7),
        ("**Overall Score**: 7/10", 7),
        ("**Overall Score: 7**", 7),
        ("### Overall Score\n8", 8),
        ("### Overall Score:\n\n**8/10**\n", 8),
        ("Overall Score (1-10): 8", 8),
        ("Overall Score [1 to 10]: 8", 8),
        ("Overall Score out of 10: 8", 8),
        ("Overall Score (8)", 8),
        ("Overall Score = 8", 8),
        ("Overall Score - 8", 8),
        ("Overall score is 8", 8),
        ("I give it an overall score of 8 out of 10.", 8),
        ("Overall Score: <8>", 8),
        ("Overall Score: 8 (eight)", 8),
        ("Overall Score: 8 - a good answer", 8),
        ("Overall Score: 8, a good answer", 8),
        ("Overall Score: 8 points", 8),
        ("Overall Score: 8 because it meets 2 of the 3 demands", 8),
        ("Overall Score\uff1a\uff18", 8),
        ("Overall Score: \uff11\uff10", 10),
        ("Overall\u00a0Score:\u30008", 8),
        ("Good.\r\n\r\nOverall Score: 8\r\n", 8),
        ('{"overall_score": 8, "feedback": "good"}', 8),
        ("Rating: [[5]]", 5),
        ("The answer counts to 10 in 3 ways.\nOverall Score: 4", 4),
        ("Score for style: 9 points. Grade: 3. Overall Score: 6", 6),
        ("Overall Score: 6\nThe overall score of 6 is due to its length.", 6),
        ("The overall score reflects 3 flaws.\nOverall Score: 6", 6),
        ("Overall Score: 5. An overall score of 8 would need sources.", 5),
        ("The answer says that the final score was 3-1, not 2-1.\nOverall Score: 6", 6),
        ("An overall score of 6. A score of 8 would need sources.", 6),
        ("Reply with Overall Score: [1-10].\nOverall Score: 6", 6),
        ("<think>Overall Score: 3? No, 9.</think>Overall Score: 9", 9),
    ],
)
def test_scores_that_can_be_meant_in_one_way(reply: str, value: float) -> None:
    assert read_score(reply, TEN)[0].value == value


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "an empty reply"),
        ("   \n", "an empty reply"),
        ("A fine answer.", "no score is stated"),
        ("A solid 8, if you ask me", "no score is stated"),
        ("Overall Score:", "the score is not a number"),
        ("Overall Score: N/A", "the score is not a number"),
        ("Overall Score: eight", "the score is not a number"),
        ("Overall Score: about 8", "the score is not a number"),
        ("Overall Score: .5", "the score is not a number"),
        ("Overall Score: X/10", "the score is not a number"),
        ("Overall Score: 0", "the score is outside the scale"),
        ("Overall Score: 11", "the score is outside the scale"),
        ("Overall Score: 100", "the score is outside the scale"),
        ("Overall Score: 10.5", "the score is outside the scale"),
        ("Overall Score: 0.8", "the score is outside the scale"),
        ("Overall Score: -3", "the score has a sign"),
        ("Overall Score: ~8", "the score has a sign"),
        ("-3", "the score has a sign"),
        ("Overall Score: 8,5", "the score is no plain number"),
        ("8,5", "the score is no plain number"),
        ("Overall Score: 8½", "the score is no plain number"),
        ("Overall Score: 8+", "the score is no plain number"),
        ("Overall Score: 80%", "the score is no plain number"),
        ("Overall Score: 8e0", "the score is no plain number"),
        ("Overall Score: 8th", "the score is no plain number"),
        ("Overall Score: 08", "the score is no plain number"),
        ("Overall Score: 1 0", "the score is no plain number"),
        ("Overall Score: 1\u200b0", "the score is no plain number"),
        ("Overall Score: 1\ufe0f0", "the score is no plain number"),
        ("Overall Score: 8.5.1", "the score is no plain number"),
        ("Overall Score: 8/10/10", "the score is no plain number"),
        ("Overall Score: 1-10", "the scale is repeated and no score given"),
        ("Overall Score: [1-10]", "the scale is repeated and no score given"),
        ("Overall Score: 1 to 10", "the scale is repeated and no score given"),
        ("1-10", "the scale is repeated and no score given"),
        ("Overall Score: 7-8", "the score is a range"),
        ("Overall Score: [7]-[8]", "the score is a range"),
        ("Overall Score: 7 to 8", "the score is a range"),
        ("Overall Score: 4/5", "the score is out of another total"),
        ("Overall Score: 80/100", "the score is out of another total"),
        ("Overall Score (1-5): 4", "the score is out of another total"),
        ("Overall Score out of 5: 4", "the score is out of another total"),
        ("Overall Score: 7 or 8", "several scores that differ"),
        ("Overall Score: 7, 8", "several scores that differ"),
        ("Overall Score: 7, but it could be 8", "several scores that differ"),
        ("Overall Score: 7\nOverall Score: 8", "several scores that differ"),
        ("[[7]] or rather [[8]]", "several scores that differ"),
        ("An overall score of 5, though the overall score is 8.", "several scores that differ"),
        ("The final score was 3-1.", "the score is a range"),
        ("Style score: 7\nTruth score: 4", "several scores that differ"),
        ("Overall Score:\n\n1. It is right.\n2. It is short.", "no score is stated"),
        ("<think>Overall Score: 9", "an empty reply"),
    ],
)
def test_scores_that_could_be_meant_in_two_ways_are_refused(reply: str, why: str) -> None:
    assert cause(reply) == why


def test_a_one_at_which_the_reply_was_cut_off_may_have_been_a_ten() -> None:
    for reply in ("Overall Score: 1", "Overall Score: 8.", "Overall Score: [1", "1"):
        assert cause(reply, cut_off=True) == "cut off by max_tokens"
    assert read_score("Overall Score: 8\nFor it is", TEN, cut_off=True)[0].value == 8


def test_the_critique_is_what_stands_beside_the_score() -> None:
    score, critique = read_score("It is right.\nIt is long.\n\n**Overall Score:** 7/10\n", TEN)
    assert critique == "It is right.\nIt is long."
    assert (score.value, score.start, score.end) == (7, 45, 46)
    assert read_score("Overall Score: 7\nIt is right.", TEN)[1] == "It is right."


WORDS = st.text(st.sampled_from("abcdehlmpu ,;.!?\n()é語"), max_size=60)
FORMS = st.sampled_from(
    [
        "{}",
        "{}.",
        "{}/10",
        "{} / 10",
        "{} out of 10",
        "[{}]",
        "[[{}]]",
        "**{}**",
        "**{}**/10",
        "`{}`",
        "<{}>",
    ]
)
LABELS = st.sampled_from(
    ["Overall Score: ", "**Overall Score:** ", "Overall Score - ", "Final score = ", "### Overall Rating\n", "Score: "]
)


@given(before=WORDS, label=LABELS, form=FORMS, score=st.integers(1, 10), after=WORDS)
def test_any_score_in_any_form_is_read_back_whatever_stands_around_it(
    before: str, label: str, form: str, score: int, after: str
) -> None:
    number, _ = read_score(f"{before}\n{label}{form.format(score)}\n{after}", TEN)
    assert number.value == score


@given(st.text(st.sampled_from("0123456789.,/-+ ()[]*:ScoreOverall\n"), max_size=30))
def test_a_score_is_never_made_up(reply: str) -> None:
    try:
        number, _ = read_score(reply, TEN)
    except Unreadable:
        return
    digits = reply[number.start : number.end]
    assert float(digits) == number.value
    assert 1 <= number.value <= 10
    assert not reply[number.start - 1 : number.start].isdigit()
    assert not reply[number.end : number.end + 1].isdigit()


@pytest.mark.skipif(DATA is None, reason="FAVONIUS_TEST_DATA names no folder with the real evaluation sets")
def test_gpt4s_published_judgments_are_read_as_they_were_published() -> None:
    unread = 0
    with gzip.open(Path(str(DATA)) / "mt_bench" / "gpt-4_single.jsonl.gz", "rt", encoding="utf-8") as lines:
        judgments = [json.loads(line)["judgment"] for line in lines]
    for judgment in judgments:
        [*published] = re.findall(r"\[\[([0-9.]+)\]\]", judgment)
        try:
            assert read_score(judgment, TEN)[0].value == float(published[0])
        except Unreadable:
            assert not published
            unread += 1
    assert unread <= 1


def block(number: int, rating: str, heading: str = "#### Output for Text {}") -> str:
    return f"{heading.format(number)}\nRating: {rating}\nRationale: It names 2 of 3 things.\n"


def ratings(reply: str, texts: int = 2, may_not_apply: bool = False, cut_off: bool = False) -> list[float | None]:
    found = read_ratings(reply, texts, FIVE, may_not_apply, cut_off)
    return [None if one.rating is None else one.rating.value for one in found]


@pytest.mark.parametrize(
    "heading", ["#### Output for Text {}", "**Text {}:**", "Text {}", "<text {}>", "Answer {}:", "- Text [{}]"]
)
@pytest.mark.parametrize("rating", ["4", "4/5", "**4**", "[4]", "4 out of 5", "4.", "4 - good", "\n4"])
def test_ratings_of_several_texts(heading: str, rating: str) -> None:
    assert ratings(f"{block(1, rating, heading)}\n{block(2, '2', heading)}") == [4, 2]


def test_parts_are_known_by_their_numbers_and_not_by_their_place() -> None:
    assert ratings("Well.\n\n" + block(2, "2") + "\n" + block(1, "5")) == [5, 2]
    assert ratings("Rating: 3\nRationale: so\n\nRating: 4\nRationale: so") == [3, 4]
    assert ratings("### Text 1\n" + block(1, "3") + block(2, "4")) == [3, 4]


def test_line_ends_of_any_system() -> None:
    assert ratings((block(1, "3") + "\n" + block(2, "4")).replace("\n", "\r\n")) == [3, 4]
    assert ratings("Rating: 3\r\nRationale: so\r\n\r\nRating: 4\r\nRationale: so") == [3, 4]
    assert ratings("Rating: 3\nRationale: so\n \t\nRating: 4\nRationale: so") == [3, 4]


def test_types_and_reasons_are_not_taken_for_ratings() -> None:
    typed = "Type: 1, 3\nRationale: It says 5 is 4.\nRating: 2\nRationale (For Rating): rating 5 would need more"
    assert ratings(f"Output for Text 1\n{typed}\n\nOutput for Text 2\nType: None\n{typed[11:]}") == [2, 2]
    [one, _] = read_ratings(f"Output for Text 1\n{typed}\n\nOutput for Text 2\nRating: 5", 2, FIVE, False)
    assert one.words == typed


def test_not_applicable_is_an_answer_where_it_may_be_one() -> None:
    reply = block(1, "N/A") + block(2, "4")
    assert ratings(reply, may_not_apply=True) == [None, 4]
    with pytest.raises(Unreadable, match="a rating is not applicable"):
        ratings(reply)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "an empty reply"),
        ("Both are good.", "no text is rated"),
        (block(1, "4"), "not every text is rated"),
        (block(2, "4"), "not every text is rated"),
        ("Rating: 4\nRationale: good", "not every text is rated"),
        ("Rating: 4\n\nRating: 3\n\nRating: 2", "not every text is rated"),
        (block(1, "4") + "#### Output for Text 2\nRationale: none", "not every text is rated"),
        (block(1, "4") + block(1, "3"), "a text is rated twice"),
        (block(1, "4") + block(2, "3") + block(3, "3"), "a text is rated that was not shown"),
        (block(1, "4") + block(2, "6"), "the score is outside the scale"),
        (block(1, "4") + block(2, "0"), "the score is outside the scale"),
        (block(1, "4") + block(2, "high"), "the score is not a number"),
        (block(1, "4") + block(2, "3-4"), "the score is a range"),
        (block(1, "4") + block(2, "3 or 4"), "several scores that differ"),
        (block(1, "4") + block(2, "8/10"), "the score is out of another total"),
        (block(1, "4") + block(2, "[1-5]"), "not every text is rated"),
        (block(1, "4") + block(2, "3\nRating: 4"), "several scores that differ"),
    ],
)
def test_ratings_that_are_not_all_there_once_are_refused(reply: str, why: str) -> None:
    with pytest.raises(Unreadable, match=f"^{why}$"):
        ratings(reply)


def test_only_the_last_part_of_a_reply_can_have_been_cut_off() -> None:
    cut = block(1, "4") + "#### Output for Text 2\nRating: 3"
    assert ratings(cut) == [4, 3]
    with pytest.raises(Unreadable, match="cut off"):
        ratings(cut, cut_off=True)
    assert ratings(cut + "\nRationale: it", cut_off=True) == [4, 3]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=9), st.randoms(), WORDS)
def test_any_number_of_texts_in_any_order(given: list[int], order: object, reason: str) -> None:
    parts = [
        f"\n#### Output for Text {n}\nRationale: {reason}\nRating: {rating}\n" for n, rating in enumerate(given, 1)
    ]
    order.shuffle(parts)  # type: ignore[attr-defined]
    assert ratings("".join(parts), len(given)) == given
    if len(given) > 1:
        with pytest.raises(Unreadable):
            ratings("".join(parts[1:]), len(given))


@pytest.mark.parametrize(
    ("reply", "side"),
    [
        ("A", "first"),
        ("B.", "second"),
        (" C\n", "tie"),
        ("**A**", "first"),
        ("(B)", "second"),
        ("Answer A", "first"),
        ("Assistant B.", "second"),
        ("tie", "tie"),
        ("[[A]]", "first"),
        ("[[Answer B]]", "second"),
        ("[[tie]]", "tie"),
        ("[B]", "second"),
        ("A is long, B is short.\n[[B]]", "second"),
        ("A. is long.\nB. is short.\nVerdict: [[A]]", "first"),
        ("The correct answer is B, as A says.\nVerdict: A", "first"),
        ("Verdict: A", "first"),
        ("### Verdict\nA", "first"),
        ("A is long.\r\n### Final verdict\r\nAnswer B\r\n", "second"),
        ("**Verdict:**\nC\n\nNeither is right.", "tie"),
        ("**Final verdict:** B", "second"),
        ("Final verdict: **Answer B**.", "second"),
        ("Winner: A, because B is wrong", "first"),
        ("The better answer is A because B is wrong.", "first"),
        ("A\nIt is shorter than B.", "first"),
        ("A. It is shorter than B.", "first"),
        ("B) It is right.", "second"),
        ("[[A]] and again [[A]]", "first"),
        ("<think>[[B]]</think>[[A]]", "first"),
    ],
)
def test_verdicts(reply: str, side: str) -> None:
    said = read_verdict(reply, NAMES)
    assert said.side == side
    assert reply[said.start : said.end] in ("A", "B", "C", "tie")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "an empty reply"),
        ("Both are good.", "no verdict is given"),
        ("A good answer would be shorter.", "no verdict is given"),
        ("A tie", "no verdict is given"),
        ("a", "no verdict is given"),
        ("D", "no verdict is given"),
        ("AB", "no verdict is given"),
        ("A or B", "no verdict is given"),
        ("Verdict: A/B", "no verdict is given"),
        ("Which is better: A or B?", "no verdict is given"),
        ("The better answer is A good one.", "no verdict is given"),
        ("The better answer is not A.", "no verdict is given"),
        ("The correct answer is B.", "no verdict is given"),
        ("[[A or B]]", "no verdict is given"),
        ("[[A]] if A is better, [[B]] if B is better", "several verdicts that differ"),
        ("[[A]]\n[[B]]", "several verdicts that differ"),
        ("Verdict: A\nVerdict: B", "several verdicts that differ"),
        ("### Verdict\nA\n### Verdict\nB", "several verdicts that differ"),
        ("### Verdict\nA\nB", "no verdict is given"),
        ("### Judgement\nA: it is long\nB: it is short", "no verdict is given"),
        ("### Verdict\nA good one", "no verdict is given"),
        ("A\r\nB\r\n", "several verdicts that differ"),
        ("A\nB", "several verdicts that differ"),
        ("A. It is short.\nB. It is long.", "several verdicts that differ"),
    ],
)
def test_verdicts_that_are_none_or_two_are_refused(reply: str, why: str) -> None:
    with pytest.raises(Unreadable, match=f"^{why}$"):
        read_verdict(reply, NAMES)


def test_verdicts_after_reasons_do_not_stand_at_the_beginning() -> None:
    for reply in ("A. It is shorter.", "A\nIt is shorter than the other."):
        assert read_verdict(reply, NAMES).side == "first"
        with pytest.raises(Unreadable, match="no verdict"):
            read_verdict(reply, NAMES, alone=False)
    assert read_verdict("B", NAMES, alone=False).side == "second"


def test_verdicts_that_were_cut_off() -> None:
    assert read_verdict("A", NAMES, cut_off=True).side == "first"  # one token was all it had
    for reply in ("Verdict: A", "### Verdict\nA", "Both have merits, and", "[[A"):
        with pytest.raises(Unreadable, match="cut off"):
            read_verdict(reply, NAMES, alone=False, cut_off=True)


def test_names_are_the_templates_and_case_counts() -> None:
    names = Names(first="m", second="M", tie=None)
    assert [read_verdict(reply, names).side for reply in ("m", "M", "[[M]]")] == ["first", "second", "second"]
    for reply in ("tie", "C"):
        with pytest.raises(Unreadable):
            read_verdict(reply, names)


@given(st.sampled_from("ABC"), st.text(st.sampled_from("abcdehlmu ,.!?\n()"), max_size=80))
def test_reasons_change_no_verdict_in_brackets(name: str, reasons: str) -> None:
    assert read_verdict(f"{reasons}\n[[{name}]]\n{reasons}", NAMES).side == {"A": "first", "B": "second"}.get(
        name, "tie"
    )
