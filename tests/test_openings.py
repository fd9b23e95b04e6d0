"""The openings stage: lists as models write them, what is no opening, how much is asked, sector by sector."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.data.rows import read_rows, write_rows
from favonius.dialogues.asking import asks
from favonius.dialogues.openings import stage
from favonius.dialogues.openings.config import Evolve, Material, OpeningsConfig, World, Writing
from favonius.dialogues.openings.lists import items_of
from favonius.dialogues.openings.material import JOINED, pieces, read_passages
from favonius.dialogues.openings.plan import (
    ALLOWANCE,
    Sizes,
    entity_fan,
    most_asks,
    passage_items,
    planned_asks,
    world_fan,
    writing_lists,
)
from favonius.dialogues.openings.rules import fault
from favonius.dialogues.textfiles import built_in, read_lines
from favonius.errors import FavoniusError, UserError
from favonius.run import FileRef, Inputs
from favonius.types import Request, RequestError, SeedPrompt
from tests.voices import context, source, speak, stats

THINGS = (
    "amber", "birch", "copper", "dunes", "elder", "flint", "grain", "heath", "inlet", "jasper", "kelp", "loam", "maple",
    "nickel", "otter", "pine", "quartz",
)  # fmt: skip


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def make_openings(world: Path, sectors: dict[str, Any], **changes: Any) -> list[SeedPrompt]:
    config = OpeningsConfig.model_validate({"teacher": "teacher", "sectors": sectors, **changes})
    names = [path.name for path in world.iterdir() if path.is_file()]
    inputs = Inputs({"first": world / "first"}, {"teacher": source(world, "teacher")}, {n: world / n for n in names})
    out = world / "out"
    out.mkdir(exist_ok=True)
    stage.run(config, inputs, out, context(world))
    return read_rows(out / "openings.jsonl", SeedPrompt)


def wanted(asked: Request) -> int:
    """How many items a prompt asks for."""
    found = re.search(r"(?:Name|Write) (\d+) ", asked.messages[-1].content)
    assert found
    return int(found.group(1))


def teacher(asked: Request) -> str:
    """As many items as asked for, all different, in one of several forms; or one text."""
    said, key = asked.messages[-1].content, asked.key()
    if "numbered list" not in said:
        found = re.search(r"request: (.*)\n", said)
        assert found
        return f"Write of {key[:4]} and {key[4:8]}: {found.group(1)} Keep it short and light {key[8:12]}."
    count = wanted(asked)
    if said.startswith("Name"):
        return "\n".join(f"{n + 1}. {THINGS[int(key[n], 16)]} {key[n * 3 : n * 3 + 3]}" for n in range(count))
    words = [
        [THINGS[int(key[n], 16)], *(key[n * 3 + m : n * 3 + m + 4] for m in range(0, 12, 4))] for n in range(count)
    ]
    lines = [f"How does {a} {b} differ from {c} and {d}?" for a, b, c, d in words]
    form = ["{n}. {line}", "{n}) **{line}**", "- {line}", '{n}. "{line}"'][int(key[-1], 16) % 4]
    return "Sure! Here they are:\n\n" + "\n".join(form.format(n=n + 1, line=line) for n, line in enumerate(lines))


# lists


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Sure! Here are 3:\n\n1. What is a?\n2. **How** b?\n\nHope this helps.", ["What is a?", "How b?"]),
        ('1. What is a\n2) "Why is b?"\n\nHope this helps', ["What is a", "Why is b?"]),
        ("1. What is a? 2. What is b? 3. What is c?", ["What is a?", "What is b?", "What is c?"]),
        ("- one thing\n* two things\n• three things", ["one thing", "two things", "three things"]),
        ('["one thing", "two things"]', ["one thing", "two things"]),
        ('```json\n["one thing"]\n```', ["one thing"]),
        ("What is a?\nWhat is b?", ["What is a?", "What is b?"]),
        ("1. **History**:\n   - old times\n   - new\n2. **Future**:\n What comes?", ["History", "What comes?"]),
        ("Question 1: What is it?\nQ2: How is it?", ["What is it?", "How is it?"]),
        ("1. Write a poem\nabout rain\n2. Write a song", ["Write a poem about rain", "Write a song"]),
        ("1. 3.5 million people came.\n2. It was 1990.", ["3.5 million people came.", "It was 1990."]),
        ("Here is one:", []),
        ("", []),
        ("1. \n2. \n", []),
    ],
)  # fmt: skip
def test_lists_as_models_write_them(text: str, found: list[str]) -> None:
    assert items_of(text) == found


def test_the_item_that_was_cut_off_is_no_item() -> None:
    assert items_of("1. What is a?\n2. What is b?\n3. What i", cut_off=True) == ["What is a?", "What is b?"]
    assert items_of("1. What is", cut_off=True) == []


ITEM = st.tuples(st.lists(st.sampled_from(THINGS), min_size=2, max_size=6), st.sampled_from(".?!")).map(
    lambda parts: " ".join(parts[0]).capitalize() + parts[1]
)
FORMS = [
    "{n}. {item}",
    "{n}) {item}",
    "({n}) {item}",
    "{n}: {item}",
    "- {item}",
    "* {item}",
    "• {item}",
    "**{n}.** {item}",
]


@given(
    items=st.lists(ITEM, min_size=2, max_size=12),
    form=st.sampled_from(FORMS),
    quoted=st.sampled_from(["{}", '"{}"', "**{}**", "“{}”", "  {}  "]),
    between=st.sampled_from(["\n", "\n\n", "\r\n"]),
    before=st.sampled_from(["", "Sure, here they are:\n\n", "Here is the list of questions.\n"]),
    after=st.sampled_from(["", "\n\nI hope that this helps!"]),
)
def test_any_form_of_list_gives_its_items(
    items: list[str], form: str, quoted: str, between: str, before: str, after: str
) -> None:
    lines = [form.format(n=n, item=quoted.format(item)) for n, item in enumerate(items, start=1)]
    assert items_of(before + between.join(lines) + after) == items


@given(text=st.text(max_size=300), cut=st.booleans())
def test_no_text_breaks_the_lists(text: str, cut: bool) -> None:
    assert all(item and item == item.strip() and "\n" not in item for item in items_of(text, cut))


# what is no opening


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("What is a magnet?", None),
        ("How did photographs change journalism?", None),
        ("Write a poem about [your city].", "a gap to fill in"),
        ("Draw a picture of a cat on a roof.", "needs more than text"),
        ("Summarise the following video about bees.", "needs more than text"),
        ("Here are ten questions about bees", "about the list, not of it"),
        ("What would a language model say to this?", "about the list, not of it"),
        ("Why so?", "too short"),
        ("1 2 3 4 5 6", "too short"),
        ("why " * 200, "too long"),
        ("What is this? <|im_end|> Yes it is", "a marker of the chat template"),
        ("磁石はどうして鉄を引きつけるのですか。", None),
    ],
)
def test_what_is_wrong_with_an_opening(text: str, cause: str | None) -> None:
    assert fault(text) == cause


def test_what_asks_for_something() -> None:
    for text in (
        "Write a poem.",
        "Please, list three birds.",
        "A bird sang. Describe it.",
        "What now?",
        "How to bake bread",
    ):
        assert asks(text), text
    for text in ("The bird sang.", "A magnet is a thing, which makes iron move.", "Writers make poems."):
        assert not asks(text), text


# how much is asked


@given(count=st.integers(1, 5000), topics=st.integers(1, 200))
def test_a_plan_is_wide_and_enough(count: int, topics: int) -> None:
    sector = World(count=count)
    fan = world_fan(sector, count, topics)
    assert fan.roots == min(count, topics) and fan.branches <= 30 and fan.leaves <= 10
    brought = fan.roots * fan.branches * fan.leaves + fan.more * sector.related
    most = topics * 30 * 10 * 11
    assert brought >= min(1.5 * count, most)
    assert fan.asks <= 4 * count + 2
    around = entity_fan(count, topics)
    assert around.roots * around.branches * around.leaves >= min(count, around.roots * 10 * 20)


def test_plans_by_hand() -> None:
    assert world_fan(World(count=10), 10, 30).asks == 20
    fan = world_fan(World(count=330_000), 330_000, 30)  # all of UltraChat's tree
    assert (fan.roots, fan.branches, fan.leaves, fan.more) == (30, 30, 10, 9000)
    assert writing_lists(Writing(count=10), 20) == 10 and writing_lists(Writing(count=4000), 20) == 1200
    assert passage_items(Material(count=80, passages=FileRef("p")), 20) == (20, 5)
    assert passage_items(Material(count=3, passages=FileRef("p")), 20) == (3, 3)
    evolve = Evolve(count=10, seeds=FileRef("s"))
    assert planned_asks(evolve, Sizes()) == 15 and most_asks(evolve, Sizes()) == ALLOWANCE * 15


# the sectors


def test_questions_cover_the_topics(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = speak(monkeypatch, {"teacher": teacher})["teacher"]
    (world / "my.txt").write_text("\ufeff# mine\n\nbees\nhoney  and wax\nbees\nhives\n", encoding="utf-8")
    rows = make_openings(world, {"about-bees": {"kind": "world", "count": 31, "topics": "my.txt"}})
    assert len(rows) == 31 and len({row.id for row in rows}) == 31 and len({row.prompt for row in rows}) == 31
    assert Counter(row.topic for row in rows) == {"bees": 11, "honey and wax": 10, "hives": 10} or set(
        Counter(row.topic for row in rows).values()
    ) == {10, 11}
    assert {(row.sector, row.manner) for row in rows} == {("about-bees", "world")}
    assert all(row.subtopic and row.id.startswith("about-bees-") for row in rows)
    assert len(engine.asked) <= planned_asks(World(count=31), Sizes(topics=3))
    said = stats(world / "out")["sectors"]["about-bees"]
    assert said["topics"]["different"] == 3 and said["topics"]["evenness"] > 0.99 and len(said["shown"]) == 4


def test_what_is_missing_is_filled_with_related_questions(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def poor(asked: Request) -> str:
        """One question where several are asked for, but ten related ones."""
        found = teacher(asked)
        return found if "Someone asked" in asked.messages[-1].content else "\n".join(found.splitlines()[:3])

    speak(monkeypatch, {"teacher": poor})
    (world / "my.txt").write_text("bees\nhives\n")
    rows = make_openings(world, {"world": {"kind": "world", "count": 30, "topics": "my.txt"}})
    kinds = Counter(row.kind for row in rows)
    assert len(rows) == 30 and kinds["related"] > 10 and kinds["question"] >= 2
    assert {row.topic for row in rows} == {"bees", "hives"}


def test_questions_about_entities_in_ultrachats_shares(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": teacher})
    (world / "things.txt").write_text("Venice\nMarie Curie\nthe Nile\n")
    sector = {"kind": "world", "count": 60, "entities": "things.txt", "entity_share": 1.0}
    rows = make_openings(world, {"world": sector})
    assert Counter(row.kind for row in rows) == {"meta": 6, "specific": 24, "general": 30}
    assert {row.topic for row in rows} == {"Venice", "Marie Curie", "the Nile"}
    both = make_openings(world, {"world": sector | {"entity_share": 0.5}})
    assert Counter(row.kind == "question" for row in both) == {True: 30, False: 30}


def test_writing_is_spread_over_text_types_and_mostly_refined(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": teacher})
    rows = make_openings(world, {"writing": {"kind": "writing", "count": 60}})
    kinds = Counter(row.kind for row in rows)
    assert len(rows) == 60 and len(kinds) == 20 and set(kinds.values()) == {3}
    refined = sum(row.prompt.startswith("Write of") for row in rows)
    assert 36 <= refined <= 58
    assert {row.manner for row in rows} == {"writing"} and len({row.topic for row in rows}) > 5
    (world / "types.txt").write_text("reply to a support ticket\n")
    rows = make_openings(world, {"w": {"kind": "writing", "count": 8, "text_types": "types.txt", "refined_share": 0.0}})
    assert {row.kind for row in rows} == {"reply to a support ticket"}
    assert all(row.prompt.startswith("How does") for row in rows)


def test_passages_and_instructions_are_joined_in_seven_ways(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": teacher})
    texts = [
        f"Passage {n}. " + "The water of the lake is cold and clear in every month of the year. " * 2 for n in range(20)
    ]
    (world / "texts.txt").write_text("A heading\n\n" + "\n\n".join(texts) + "\n \n")
    rows = make_openings(world, {"material": {"kind": "material", "count": 60, "passages": "texts.txt"}})
    assert len(rows) == 60 and {row.manner for row in rows} == {"material"}
    assert Counter(re.findall(r"Passage \d+\.", " ".join(row.prompt for row in rows))) == {
        f"Passage {n}.": 3 for n in range(20)
    }
    starts = [("Here is a text: ", 0), ("How does", 0)]
    assert all(any(row.prompt.startswith(text) for text, _ in [*starts, ("Passage", 0)]) for row in rows)
    joints = [
        "\nHow",
        ". How",
        "? Answer from this text: ",
        "\nGoing by the passage above: ",
        "Here is a text: ",
        "\nWork from the following: ",
    ]
    assert all(any(joint in row.prompt for row in rows) for joint in joints)
    assert len(JOINED) == 7


def test_prompts_are_taken_grown_and_evolved(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = speak(monkeypatch, {"teacher": teacher})["teacher"]
    seeds = [SeedPrompt(id=f"s{n}", prompt=f"Explain {thing} to a child.", topic="t") for n, thing in enumerate(THINGS)]
    write_rows(world / "seeds.jsonl", seeds)
    rows = make_openings(
        world,
        {
            "given": {"kind": "given", "count": 9, "seeds": "seeds.jsonl"},
            "grow": {"kind": "grow", "count": 40, "seeds": "seeds.jsonl"},
            "evolve": {"kind": "evolve", "count": 25, "seeds": "seeds.jsonl", "generations": 2},
        },
    )
    of = {name: [row for row in rows if row.sector == name] for name in ("given", "grow", "evolve")}
    assert [len(found) for found in of.values()] == [9, 40, 25]
    assert {row.prompt for row in of["given"]} < {seed.prompt for seed in seeds}
    assert {row.topic for row in of["evolve"]} == {"t"} and len({row.kind for row in of["evolve"]}) >= 4
    assert any(": Write of" in row.prompt for row in of["evolve"])  # a second generation
    few_shot = next(asked for asked in engine.asked if "more of them" in asked.messages[-1].content)
    assert len(few_shot.messages) == 3 and len(few_shot.messages[1].content.splitlines()) == 8
    last = [asked for asked in engine.asked if "more of them" in asked.messages[-1].content][-1].messages[1].content
    assert last.count("to a child") == 6 and last.count("differ from") == 2


def test_an_earlier_openings_step_is_grown_from(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": teacher})
    (world / "first").mkdir()
    write_rows(world / "first" / "openings.jsonl", [SeedPrompt(id="a", prompt="Explain the tides.", sector="w")])
    rows = make_openings(world, {"grow": {"kind": "grow", "count": 3, "openings": "first"}})
    assert len(rows) == 3
    with pytest.raises(ValueError, match="name either seeds"):
        make_openings(world, {"grow": {"kind": "grow", "count": 3}})


def test_evolved_prompts_are_eliminated(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = iter(
        ["I'm sorry, but I cannot do this, can I?", "#Rewritten Prompt#: what is it really?", "Why?",
         "Explain amber to a child.", "The amber is yellow.",
         "Explain how amber is formed under the sea, and why it burns."] * 9
    )  # fmt: skip
    speak(monkeypatch, {"teacher": lambda asked: next(replies)})
    write_rows(
        world / "seeds.jsonl", [SeedPrompt(id=f"s{n}", prompt=f"Explain {t} to a child.") for n, t in enumerate(THINGS)]
    )
    rows = make_openings(world, {"evolve": {"kind": "evolve", "count": 4, "seeds": "seeds.jsonl"}})
    assert [row.prompt for row in rows] == ["Explain how amber is formed under the sea, and why it burns."]
    assert set(stats(world / "out")["sectors"]["evolve"]["dropped"]) == {
        "refused to evolve", "words of the evolving prompt", "like one said before", "too short", "asks for nothing",
    }  # fmt: skip


def test_near_duplicates_do_not_grow(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def same(asked: Request) -> str:
        return "\n".join(f"{n}. What is the best way to bake bread on a {t} day?" for n, t in enumerate(THINGS[:6]))

    speak(monkeypatch, {"teacher": same})
    write_rows(world / "seeds.jsonl", [SeedPrompt(id="s", prompt="Explain the tides.")])
    rows = make_openings(world, {"grow": {"kind": "grow", "count": 5, "seeds": "seeds.jsonl"}})
    assert len(rows) == 1
    said = stats(world / "out")
    assert said["kept"] == 1 and said["wanted"] == 5 and said["sectors"]["grow"]["dropped"]["like one said before"] >= 5


def test_nothing_comes_twice_whatever_the_sector(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": teacher})
    sector = {"kind": "given", "count": 5, "seeds": "seeds.jsonl"}
    rows = [SeedPrompt(id=f"s{n}", prompt=text) for n, text in enumerate(["Say yes.", "say yes", "Say no!", "SAY  NO"])]
    write_rows(world / "seeds.jsonl", rows)
    found = make_openings(world, {"one": sector, "two": sector})
    assert len(found) == 2 and {row.sector for row in found} == {"one"}
    assert stats(world / "out")["sectors"]["two"]["dropped"] == {"said before": 4}


def test_the_same_config_makes_the_same_openings(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = speak(monkeypatch, {"teacher": teacher})["teacher"]
    write_rows(
        world / "seeds.jsonl", [SeedPrompt(id=f"s{n}", prompt=f"Explain {t}, please.") for n, t in enumerate(THINGS)]
    )
    sectors = {
        "world": {"kind": "world", "count": 20},
        "writing": {"kind": "writing", "count": 15},
        "grow": {"kind": "grow", "count": 20, "seeds": "seeds.jsonl"},
    }
    once = make_openings(world, sectors)
    asked = len(engine.asked)
    assert make_openings(world, sectors) == once and len(engine.asked) == asked  # all from the ledger
    other = make_openings(world, sectors, seed=1)
    assert {row.prompt for row in other} != {row.prompt for row in once}


def test_failures_and_useless_replies_are_counted_and_bounded(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def voice(asked: Request) -> str:
        if int(asked.key()[0], 16) < 4:
            raise RequestError("the line broke")
        return "I would rather not." if int(asked.key()[0], 16) < 8 else teacher(asked)

    engine = speak(monkeypatch, {"teacher": voice})["teacher"]
    rows = make_openings(world, {"world": {"kind": "world", "count": 20}, "writing": {"kind": "writing", "count": 200}})
    dropped = stats(world / "out")["sectors"]["writing"]["dropped"]
    assert len(rows) <= 220 and dropped["teacher failed"] > 5 and dropped["asks for nothing"] > 5
    sizes = Sizes(topics=30, text_types=20)
    bound = sum(most_asks(sector, sizes) for sector in (World(count=20), Writing(count=200)))
    assert len(engine.asked) <= bound


def test_a_teacher_that_brings_nothing_is_a_sentence(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": lambda asked: "I would rather not."})
    with pytest.raises(FavoniusError, match=r"no usable opening \(world: .*'not a question'"):
        make_openings(world, {"world": {"kind": "world", "count": 5}})


def test_another_language_is_asked_for_and_not_judged_in_english(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def german(asked: Request) -> str:
        assert asked.messages[-1].content.endswith("\nWrite in German.") and len(asked.messages) == 1
        return "\n".join(f"{n}. Erkläre bitte genau {asked.key()[n * 4 : n * 4 + 4]}" for n in range(wanted(asked)))

    speak(monkeypatch, {"teacher": german})
    (world / "texts.txt").write_text("Das Wasser des Sees ist in jedem Monat kalt und klar. " * 4)
    sectors = {
        "world": {"kind": "world", "count": 5},
        "texts": {"kind": "material", "count": 3, "passages": "texts.txt"},
    }
    rows = make_openings(world, sectors, language="German")
    assert len(rows) == 8 and all("passage" not in row.prompt and "text" not in row.prompt for row in rows)


# files


def test_lists_of_the_users_own(tmp_path: Path) -> None:
    assert len(built_in("topics")) == 30 and len(built_in("text_types")) == 20 and len(built_in("personas")) == 40
    (tmp_path / "a.txt").write_text("# nothing\n\n   \n")
    with pytest.raises(UserError, match=r"a\.txt: there is no entry in it; write one a line"):
        read_lines(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes("Käse\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"b\.txt: not UTF-8 text .* at byte 1"):
        read_lines(tmp_path / "b.txt")


def test_passages_come_from_text_and_from_rows(tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "One two three four five six seven eight nine ten eleven twelve. " * 2
    rows = [{"text": text, "topic": "numbers", "url": "x"}, {"text": "short"}, {"text": text * 40}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(read_passages(tmp_path / "p.jsonl", 1000))
    assert found[0].topic == "numbers" and len(found) > 5 and all(len(passage.text) <= 1000 for passage in found)
    (tmp_path / "p.txt").write_text(f"Title\r\n\r\n{text}\r\n \r\n{text}\n\n\n")
    assert [passage.text for passage in read_passages(tmp_path / "p.txt", 1000)] == [text.strip()] * 2
    (tmp_path / "none.txt").write_text("Only a title\n")
    speak(monkeypatch, {"teacher": teacher})
    with pytest.raises(UserError, match=r"none\.txt: no passage of twenty words or more"):
        make_openings(world, {"m": {"kind": "material", "count": 1, "passages": "none.txt"}})


@given(text=st.text(alphabet="ab .!?。\n", max_size=400), longest=st.integers(1, 60))
def test_pieces_are_short_and_lose_nothing(text: str, longest: int) -> None:
    found = pieces(text.strip(), longest)
    assert all(0 < len(piece) <= longest for piece in found)
    assert re.sub(r"\s", "", "".join(found)) == re.sub(r"\s", "", text)


def test_pieces_end_with_sentences() -> None:
    assert pieces("One is here. Two is here. Three is here.", 26) == ["One is here. Two is here.", "Three is here."]
    assert pieces("abc def ghi", 8) == ["abc def", "ghi"]
    assert pieces("abcdefgh", 3) == ["abc", "def", "gh"]
