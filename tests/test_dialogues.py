"""The dialogues stage: who speaks, what ends a dialogue, what is kept, with scripted models."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.data.filters.config import ExactDuplicates, Truecase
from favonius.data.rows import read_rows, write_rows
from favonius.data.splits import share_of
from favonius.dialogues import stage as dialogues
from favonius.dialogues.config import DialoguesConfig, SimulatedUser
from favonius.dialogues.diversity import coverage, mtld, variety
from favonius.dialogues.draws import drawn, spread
from favonius.dialogues.seeds import rounds_of
from favonius.dialogues.simulator import EXAMPLES, User, next_turn, user_of
from favonius.dialogues.stage import in_order
from favonius.dialogues.user_turns import UnusableError, user_turn
from favonius.errors import FavoniusError, UserError
from favonius.run import FileRef, Inputs, ModelRef, StepRef
from favonius.types import Completion, Dialogue, Manner, Message, Messages, Request, RequestError, Sampling, SeedPrompt
from tests.voices import context, source, speak, stats

SEEDS = [{"id": f"s{n}", "prompt": f"What about {n}?"} for n in range(40)]
QUESTION = "What happens next in autumn?"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(seed) + "\n" for seed in SEEDS))
    return tmp_path


def make_dialogues(world: Path, **changes: Any) -> Path:
    config = DialoguesConfig(**{"seeds": FileRef("seeds.jsonl"), "teacher": ModelRef("teacher"), **changes})
    models = {name: source(world, name) for name in ("teacher", "user")}
    inputs = Inputs({"openings": world / "openings"}, models, {"seeds.jsonl": world / "seeds.jsonl"})
    out = world / "dialogues"
    out.mkdir(exist_ok=True)
    dialogues.run(config, inputs, out, context(world))
    return out


def openings(world: Path, *rows: SeedPrompt) -> dict[str, Any]:
    (world / "openings").mkdir(exist_ok=True)
    write_rows(world / "openings" / "openings.jsonl", rows)
    return {"seeds": None, "openings": StepRef("openings"), "test_share": 0.5}


def is_for_user(asked: Request) -> bool:
    return asked.messages[0].content in ("You write questions.", "You write requests.")


def teacher(asked: Request) -> str:
    """Answers, asks on, and now and then fails as real teachers do."""
    said = asked.messages[-1].content
    if is_for_user(asked):
        return f"Question: {QUESTION}" if "about 1" in said else "You are welcome."
    if said == "What about 3?":
        return ""
    if said == "What about 4?":
        return "Sure. " + "I like the sea very much. " * 6
    if said == "What about 5?":
        return "word " * 300
    if said == "What about 6?":
        raise RequestError("the line broke")
    return f"An answer to: {said}"


def test_dialogues_keep_good_answers_and_count_the_rest(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = speak(monkeypatch, {"teacher": teacher})["teacher"]
    out = make_dialogues(world, rounds={2: 1.0}, system="Be brief.")
    rows = read_rows(out / "dialogues.jsonl", Dialogue)
    said = stats(out)
    assert [row.id for row in rows] == [f"s{n}" for n in range(40) if n not in (3, 4, 5, 6)]
    assert said["dropped"] == {
        "answer empty": 1, "answer loop": 1, "answer unfinished": 1, "teacher failed: the line broke": 1,
        "user's turn asks no question (earlier rounds kept)": len([row for row in rows if len(row.messages) == 2]),
    }  # fmt: skip
    two_turns = [row for row in rows if len(row.messages) == 4]
    assert {row.id for row in two_turns} == {"s1", *(f"s{n}" for n in range(10, 20))}
    assert two_turns[0].messages[2:] == (
        Message(role="user", content=QUESTION),
        Message(role="assistant", content=f"An answer to: {QUESTION}"),
    )
    assert {row.split for row in rows} == {"train", "test"} and said["kept"] == 36
    assert said["rounds"] == {"1": 25, "2": 11} and said["with a second turn"] == 11
    assert all(message.role != "system" for row in rows for message in row.messages)
    assert engine.asked[0].messages[0] == Message(role="system", content="Be brief.")


def test_splits_do_not_move_when_seeds_are_added_or_reordered(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": lambda asked: "Yes, certainly."})
    first = {row.id: row.split for row in read_rows(make_dialogues(world) / "dialogues.jsonl", Dialogue)}
    more = [{"id": f"t{n}", "prompt": f"And {n}?"} for n in range(20)] + SEEDS[::-1]
    (world / "seeds.jsonl").write_text("".join(json.dumps(seed) + "\n" for seed in more))
    second = {row.id: row.split for row in read_rows(make_dialogues(world) / "dialogues.jsonl", Dialogue)}
    assert {name: second[name] for name in first} == first


def test_seeds_that_cannot_work_are_sentences(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": lambda asked: ""})
    with pytest.raises(FavoniusError, match=r"too few of the teacher's answers can be used \(40 answer empty\)"):
        make_dialogues(world)
    (world / "seeds.jsonl").write_text(json.dumps(SEEDS[0]) + "\n" + json.dumps(SEEDS[0]) + "\n")
    with pytest.raises(UserError, match="the id s0 is used twice"):
        make_dialogues(world)
    (world / "seeds.jsonl").write_text(json.dumps(SEEDS[0]) + "\n")
    with pytest.raises(UserError, match="leave one split empty"):
        make_dialogues(world)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "name either seeds"),
        ({"seeds": "a", "openings": "b"}, "name either seeds"),
        ({"seeds": "a", "rounds": {}}, "rounds must hold numbers"),
        ({"seeds": "a", "rounds": {"0": 1.0}}, "rounds must hold numbers"),
        ({"seeds": "a", "rounds": {"1": 0.0}}, "weights of rounds"),
        ({"seeds": "a", "rounds": {"1": 2.0, "2": -1.0}}, "weights of rounds"),
    ],
)
def test_a_config_that_cannot_work_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DialoguesConfig.model_validate_json(json.dumps({"teacher": "t", **changes}), strict=True)


def test_sectors_have_their_rounds_persona_and_row(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another model in the user's place is asked with the whole conversation quoted, and never as the assistant."""

    def user(asked: Request) -> str:
        told = asked.messages[-1].content.count("They were told:")
        words = ["acorns", "bricks", "candles", "drums", "eggs", "ferns", "goats"]
        return f"Why {words[told]} then?"

    voices = speak(monkeypatch, {"teacher": lambda asked: f"Well, {len(asked.messages)}.", "user": user})
    rows = [
        SeedPrompt(
            id=f"{kind}-{n}", prompt=f"Tell me {n} things of {kind}.", manner=kind, sector=f"my {kind}", topic="t"
        )
        for kind in EXAMPLES
        for n in range(20)
    ]
    changes = openings(world, *rows)
    out = make_dialogues(world, **changes, user=SimulatedUser(model=ModelRef("user")), system="S.", limit=60)
    found = read_rows(out / "dialogues.jsonl", Dialogue)
    assert [row.id for row in found] == [row.id for row in rows]
    assert {row.source for row in found} == {"my world", "my writing", "my material"} and found[0].topic == "t"
    rounds = {manner: {len(r.messages) // 2 for r in found if r.source == f"my {manner}"} for manner in EXAMPLES}
    assert rounds["world"] <= set(range(3, 8)) and len(rounds["world"]) > 2
    assert rounds["writing"] | rounds["material"] == {2, 3, 4}
    assert all(is_for_user(asked) for asked in voices["user"].asked)
    assert not any(is_for_user(asked) for asked in voices["teacher"].asked)
    examples = {example.turn for example in EXAMPLES.values()}
    told = [message for asked in voices["user"].asked for message in asked.messages if message.role == "assistant"]
    assert {message.content for message in told} == examples
    said = stats(out)
    assert said["sectors"]["counts"] == {"my material": 20, "my world": 20, "my writing": 20}
    assert said["sectors"]["evenness"] == 1.0 and len(said["shown"]) == 6
    assert {row["source"] for row in said["shown"]} == {"my world", "my writing", "my material"}


def test_the_same_openings_make_the_same_rows(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever order they come, and whatever is asked beside them."""
    voice = {"teacher": lambda asked: f"Reply {asked.key()[:6]}, is it so?"}
    speak(monkeypatch, voice)
    rows = [SeedPrompt(id=f"o{n}", prompt=f"Say {n}.", manner="world") for n in range(20)]
    once = read_rows(make_dialogues(world, **openings(world, *rows)) / "dialogues.jsonl", Dialogue)
    (world / "ledger.sqlite").unlink()
    again = read_rows(make_dialogues(world, **openings(world, *reversed(rows))) / "dialogues.jsonl", Dialogue)
    assert once == again[::-1]


def test_a_history_that_no_longer_fits_ends_at_a_whole_round(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def voice(asked: Request) -> str:
        if is_for_user(asked):
            return f"Why is number {len(asked.messages[-1].content)} so large?"
        if len(asked.messages) > 3:
            raise RequestError(f"the prompt “{asked.messages[0].content} …” has {len(asked.messages)}77 tokens")
        return f"Because of {asked.key()[:5]}."

    speak(monkeypatch, {"teacher": voice})
    out = make_dialogues(world, rounds={4: 1.0})
    assert {len(row.messages) for row in read_rows(out / "dialogues.jsonl", Dialogue)} == {4}
    assert stats(out)["dropped"] == {"teacher failed: the prompt … has N tokens (earlier rounds kept)": 40}


def test_an_answer_given_twice_ends_the_dialogue(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def voice(asked: Request) -> str:
        return f"Why {len(asked.messages[-1].content)} then?" if is_for_user(asked) else "Yes, in Venice."

    speak(monkeypatch, {"teacher": voice})
    out = make_dialogues(world, rounds={3: 1.0})
    assert stats(out)["rounds"] == {"1": 40}
    assert stats(out)["dropped"] == {"answer says again what was said (earlier rounds kept)": 40}


def test_a_prompt_of_the_users_own_that_cannot_be_asked_is_refused_and_a_teachers_is_counted(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def voice(asked: Request) -> str:
        if asked.messages[0].content == "Say 7.":
            raise RequestError("too long")
        return "Yes, I say so."

    engine = speak(monkeypatch, {"teacher": voice})["teacher"]

    def check(request: Request) -> None:
        if request.messages[-1].content in ("What about 7?", "Say 7."):
            raise RequestError("too long")

    monkeypatch.setattr(engine, "check", check)
    with pytest.raises(UserError, match="prompt s7: too long"):
        make_dialogues(world)
    assert engine.asked == []
    rows = [SeedPrompt(id=f"o{n}", prompt=f"Say {n}.") for n in range(20)]
    out = make_dialogues(world, **openings(world, *rows), rounds={1: 1.0})
    assert stats(out)["dropped"] == {"teacher failed: too long": 1} and stats(out)["kept"] == 19


def test_filters_see_whole_dialogues_and_are_reported(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def voice(asked: Request) -> str:
        number = int(asked.messages[-1].content.split()[-1].strip("?"))
        return "the same to all." if number % 2 else f"the answer is {number}."

    speak(monkeypatch, {"teacher": voice})
    out = make_dialogues(world, rounds={1: 1.0}, filters=(Truecase(), ExactDuplicates(key="dialogue")))
    rows = read_rows(out / "dialogues.jsonl", Dialogue)
    assert len(rows) == 40 and all(row.messages[-1].content.startswith("The ") for row in rows)
    found = stats(out)["filters"]
    assert found["truecase"]["changed"] == 40 and found["exact_duplicates"]["dropped"] == 0
    (world / "ledger.sqlite").unlink()
    twice = [{**seed, "prompt": f"What about {n % 20}?"} for n, seed in enumerate(SEEDS)]
    (world / "seeds.jsonl").write_text("".join(json.dumps(seed) + "\n" for seed in twice))
    out = make_dialogues(world, rounds={1: 1.0}, filters=(ExactDuplicates(),))
    assert stats(out)["kept"] == 20 and stats(out)["filters"]["exact_duplicates"]["dropped"] == 20


# the simulated user


def opening(manner: Manner | None = None, **fields: Any) -> SeedPrompt:
    return SeedPrompt(id="o", prompt="Write a poem about rain.", manner=manner, **fields)


TALK: Messages = (
    Message(role="user", content="How do storms form over the sea?"),
    Message(role="assistant", content="Warm water rises. Could you tell me where you live?"),
)


def turn_of(text: str, manner: Manner | None = None, finish: Any = "stop", english: bool = True) -> str:
    reply = Completion(text=text, finish=finish, prompt_tokens=1, completion_tokens=1)
    return user_turn(reply, User(opening(manner), None), TALK, english)


@pytest.mark.parametrize(
    ("reply", "question"),
    [
        ("What is next?", "What is next?"),
        ('Sure!\nQuestion: "How long does it take?"\nBye', "How long does it take?"),
        ("Thanks a lot for this. What is next?", "What is next?"),
        ("Great! And what comes then?", "And what comes then?"),
        ("Great storms are rare, but when do they come?", "Great storms are rare, but when do they come?"),
        ("What does it do to a person's mind?", "What does it do to a person's mind?"),
    ],
)
def test_the_question_in_a_reply(reply: str, question: str) -> None:
    assert turn_of(reply) == question


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        ("Thank you, what is next?", "polite or about the task"),
        ("What might the person ask?", "polite or about the task"),
        ("Why?", "too short"),
        ("I can tell you more.", "asks no question"),
        ("Sure, storms form over warm water.", "acts as the assistant"),
        ("How can I help you today?", "acts as the assistant"),
        ("", "empty"),
        ("\n “” \n", "empty"),
        (" ".join(["so"] * 60) + "?", "too long"),
        ("What is it <|im_end|> then?", "marker"),
        ("how do storms form, over the sea?", "says again what was said"),
        ("Could you tell me where you live?", "says again what was said"),
    ],
)
def test_what_no_user_would_send(reply: str, cause: str) -> None:
    with pytest.raises(UnusableError, match=f"^{cause}$"):
        turn_of(reply)


@pytest.mark.parametrize(
    ("reply", "finish", "turn"),
    [
        ("Make it shorter.", "stop", "Make it shorter."),
        ('Request: "Please add a line about snow."', "stop", "Please add a line about snow."),
        ("Here is one:\n\nChange the ending.", "stop", "Change the ending."),
        ("Change the ending. Let it be sad. And then give the", "length", "Change the ending. Let it be sad."),
        ("Change the ending and let it be", "length", UnusableError("cut off")),
        ("The rain falls on the quiet roofs.", "stop", UnusableError("asks for nothing")),
        ("Here is the poem that you wanted.", "stop", UnusableError("acts as the assistant")),
    ],
)
def test_the_request_in_a_reply(reply: str, finish: str, turn: str | UnusableError) -> None:
    if isinstance(turn, UnusableError):
        with pytest.raises(UnusableError, match=str(turn)):
            turn_of(reply, "writing", finish)
    else:
        assert turn_of(reply, "writing", finish) == turn


def test_other_languages_are_not_judged_by_english_words() -> None:
    assert turn_of("Mach den Schluss trauriger.", "writing", english=False) == "Mach den Schluss trauriger."
    assert turn_of("次に何が起こりますか。", None, english=False) == "次に何が起こりますか。"


@given(text=st.text(max_size=200), manner=st.sampled_from([None, "world", "writing", "material"]), cut=st.booleans())
def test_a_turn_is_one_clean_line_or_a_cause(text: str, manner: Manner | None, cut: bool) -> None:
    try:
        turn = turn_of(text, manner, "length" if cut else "stop")
    except UnusableError as error:
        assert str(error)
    else:
        assert turn == turn.strip() and turn and "\n" not in turn and turn in text


def test_the_simulated_user_is_told_who_it_is_and_what_was_said() -> None:
    plain = next_turn(user_of(opening()), TALK, None)
    assert plain[-1].content == (
        "A person asked: How do storms form over the sea?\n\nThey were told: Warm water rises. Could you tell me where "
        "you live?\n\nWrite one short follow-up question that this person could ask next. Write only the question."
    )
    assert len(plain) == 2 and len(next_turn(user_of(opening("world")), TALK, None)) == 4
    long = (*TALK, Message(role="user", content="And then?"), Message(role="assistant", content="Rain."))
    user = user_of(opening("world", topic="weather", subtopic="storms"))
    asked = next_turn(user, long, "German")
    assert len(asked) == 2 and asked[-1].content.endswith("Write in German.")  # no example in another language
    assert "Then they asked: And then?\n\nThey were told: Rain.\n\n" in asked[-1].content
    assert f"The person is {user.persona}. They want to know more about storms." in asked[-1].content
    personas = {user_of(SeedPrompt(id="x", prompt=f"p{n}", manner="world")).persona for n in range(300)}
    assert len(personas) == 40


# draws and measures


@given(
    items=st.lists(st.text(max_size=5), unique=True, max_size=30), count=st.integers(0, 10), more=st.text(max_size=9)
)
def test_a_draw_depends_on_the_texts_alone(items: list[str], count: int, more: str) -> None:
    chosen = drawn(items, count, str, "p")
    assert len(chosen) == min(count, len(items)) and set(chosen) <= set(items)
    assert drawn(items[::-1], count, str, "p") == chosen
    if more not in items:
        with_more = drawn([*items, more], count, str, "p")
        assert [item for item in with_more if item != more] == chosen[: len(with_more) - (more in with_more)]


@given(items=st.lists(st.sampled_from("aabbbc"), max_size=40), count=st.integers(0, 40))
def test_a_spread_takes_from_each_group_in_turn(items: list[str], count: int) -> None:
    chosen = Counter(spread(items, count, str))
    assert chosen.total() == min(count, len(items)) and chosen <= Counter(items)
    for one in chosen:
        for other in set(items):
            assert chosen[one] <= chosen[other] + 1 or chosen[other] == items.count(other)


def test_rounds_follow_their_weights() -> None:
    config = DialoguesConfig(seeds=FileRef("s"), teacher=ModelRef("t"), rounds={1: 0.8, 2: 0.2, 5: 0.0})
    found = Counter(rounds_of(config, SeedPrompt(id="i", prompt=f"p{n}")) for n in range(2000))
    assert set(found) == {1, 2} and found[2] == pytest.approx(400, abs=60)
    # The largest number's share lies first: what finished runs have drawn must be drawn again.
    drawn_now = [rounds_of(config, SeedPrompt(id="i", prompt=f"p{n}")) for n in range(40)]
    assert drawn_now == [2 if share_of("rounds", f"p{n}") < 0.2 else 1 for n in range(40)]


def test_results_are_put_in_order_as_they_come() -> None:
    assert list(in_order(iter([(2, "c"), (0, "a"), (1, "b"), (3, "d")]))) == ["a", "b", "c", "d"]


def test_measures_of_variety() -> None:
    assert coverage([None, None]) == {}
    assert coverage(["a", "b", "a", "b", None])["entropy_bits"] == 1.0
    found = coverage(["b", "a", "a", "a"])
    assert found["counts"] == {"a": 3, "b": 1} and found["evenness"] == pytest.approx(0.811, abs=1e-3)
    assert variety(["a b a b"])["distinct_1"] == 0.5 and variety(["a b", "c d"])["distinct_2"] == 1.0
    assert variety([])["mtld"] == 0.0
    assert mtld(["same"] * 100) == pytest.approx(2.0)  # a factor is full at the second word
    assert mtld([f"w{n}" for n in range(50)]) == 50.0


def test_sampling_of_the_simulated_user(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = speak(monkeypatch, {"teacher": teacher})["teacher"]
    make_dialogues(world, rounds={2: 1.0}, user=SimulatedUser(sampling=Sampling(temperature=1.2, max_tokens=999)))
    found = {asked.sampling for asked in engine.asked if is_for_user(asked)}
    assert found == {Sampling(temperature=1.2, max_tokens=48)}
