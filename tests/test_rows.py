"""Rows become trees; what nothing can be learned from is counted by cause, and too much of it stops the step."""

from __future__ import annotations

from pathlib import Path

import pytest

from favonius.chat.format import ChatFormat
from favonius.data.checks import Drops
from favonius.errors import UserError
from favonius.train.config import TrainConfig
from favonius.train.objectives import DPO, KTO, SFT, Objective
from favonius.train.rows import (
    Encoder,
    Row,
    dialogue_rows,
    labelled_rows,
    pair_rows,
    read_training_rows,
    with_mismatches,
)
from favonius.types import Dialogue, LabelledAnswer, Message, Noun, Pair
from tests.tiny import tiny_tokenizer

FORM = ChatFormat(tiny_tokenizer())
LENGTH = 200
END = FORM.tokenizer.eos_token_id
FOX = "the fox " * 3
PROMPT = (Message(role="user", content="a question?"),)
PAIR = Pair(id="good", split="train", prompt=PROMPT, chosen=FOX, rejected="another")


def pair(id: str, **changes: object) -> Pair:
    return PAIR.model_copy(update={"id": id, **changes})


def dialogue(id: str, *contents: str) -> Dialogue:
    roles = ("user", "assistant")
    messages = [Message(role=roles[index % 2], content=text) for index, text in enumerate(contents)]  # type: ignore[arg-type]
    return Dialogue(id=id, split="train", messages=tuple(messages))


def answer(id: str, text: str, question: str = "a question?", **changes: object) -> LabelledAnswer:
    prompt = (Message(role="user", content=question),)
    return LabelledAnswer(id=id, split="train", prompt=prompt, text=text, desirable=True).model_copy(update=changes)


def prompt_tokens() -> int:
    return len(FORM.prompt_ids(PROMPT))


def spoken(row: Row) -> list[str]:
    """What each sequence of a row's tree teaches."""
    return [
        FORM.decode([id for id, scored in zip(one.ids, one.scored, strict=True) if scored])
        for one in row.tree.sequences
    ]


def test_pairs_that_teach_nothing_are_counted_by_cause() -> None:
    drops = Drops()
    rows = pair_rows(
        Encoder(FORM, LENGTH),
        [
            PAIR,
            pair("same", rejected=FOX),
            pair("empty chosen", chosen="  "),
            pair("empty rejected", rejected=""),
            pair("long", chosen=FOX * 60),
            pair("long prompt", prompt=(Message(role="user", content=FOX * 60),)),
            pair("control", rejected="Bye</s>"),
        ],
        drops,
    )
    assert [row.id for row in rows] == ["good"]
    assert drops.samples == {
        "chosen and rejected are the same": ["same"],
        "empty answer": ["empty chosen", "empty rejected"],
        f"longer than max_length ({LENGTH} tokens)": ["long"],
        f"prompt longer than max_length ({LENGTH} tokens)": ["long prompt"],
        "holds a control token": [
            "control: a assistant message holds the control token </s>; take it out of the text"
        ],
    }  # fmt: skip


def test_a_pair_is_a_tree_of_chosen_and_rejected() -> None:
    [row] = pair_rows(Encoder(FORM, LENGTH), [PAIR], Drops())
    assert spoken(row) == [FOX + "</s>", "another</s>"]
    assert row.desirable == (True, False)
    lengths = [len(FORM.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (FOX, "another")]
    assert row.length_gap == lengths[0] - lengths[1]


def test_dialogues_that_teach_nothing_are_counted_by_cause() -> None:
    drops = Drops()
    rows = dialogue_rows(
        Encoder(FORM, LENGTH),
        [
            dialogue("good", "Hi", "Bye"),
            dialogue("mute", "Hi", " \n"),
            dialogue("long", "Hi", FOX * 60),
            dialogue("long prompt", FOX * 60, "Bye"),
            dialogue("control", "Hi", "Bye</s>"),
        ],
        drops,
    )
    assert [row.id for row in rows] == ["good"]
    assert drops.counts == {
        "no assistant text": 1, f"longer than max_length ({LENGTH} tokens)": 1,
        f"prompt longer than max_length ({LENGTH} tokens)": 1, "holds a control token": 1,
    }  # fmt: skip


def test_an_answer_of_which_the_template_keeps_nothing_is_counted() -> None:
    """A tokenizer may make no tokens of a text at all."""
    encoder = Encoder(FORM, LENGTH)
    drops = Drops()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FORM._renderer, "within", lambda *_: (0, 0))
        assert pair_rows(encoder, [PAIR], drops) == []
        assert dialogue_rows(encoder, [dialogue("mute", "Hi", "Bye")], drops) == []
    assert drops.counts == {"no token is scored": 2}


