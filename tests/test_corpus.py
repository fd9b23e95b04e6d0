"""Stage `data`: nothing is lost uncounted, nothing leaks, and a kill costs the source that was being read."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from favonius.corpus import gather
from favonius.corpus.config import DataConfig
from favonius.data.rows import read_rows
from favonius.data.splits import in_fraction, split_of
from favonius.errors import FavoniusError, UserError
from favonius.run import WORK
from favonius.types import Feedback, LabelledAnswer, Pair, SeedPrompt
from tests.corpora import Corpus, pair, prompts, rows_of, talk, talks
from tests.row_files import CONTAINERS, messages_row, sharegpt_row


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


def test_two_shapes_become_one_file_with_every_row_accounted_for(corpus: Corpus) -> None:
    first = [messages_row(messages) for messages in talks("cats", 20)]
    first += [messages_row(talk("Do you like cats?", "As an AI language model, I do not have personal opinions."))]
    second = [sharegpt_row(messages) for messages in (*talks("cats", 5), *talks("dogs", 20))]
    second += [{"conversations": [{"from": "human", "value": "Nobody answers."}]}]
    found = corpus.run(
        sources={
            "ours": {"path": corpus.write("ours.jsonl", first)},
            "shared": {"path": corpus.write("shared.json", second)},
        },
        filters=[{"kind": "exact_duplicates"}, {"kind": "refusals"}, {"kind": "truecase"}],
        test_share=0.2,
    )
    rows = corpus.dialogues()
    assert len(rows) == found["kept"] == 40
    assert len({row.id for row in rows}) == 40
    assert {row.id.partition("/")[0] for row in rows} == {"ours", "shared"}
    assert all(row.split == split_of(row.messages[0].content, 0.2) for row in rows)
    assert found["held out"] == sum(row.split == "test" for row in rows) > 0
    assert [row.split for row in rows] == sorted((row.split for row in rows), reverse=True)
    assert found["made"] == "dialogues"
    assert found["read"] == 47
    assert found["taken from"] == {"ours": 20, "shared": 20}
    assert found["filters"]["refusals"] == {"seen": 46, "changed": 0, "dropped": 1}
    assert found["filters"]["exact_duplicates"] == {"seen": 45, "changed": 0, "dropped": 5}
    assert sum(found["dropped"].values()) == 7
    assert found["dropped"]["exact_duplicates: exact duplicate"] == 5
    assert set(found["samples"]) == set(found["dropped"])
    ours, shared = found["sources"]["ours"], found["sources"]["shared"]
    assert (ours["shape"], shared["shape"]) == ("messages", "sharegpt")
    assert (ours["read"], ours["kept"], ours["dropped"]) == (21, 20, {"refusals: as an AI": 1})
    assert (shared["read"], shared["kept"], sum(shared["dropped"].values())) == (26, 20, 6)
    assert not (corpus.out / "pairs.jsonl").exists()


def test_a_changed_row_is_written_as_it_was_changed_and_shown_before_and_after(corpus: Corpus) -> None:
    row = messages_row(talk("how do I wash my car? it is very dirty.", "Take some water. then use it."))
    sources = {"a": {"path": corpus.write("a.jsonl", [row, *rows_of("cats", 2)])}}
    found = corpus.run(sources=sources, filters=[{"kind": "truecase"}], test_share=0)
    assert "How do I wash my car? It is very dirty." in prompts(corpus.dialogues())
    (change,) = found["sources"]["a"]["filters"]["truecase"]["changes"]
    assert (change["before"][:3], change["after"][:3]) == ("how", "How")


@pytest.mark.parametrize("container", [name for name in CONTAINERS if name != "table.tsv"])
def test_the_container_makes_no_difference(corpus: Corpus, tmp_path: Path, container: str) -> None:
    rows = rows_of("cats", 7)
    plain = Corpus(tmp_path / "plain")
    plain.folder.mkdir()
    plain.run(sources={"a": {"path": plain.write("lines.jsonl", rows)}})
    corpus.run(sources={"a": {"path": corpus.write(container, rows)}})
    same = [row.model_copy(update={"source": None}) for row in corpus.dialogues()]
    assert same == [row.model_copy(update={"source": None}) for row in plain.dialogues()]


def test_several_processes_make_what_one_makes(corpus: Corpus, tmp_path: Path) -> None:
    sources = {"a": {"path": corpus.write("a.jsonl", rows_of("cats", 40))}}
    config = {"sources": sources, "filters": [{"kind": "refusals"}, {"kind": "near_duplicates"}]}
    one = corpus.run(**config, processes=1)
    bytes_of_one = (corpus.out / "dialogues.jsonl").read_bytes()
    corpus.out = tmp_path / "again"
    assert corpus.run(**config, processes=2) == one
    assert (corpus.out / "dialogues.jsonl").read_bytes() == bytes_of_one


# kills


def test_a_killed_step_reads_no_finished_source_again(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("first", "second", "third")
    sources = {name: {"path": corpus.write(f"{name}.jsonl", rows_of(name, 12) + rows_of("all", 3))} for name in names}
    config = {"sources": sources, "filters": [{"kind": "exact_duplicates"}, {"kind": "flaws"}], "test_share": 0.25}
    stats = corpus.run(**config)
    undisturbed = (corpus.out / "dialogues.jsonl").read_bytes()
    corpus.out = corpus.folder / "killed" / "data"
    read: list[str] = []
    real = gather.read_any

    def dying(spec: str, **options: Any) -> Any:
        shape, rows = real(spec, **options)
        return shape, dies_in_the_middle(Path(spec).stem, rows)

    def dies_in_the_middle(name: str, rows: Iterator[Any]) -> Iterator[Any]:
        for number, row in enumerate(rows):
            read.append(name)
            if name == "second" and number == 5 and read.count("second") < 10:
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(gather, "read_any", dying)
    with pytest.raises(KeyboardInterrupt):
        corpus.run(**config)
    assert not (corpus.out / "dialogues.jsonl").exists()
    assert corpus.run(**config) == stats
    assert (corpus.out / "dialogues.jsonl").read_bytes() == undisturbed
    assert Counter(read) == {"first": 15, "second": 6 + 15, "third": 15}


def test_a_hub_source_is_asked_for_by_its_whole_name(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []
    real = gather.read_any

    def local(spec: str, **options: Any) -> Any:
        asked.append((spec, options.pop("split")))
        return real(str(corpus.folder / "a.jsonl"), split=None, **options)

    monkeypatch.setattr(gather, "read_any", local)
    corpus.write("a.jsonl", rows_of("cats", 9))
    found = corpus.run(sources={"far": {"hub": "hf://owner/name@abc/config", "split": "train_sft"}}, processes=1)
    assert asked == [("hf://owner/name@abc/config", "train_sft")]
    assert found["sources"]["far"]["from"] == "hf://owner/name@abc/config"


# splits and held-out sources


def test_rows_that_are_added_move_no_other(corpus: Corpus) -> None:
    sources = {"a": {"path": corpus.write("a.jsonl", rows_of("cats", 60))}}
    corpus.run(sources=sources, test_share=0.3)
    before = {row.messages[0].content: row.split for row in corpus.dialogues()}
    corpus.write("a.jsonl", rows_of("dogs", 30) + rows_of("cats", 60))
    (corpus.out / WORK / "a.json").unlink()
    corpus.run(sources=sources, test_share=0.3)
    after = {row.messages[0].content: row.split for row in corpus.dialogues()}
    assert set(before.values()) == {"train", "test"}
    assert {prompt: after[prompt] for prompt in before} == before
    assert len(after) == 90


def test_a_held_out_source_is_whole_and_its_prompts_are_nowhere_else(corpus: Corpus) -> None:
    exam = [messages_row(talk(f"Exam question {number}?")) for number in range(5)]
    leaked = [messages_row(talk("EXAM  question 3", "The answer is three.")), *rows_of("cats", 30)]
    found = corpus.run(
        sources={
            "ours": {"path": corpus.write("ours.jsonl", leaked)},
            "exam": {"path": corpus.write("exam.jsonl", exam), "held_out": True},
        },
        test_share=0.1,
    )
    rows = corpus.dialogues()
    assert [row.id.startswith("exam/") for row in rows[-5:]] == [True] * 5
    assert {row.split for row in rows[-5:]} == {"test"}
    assert found["dropped"] == {"its prompt is held out": 1}
    assert found["sources"]["ours"]["dropped"] == {"its prompt is held out": 1}
    assert len(rows) == 35


def test_a_step_that_only_judges_read_may_hold_out_everything(corpus: Corpus) -> None:
    exam = [messages_row(talk(f"Exam question {number}?")) for number in range(5)]
    sources = {"exam": {"path": corpus.write("exam.jsonl", exam), "held_out": True}}
    assert corpus.run(sources=sources)["kept"] == 5
    assert [row.split for row in corpus.dialogues()] == ["test"] * 5
    (corpus.out / WORK / "exam.json").unlink()
    with pytest.raises(UserError, match=r"no row is left \(5 length: turn too short\)"):
        corpus.run(sources=sources, filters=[{"kind": "length", "min_turn": 10_000}])


def test_a_fraction_is_a_hash_of_the_prompt(corpus: Corpus) -> None:
    source = {"path": corpus.write("a.jsonl", rows_of("cats", 80)), "fraction": 0.5}
    found = corpus.run(sources={"a": source}, test_share=0, seed=3)
    wanted = {prompt for messages in talks("cats", 80) if in_fraction(prompt := messages[0].content, 0.5, 3)}
    assert set(prompts(corpus.dialogues())) == wanted
    assert found["dropped"] == {"outside the fraction": 80 - len(wanted)}


def test_decontamination_shows_benchmarks_without_a_hit_too(corpus: Corpus) -> None:
    corpus.write("bench.jsonl", [{"id": "q1", "prompt": "Question 3 about cats, which is long?"}])
    corpus.write("other.jsonl", [{"id": "q1", "prompt": "Who was the first person on the moon, and when was that?"}])
    files = {"ours": "bench.jsonl", "moon": "other.jsonl"}
    found = corpus.run(
        sources={"a": {"path": corpus.write("a.jsonl", rows_of("cats", 9))}},
        filters=[{"kind": "decontaminate", "files": files}],
        test_share=0,
    )
    assert found["contamination"]["ours"]["rows"] == 1
    assert "question 3 about cats" in found["contamination"]["ours"]["samples"][0]
    assert found["contamination"]["moon"] == {"rows": 0, "samples": []}
    assert found["kept"] == 8


# mixtures


def test_weights_hold_and_rows_come_again_under_other_ids(corpus: Corpus) -> None:
    sources = {
        "big": {"path": corpus.write("big.jsonl", rows_of("cats", 60)), "weight": 0.5},
        "small": {"path": corpus.write("small.jsonl", rows_of("dogs", 12)), "weight": 0.5, "max_repeats": 3},
    }
    found = corpus.run(sources=sources, test_share=0)
    rows = corpus.dialogues()
    from_small = [row.id.startswith("small/") for row in rows]
    assert sum(from_small) == 36
    assert abs(sum(not small for small in from_small) - 36) <= 1
    assert all(abs(sum(from_small[:end]) - end / 2) <= 1 for end in range(len(rows)))
    assert len({row.id for row in rows}) == len(rows)
    assert sum("#2" in row.id for row in rows) == sum("#3" in row.id for row in rows) == 12
    assert found["repeated"] == 24
    assert found["sources"]["small"]["taken"] == {"train": 36, "test": 0, "repeats": 24}
    assert found["not taken"] == 60 - sum(not small for small in from_small)


def test_held_out_rows_of_a_mixture_keep_the_weights_and_come_once(corpus: Corpus) -> None:
    sources = {
        "big": {"path": corpus.write("big.jsonl", rows_of("cats", 200)), "weight": 0.5},
        "small": {"path": corpus.write("small.jsonl", rows_of("dogs", 40)), "weight": 0.5, "max_repeats": 5},
    }
    found = corpus.run(sources=sources, test_share=0.2)
    test = [row for row in corpus.dialogues() if row.split == "test"]
    taken = {name: source["taken"]["test"] for name, source in found["sources"].items()}
    assert abs(taken["big"] - taken["small"]) <= 1
    assert not any("#" in row.id for row in test)


def test_so_many_rows_are_taken_as_are_wanted(corpus: Corpus) -> None:
    sources = {"a": {"path": corpus.write("a.jsonl", rows_of("cats", 100))}}
    found = corpus.run(sources=sources, rows=20, test_share=0.25)
    assert (found["kept"], found["held out"], found["not taken"], found["wanted"]) == (20, 5, 80, 20)
    corpus.out = corpus.folder / "more"
    found = corpus.run(sources=sources, rows=1000, test_share=0.25)
    assert (found["kept"], found["wanted"]) == (100, 1000)


def test_a_source_without_a_row_left_is_named(corpus: Corpus) -> None:
    sources = {
        "a": {"path": corpus.write("a.jsonl", rows_of("cats", 9)), "weight": 1.0},
        "b": {"path": corpus.write("b.jsonl", rows_of("dogs", 9)), "weight": 1.0, "fraction": 1e-9},
    }
    with pytest.raises(UserError, match="b: no row of it is left to be mixed in"):
        corpus.run(sources=sources)
    with pytest.raises(UserError, match=r"no row to learn from is left \(9 length: turn too short\)"):
        corpus.run(sources={"c": {"path": "a.jsonl"}}, filters=[{"kind": "length", "min_turn": 500}])


# other rows than dialogues


def test_pairs_are_filtered_by_prompt_and_chosen_answer(corpus: Corpus) -> None:
    rows = [pair(number) for number in range(10)]
    rows += [{**pair(3), "chosen": "Another."}, {**pair(11), "chosen": "As an AI language model, I have no feelings."}]
    rows += [{**pair(12), "rejected": "As an AI language model, I have no feelings."}]
    found = corpus.run(
        sources={"a": {"path": corpus.write("a.jsonl", rows)}},
        filters=[{"kind": "exact_duplicates"}, {"kind": "refusals"}],
        test_share=0.2,
    )
    pairs = read_rows(corpus.out / "pairs.jsonl", Pair)
    assert len(pairs) == 11
    assert any(row.rejected.startswith("As an AI") for row in pairs)
    assert Counter(found["dropped"]) == {"exact_duplicates: exact duplicate": 1, "refusals: as an AI": 1}


@pytest.mark.parametrize(
    ("row", "name", "noun"),
    [
        ({"prompt": "Why?", "completion": "Because.", "label": True}, "labelled_answers.jsonl", LabelledAnswer),
        ({"instruction": "Why?", "completions": [{"model": "m", "response": "So."}]}, "feedback.jsonl", Feedback),
        ({"prompt": "Why?"}, "openings.jsonl", SeedPrompt),
    ],
)
def test_every_kind_of_row_has_its_file(corpus: Corpus, row: dict[str, Any], name: str, noun: Any) -> None:
    corpus.run(sources={"a": {"path": corpus.write("a.jsonl", [row])}}, filters=[{"kind": "flaws"}], test_share=0)
    assert len(read_rows(corpus.out / name, noun)) == 1


def test_filters_that_change_texts_are_refused_for_pairs(corpus: Corpus) -> None:
    sources = {"a": {"path": corpus.write("a.jsonl", [pair(1)])}}
    with pytest.raises(UserError, match="the filter truecase changes texts, and pairs of a must stay"):
        corpus.run(sources=sources, filters=[{"kind": "truecase"}])
    with pytest.raises(ValidationError, match="the filter truecase changes texts, and pairs of a must stay"):
        corpus.run(sources={"a": {"path": "a.jsonl", "shape": "preference"}}, filters=[{"kind": "truecase"}])


def test_sources_that_become_different_things_are_named(corpus: Corpus) -> None:
    sources: dict[str, Any] = {
        "chats": {"path": corpus.write("a.jsonl", rows_of("cats", 3))},
        "choices": {"path": corpus.write("b.jsonl", [pair(1)])},
    }
    sentence = r"rows of chats \(messages\) become dialogues and rows of choices \(preference\) become pairs"
    with pytest.raises(UserError, match=sentence):
        corpus.run(sources=sources)
    assert not list((corpus.out / WORK).iterdir())
    stated = {
        "chats": sources["chats"] | {"shape": "messages"},
        "choices": sources["choices"] | {"shape": "preference"},
    }
    with pytest.raises(ValidationError, match=sentence):
        corpus.run(sources=stated)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"a": {}}, "name one of path"),
        ({"a": {"path": "a", "hub": "hf://a/b"}}, "name one of path"),
        ({"a": {"hub": "a/b"}}, "a/b: write a hub dataset as hf://owner/name"),
        ({"a": {"path": "a", "weight": 1.0}, "b": {"path": "b"}}, "the source b has no weight and others have"),
        ({"a": {"path": "a", "max_repeats": 2}}, "max_repeats and end are for mixtures by weights"),
        ({"a": {"path": "a", "held_out": True, "weight": 1.0}}, "a held-out source is taken whole and once"),
        ({"A b": {"path": "a"}}, "should match pattern"),
    ],
)
def test_configs_that_mean_nothing_are_refused(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        DataConfig.model_validate({"sources": config})


def test_held_out_prompts_are_refused(corpus: Corpus) -> None:
    sources = {"a": {"path": corpus.write("a.jsonl", [{"prompt": "Why?"}])}, "b": {"path": "a.jsonl", "held_out": True}}
    with pytest.raises(UserError, match="b: prompts are held out by the step that makes dialogues of them"):
        corpus.run(sources=sources)


# accounts


TEXTS = [
    "Why is that?",
    "why is  THAT",
    "What is a cat?",
    "Thank you!",
    "As an AI, I have no feelings.",
    "",
    "i am here",
]
turns = st.lists(st.sampled_from(TEXTS), min_size=0, max_size=4)
raw_rows = st.one_of(
    turns.map(lambda said: {"data": said}),
    st.just({"data": "cut"}).map(lambda row: json.dumps(row)[:-2]),
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(st.lists(raw_rows, max_size=8), min_size=1, max_size=3),
    kinds=st.lists(st.sampled_from(["truecase", "refusals", "politeness", "flaws", "exact_duplicates"]), max_size=3),
    fraction=st.sampled_from([0.5, 1.0]),
    held_out=st.booleans(),
)
def test_every_row_is_kept_dropped_or_lost(
    parts: list[list[Any]], kinds: list[str], fraction: float, held_out: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        corpus = Corpus(Path(name))
        sources: dict[str, Any] = {"whole": {"path": corpus.write("whole.jsonl", rows_of("x", 3, "ultrachat"))}}
        for number, rows in enumerate(parts):
            texts = [row if isinstance(row, str) else json.dumps(row) for row in [{"data": TEXTS[:2]}, *rows]]
            (corpus.folder / f"{number}.jsonl").write_text("\n".join(texts))
            sources[f"s{number}"] = {"path": f"{number}.jsonl", "salvage": True, "fraction": fraction}
        sources["s0"]["held_out"] = held_out
        try:
            found = corpus.run(sources=sources, filters=[{"kind": kind} for kind in kinds], test_share=0.3)
        except FavoniusError:  # no row is left, or none of a source can be used
            assume(False)
        for number, rows in enumerate(parts):
            source = found["sources"][f"s{number}"]
            lost = sum(file["lost_rows"] for file in source["lost"].values())
            assert source["kept"] + sum(source["dropped"].values()) + lost == 1 + len(rows)
        rows = corpus.dialogues()
        assert len(rows) == found["kept"] == sum(source["kept"] for source in found["sources"].values())
        assert len({row.id for row in rows}) == len(rows)
        assert found["read"] == found["kept"] + sum(found["dropped"].values())
        sides: dict[str, set[str]] = {}
        for row in rows:
            sides.setdefault(" ".join(row.messages[0].content.lower().split()).rstrip("?"), set()).add(row.split)
        assert all(len(side) == 1 for side in sides.values())
