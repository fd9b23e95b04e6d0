"""data/filters/truecase: only what is surely wrong is mended, and nothing but the case of letters changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.data.filters import truecase as rules
from favonius.data.filters.truecase import truecase
from favonius.types import Message, Messages, Role


def dialogue(*texts: str) -> Messages:
    roles = ("user", "assistant")
    return tuple(
        Message.model_validate({"role": roles[index % 2], "content": text}) for index, text in enumerate(texts)
    )


def truecased(text: str) -> str:
    return truecase(dialogue(text))[0].content


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Hello. how are you?", "Hello. How are you?"),
        ("hello. how are you?", "Hello. How are you?"),
        ("what is the capital of France?", "What is the capital of France?"),
        ("can you help me with this", "Can you help me with this"),
        ("That is so true! let me explain why it is.", "That is so true! Let me explain why it is."),
        ("Is it? yes, it is.", "Is it? Yes, it is."),
        ("I think i'm late and i’ve no time.", "I think I'm late and I’ve no time."),
        ("Yesterday i went home because i was tired.", "Yesterday I went home because I was tired."),
        ("It ended in 1990. the rest is history.", "It ended in 1990. The rest is history."),
        ("This is the first one.\nit was not the last one.", "This is the first one.\nIt was not the last one."),
        (
            "Do this:\n1. Wash it with water.\n2. dry it with a towel.\n3. Put it away.",
            "Do this:\n1. Wash it with water.\n2. Dry it with a towel.\n3. Put it away.",
        ),
        ("Use the tool `npm`. it is what you need.", "Use the tool `npm`. It is what you need."),
    ],
)
def test_what_is_wrong_is_mended(before: str, after: str) -> None:
    assert truecased(before) == after


@pytest.mark.parametrize(
    "text",
    [
        "Hello. How are you? I'm fine, and you?",
        "Fruit, e.g. the apple, and so on etc. and the like.",
        "We met at 5 p.m. at the inn of Dr. who of the U.S. and the E.U. is it.",
        "It is 5 in. wide and 3 ft. and that is all of it.",
        "Wait... what is it that you want?",
        "I have an iPhone. eBay is where I got it. x is what it is.",
        "Run it. npm is the tool. git is the other one that you need.",
        "Call it. print() is the function and foo_bar is the other.",
        "Open it. index.html is the file and www.example.com is the site.",
        "Write to us. me@example.com is the address that you need.",
        'He said: "hello. how are you?" and left us there.',
        "He said: “hello. how are you?” and left us there.",
        '"Why is it?" he asked. "Because." she said.',
        "Try `this. and that` or this:\n```\nfoo. bar is the one\n```\n",
        "The sum $a. b is the one$ and \\(a. b is it\\) are what you see.",
        "For each i in the list, the value of i and j is what i is.",
        "for i in range(10):\n    print(i)",
        "Is it:\na) the one that you want.\nb) the other that you want.",
        "You need:\n- the apples and the pears.\n- the plums that you have.",
        "Yahoo! is a company. Jeopardy! was a show that we had.",
        "Das ist z.B. die Stadt. und das ist auch so, wie es sich gehört.",
        "Det er fint. jeg bor i Norge og det er bra.",
        "ЭТО ХОРОШО. это плохо. 你好。how",
        "WHAT IS THIS. WHY IS IT SO LOUD.",
        "of the hills and the valleys. They went on.",
        "see Fig. 3. and the rest of it.",
        "",
        " ",
    ],
)
def test_what_may_be_right_is_left(text: str) -> None:
    assert truecased(text) == text


def test_names_of_a_small_turn_are_restored_from_the_others() -> None:
    before = dialogue(
        "have you been to paris in may? i love the will of the people there.",
        "I have been to Paris many times. You may love it, and the will of May is strong.",
    )
    after = truecase(before)
    assert after[0].content == "Have you been to Paris in may? I love the will of the people there."
    assert after[1] is before[1]


def test_turns_of_other_roles_and_dialogues_about_case_are_left() -> None:
    before = dialogue("hello. how are you?", "I am fine. how are you?")
    assert truecase(before, ("assistant",))[0] is before[0]
    assert truecase(before, ("assistant",))[1].content == "I am fine. How are you?"
    asked = dialogue("Answer in lowercase, please.", "hello. how are you?")
    assert truecase(asked) is asked


def test_a_dialogue_without_faults_is_the_same_object() -> None:
    before = dialogue("What is it?", "It is an e.g. of what I have.")
    assert truecase(before) is before


WORDS = ("hello", "How", "i", "i'm", "the", "you", "is", "e.g", "Dr", "paris", "Paris", "x", "`code`", '"', "'",
         "iPhone", "3", "it", "and", "ß", "ſ", "ǆ", "что", "$", "http://a.b", "can", "think")  # fmt: skip
NAMES = ("paris", "rome", "anna", "will", "wild", "it", "rom")
ROLES: tuple[Role, ...] = ("user", "assistant")
MARKS = (" ", " ", " ", ". ", "? ", "! ", "\n", "\n- ", "\n2. ", ", ", "... ", "\t", "  ", ".", "```")
jumbles = st.lists(st.sampled_from(WORDS) | st.sampled_from(MARKS), max_size=40).map("".join)
texts = jumbles | st.text(max_size=80)


@settings(max_examples=300, deadline=None)
@given(text=texts)
def test_only_the_case_of_letters_changes(text: str) -> None:
    after = truecased(text)
    assert len(after) == len(text)
    changes = [(old, new) for old, new in zip(text, after, strict=True) if old != new]
    assert all("a" <= old <= "z" and new == old.upper() for old, new in changes)


@settings(max_examples=300, deadline=None)
@given(turns=st.lists(texts, min_size=2, max_size=4))
def test_once_is_enough(turns: list[str]) -> None:
    after = truecase(dialogue(*turns))
    assert truecase(after) == after
    assert truecased(truecased(turns[0])) == truecased(turns[0])


@settings(max_examples=300, deadline=None)
@given(turns=st.lists(texts | texts.map(str.lower), min_size=2, max_size=4))
def test_turns_that_are_not_looked_at_again_need_it_not(turns: list[str]) -> None:
    everywhere, changed = range(len(turns)), dialogue(*turns)
    while (again := rules._once(changed, ROLES, everywhere)) is not changed:
        changed = again
    asks = any(map(rules._talks_of_case, changed))
    assert truecase(dialogue(*turns)) == (dialogue(*turns) if asks else changed)


@settings(max_examples=300, deadline=None)
@given(turns=st.lists(texts, min_size=1, max_size=3), words=st.lists(st.sampled_from(NAMES), max_size=12))
def test_names_are_the_same_for_few_words_and_many(turns: list[str], words: list[str]) -> None:
    small = " ".join(words)
    others = dialogue(*turns, "We saw Paris and Rome, and Anna said that will is will.", small.title() + ".")
    with pytest.MonkeyPatch.context() as patch:
        few = rules._names(others, small)
        patch.setattr(rules, "FEW_WORDS", -1)
        assert rules._names(others, small) == few


@settings(max_examples=300, deadline=None)
@given(text=texts, end=st.integers(0, 200))
def test_the_last_word_is_found_wherever_the_search_begins(text: str, end: int) -> None:
    part = text[max(0, end - rules.WORD_CHARACTERS) : end]
    found = rules._LAST_WORDS.search(part)
    assert found is not None or rules._sentence_end(text, end) is None
    before = part.rstrip()
    start = max(0, len(before) - sum(map(len, before.rsplit(None, 1)[-1:])) - 2)
    near = rules._LAST_WORDS.search(before, start)
    assert (near and near.groupdict()) == (found and found.groupdict())