def test_all_tokens_are_scored_as_zephyrs_own_sft_did() -> None:
    talk = [dialogue("d", "Hi", "Bye", "Why?", FOX)]
    [row] = dialogue_rows(Encoder(FORM, LENGTH), talk, Drops(), "all")
    [sequence] = row.tree.sequences
    assert list(sequence.ids) == FORM.encode(talk[0].messages).ids
    assert sequence.scored == (False, *[True] * (len(sequence.ids) - 1))
    [row] = dialogue_rows(Encoder(FORM, LENGTH), talk, Drops())
    assert spoken(row) == ["Bye</s>" + FOX + "</s>"]


def test_keep_start_cuts_the_end_and_teaches_no_end_token() -> None:
    room = prompt_tokens() + 5
    drops = Drops()
    rows = pair_rows(Encoder(FORM, room, "keep_start"), [pair("cut", rejected="no")], drops)
    chosen = rows[0].tree.sequences[0]
    whole = FORM.encode((*PROMPT, Message(role="assistant", content=FOX))).ids
    assert list(chosen.ids) == whole[:room] and END not in chosen.ids[prompt_tokens() :]
    assert chosen.scored_tokens == 5
    assert spoken(rows[0])[1] == "no</s>" and not drops.counts


def test_keep_start_leaves_out_what_has_no_room_and_what_becomes_the_same() -> None:
    drops = Drops()
    same_opening = pair("twins", chosen=FOX + "and then", rejected=FOX + "another")
    assert pair_rows(Encoder(FORM, prompt_tokens() + 2, "keep_start"), [same_opening], drops) == []
    assert pair_rows(Encoder(FORM, prompt_tokens(), "keep_start"), [pair("no room")], drops) == []
    assert drops.samples == {
        "chosen and rejected are the same after truncation": ["twins"],
        f"prompt longer than max_length ({prompt_tokens()} tokens)": ["no room"],
    }


def test_keep_start_keeps_the_turns_of_a_dialogue_that_fit() -> None:
    first = dialogue("d", "Hi", "Bye")
    room = len(FORM.encode(first.messages).ids) + 2
    drops = Drops()
    [row] = dialogue_rows(Encoder(FORM, room, "keep_start"), [dialogue("d", "Hi", "Bye", "Why?", FOX)], drops)
    assert spoken(row) == ["Bye</s>"] and not drops.counts


def test_labelled_answers_carry_their_label() -> None:
    drops = Drops()
    answers = [answer("a", FOX), answer("b", "another", desirable=False, finished=False), answer("c", " ")]
    rows = labelled_rows(Encoder(FORM, LENGTH), answers, drops)
    assert [(row.id, row.desirable, spoken(row)) for row in rows] == [
        ("a", (True,), [FOX + "</s>"]), ("b", (False,), ["another"]),
    ]  # fmt: skip
    assert [row.length_gap > 0 for row in rows] == [True, False]
    assert drops.samples == {"empty answer": ["c"]}


