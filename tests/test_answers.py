"""Stage `answers`: who answers which prompt, told what, drawn how; and what is written of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from favonius.data.rows import read_rows, write_rows
from favonius.data.splits import split_of
from favonius.engines.config import LlamaCpp, OpenAI
from favonius.errors import FavoniusError, UserError
from favonius.feedback import answers
from favonius.feedback.config import AnswersConfig, PoolMember, Principles
from favonius.feedback.draws import drawn
from favonius.feedback.principles import WEIGHTS, Wordings, built_in_wordings, principle_for, read_wordings, shares
from favonius.feedback.prompts import Prompt, chosen, read_prompts
from favonius.run import FileRef, Inputs, ModelRef, StepRef
from favonius.types import (
    Answer,
    Dialogue,
    Feedback,
    Knowledge,
    Message,
    Messages,
    Noun,
    RatedText,
    Request,
    RequestError,
    Sampling,
    SeedPrompt,
)
from tests.voices import context, source, speak, stats

KINDS = tuple(Wordings.model_fields)


def user(text: str) -> Messages:
    return (Message(role="user", content=text),)


def dialogue(number: int, split: str = "train", system: str | None = None, source: str | None = None) -> Dialogue:
    before = () if system is None else (Message(role="system", content=system),)
    messages = (*before, *user(f"What about {number}?"), Message(role="assistant", content="This."))
    return Dialogue(id=f"d{number}", split=split, messages=messages, source=source)  # type: ignore[arg-type]


def member(name: str, **changes: Any) -> PoolMember:
    return PoolMember(model=ModelRef(name), **changes)


def pool(*names: str) -> dict[str, PoolMember]:
    return {name: member(name) for name in names}


def config(pool: dict[str, PoolMember], **changes: Any) -> AnswersConfig:
    return AnswersConfig(prompts=StepRef("prompts"), pool=pool, **changes)


def prompts(count: int, source: str | None = None) -> list[Prompt]:
    return [Prompt(f"p{n}", "train", user(f"What about {n}?"), source) for n in range(count)]


def make(
    world: Path, rows: Sequence[Noun], config: AnswersConfig, files: dict[str, Path] | None = None
) -> list[Answer]:
    for name in ("prompts", "out"):
        (world / name).mkdir(exist_ok=True)
    kind = {Dialogue: "dialogues", Feedback: "feedback", SeedPrompt: "openings"}[type(rows[0])]  # type: ignore[index]
    write_rows(world / "prompts" / f"{kind}.jsonl", rows)
    models = {str(one.model): source(world, str(one.model)) for one in config.pool.values()}
    inputs = Inputs({"prompts": world / "prompts"}, models, files or {})
    answers.run(config, inputs, world / "out", context(world))
    return read_rows(world / "out" / "answers.jsonl", Answer)


def test_every_member_answers_every_prompt_in_the_pools_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voices: dict[str, Callable[[Request], str]] = {
        "teacher": lambda asked: f"An answer to: {asked.messages[-1].content}",
        "base": lambda asked: "<|user|> I leak",
    }
    engines = speak(monkeypatch, voices)
    rows = [dialogue(n, "test" if n % 5 == 0 else "train", source="ultrachat") for n in range(20)]
    found = make(tmp_path, rows, config(pool("teacher", "base"), limit=10))
    assert [(a.prompt_id, a.source) for a in found[:4]] == [
        ("d0", "teacher"),
        ("d0", "base"),
        ("d1", "teacher"),
        ("d1", "base"),
    ]
    assert Counter(a.split for a in found) == {"train": 20, "test": 8}
    assert {a.flaws for a in found if a.source == "base"} == {("leak",)}
    first = found[0]
    assert (
        first.text == "An answer to: What about 0?" and first.prompt_source == "ultrachat" and first.origin is not None
    )
    assert first.origin.model == "teacher" and first.principle is None
    assert first.origin.request in {asked.key() for asked in engines["teacher"].asked}
    told = stats(tmp_path / "out")
    assert told["kept"] == 28 and told["prompts"] == {"test": 4, "train": 10}
    assert list(told["members"]) == ["teacher", "base"]
    assert told["members"]["base"]["flaws"] == {"leak": 14} and told["members"]["base"]["without flaw"] == 0


def test_a_failed_answer_is_counted_and_its_prompt_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(asked: Request) -> str:
        if "7" in asked.messages[-1].content:
            raise RequestError(f"“{asked.messages[-1].content}” met error {len(asked.messages[-1].content)}")
        return "Fine."

    speak(monkeypatch, {"teacher": broken, "other": lambda _: "Well."})
    found = make(tmp_path, [dialogue(n) for n in range(20)], config(pool("teacher", "other")))
    told = stats(tmp_path / "out")
    assert len(found) == told["kept"] == 38 and {a.source for a in found if a.prompt_id == "d7"} == {"other"}
    assert told["dropped"] == {"teacher failed: … met error N": 2}, "told apart by nothing but the prompt"
    assert told["prompts with fewer than two answers"] == 2
    with pytest.raises(FavoniusError, match=r"no model of the pool answered \(teacher failed: … met error N\)"):
        make(tmp_path, [dialogue(7)], config(pool("teacher")))


def test_what_was_answered_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = speak(monkeypatch, {name: lambda asked: f"{asked.sample}" for name in "ab"})
    settings = config(pool("a", "b"), samples=2, principles=Principles(), per_prompt=1)
    rows = [dialogue(n) for n in range(10)]
    first = make(tmp_path, rows, settings)
    again = make(tmp_path, [*rows, dialogue(10)], settings)
    assert again[:20] == first and sum(len(engine.asked) for engine in engines.values()) == 22


def test_nothing_to_answer_is_the_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": lambda _: "Fine."})
    empty = [
        part for part in range(1, 9) if not chosen([Prompt("d1", "train", user("What about 1?"))], None, (part, 8))
    ]
    with pytest.raises(UserError, match="has no prompt for it"):
        make(tmp_path, [dialogue(1)], config(pool("teacher"), part=(empty[0], 8)))


@given(names=st.sets(st.sampled_from("abcdefgh"), min_size=3), count=st.integers(1, 3), seed=st.integers(0, 3))
def test_an_added_member_enters_draws_and_moves_nothing_else(names: set[str], count: int, seed: int) -> None:
    ordered = sorted(names)
    for prompt in ("p1", "p2", "p3"):
        before = drawn(ordered, count, f"member {seed}", prompt)
        after = drawn([*ordered, "new"], count, f"member {seed}", prompt)
        assert len(set(before)) == count
        assert after == before or [name for name in after if name != "new"] == before[: count - 1]
        assert drawn(ordered[::-1], count, f"member {seed}", prompt) == before


def test_draws_are_even_and_follow_prompt_and_seed() -> None:
    names = [f"m{n}" for n in range(17)]
    slots = answers.plan(config(pool(*names), per_prompt=4), prompts(3000), None)
    counts = Counter(slot.member for slot in slots)
    expected = 3000 * 4 / 17
    assert sum((counts[name] - expected) ** 2 / expected for name in names) < 40  # chi-square, 16 degrees: p < 0.001
    assert {len({s.member for s in slots if s.prompt.id == f"p{n}"}) for n in range(50)} == {4}
    again = answers.plan(config(pool(*names), per_prompt=4), prompts(10)[::-1], None)
    assert {(s.prompt.id, s.member) for s in again} == {(s.prompt.id, s.member) for s in slots[:40]}
    other = answers.plan(config(pool(*names), per_prompt=4, seed=1), prompts(10), None)
    assert {(s.prompt.id, s.member) for s in other} != {(s.prompt.id, s.member) for s in slots[:40]}
    order = [s.member for s in slots[:4]]
    assert order == sorted(order, key=names.index), "members stand in the pool's order"


def test_samples_are_different_draws_at_their_own_temperatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": lambda asked: f"{asked.sample} at {asked.sampling.temperature}"})
    warm = member("teacher", temperatures=(0.3, 0.7, 1.0), sampling=Sampling(max_tokens=9, top_p=0.8))
    found = make(tmp_path, [dialogue(n) for n in range(300)], config({"teacher": warm}, samples=2))
    assert [a.origin.sample for a in found[:4] if a.origin] == [0, 1, 0, 1]
    assert all(a.origin and a.text == f"{a.origin.sample} at {a.origin.sampling.temperature}" for a in found)
    assert {a.origin.sampling.top_p for a in found if a.origin} == {0.8}
    assert len({a.origin.request for a in found if a.origin}) == 600
    temperatures = stats(tmp_path / "out")["members"]["teacher"]["temperatures"]
    assert list(temperatures) == ["0.3", "0.7", "1.0"] and min(temperatures.values()) > 150
    pairs = zip(found[::2], found[1::2], strict=True)
    assert any(a.origin != b.origin and a.text[5:] != b.text[5:] for a, b in pairs), "a temperature per sample"
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        member("teacher", temperatures=(-1.0,))


def asked_of(found: Sequence[Request], text: str) -> Messages:
    return next(request.messages for request in found if request.messages[-1].content == text)


def test_a_principle_goes_behind_the_system_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = speak(monkeypatch, {name: lambda _: "Fine." for name in ("plain", "own", "blind", "mute")})
    members = {
        "plain": member("plain"),
        "own": member("own", system="Be brief."),
        "blind": member("blind", shows_principle=False),
        "mute": member("mute", system="", shows_principle=False),
    }
    rows = [dialogue(1, system="You are a fox."), dialogue(2)]
    found = make(tmp_path, rows, config(members, principles=Principles(harmlessness=1.0)))
    said = {(a.source, a.prompt_id): a.principle for a in found}
    for (name, _), principle in said.items():
        assert principle is not None and principle.kind == "harmlessness"
        assert principle.shown == (name in ("plain", "own")) and principle.text in built_in_wordings().harmlessness
    system = {
        (name, number): [
            m.content for m in asked_of(engines[name].asked, f"What about {number}?") if m.role == "system"
        ]
        for name in members
        for number in (1, 2)
    }
    told = {name: principle.text for name, principle in said.items() if principle}
    assert system["plain", 1] == [f"You are a fox.\n\n{told['plain', 'd1']}"]
    assert system["plain", 2] == [told["plain", "d2"]]
    assert system["own", 1] == [f"Be brief.\n\n{told['own', 'd1']}"]
    assert system["blind", 1] == ["You are a fox."] and system["blind", 2] == []
    assert system["mute", 1] == []
    assert found[0].prompt[0].content == "You are a fox.", "training sees the prompt without the principle"
    assert stats(tmp_path / "out")["principles"] == {"harmlessness": 8}


SOURCES = {
    "ultrachat": "ultrachat", "sharegpt": "sharegpt", "flan": "flan_v2_cot", "evolinstruct": "evol_instruct",
    "truthfulqa": "truthful_qa", "falseqa": "FalseQA",
}  # fmt: skip


@pytest.mark.parametrize("weighting", ["code", "readme"])
@pytest.mark.parametrize("known", SOURCES)
def test_principles_are_drawn_in_the_published_shares(weighting: Any, known: str) -> None:
    settings = Principles(weights=weighting, harmlessness=0.1)
    expected = {kind: 0.9 * share for kind, share in WEIGHTS[weighting][known].items()} | {"harmlessness": 0.1}
    assert shares(settings, SOURCES[known]) == pytest.approx(expected) and sum(expected.values()) == pytest.approx(1.0)
    count = 2000
    found = [
        principle_for(settings, built_in_wordings(), prompt, "m", sample, 0, True)
        for prompt in prompts(count // 2, SOURCES[known])
        for sample in range(2)
    ]
    counts = Counter(principle.kind for principle in found)
    assert set(counts) <= {kind for kind, share in expected.items() if share}
    chi_square = sum((counts[kind] - count * share) ** 2 / (count * share) for kind, share in expected.items())
    assert chi_square < 20  # at most 4 degrees of freedom: p < 0.001
    for kind in counts:
        if counts[kind] > 150:
            assert {p.text for p in found if p.kind == kind} == set(built_in_wordings().of(kind)), (
                "every wording is used"
            )


def test_the_published_weightings_differ_where_the_papers_do() -> None:
    """zephyr-spec §4.3: the code's tenth of honesty draws is multiplied out."""
    code, readme = Principles(weights="code"), Principles()
    chats = {
        "helpfulness": 0.6,
        "truthfulness": 0.2,
        "honesty": 0.18,
        "verbalized_calibration": 0.02,
        "harmlessness": 0.0,
    }
    for source_name in ("ultrachat", "sharegpt", "world", None):
        assert shares(code, source_name) == pytest.approx(chats) == shares(readme, source_name)
    assert shares(code, "flan")["helpfulness"] == 0.8 and shares(readme, "flan")["helpfulness"] == 0.6
    assert shares(code, "truthful_qa")["honesty"] == 0.45 and shares(readme, "truthful_qa")["truthfulness"] == 1.0
    assert shares(code, "false_qa")["truthfulness"] == 0.5 and shares(readme, "evol_instruct")["helpfulness"] == 1.0


