"""Mixtures and splits: weights kept at every step, orders that can be gone on with, sides that no new row changes."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from favonius.data.fair_turns import turns, whole_shares
from favonius.data.mixing import Mixture, Part, Pick, shuffled
from favonius.data.splits import in_fraction, opening, share_of, split_of, weighted
from favonius.errors import UserError
from favonius.types import Message

weights = st.lists(st.integers(1, 40), min_size=1, max_size=6)
sources = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.7]), st.integers(1, 3)), min_size=1, max_size=4
)
ends = st.sampled_from(["first", "last"])


def parts_of(found: list[tuple[int, float, int]]) -> list[Part]:
    return [Part(f"source {number}", *one) for number, one in enumerate(found)]


@settings(deadline=None)
@given(wanted=weights)
# Taking whoever is furthest behind lets one of these come 1.017 turns too late.
@example(wanted=[3, 17, 31, 3, 35, 31])
def test_every_source_is_within_one_turn_of_its_share_after_each_turn(wanted: list[int]) -> None:
    order = turns(dict(enumerate(wanted)))
    had: Counter[int] = Counter()
    for step, source in enumerate(order, start=1):
        had[source] += 1
        for name, share in enumerate(wanted):
            assert abs(had[name] - step * share / sum(wanted)) < 1
    assert len(order) * max(wanted) == had[wanted.index(max(wanted))] * sum(wanted)


def test_weights_become_the_smallest_whole_numbers() -> None:
    assert whole_shares([0.7, 0.2, 0.1]) == {0: 7, 1: 2, 2: 1}
    assert whole_shares([1 / 3, 2 / 3]) == {0: 1, 1: 2}
    assert whole_shares([207_865, 61_135]) == {0: 41_573, 1: 12_227}
    # Their common period is longer than anybody waits for; one part in 10,000 is near enough.
    assert sum(whole_shares([1 / 9973, 1 / 9967, 1 / 9949]).values()) == pytest.approx(10_000, abs=2)


@pytest.mark.parametrize("wrong", [[], [1.0, 0.0], [1.0, -1.0], [float("nan")], [float("inf"), 1.0], [1.0, 1e-7]])
def test_weights_that_mean_nothing_are_refused(wrong: list[float]) -> None:
    with pytest.raises(UserError, match="weight"):
        whole_shares(wrong)


@settings(deadline=None)
@given(found=sources, seed=st.integers(0, 3), end=ends)
def test_no_row_comes_twice_in_a_pass_and_every_pass_is_whole_before_the_next(
    found: list[tuple[int, float, int]], seed: int, end: str
) -> None:
    picks = list(Mixture(parts_of(found), seed, end).picks())  # type: ignore[arg-type]
    assert len(set(picks)) == len(picks)
    for number, (rows, _, repeats) in enumerate(found):
        mine = [pick for pick in picks if pick.source == number]
        assert [pick.epoch for pick in mine] == [place // rows for place in range(len(mine))]
        assert all(0 <= pick.row < rows and pick.epoch < repeats for pick in mine)
        if end == "last":
            assert len(mine) == rows * repeats


@settings(deadline=None)
@given(found=sources, end=ends, data=st.data())
def test_going_on_at_any_position_gives_the_same_tail(
    found: list[tuple[int, float, int]], end: str, data: st.DataObject
) -> None:
    mixture = Mixture(parts_of(found), 1, end)  # type: ignore[arg-type]
    picks = list(mixture.picks())
    assert len(picks) == len(mixture)
    start = data.draw(st.integers(0, len(picks)))
    assert list(mixture.picks(start)) == picks[start:]


@settings(deadline=None)
@given(found=sources, end=ends)
def test_turns_are_those_of_taking_rows_one_by_one(found: list[tuple[int, float, int]], end: str) -> None:
    parts = parts_of(found)
    assert taken_in_turn(parts, end) == [pick.source for pick in Mixture(parts, 0, end).picks()]  # type: ignore[arg-type]


def taken_in_turn(parts: list[Part], end: str) -> list[int]:
    """The sources in the order of their rows, found without knowing how many there are."""
    rows = [iter(range(part.rows * part.max_repeats)) for part in parts]
    shares, taken = whole_shares([part.weight for part in parts]), []
    while shares:
        for source in cycle(turns(shares)):
            if next(rows[source], None) is None:
                break
            taken.append(source)
        shares = {name: share for name, share in shares.items() if name != source and end == "last"}
    return taken


def test_the_weights_hold_to_the_end_or_the_rest_follows() -> None:
    parts = [Part("large", 100, 1.0), Part("small", 10, 1.0)]
    first = Counter(pick.source for pick in Mixture(parts, 0, "first").picks())
    last = Counter(pick.source for pick in Mixture(parts, 0, "last").picks())
    assert abs(first[0] - first[1]) <= 1 and first[1] == 10
    assert last == {0: 100, 1: 10}


def test_an_order_is_the_same_on_every_machine() -> None:
    assert shuffled(8, "a").tolist() == [4, 6, 7, 1, 0, 3, 5, 2]
    picks = Mixture([Part("a", 5, 2.0, max_repeats=2), Part("b", 4, 1.0)], 7).picks()
    assert list(islice(picks, 3)) == [Pick(0, 0, 0), Pick(1, 1, 0), Pick(0, 4, 0)]


def test_seeds_and_passes_differ_in_order() -> None:
    def rows(seed: int, epoch: int) -> list[int]:
        picks = Mixture([Part("a", 50, 1.0, max_repeats=2)], seed).picks()
        return [pick.row for pick in picks if pick.epoch == epoch]

    assert len({tuple(rows(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_a_source_without_rows_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        Mixture([Part("full", 3, 1.0), Part("empty", 0, 1.0)], 0)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    words=st.lists(st.sampled_from(["What", "is", "Æther", "2+2", "你好", "ﬁne"]), min_size=1), share=st.floats(0, 1)
)
def test_case_spaces_and_punctuation_move_no_prompt(words: list[str], share: float) -> None:
    once, again = " ".join(words), "  ".join(words).upper() + "?\n"
    assert split_of(once, share) == split_of(again, share)
    assert in_fraction(once, share) == in_fraction(again, share)


@given(text=texts, small=st.floats(0, 1), large=st.floats(0, 1))
def test_a_larger_share_only_adds(text: str, small: float, large: float) -> None:
    small, large = sorted((small, large))
    assert in_fraction(text, large) or not in_fraction(text, small)
    assert split_of(text, large) == "test" or split_of(text, small) == "train"


def test_sides_are_near_their_shares_and_apart_from_fractions() -> None:
    prompts = [f"prompt {number}" for number in range(4000)]
    test = [prompt for prompt in prompts if split_of(prompt, 0.1) == "test"]
    assert 330 < len(test) < 470
    half = sum(in_fraction(prompt, 0.5) for prompt in test)
    assert 0.4 < half / len(test) < 0.6
    seeds = Counter((in_fraction(prompt, 0.5, 1), in_fraction(prompt, 0.5, 2)) for prompt in prompts)
    assert all(900 < count < 1100 for count in seeds.values())


def test_ends_of_the_scale_and_texts_without_words() -> None:
    assert split_of("a", 0.0) == "train" and split_of("a", 1.0) == "test"
    assert share_of("split", "🙂") != share_of("split", "👍")
    assert 0 <= share_of("split", "\ud800") < 1


def test_sides_are_the_same_on_every_machine() -> None:
    assert [split_of(f"prompt {number}", 0.5) for number in range(6)] == [
        "train",
        "train",
        "test",
        "test",
        "test",
        "test",
    ]


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1), min_size=1), st.floats(0, 1, exclude_max=True))
def test_a_weighted_draw_takes_only_what_has_weight(weights: dict[str, float], at: float) -> None:
    if sum(weights.values()) > 0:
        assert weights[weighted(weights, at)] > 0


def test_shares_lie_side_by_side_in_their_order() -> None:
    assert [weighted({"a": 3.0, "b": 0.0, "c": 1.0}, at) for at in (0.0, 0.74, 0.76)] == ["a", "a", "c"]
    assert weighted({"a": 0.1, "b": 0.0}, 0.9999999) == "a"


def test_a_conversation_goes_where_its_first_question_goes() -> None:
    opened = (Message(role="system", content="Be brief."), Message(role="user", content="Why?"))
    assert opening(opened) == opening((*opened[1:], Message(role="assistant", content="So."))) == "Why?"