def test_mismatches_are_the_answers_before_with_another_prompt() -> None:
    answers = [answer("a", "one", "x"), answer("b", "two", "x"), answer("c", "three", "y"), answer("d", "four", "x")]
    rows = with_mismatches(labelled_rows(Encoder(FORM, LENGTH), answers, Drops()), LENGTH)
    for row, (question, text) in zip(rows, [("x", "three"), ("x", "three"), ("y", "two"), ("x", "three")], strict=True):
        [expected] = labelled_rows(Encoder(FORM, LENGTH), [answer("e", text, question)], Drops())
        assert row.mismatched == expected.tree
    pairs = [pair("a"), pair("b", prompt=(Message(role="user", content="why?"),), chosen="because", rejected="so")]
    first, second = with_mismatches(pair_rows(Encoder(FORM, LENGTH), pairs, Drops()), LENGTH)
    [expected] = pair_rows(Encoder(FORM, LENGTH), [pair("e", chosen="because", rejected="so")], Drops())
    assert first.mismatched == expected.tree and second.mismatched is not None


def test_a_mismatch_is_cut_to_the_length_of_all_rows() -> None:
    answers = [answer("a", "one", FOX * 4), answer("b", FOX * 4, "x")]
    rows = labelled_rows(Encoder(FORM, LENGTH), answers, Drops())
    longest = max(len(row.tree.sequences[0].ids) for row in rows)
    first, _ = with_mismatches(rows, longest)
    assert first.mismatched is not None and len(first.mismatched.sequences[0].ids) == longest


def test_mismatches_need_two_prompts() -> None:
    rows = labelled_rows(Encoder(FORM, LENGTH), [answer("a", "one"), answer("b", "two")], Drops())
    with pytest.raises(UserError, match="every row has the same prompt"):
        with_mismatches(rows, LENGTH)


def read(folder: Path, objective: Objective, name: str, rows: list[Noun], **changes: object) -> list[Row]:
    (folder / name).write_text("".join(row.model_dump_json() + "\n" for row in rows))
    fields = {"model": "m", "rows": "step", "objective": objective, "max_length": LENGTH, **changes}
    return read_training_rows(TrainConfig.model_validate(fields), folder, FORM, Drops())


def test_each_objective_reads_its_rows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows: step step makes no dialogues\.jsonl, which objective sft learns from"):
        read(tmp_path, SFT(), "pairs.jsonl", [PAIR])
    assert [row.mismatched for row in read(tmp_path, DPO(), "pairs.jsonl", [PAIR])] == [None]
    two = [PAIR, pair("other", prompt=(Message(role="user", content="why?"),))]
    assert all(len(row.tree.sequences) == 2 and row.mismatched for row in read(tmp_path, KTO(), "pairs.jsonl", two))
    labelled: list[Noun] = [answer("a", "one"), answer("b", "two", "why?")]
    rows = read(tmp_path, KTO(), "labelled_answers.jsonl", labelled)
    assert all(len(row.tree.sequences) == 1 and row.mismatched for row in rows)
    [row] = read(tmp_path, SFT(scored="all"), "dialogues.jsonl", [dialogue("d", "Hi", "Bye")])
    assert all(row.tree.sequences[0].scored[1:])


def test_too_many_unfit_rows_stop_the_step(tmp_path: Path) -> None:
    rows: list[Noun] = [PAIR, pair("empty", chosen=" "), pair("same", rejected=FOX)]
    sentence = r"2 of 3 rows cannot be learned from \(1 empty answer, 1 chosen and rejected are the same\), more than "
    with pytest.raises(UserError, match=sentence + r"max_dropped_share 0\.5 allows"):
        read(tmp_path, DPO(), "pairs.jsonl", rows)
    assert len(read(tmp_path, DPO(), "pairs.jsonl", rows, max_dropped_share=0.7)) == 1
    with pytest.raises(UserError, match="more than max_dropped_share 0 allows"):
        read(tmp_path, DPO(), "pairs.jsonl", [*rows[:1], *rows], max_dropped_share=0.0)


def test_a_dialogue_that_the_template_rejects_is_named(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("{% if messages|length > 2 %}{{ raise_exception('too long') }}{% endif %}"
                               "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
                               "{% if add_generation_prompt %}<assistant>{% endif %}")  # fmt: skip
    with pytest.raises(UserError, match="row d: the chat template rejects a dialogue: too long"):
        dialogue_rows(Encoder(ChatFormat(tokenizer), LENGTH), [dialogue("d", "Hi", "Bye", "Why?", "So")], Drops())
