"""Stage `constitution`: what is asked, what becomes a pair, and what is left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from favonius.data.rows import read_rows, write_rows
from favonius.errors import FavoniusError, UserError
from favonius.feedback import constitution
from favonius.feedback.amending import Revision
from favonius.feedback.articles import built_in_constitution, read_constitution
from favonius.feedback.config import ConstitutionConfig
from favonius.feedback.revising import NOTHING, fault, finds_nothing, unannounced
from favonius.run import FileRef, Inputs, ModelRef, StepRef
from favonius.types import Completion, Dialogue, Message, Messages, Pair, Request, RequestError, Sampling
from tests.voices import context, source, speak, stats

Voice = Callable[[Request], str]


def user(text: str) -> Messages:
    return (Message(role="user", content=text),)


def asks_for(asked: Request) -> str:
    last = asked.messages[-1].content
    if "Review the assistant's last answer on one point alone." in last:
        return "critique"
    return "revision" if "Write the answer that the assistant should have given in its place." in last else "answer"


def author(answer: str = "A rude answer.", critique: str = "It is rude.", revision: str = "A kind answer.") -> Voice:
    return lambda asked: {"answer": answer, "critique": critique, "revision": revision}[asks_for(asked)]


def config(**changes: Any) -> ConstitutionConfig:
    return ConstitutionConfig(**{"prompts": StepRef("prompts"), "model": ModelRef("author"), **changes})


def make(world: Path, config: ConstitutionConfig, count: int = 12, own: str | None = None) -> Path:
    for name in ("prompts", "out"):
        (world / name).mkdir(exist_ok=True)
    rows = [
        Dialogue(
            id=f"d{n}", split="test" if n % 4 == 0 else "train", source="red-team",
            messages=(Message(role="system", content="Be a fox."), *user(f"What about {n}?"),
                      Message(role="assistant", content="This.")),
        )
        for n in range(count)
    ]  # fmt: skip
    write_rows(world / "prompts" / "dialogues.jsonl", rows)
    (world / "own.yaml").write_text(own or "")
    models = {name: source(world, name) for name in ("author", "reviser")}
    inputs = Inputs({"prompts": world / "prompts"}, models, {"own.yaml": world / "own.yaml"})
    constitution.run(config, inputs, world / "out", context(world))
    return world / "out"


def test_a_revision_beats_the_answer_and_is_what_dsft_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = speak(monkeypatch, {"author": author(revision="Here is the revised answer:\n\nA kind answer.")})
    out = make(tmp_path, config(limit=6, seed=3))
    pairs, told = read_rows(out / "pairs.jsonl", Pair), read_rows(out / "dialogues.jsonl", Dialogue)
    assert Counter(pair.split for pair in pairs) == {"train": 6, "test": 3}
    keys = {asked.key(): asked for asked in engines["author"].asked}
    for pair, dialogue in zip(pairs, told, strict=True):
        assert (pair.chosen, pair.rejected) == ("A kind answer.", "A rude answer.")
        assert (pair.chosen_source, pair.rejected_source) == ("author revised", "author")
        assert dialogue.id == pair.id and dialogue.split == pair.split and dialogue.source == "red-team"
        assert dialogue.messages == (*pair.prompt, Message(role="assistant", content="A kind answer."))
        assert [message.role for message in pair.prompt] == ["system", "user"]
        origin = pair.origin
        assert (
            origin is not None
            and origin.rule == "constitution"
            and origin.seed == 3
            and origin.rejected
            and origin.chosen
        )
        assert (
            asks_for(keys[origin.rejected.request]) == "answer" and asks_for(keys[origin.chosen.request]) == "revision"
        )
        principle = origin.chosen_principle
        assert principle is not None and built_in_constitution().principles[principle.kind].mend == principle.text
    assert stats(out)["kept"] == 9 and stats(out)["held out"] == 3 and stats(out)["prompts"] == {"test": 3, "train": 6}


def test_the_critique_is_asked_about_one_principle_and_the_revision_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = speak(monkeypatch, {"author": author()})
    out = make(tmp_path, config(), count=3)
    rows = read_rows(out / "revisions.jsonl", Revision)
    for row in rows:
        article = built_in_constitution().principles[row.principle]
        question = row.prompt[-1].content
        asked = {asks_for(one): one.messages for one in engines["author"].asked if question in one.messages[-1].content}
        assert asked["answer"] == row.prompt
        [critique], [revision] = asked["critique"], asked["revision"]
        quoted = f"The assistant was told: Be a fox.\n\nThe person: {question}\n\nThe assistant: A rude answer.\n\n"
        assert critique.content.startswith(quoted) and revision.content.startswith(quoted), "a shared beginning"
        assert f"Look for {article.look_for}." in critique.content and NOTHING in critique.content
        assert "A reviewer said about the last answer: It is rude.\n" in revision.content
        assert article.mend in revision.content and article.mend not in critique.content
        assert (row.round, row.critique, row.revision, row.outcome) == (1, "It is rude.", "A kind answer.", "revised")


def test_another_model_revises_at_its_own_sampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = speak(monkeypatch, {"author": author(), "reviser": author(revision="From another.")})
    settings = config(
        reviser=ModelRef("reviser"), sampling=Sampling(max_tokens=9), reviser_sampling=Sampling(max_tokens=99)
    )
    out = make(tmp_path, settings, count=5)
    assert {asks_for(asked) for asked in engines["author"].asked} == {"answer"}
    assert {asks_for(asked) for asked in engines["reviser"].asked} == {"critique", "revision"}
    assert {asked.sampling.max_tokens for asked in engines["reviser"].asked} == {99}
    pair = read_rows(out / "pairs.jsonl", Pair)[0]
    assert pair.origin is not None and pair.origin.chosen is not None and pair.origin.chosen.model == "reviser"
    assert pair.chosen_source == "reviser revised" and pair.origin.chosen.sampling.max_tokens == 99
    with pytest.raises(ValidationError, match="reviser_engine is for a reviser; name one"):
        config(reviser_engine={"kind": "transformers"})


def test_rounds_go_on_from_the_last_revision_by_another_principle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def voice(asked: Request) -> str:
        now = asked.messages[-1].content.count("!")
        return {"answer": "Text", "critique": "Hm.", "revision": f"Text number {now + 1} " + "!" * (now + 1)}[
            asks_for(asked)
        ]

    speak(monkeypatch, {"author": voice})
    out = make(tmp_path, config(rounds=3), count=8)
    rows = read_rows(out / "revisions.jsonl", Revision)
    assert [(row.prompt_id, row.round) for row in rows[:4]] == [("d0", 1), ("d0", 2), ("d0", 3), ("d1", 1)]
    assert rows[1].answer == rows[0].revision == "Text number 1 !" and rows[2].revision == "Text number 3 !!!"
    by_prompt = [{row.principle for row in rows if row.prompt_id == f"d{n}"} for n in range(8)]
    assert all(len(principles) == 3 for principles in by_prompt) and len(set(map(frozenset, by_prompt))) > 1
    pair = read_rows(out / "pairs.jsonl", Pair)[0]
    assert (pair.rejected, pair.chosen) == ("Text", "Text number 3 !!!")
    assert pair.origin and pair.origin.chosen_principle and pair.origin.chosen_principle.kind == rows[2].principle


def test_a_round_that_fails_leaves_the_earlier_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def voice(asked: Request) -> str:
        if asks_for(asked) == "critique" and "A kind answer." in asked.messages[-1].content:
            raise RequestError("too long by 12 tokens")
        return author()(asked)

    speak(monkeypatch, {"author": voice})
    out = make(tmp_path, config(rounds=2), count=3)
    assert [pair.chosen for pair in read_rows(out / "pairs.jsonl", Pair)] == ["A kind answer."] * 3
    outcomes = {"revised": 3, "critique failed: too long by N tokens": 3}
    assert stats(out)["outcomes"] == outcomes and stats(out)["dropped"] == {}


def test_what_gives_no_pair_is_counted_by_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    special: dict[int, tuple[str, str]] = {
        1: ("answer", ""),
        2: ("critique", "Nothing to change."),
        3: ("critique", "  "),
        5: ("revision", "a RUDE answer"),
        6: ("revision", "It is rude."),
        7: ("revision", "Your previous answer was rude, so I removed the insult."),
        8: ("revision", "Let me see.\n\nThe person: What about 8?\nThe assistant: Well."),
        9: ("revision", "<|user|> Hm"),
        10: ("revision", "word " * 300),
    }

    def voice(asked: Request) -> str:
        number = int(asked.messages[-1].content.partition("What about ")[2].partition("?")[0])
        kind, said = special.get(number, ("", ""))
        if number == 11 and asks_for(asked) == "answer":
            raise RequestError("error 500")
        return said if kind == asks_for(asked) else author()(asked)

    speak(monkeypatch, {"author": voice})
    out = make(tmp_path, config(reviser_sampling=Sampling(max_tokens=200)), count=14)
    kept = [pair.id for pair in read_rows(out / "pairs.jsonl", Pair)]
    assert kept == ["d0", "d4", "d12", "d13"]
    told = stats(out)
    assert told["dropped"] == {
        "answer empty": 1,
        "nothing to mend": 1,
        "critique empty": 1,
        "revision equals the answer": 1,
        "revision repeats the critique": 1,
        "revision talks about the critique": 1,
        "revision goes on with the conversation": 1,
        "revision leak": 1,
        "revision unfinished": 1,
        "answer failed: error N": 1,
    }
    assert told["samples"]["revision leak"] == ["d9: <|user|> Hm"]
    assert told["kept"] + sum(told["dropped"].values()) == 14
    rows = read_rows(out / "revisions.jsonl", Revision)
    assert len(rows) == 12, "every round stands there, used or not"
    assert Counter(row.outcome for row in rows) == told["outcomes"]
    assert next(row for row in rows if row.prompt_id == "d2").revision is None
    assert sum(one["asked"] for one in told["principles"].values()) == 12
    assert sum(one["unusable"] for one in told["principles"].values()) == 7


def test_a_round_that_takes_the_first_one_back_gives_no_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def voice(asked: Request) -> str:
        if asks_for(asked) == "revision":
            return "A kind answer." if "A rude answer." in asked.messages[-1].content else "A rude answer."
        return author()(asked)

    speak(monkeypatch, {"author": voice})
    with pytest.raises(FavoniusError, match=r"no prompt gave a revision to train on \(4 the last round took back"):
        make(tmp_path, config(rounds=2), count=4)


def test_principles_are_sampled_evenly_and_follow_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"author": author()})
    drawn = []
    for seed in (0, 1):
        out = make(tmp_path, config(seed=seed), count=180)
        drawn.append([row.principle for row in read_rows(out / "revisions.jsonl", Revision)])
    names = list(built_in_constitution().principles)
    counts = Counter(drawn[0])
    assert set(counts) == set(names) and drawn[0] != drawn[1]
    expected = 180 / len(names)
    assert sum((counts[name] - expected) ** 2 / expected for name in names) < 42  # 17 degrees of freedom: p < 0.001


def test_a_file_of_principles_replaces_the_built_in_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"author": author()})
    own = "principles:\n  rhyme: {look_for: lines that do not rhyme., mend: 'Make {them} rhyme.'}\n"
    out = make(tmp_path, config(principles=FileRef("own.yaml")), count=3, own=own)
    assert {row.principle for row in read_rows(out / "revisions.jsonl", Revision)} == {"rhyme"}
    with pytest.raises(UserError, match="2 rounds want as many principles, and there are 1"):
        make(tmp_path, config(principles=FileRef("own.yaml"), rounds=2), count=3, own=own)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("principles: {}", "own.yaml: principles holds 0, at least 1 are needed"),
        ("principles: {a: {look_for: b}}", r"own.yaml: principles.a.mend is missing"),
        ("principles: {a: {look_for: b, mend: c, then: d}}", r"own.yaml: principles.a.then is no known key"),
        ("principles: {a: {look_for: ' ', mend: c}}", r"own.yaml: principles.a.look_for is \" \": "),
        ("articles: {}", "own.yaml: (principles is missing|articles is no known key)"),
        ("principles:\n  a: {look_for: b, mend: c}\n  a: {look_for: b, mend: c}", "own.yaml, line 3: .*given before"),
    ],
)
def test_a_malformed_constitution_is_refused_by_place(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_constitution(tmp_path / "own.yaml")


def test_built_in_principles_can_be_said() -> None:
    articles = built_in_constitution().principles
    assert len(articles) == 18
    for article in articles.values():
        assert not article.look_for.endswith(".") and article.mend.endswith(".")


@pytest.mark.parametrize(
    ("critique", "nothing"),
    [
        ("Nothing to change.", True),
        ("nothing to change", True),
        ("**Nothing to change.**", True),
        ("“Nothing to change.”", True),
        ("The answer is kind and careful. Nothing needs to be changed here.", True),
        ("There is nothing to change on this point.", True),
        ("There's nothing to improve in the answer.", True),
        ("No changes are needed.", True),
        ("Nothing to change. It names no method.\n\nIt is fine.", True),
        ("Overall, nothing needs changing.", True),
        ("The answer is fine on this point.", True),
        ("The answer is fine on this point, but it is rude.", False),
        ("Nothing to change. However, the last line is rude.", False),
        ("Nothing to change in the first half.", False),
        ("Change nothing but the words “you fool”.", False),
        ("It is rude.", False),
        ("The answer leaves nothing to change for the worse.", False),
        ("It is rude. Nothing to change. It lectures.", False),
        ("", False),
    ],
)
def test_a_critique_that_finds_nothing(critique: str, nothing: bool) -> None:
    assert finds_nothing(critique) is nothing


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Here is the revised answer:\n\nRain falls.", "Rain falls."),
        ("Here's my new answer to your message: Rain falls.", "Rain falls."),
        ("Sure! Here is a revised version of the answer:\nRain falls.", "Rain falls."),
        ("Certainly, here is the improved response: “Rain falls.”", "Rain falls."),
        ("**Revised answer:** Rain falls.", "Rain falls."),
        ("**Revised Answer**\n\nRain falls.", "Rain falls."),
        ("### Revised answer:\n- Rain\n- Snow", "- Rain\n- Snow"),
        ("Revision: Rain falls.", "Rain falls."),
        ("Assistant: Rain falls.", "Rain falls."),
        ("The assistant should have said: Rain falls.", "Rain falls."),
        ("The assistant's new answer:\nRain falls.", "Rain falls."),
        ("Assistant managers: they carry umbrellas.", "Assistant managers: they carry umbrellas."),
        ("New answer:\n* Rain\n* Snow", "* Rain\n* Snow"),
        ('Revised answer: "Rain" and "snow"', '"Rain" and "snow"'),
        ("Here is a list of clouds:\n- Cirrus", "Here is a list of clouds:\n- Cirrus"),
        ("Final answer: 42", "Final answer: 42"),
        ("Rain: it falls.", "Rain: it falls."),
        ("To revise an answer: read it again.", "To revise an answer: read it again."),
        ("Here is the revised answer:", "Here is the revised answer:"),
        ("  Rain falls. ", "Rain falls."),
        ("", ""),
    ],
)
def test_announcements_are_cut(said: str, kept: str) -> None:
    assert unannounced(said) == kept


@given(st.text(alphabet='ab: *\n"', max_size=30))
def test_what_announces_nothing_stays(text: str) -> None:
    assert unannounced(text) == text.strip()


@given(st.text(alphabet="ab.*- \n", max_size=30))
def test_an_announcement_never_takes_the_answer_along(text: str) -> None:
    kept = unannounced(f"Here is the revised answer:\n{text}")
    assert kept == (text.strip() or "Here is the revised answer:")


def test_one_more_critique_is_no_revision() -> None:
    critique = "The answer is rude where it says that the person who asks is a fool."
    reply = Completion(text="", finish="stop", prompt_tokens=1, completion_tokens=1)
    asked = user("What is rain?")
    more = "The answer is rude where it says that rain is wet."
    assert fault(more, reply, "You fool.", critique, asked) == "revision repeats the critique"
    quoting = "The answer is rude where it says that I cannot know."
    assert fault(more, reply, quoting, critique, asked) is None, "where the answer begins so, too, it may"


def test_a_revision_may_speak_of_revisions_where_the_user_does() -> None:
    def found(revision: str, asked: str) -> str | None:
        reply = Completion(text=revision, finish="stop", prompt_tokens=1, completion_tokens=1)
        return fault(revision, reply, "Old.", "Hm.", user(asked))

    said = "I have rewritten the paragraph; your answer on page two was too long."
    assert found(said, "What is rain?") == "revision talks about the critique"
    assert found(said, "Please improve your answer.") is None
    assert found("Thank you for the feedback! Rain falls.", "What is rain?") == "revision talks about the critique"
    assert found("The assistant could have been kinder.", "What is rain?") == "revision talks about the critique"
    assert found("Rain is water that falls. Critics of the theory disagree.", "What is rain?") is None
