"""Expected scores: the mean over all that a judge might have said, by its log-probs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.engines import interview
from favonius.engines.scripted import ScriptedEngine
from favonius.judges.config import AspectsJudge, CritiqueJudge, PairwiseJudge
from favonius.judges.judge import Failure
from favonius.judges.open import open_judge
from favonius.judges.spoken.expected import expected_preference, expected_score
from favonius.judges.spoken.numerals import Number, Scale, Unreadable
from favonius.judges.spoken.verdicts import Names, Said
from favonius.types import Completion, Request, TokenLogprob
from tests.spoken import JUDGE, Bench, Voice, case, grades, inputs, said, shown_pair, shown_texts, values
from tests.voices import context


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Voice], Bench]:
    return lambda voice: Bench(tmp_path, monkeypatch, voice)


def token(text: str, top: dict[str, float] | None = None) -> TokenLogprob:
    odds = tuple((name, math.log(probability)) for name, probability in (top or {}).items())
    return TokenLogprob(token=text, logprob=dict(odds).get(text, -0.1), top=odds)


def reply(*tokens: TokenLogprob, text: str | None = None) -> Completion:
    spelled = "".join(one.token for one in tokens) if text is None else text
    return Completion(text=spelled, finish="stop", prompt_tokens=1, completion_tokens=len(tokens), logprobs=tokens)


def place(completion: Completion, digits: str, value: float | None = None) -> Number:
    start = completion.text.rindex(digits)
    return Number(float(digits) if value is None else value, start, start + len(digits))


TEN, FIVE = Scale(1, 10), Scale(1, 5)
SCORE = (token("Overall"), token(" Score"), token(":"))


def test_the_mean_of_what_might_have_been_said() -> None:
    heard = reply(*SCORE, token(" 4", {" 4": 0.6, " 5": 0.3, " good": 0.05, " 9": 0.05}))
    assert expected_score(heard, place(heard, "4"), FIVE) == pytest.approx((4 * 0.6 + 5 * 0.3) / 0.9)
    bare = reply(token("4", {"4": 0.5, " 4": 0.1, "2": 0.4}))  # one rating in two spellings
    assert expected_score(bare, place(bare, "4"), FIVE) == pytest.approx((4 * 0.6 + 2 * 0.4) / 1.0)
    inside = reply(token("Rating: "), token("[[4", {"[[4": 0.5, "[[3": 0.5, "[": 0.0001}), token("]]"))
    assert expected_score(inside, place(inside, "4"), FIVE) == pytest.approx(3.5)


def test_ten_in_one_token() -> None:
    heard = reply(*SCORE, token(" 10", {" 10": 0.7, " 9": 0.2, " 1": 0.1}))
    assert expected_score(heard, place(heard, "10"), TEN) == pytest.approx(7 + 1.8 + 0.1)
    heard = reply(*SCORE, token(" 9", {" 10": 0.3, " 9": 0.6, " 1": 0.1}))
    assert expected_score(heard, place(heard, "9"), TEN) == pytest.approx(3 + 5.4 + 0.1)


def test_ten_in_two_tokens_is_told_by_the_second() -> None:
    begun = token("1", {"1": 0.8, "9": 0.2})
    ten = reply(*SCORE, token(" "), begun, token("0", {"0": 0.9, "\n": 0.1}))
    expected = (10 * 0.8 * 0.9 + 1 * 0.8 * 0.1 + 9 * 0.2) / 1.0
    assert expected_score(ten, place(ten, "10"), TEN) == pytest.approx(expected)
    one = reply(*SCORE, token(" "), begun, token("\n", {"0": 0.9, "\n": 0.1}))
    assert expected_score(one, place(one, "1"), TEN) == pytest.approx(expected)  # the draw does not matter
    eleven = reply(*SCORE, token(" "), begun, token("\n", {"0": 0.5, "1": 0.25, "\n": 0.25}))
    assert expected_score(eleven, place(eleven, "1"), TEN) == pytest.approx((4 + 0.2 + 1.8) / (0.4 + 0.2 + 0.2))


def test_a_one_that_was_not_drawn_may_begin_a_ten_and_is_left_out_only_where_it_hardly_matters() -> None:
    little = reply(*SCORE, token(" "), token("8", {"8": 0.69, "7": 0.3, "1": 0.01}))
    assert expected_score(little, place(little, "8"), TEN) == pytest.approx((8 * 0.69 + 7 * 0.3) / 0.99)
    much = reply(*SCORE, token(" "), token("8", {"8": 0.6, "7": 0.3, "1": 0.1}))
    with pytest.raises(Unreadable, match="a 1 cannot be told from a 10"):
        expected_score(much, place(much, "8"), TEN)
    closed = reply(token("[["), token("8]]", {"8]]": 0.5, "1]]": 0.5}))  # this one is over
    assert expected_score(closed, place(closed, "8"), TEN) == pytest.approx(4.5)


def test_a_one_with_which_the_reply_ends_is_a_one() -> None:
    heard = reply(*SCORE, token(" "), token("1", {"1": 0.6, "3": 0.4}))
    assert expected_score(heard, place(heard, "1"), TEN) == pytest.approx(0.6 + 1.2)


@pytest.mark.parametrize(
    ("heard", "digits", "why"),
    [
        (reply(text="4"), "4", "the engine gave no log-probs"),
        (reply(token("4")), "4", "no score is among the likeliest tokens"),
        (reply(token("4", {"x": 0.9, "y": 0.1}), text="4"), "4", None),
        (reply(token("4", {"4": 1.0}), text="40 4"), "4", "the tokens do not spell the reply"),
        (reply(token("4"), token("."), token("5", {"5": 1.0})), "4.5", "the score is no whole number"),
    ],
)
def test_odds_that_cannot_be_known_are_a_failure_and_never_the_drawn_rating(
    heard: Completion, digits: str, why: str | None
) -> None:
    if why is None:  # the drawn token counts with its own log-prob where the list leaves it out
        assert expected_score(heard, place(heard, digits), FIVE) == 4
        return
    with pytest.raises(Unreadable, match=why):
        expected_score(heard, place(heard, digits), FIVE)


def test_tokens_are_found_whatever_engines_do_with_spaces_and_broken_letters() -> None:
    odds = {"4": 0.5, "2": 0.5}
    stripped = reply(token("Rating"), token(":"), token("4", odds), text="Rating: 4")
    special = reply(token("<s>"), token("▁Rating"), token(":"), token("▁4", {"▁4": 0.5, "▁2": 0.5}), text="Rating: 4")
    broken = reply(token("Zür�"), token("�ch 4\n"), token("Rating: "), token("4", odds), text="Zürich 4\nRating: 4")
    for heard in (stripped, special, broken):
        assert expected_score(heard, place(heard, "4"), FIVE) == pytest.approx(3.0)


@given(st.dictionaries(st.integers(1, 10), st.floats(0.01, 1.0), min_size=1), st.booleans(), st.data())
def test_both_spellings_of_ten_give_the_mean(weights: dict[int, float], split: bool, data: st.DataObject) -> None:
    total = sum(weights.values())
    odds = {value: weight / total for value, weight in weights.items()}
    drawn = data.draw(st.sampled_from(sorted(odds)))
    if not split:
        heard = reply(*SCORE, token(f" {drawn}", {f" {value}": p for value, p in odds.items()}))
        if 1 in odds and 10 not in odds and drawn != 1:
            return  # whether this judge writes 10 in one token is not to be seen
    else:
        one = odds.get(1, 0.0) + odds.get(10, 0.0)
        if one and drawn not in (1, 10):
            return
        top = {str(value): p for value, p in odds.items() if value not in (1, 10)} | ({"1": one} if one else {})
        rest = {"0": odds.get(10, 0) / one, "\n": odds.get(1, 0) / one} if one else {"\n": 1.0}
        following = token("0" if drawn == 10 else "\n", {text: p for text, p in rest.items() if p})
        heard = reply(*SCORE, token(" "), token(str(drawn)[0], top), following)
    expected = sum(value * p for value, p in odds.items())
    assert expected_score(heard, place(heard, str(drawn)), TEN) == pytest.approx(expected)


def test_preferences_are_those_of_alpaca_eval() -> None:
    names = Names(first="m", second="M", tie=None)
    heard = reply(token("m", {"m": 0.6, "M": 0.2, "Both": 0.2}))
    assert expected_preference(heard, Said("first", 0, 1), names) == pytest.approx(0.75)
    tied = reply(token("[["), token("A", {"A": 0.5, "B": 0.25, "C": 0.25}), token("]]"))
    assert expected_preference(tied, Said("first", 2, 3), Names()) == pytest.approx(0.625)
    with pytest.raises(Unreadable, match="no verdict is among the likeliest tokens"):
        expected_preference(reply(token("A")), Said("first", 0, 1), Names())


class Telling(ScriptedEngine):
    """Answers with tokens and their log-probs, where these are asked for."""

    def __init__(self, tokens: Callable[[Request], Iterable[TokenLogprob]]) -> None:
        super().__init__(lambda request: "", "digest of judge")
        self.tokens = tokens

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        assert request.logprobs
        return reply(*self.tokens(request))


def test_expected_scores_of_all_three_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rated(request: Request) -> Iterator[TokenLogprob]:
        for number, text in enumerate(shown_texts(request), 1):
            high = {"good": 0.9, "poor": 0.2}[text]
            yield token(f"#### Output for Text {number}\nRating:")
            yield token(" 5", {" 5": high, " 1": 1 - high})
            yield token("\nRationale: so\n\n")

    def tokens(request: Request) -> Iterable[TokenLogprob]:
        if "<text 1>" in said(request):
            return rated(request)
        if "### Answer A" in said(request):
            first = 0.9 if shown_pair(request)[0] == "good" else 0.3
            return [token("A" if first > 0.5 else "B", {"A": first, "B": 1 - first})]
        return [token("Fine.\n"), *SCORE, token(" 8", {" 8": 0.5, " 6": 0.5}), token("/10")]

    engine = Telling(tokens)

    @contextmanager
    def opened(*_: object) -> Iterator[ScriptedEngine]:
        yield engine

    monkeypatch.setattr(interview, "open_engine", opened)
    wanted = {"aspects": [4.6, 1.8], "critique": [7.0, 7.0], "pairwise": [0.8, 0.2]}
    for kind in (AspectsJudge, CritiqueJudge, PairwiseJudge):
        for _ in range(2):
            with open_judge(kind(model=JUDGE, expected=True), inputs(tmp_path), context(tmp_path)) as judge:
                [judgement] = judge.judge([case("good", "poor")])
                assert values(judgement) == pytest.approx(wanted[judge.mark.kind])
    assert len(engine.asked) == 4 + 2 + 2


def test_an_engine_without_log_probs_gives_no_scores(bench: Callable[[Voice], Bench]) -> None:
    one = bench(grades)
    [judgement] = one.judge(CritiqueJudge(model=JUDGE, expected=True, reasks=0), case("good"))
    assert judgement.verdicts == (Failure("the engine gave no log-probs", "It is an answer.\n\nOverall Score: 5"),)
