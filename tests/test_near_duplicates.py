"""Exact and near duplicates: what is found, what must not be, and that it agrees with comparing all with all."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.data.near_duplicates import (
    BANDS,
    MISSED,
    THRESHOLD,
    ExactDuplicateIndex,
    Likeness,
    NearDuplicateIndex,
    rows_of_band,
    shingles_of,
)
from favonius.data.outlines import Outlines
from favonius.data.rows import read_rows
from favonius.data.words import plain, terms, words
from favonius.types import SeedPrompt

SEEDS = Path(__file__).parent.parent / "recipes" / "seeds"
LONG = "Write a short and friendly letter to a neighbour who has been away from home for the whole of the summer"
texts = st.text(st.characters())
few_words = st.lists(
    st.sampled_from(["what", "is", "the", "cat", "of", "a", "big", "dog", "and", "me"]), max_size=12
).map(" ".join)


def prompts() -> list[str]:
    return [row.prompt for file in sorted(SEEDS.glob("*.jsonl")) for row in read_rows(file, SeedPrompt)]


def edited(text: str, share: float, draw: random.Random) -> str:
    """So many of the words replaced, taken out or put in."""
    found = text.split()
    for _ in range(max(1, round(share * len(found)))):
        place = draw.randrange(len(found) + 1)
        found[place : place + draw.randint(0, 1)] = [str(draw.random())][: draw.randint(0, 1)]
    return " ".join(found)


def earlier_alike(texts: Iterable[str], threshold: float = THRESHOLD) -> Iterator[int | None]:
    """For each text in turn: the position of the kept text that it is like, or None where it is kept."""
    index = NearDuplicateIndex(threshold)
    for position, text in enumerate(texts):
        found = index.first_like_or_add(text, str(position))
        yield None if found is None else int(found.name)


def jaccard(one: str, other: str) -> float:
    left, right = shingles_of(one), shingles_of(other)
    return len(left & right) / len(left | right)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is  2+2?", "what is 2 2"),
        ("don’t “stop”…", "don t stop"),
        ("ﬁne ＡＢ１", "fine ab1"),
        ("snake_case and C++", "snake case and c"),
        ("हिन्दी की किताब।", "हिन्दी की किताब"),
        ("你好吗？ok", "你 好 吗 ok"),
        ("Straße — CAFÉ", "strasse café"),
        ("\u200b\ud800a", "\ud800 a"),
    ],
)
def test_words_are_letters_and_digits(text: str, expected: str) -> None:
    assert words(text) == [word for word in expected.split() if word.strip("\ud800")]


def test_terms_keep_the_signs_of_maths_and_code() -> None:
    assert terms("Is x = 2+2, or c++ > “C#”? 3×4") == ["is", "x", "=", "2+2", "or", "c++", ">", "c#", "3×4"]


@given(texts)
def test_normal_forms_are_their_own_normal_forms(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    assert words(" ".join(words(text))) == words(text)
    assert terms(" ".join(terms(text))) == terms(text)


def test_exact_duplicates_differ_in_case_and_space_alone() -> None:
    index = ExactDuplicateIndex()
    assert index.first_like_or_add("What is 2+2?", "a") is None
    assert index.first_like_or_add(" what  is 2+2?\n", "b") == Likeness("a", 1.0)
    assert index.first_like("What is 2-2?") is None
    assert len(index) == 1


def test_the_first_name_of_a_text_stays() -> None:
    index = ExactDuplicateIndex()
    index.add("a", "first")
    index.add("A", "second")
    assert index.first_like("a") == Likeness("first", 1.0)


def test_a_changed_word_in_a_long_prompt_is_found_and_named() -> None:
    index = NearDuplicateIndex()
    assert index.first_like_or_add(LONG, "original") is None
    copy = LONG.replace("friendly", "kind").upper()
    found = index.first_like(copy)
    assert found is not None and found.name == "original"
    assert found.similarity == pytest.approx(jaccard(LONG, copy))
    assert len(index) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("Solve 2+2", "Solve 2*2"),
        ("Hello there", "Hello you"),
        ("🙂", "👍"),
        ("你好", "你好吗"),
    ],
)
def test_other_questions_of_the_same_form_are_kept(one: str, other: str) -> None:
    assert list(earlier_alike([one, other])) == [None, None]


@pytest.mark.parametrize(
    ("one", "other"), [("Hello there", "hello, there!"), ("", ""), ("👍", " 👍"), ("你好吗", "你好吗？")]
)
def test_short_texts_of_the_same_words_are_alike(one: str, other: str) -> None:
    assert list(earlier_alike([one, other])) == [None, 0]


@settings(deadline=None, max_examples=50)
@given(st.lists(few_words, max_size=12), st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_nothing_is_called_alike_that_is_not(found: list[str], threshold: float) -> None:
    for text, like in zip(found, earlier_alike(found, threshold), strict=True):
        assert like is None or jaccard(text, found[like]) >= threshold


def test_only_kept_texts_are_compared_with_and_the_earliest_wins() -> None:
    chain = [LONG]
    for old, new in (("short", "long"), ("summer", "winter"), ("neighbour", "cousin"), ("letter", "note")):
        chain.append(chain[-1].replace(old, new))
    found = list(earlier_alike(chain))
    expected: list[int | None] = []
    for number, text in enumerate(chain):
        kept = [earlier for earlier in range(number) if expected[earlier] is None]
        expected.append(next((earlier for earlier in kept if jaccard(text, chain[earlier]) >= 0.7), None))
    assert found == expected
    # The links of the chain are alike, its ends are not: likeness does not carry over.
    assert found[1] == 0 and found[-1] != 0


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8])
def test_recall_against_comparing_all_with_all(threshold: float) -> None:
    originals = list(dict.fromkeys(prompts()))
    assert len(originals) >= 200
    index = NearDuplicateIndex(threshold)
    for text in originals:
        index.add(text, text)
    draw = random.Random(0)
    copies = [edited(text, share, draw) for text in originals for share in (0.05, 0.1, 0.2)]
    shingles = [shingles_of(text) for text in originals]
    alike = [copy for copy in copies if any(_alike(shingles_of(copy), one, threshold) for one in shingles)]
    assert len(alike) > 40
    assert sum(index.first_like(copy) is not None for copy in alike) / len(alike) >= 0.95
    assert not any(index.first_like(copy) for copy in set(copies).difference(alike))


def _alike(one: set[str], other: set[str], threshold: float) -> bool:
    return len(one & other) >= threshold * len(one | other)


def test_many_candidates_of_one_template_are_told_apart_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    # Two of these share 16 of 24 shingles, 17 of 23 where one of their two numbers is the same.
    made = [LONG.replace("letter", f"{draw.randrange(40)} {draw.randrange(40)}") for _ in range(300)]
    found = list(earlier_alike(made, 0.7))
    assert 20 < found.count(None) < 100
    monkeypatch.setattr("favonius.data.near_duplicates.FEW", len(made))
    assert list(earlier_alike(made, 0.7)) == found


sets = st.frozensets(st.integers(0, 40).map(lambda number: number * 0x9E3779B97F4A7C15 % 2**64), min_size=1)


@given(st.lists(sets, min_size=1, max_size=20), sets, st.sampled_from([0.3, 0.55, 0.7, 1.0]))
def test_outlines_rule_out_no_set_that_is_alike(
    kept: list[frozenset[int]], asked: frozenset[int], threshold: float
) -> None:
    outlines = Outlines()
    for one in kept:
        outlines.add(one)
    possible = outlines.possible(asked, range(len(kept)), threshold)
    alike = {number for number, one in enumerate(kept) if len(one & asked) / len(one | asked) >= threshold}
    assert alike <= set(possible)
    # Of so few members nearly every one has a bit of its own: little is left to compare.
    assert all(len(kept[number] & asked) / len(kept[number] | asked) > threshold / 2 for number in possible)


def test_outlines_grow() -> None:
    outlines = Outlines()
    for number in range(3000):
        outlines.add({number << 55 if number < 512 else 0})
    assert outlines.possible({511 << 55}, range(3000), 1.0) == [511]


def test_bands_find_nearly_all_pairs_at_the_threshold() -> None:
    for percent in range(20, 101):
        threshold = percent / 100
        assert 1 - (1 - threshold ** rows_of_band(threshold)) ** BANDS >= 1 - MISSED


def test_another_process_finds_the_same() -> None:
    code = (
        "from tests.test_near_duplicates import earlier_alike\n"
        "words = [f'{n * n % 97}' for n in range(400)]\n"
        "print(list(earlier_alike(' '.join(words[n // 2 : n // 2 + 12]) for n in range(200))))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1 and b"None, 0" in outputs.pop()


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.1}, {"shingle_words": 0}])
def test_settings_that_find_nothing_or_everything_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        NearDuplicateIndex(**wrong)  # type: ignore[arg-type]