def test_built_in_principles_are_several_of_each_kind() -> None:
    counts = {kind: len(built_in_wordings().of(kind)) for kind in KINDS}
    assert counts == {
        "helpfulness": 11, "truthfulness": 11, "honesty": 11, "verbalized_calibration": 3, "harmlessness": 11,
    }  # fmt: skip
    texts = [text for kind in KINDS for text in built_in_wordings().of(kind)]
    assert len(set(texts)) == len(texts) and all(text.endswith(".") and "\n" not in text for text in texts)


def test_a_file_replaces_the_wordings_of_the_kinds_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("harmlessness: [no]\n")
    assert read_wordings(path).harmlessness == ("no",), "a plain word is a text, whatever YAML thinks"
    assert read_wordings(path).honesty == built_in_wordings().honesty
    speak(monkeypatch, {"teacher": lambda _: "Fine."})
    settings = Principles(harmlessness=1.0, file=FileRef("own.yaml"))
    [answer] = make(tmp_path, [dialogue(1)], config(pool("teacher"), principles=settings), {"own.yaml": path})
    assert answer.principle is not None and answer.principle.text == "no"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("harmlesness: [Do no harm.]", r"own.yaml: harmlesness is no known key, did you mean harmlessness\?"),
        ("honesty: []", "own.yaml: honesty holds 0, at least 1 are needed"),
        ("honesty: [Fine., '']", r"own.yaml: honesty\[1\] is \"\": "),
        ("honesty: Be honest.", "own.yaml: honesty is \"Be honest.\": "),
        ("honesty: [a]\nhonesty: [b]", "own.yaml, line 2: not valid YAML: the key honesty was given before"),
        ("honesty: [a", "own.yaml, line 1: not valid YAML"),
        ("", "own.yaml: this is no mapping of keys to texts"),
        ("- a", "own.yaml: this is no mapping of keys to texts"),
    ],
)  # fmt: skip
def test_a_malformed_file_of_principles_is_refused_by_place(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_wordings(tmp_path / "own.yaml")


def test_prompts_are_read_from_every_kind_of_step(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no prompts in it"):
        read_prompts(tmp_path, 0.1)
    seeds = [SeedPrompt(id=f"s{n}", prompt=f"Seed {n}?", sector="world") for n in range(50)]
    write_rows(tmp_path / "openings.jsonl", seeds)
    opened = read_prompts(tmp_path, 0.3)
    assert [p.split for p in opened] == [split_of(seed.prompt, 0.3) for seed in seeds]
    assert opened[0].messages == user("Seed 0?") and opened[0].source == "world"
    known = Knowledge(correct=("4",))
    turns = (*user("Hello"), Message(role="assistant", content="Yes?"), *user("What is 2 + 2?"))
    rated = Feedback(
        id="f",
        split="test",
        prompt=turns,
        completions=(RatedText(source="m", text="4"),),
        source="flan",
        knowledge=known,
    )
    write_rows(tmp_path / "feedback.jsonl", [rated])
    assert read_prompts(tmp_path, 0.3) == [Prompt("f", "test", turns, "flan", known)]
    write_rows(tmp_path / "dialogues.jsonl", [dialogue(1, "test", "Be kind.", "ultrachat")])
    [prompt] = read_prompts(tmp_path, 0.3)
    assert (prompt.id, prompt.split, prompt.source) == ("d1", "test", "ultrachat")
    assert [m.role for m in prompt.messages] == ["system", "user"]
    write_rows(tmp_path / "dialogues.jsonl", [dialogue(1), dialogue(1)])
    with pytest.raises(UserError, match="the id d1 is used twice"):
        read_prompts(tmp_path, 0.3)


def test_what_is_known_of_the_answer_travels_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": lambda _: "Four."})
    known = Knowledge(correct=("4",), note="sums")
    row = Feedback(
        id="f", split="train", prompt=user("2 + 2?"), completions=(RatedText(source="m", text="4"),), knowledge=known
    )
    [answer] = make(tmp_path, [row], config(pool("teacher")))
    assert answer.knowledge == known and answer.text == "Four."


@given(count=st.integers(1, 6), limit=st.none() | st.integers(1, 30))
def test_parts_share_out_the_train_prompts_and_keep_the_test_prompts(count: int, limit: int | None) -> None:
    rows = [Prompt(f"p{n}", "test" if n % 10 == 0 else "train", user(f"What about {n}?")) for n in range(60)]
    parts = [chosen(rows, None, (number, count)) for number in range(1, count + 1)]
    held_out = [row for row in rows if row.split == "test"]
    assert all([row for row in part if row.split == "test"] == held_out for part in parts)
    trained = [row.id for part in parts for row in part if row.split == "train"]
    assert sorted(trained) == sorted(row.id for row in rows if row.split == "train"), "each in one part"
    few = chosen(rows, limit, (1, count))
    assert [row for row in few if row.split == "train"] == [row for row in parts[0] if row.split == "train"][:limit]


def test_members_share_an_engine_or_wait_for_each_other() -> None:
    server, local = OpenAI(endpoints=("http://one/v1",)), LlamaCpp()  # type: ignore[arg-type]
    members = {
        "a": member("small", engine=local),
        "far": member("gpt", engine=server),
        "b": member("small", engine=local, sampling=Sampling(temperature=1.0)),
        "c": member("other", engine=local),
        "farther": member("claude", engine=server),
    }
    assert answers.groups(config(members)) == [["a", "b"], ["far", "farther"], ["c"]]


def test_servers_are_asked_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def voice(name: str) -> Callable[[Request], str]:
        return lambda asked: order.append(name) or "Fine."  # type: ignore[func-returns-value]

    speak(monkeypatch, {name: voice(name) for name in ("one", "two")})
    server = OpenAI(endpoints=("http://one/v1",))  # type: ignore[arg-type]
    members = {name: member(name, engine=server, system=name) for name in ("one", "two")}
    make(tmp_path, [dialogue(n) for n in range(6)], config(members))
    assert order == ["one", "two"] * 6


def test_a_config_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValidationError, match="per_prompt is 3, and the pool has 2 members"):
        config(pool("a", "b"), per_prompt=3)
    with pytest.raises(ValidationError, match="part is k of n"):
        config(pool("a"), part=(0, 3))
    assert json.loads(config(pool("a")).model_dump_json())["test_share"] == 0.1
