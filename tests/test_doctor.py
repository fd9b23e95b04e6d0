"""The doctor: every fault that is planted is found and counted, and it drops what training drops."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.chat.format import ChatFormat
from favonius.cli import main
from favonius.data import convert, preferences, turns
from favonius.data.benchmarks_known import EvaluationText
from favonius.data.checks import Drops
from favonius.data.decontaminate import EvaluationIndex
from favonius.data.near_duplicates import ExactDuplicateIndex
from favonius.data.raw import RawRow
from favonius.data.rows import read_rows, write_rows
from favonius.data.sources import open_rows
from favonius.doctor import examine
from favonius.doctor.characters import Characters
from favonius.doctor.diagnosis import Diagnosis, Finding, Sample
from favonius.doctor.examine import Source, diagnose
from favonius.doctor.kinds import KINDS, UNFIT_ON_READING
from favonius.doctor.measure import Measure, Measured
from favonius.doctor.numbers import Numbers
from favonius.doctor.paint import Paint
from favonius.doctor.sums import Limits
from favonius.doctor.text import text
from favonius.doctor.texts import Against
from favonius.doctor.tokens import Tokens
from favonius.doctor.views import Placed
from favonius.errors import UserError
from favonius.train import rows as training
from favonius.train.config import TrainConfig
from favonius.train.objectives import DPO, SFT
from favonius.train.rows import Encoder, labelled_rows, read_training_rows
from favonius.types import Dialogue, LabelledAnswer, Message, Noun, Pair
from tests.row_files import lines
from tests.tiny import tiny_tokenizer

LENGTH = 130
FORM = ChatFormat(tiny_tokenizer())
FOX = "the quick brown fox "
LONG = " ".join(f"fox{number}" for number in range(60))
NOTHING_ELSE = Against()
PLAIN = Paint(colours=False)


def tokens(truncation: str = "drop", form: ChatFormat = FORM) -> Tokens:
    return Tokens(Encoder(form, LENGTH, truncation))  # type: ignore[arg-type]


def limits(truncation: str = "drop") -> Limits:
    return Limits(LENGTH, truncation)  # type: ignore[arg-type]


def diagnosed(
    rows: Sequence[dict[str, Any]], measure: Measure | None = None, against: Against = NOTHING_ELSE, **changes: Any
) -> Diagnosis:
    placed = [RawRow(f"rows.jsonl, line {number}", row) for number, row in enumerate(rows, start=1)]
    return diagnose(Source("rows.jsonl", placed), measure or tokens(**changes), against, limits(**changes))


def told(diagnosis: Diagnosis) -> dict[str, list[int]]:
    """Of each kind, the lines on which it was found."""
    return {finding.kind: [int(place.split()[-1]) for place in finding.places] for finding in diagnosis.findings}


def finding(diagnosis: Diagnosis, kind: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.kind == kind)


def talk(*contents: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)], **more}


def pair(prompt: str, chosen: str = "yes", rejected: str = "no", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def with_role(role: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "who?"}, {"role": role, "content": "me"}]}


DIALOGUES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (talk("a question", "an answer"), ()),
    (with_role("wizard"), ("unknown_role",)),
    ({"messages": 3}, ("malformed",)),
    (with_role("user"), ("role_order",)),
    ({"messages": []}, ("no_answer",)),
    (with_role("tool"), ("unsupported",)),
    (talk("nothing", " "), ("empty_answer",)),
    (talk("stop", "here</s>there"), ("control_token",)),
    (talk(LONG, "yes"), ("prompt_over_long",)),
    (talk("run", LONG), ("over_long",)),
    (talk("one", "two", "", "four"), ("empty_message",)),
    (talk("A  Question", "an ANSWER"), ("duplicate_row",)),
    (talk("a question", "another answer"), ("duplicate_prompt",)),
    (talk("A question!", "held out", split="test"), ("leakage",)),
    (talk("what is left", "an answer", "and then?"), ("unanswered_end",)),
    (talk("poem", "it goes round and round. " * 3), ("loop",)),
    (talk("go on", "well.\nUser: more"), ("leak",)),
    (talk("feel?", "As an AI language model, I have no feelings."), ("refusal",)),
    (talk("why", "so", "thanks", "You are welcome!"), ("politeness",)),
    (talk("in the other file", "an answer"), ("leakage",)),
    (talk("the words of the benchmark", "an answer"), ("contamination",)),
    (
        {"messages": [{"role": "assistant", "content": "so"}, *talk("who asked", "I did")["messages"]]},
        ("unasked_start",),
    ),
]
PAIRS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (pair("a question"), ()),
    (pair("a question", "perhaps"), ("prompt_again",)),
    (pair("same?", "the fox", "the fox"), ("identical_pair",)),
    (pair("none?", "", "the fox"), ("empty_answer",)),
    (pair("long?", LONG), ("over_long",)),
    (pair(LONG), ("prompt_over_long",)),
    (pair("worse?", chosen_score=1.0, rejected_score=2.0), ("score_order",)),
    (pair("tie?", chosen_score=2, rejected_score=2), ("tied_scores",)),
    (
        {"chosen": talk("x", "y", "z", "1")["messages"], "rejected": talk("x", "w", "z", "2")["messages"]},
        ("unlike_prompts",),
    ),
    (pair("cut?", LONG + "a", LONG + "b"), ("over_long",)),
]


def held_out(*prompts: str) -> ExactDuplicateIndex:
    index = ExactDuplicateIndex()
    for number, prompt in enumerate(prompts):
        index.add(prompt, f"test.jsonl, row {number}")
    return index


def planted(rows: Sequence[tuple[dict[str, Any], tuple[str, ...]]]) -> dict[str, list[int]]:
    kinds: dict[str, list[int]] = {}
    for number, (_, found) in enumerate(rows, start=1):
        for kind in found:
            kinds.setdefault(kind, []).append(number)
    return kinds


def test_every_planted_fault_of_a_dialogue_is_found_where_it_is() -> None:
    benchmark = EvaluationIndex([EvaluationText("mine", "7", "the words of the benchmark")])
    against = Against(held_out("In the other file"), benchmark)
    diagnosis = diagnosed([row for row, _ in DIALOGUES], against=against)
    assert told(diagnosis) == planted(DIALOGUES)
    assert (diagnosis.found.read, diagnosis.found.usable) == (len(DIALOGUES), len(DIALOGUES) - 5)
    assert diagnosis.found.dropped == {turns.SAME_TWICE: 1, turns.NO_MESSAGES: 1, turns.USES_TOOLS: 1}
    assert diagnosis.training is not None
    assert diagnosis.training.dropped == {
        training.NO_TEXT: 1,
        training.CONTROL_TOKEN: 1,
        training.prompt_too_long(LENGTH): 1,
        training.too_long(LENGTH): 1,
    }
    assert (diagnosis.training.kept, diagnosis.training.held_out) == (13, 1)
    samples = {found.kind: found.sample for found in diagnosis.findings}
    assert samples["contamination"] == "messages[0] holds of mine 7: the words of the benchmark"
    assert samples["duplicate_row"] == "as rows.jsonl, line 1: A Question"
    assert "wizard" in samples["unknown_role"] and "no feelings" in samples["refusal"]
    assert "</s>" in samples["control_token"] and samples["empty_message"].endswith("message 3, of the user, is empty")


def test_every_planted_fault_of_a_pair_is_found_where_it_is() -> None:
    diagnosis = diagnosed([row for row, _ in PAIRS])
    assert told(diagnosis) == planted(PAIRS)
    cut = diagnosed([row for row, _ in PAIRS], truncation="keep_start")
    assert told(cut) == {
        **{kind: lines for kind, lines in planted(PAIRS).items() if kind != "over_long"},
        "cut": [5],
        "identical_after_truncation": [10],
    }
    assert cut.training is not None and cut.training.dropped[training.SAME_CUT] == 1


def test_other_shapes_have_faults_of_their_own() -> None:
    def feedback(prompt: str, *rated: tuple[str, float | None]) -> dict[str, Any]:
        answers = [{"model": "m", "response": text, "overall_score": score} for text, score in rated]
        return {"instruction": prompt, "completions": answers}

    rows = [
        feedback("ordered?", ("a", 1), ("b", 2)),
        feedback("tied?", ("a", 2), ("b", 2)),
        feedback("unscored?", ("a", None), ("b", 2)),
        feedback("empty?", ("a", 1), ("", 2)),
    ]
    diagnosis = diagnosed(rows)
    assert told(diagnosis) == {"empty_answer": [4], "no_order": [2, 3]}
    assert diagnosis.training is None and "a pair made with such an answer" in finding(diagnosis, "empty_answer").effect
    labelled = [{"prompt": "q", "completion": text, "label": True} for text in ("", "yes", "yes")]
    assert told(diagnosed(labelled)) == {"empty_answer": [1], "prompt_again": [2], "duplicate_row": [3]}
    prompts = [{"prompt": text} for text in ("why?", "Why?", "</s>", LONG)]
    assert told(diagnosed(prompts)) == {"control_token": [3], "prompt_over_long": [4], "duplicate_prompt": [2]}


def test_near_duplicates_are_looked_for_when_asked() -> None:
    prompt = "please explain in a few simple words how the tides of the sea come about"
    rows = [talk(prompt, "the moon"), talk(prompt + " today", "the moon does"), talk("something else", "yes")]
    assert told(diagnosed(rows)) == {}
    assert told(diagnosed(rows, against=Against(near=True))) == {"near_duplicate_prompt": [2]}


def test_without_a_tokenizer_the_texts_are_checked_and_the_rest_is_named() -> None:
    diagnosis = diagnosed([row for row, _ in DIALOGUES], Characters())
    needs_tokens = ("control_token", "prompt_over_long", "over_long")
    elsewhere = {"contamination": [21], "leakage": [20]}  # nothing was given to compare with
    assert told(diagnosis) == {
        kind: left
        for kind, lines in planted(DIALOGUES).items()
        if kind not in needs_tokens and (left := [line for line in lines if line not in elsewhere.get(kind, [])])
    }
    assert diagnosis.training is None
    assert diagnosis.unchecked == ("tokens", "held_out", "benchmarks", "near_duplicates")
    assert diagnosis.lengths is not None and diagnosis.lengths.unit == "characters"
    assert told(diagnosed([row for row, _ in PAIRS], Characters()))["identical_pair"] == [3]


def test_a_template_that_rewrites_earlier_turns_is_found() -> None:
    rewriting = (
        "{% for m in messages %}{{ '<|' + m.role + '|>' + (m.content if loop.revindex0 < 2 else '') + eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    rows = [talk("a", "b"), talk("a", "b", "c", "d")]
    diagnosis = diagnosed(rows, tokens(form=ChatFormat(tiny_tokenizer(rewriting))))
    assert told(diagnosis)["template"] == [2]
    assert diagnosis.training is not None
    assert (diagnosis.training.kept, diagnosis.training.stops) == (1, ("the chat template rejects a row",))


WORDS = st.sampled_from(["", " ", "the fox", "the fox", "a question?", FOX * 2, LONG, LONG + " a", "Bye</s>"])
ASKED = st.lists(st.tuples(WORDS, WORDS), max_size=2)


def conversation(asked: Sequence[tuple[str, str]], last: str) -> tuple[Message, ...]:
    said = [text for exchange in asked for text in exchange] + [last]
    roles = ("user", "assistant")
    return tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(said))  # type: ignore[arg-type]


def answered(messages: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    return (*messages, Message(role="assistant", content=text))


def examined(path: Path, rows: Sequence[Noun], truncation: str) -> tuple[Diagnosis, list[Measured]]:
    """The file, and each row by itself."""
    diagnosis = diagnose(Source(str(path), open_rows(str(path))), tokens(truncation), NOTHING_ELSE, limits(truncation))
    placed = [Placed(str(number), row) for number, row in enumerate(rows)]  # type: ignore[arg-type]
    return diagnosis, list(tokens(truncation).measured(placed))


def agrees(
    diagnosis: Diagnosis, measured: list[Measured], rows: Sequence[Any], kept: list[training.Row], drops: Drops
) -> None:
    assert diagnosis.training is not None
    assert dict(diagnosis.training.dropped) == dict(drops.counts)
    assert [row.id for row, one in zip(rows, measured, strict=True) if one.kept] == [row.id for row in kept]
    learned = [row for row in kept if row.split == "train"]
    assert diagnosis.training.kept == len(kept)
    assert diagnosis.training.held_out == len(kept) - len(learned)
    assert diagnosis.training.tokens == sum(row.tree.logical_tokens for row in learned)
    assert diagnosis.training.trained_tokens == sum(
        sequence.scored_tokens for row in learned for sequence in row.tree.sequences
    )


def config(objective: Any, truncation: str) -> TrainConfig:
    return TrainConfig(model="m", rows="rows", objective=objective, max_length=LENGTH, truncation=truncation,
                       max_dropped_share=1.0)  # type: ignore[arg-type]  # fmt: skip


EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TRUNCATIONS = st.sampled_from(["drop", "keep_start"])
SPLITS = st.sampled_from(["train", "test"])


@EXAMPLES
@given(said=st.lists(st.tuples(ASKED, WORDS, WORDS, SPLITS), max_size=6), truncation=TRUNCATIONS)
def test_dialogues_are_dropped_as_training_drops_them(said: list[Any], truncation: str, tmp_path: Path) -> None:
    said = [([], "a question?", "an answer", "train"), *said]
    rows = [
        Dialogue(id=f"row {number}", split=split, messages=answered(conversation(asked, question), answer))
        for number, (asked, question, answer, split) in enumerate(said)
    ]
    write_rows(tmp_path / "dialogues.jsonl", rows)
    drops = Drops()
    kept = read_training_rows(config(SFT(), truncation), tmp_path, FORM, drops)
    agrees(*examined(tmp_path / "dialogues.jsonl", rows, truncation), rows, kept, drops)


@EXAMPLES
@given(said=st.lists(st.tuples(ASKED, WORDS, WORDS, WORDS, st.booleans(), SPLITS), max_size=6), truncation=TRUNCATIONS)
def test_pairs_are_dropped_as_training_drops_them(said: list[Any], truncation: str, tmp_path: Path) -> None:
    said = [([], "a question?", "yes", "no", True, "train"), *said]
    rows = [
        Pair(id=f"row {number}", split=split, prompt=conversation(asked, question), chosen=chosen, rejected=rejected,
             rejected_finished=finished)
        for number, (asked, question, chosen, rejected, finished, split) in enumerate(said)
    ]  # fmt: skip
    write_rows(tmp_path / "pairs.jsonl", rows)
    drops = Drops()
    kept = read_training_rows(config(DPO(), truncation), tmp_path, FORM, drops)
    agrees(*examined(tmp_path / "pairs.jsonl", rows, truncation), rows, kept, drops)


@EXAMPLES
@given(said=st.lists(st.tuples(ASKED, WORDS, WORDS, st.booleans(), st.booleans()), max_size=6), truncation=TRUNCATIONS)
def test_labelled_answers_are_dropped_as_training_drops_them(said: list[Any], truncation: str, tmp_path: Path) -> None:
    said = [([], "a question?", "yes", True, True), *said]
    rows = [
        LabelledAnswer(id=f"row {number}", split="train", prompt=conversation(asked, question), text=answer,
                       desirable=desirable, finished=finished)
        for number, (asked, question, answer, desirable, finished) in enumerate(said)
    ]  # fmt: skip
    path = tmp_path / "labelled_answers.jsonl"
    write_rows(path, rows)
    drops = Drops()
    kept = labelled_rows(Encoder(FORM, LENGTH, truncation), read_rows(path, LabelledAnswer), drops)  # type: ignore[arg-type]
    agrees(*examined(path, rows, truncation), rows, kept, drops)


def test_every_cause_of_a_drop_has_its_kind() -> None:
    """What `data` and `train.rows` may raise, read from their source."""
    for module in (turns, convert, preferences):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UnfitRowError":
                assert UNFIT_ON_READING[getattr(module, node.args[0].id)] in KINDS  # type: ignore[attr-defined]
    known = tokens()._kinds
    for node in ast.walk(ast.parse(inspect.getsource(training))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UnfitError":
            [cause] = node.args
            raised = getattr(training, cause.id if isinstance(cause, ast.Name) else cause.func.id)  # type: ignore[attr-defined]
            if raised in (training.NO_SCORE, training.ONE_ANSWER, training.ALL_EQUAL):
                continue  # of feedback the doctor makes no training rows: it has to be made into pairs, or a reward's
            assert known[raised if isinstance(raised, str) else raised(LENGTH)] in KINDS


def test_rows_are_examined_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than a chunk of rows, and those that told the shape, are ahead of what was measured."""
    monkeypatch.setattr(examine, "CHUNK_ROWS", 10)
    read = measured = 0

    class Counting(Characters):
        def measured(self, rows: Sequence[Placed]) -> Iterator[Measured]:
            nonlocal measured
            assert len(rows) <= 10 and read - measured <= examine.LOOKED_AT + 10
            measured += len(rows)
            return super().measured(rows)

    def rows() -> Iterator[RawRow]:
        nonlocal read
        for number in range(3000):
            read += 1
            yield RawRow(f"big.jsonl, line {number}", talk(f"question {number % 1000}", f"answer {number}"))

    diagnosis = diagnose(Source("big.jsonl", rows()), Counting(), NOTHING_ELSE, Limits())
    assert (diagnosis.found.read, measured) == (3000, 3000)
    repeated = finding(diagnosis, "duplicate_prompt")
    assert (repeated.count, len(repeated.places), repeated.places[0]) == (2000, 5, "big.jsonl, line 1000")


def test_a_broken_file_is_examined_up_to_its_break_and_beyond_it_on_request(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines([talk("a", "b")]) + b'{"messages": [\n' + lines([talk("c", "d")]))
    refused = diagnose(Source(str(path), open_rows(str(path))), tokens(), NOTHING_ELSE, limits())
    assert (refused.found.read, [found.kind for found in refused.findings]) == (1, ["broken_file"])
    assert "line 2" in refused.found.refusal
    source = Source(str(path), (), None)
    salvaged = diagnose(
        Source(str(path), open_rows(str(path), salvage=True, losses=source.losses), None, source.losses),
        tokens(), NOTHING_ELSE, limits(),
    )  # fmt: skip
    assert (salvaged.found.read, salvaged.found.refusal) == (2, "")
    assert finding(salvaged, "broken_file").count == 1 and "1 row" in salvaged.found.losses[0]


def marked(sample: Sample) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(part.name, [(span.mark, span.text) for span in part.spans]) for part in sample.parts]


def test_a_dialogue_is_shown_as_the_model_sees_it() -> None:
    diagnosis = diagnosed([talk("Hi ünï", "Hello", "More?", "No")])
    [sample] = diagnosis.samples
    [(name, spans)] = marked(sample)
    assert name == "dialogue"
    whole = FORM.encode(answered(conversation([("Hi ünï", "Hello")], "More?"), "No"))
    assert FORM.decode(whole.ids).startswith("".join(said for _, said in spans))
    assert "".join(said for mark, said in spans if mark == "trained") == "Hello</s>No</s>"
    assert diagnosis.training is not None
    assert [part.tokens for part in sample.parts] == [diagnosis.training.tokens]


def test_a_pair_is_shown_with_its_prompt_once_and_where_its_answers_part() -> None:
    row = {**pair("", "the fox and hens", "the fox and geese"), "prompt": talk("a?", "b", "c?")["messages"]}
    [sample] = diagnosed([row]).samples
    parts = dict(marked(sample))
    assert list(parts) == ["prompt", "both begin", "chosen", "rejected"]
    assert ("masked", "b") in parts["prompt"] and ("masked", "</s>") in parts["prompt"]
    assert not any(mark == "trained" for mark, _ in parts["prompt"])
    answers = ["".join(said for _, said in parts[name]) for name in ("both begin", "chosen", "rejected")]
    assert answers[0] + answers[1] == "the fox and hens</s>" and answers[0] + answers[2] == "the fox and geese</s>"
    assert answers[0].startswith("the fox and")


def test_lengths_and_gaps_are_training_s_own() -> None:
    rows = [pair("q", "the fox", "no"), pair("r", "no", "the fox"), pair("s", LONG, "no"), pair("t", "so", "no")]
    diagnosis = diagnosed(rows)
    encoder = Encoder(FORM, 10_000)
    expected = [
        sequence for row in training.pair_rows(encoder, _pairs(rows), Drops()) for sequence in row.tree.sequences
    ]
    assert diagnosis.lengths is not None and diagnosis.lengths.trained is not None and diagnosis.gap is not None
    assert diagnosis.lengths.whole.sum == sum(len(sequence.ids) for sequence in expected)
    assert diagnosis.lengths.trained.sum == sum(sequence.scored_tokens for sequence in expected)
    assert diagnosis.lengths.over == 1
    gaps = [expected[i].scored_tokens - expected[i + 1].scored_tokens for i in range(0, 8, 2)]
    assert (diagnosis.gap.difference.sum, diagnosis.gap.longer) == (sum(gaps), sum(gap > 0 for gap in gaps))


def _pairs(rows: Sequence[dict[str, Any]]) -> list[Pair]:
    return [convert.convert(RawRow("x", row), "preference") for row in rows]  # type: ignore[misc]


@given(st.lists(st.integers(-500, 90_000), min_size=1))
def test_numbers_are_summed_up_rightly(values: list[int]) -> None:
    numbers = Numbers()
    for value in values:
        numbers.add(value)
    found = numbers.distribution()
    assert found is not None
    ordered = sorted(values)
    assert (found.least, found.most, found.sum, found.count) == (ordered[0], ordered[-1], sum(values), len(values))
    assert sum(value <= found.median for value in values) >= len(values) / 2 > sum(v < found.median for v in values) - 1
    assert sum(bin.count for bin in found.bins) == len(values)
    for bin in found.bins:
        low, high = (-(10**9) if bin.low is None else bin.low), (10**9 if bin.high is None else bin.high)
        assert bin.count == sum(low <= value < high for value in values)
    assert len(found.bins) <= 13 and found.bins[0].count and found.bins[-1].count


def test_text_tells_all_in_brackets_where_there_are_no_colours() -> None:
    against = Against(held_out("In the other file"))
    diagnosis = diagnosed([row for row, _ in DIALOGUES], against=against)
    plain = text(diagnosis, PLAIN)
    assert "\x1b" not in plain and "⟦an answer</s>⟧" in plain
    for found in diagnosis.findings:
        assert found.kind in plain and found.what in plain and found.effect in plain
    assert "rows.jsonl, line" not in plain, "the file is named once"
    assert plain.splitlines()[-1].startswith("rows.jsonl: 13 kinds of fault: unknown_role × 1, malformed × 1, ")
    coloured = text(diagnosis, Paint(colours=True))
    assert "⟦" not in coloured and "\x1b[32man answer\x1b[0m" in coloured
    assert "give --benchmarks" in plain and "give --test" not in plain


def test_long_rows_are_shown_by_their_ends() -> None:
    said = [part for number in range(30) for part in (f"question {number}", f"reply {number} " + "word " * 300)]
    measure = Tokens(Encoder(FORM, 100_000))
    plain = text(diagnosed([talk(*said)], measure), PLAIN)
    assert "question 0" in plain and "question 29" in plain and "question 14" not in plain
    assert "more characters …" in plain and max(map(len, plain.splitlines())) < 1000


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Only a tokenizer, with no weights beside it."""
    folder = tmp_path / "tokenizer"
    tiny_tokenizer(None).save_pretrained(folder)
    return str(folder)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_bytes(lines(rows))
    return str(path)


CLEAN = [talk("a question", "an answer"), talk("another question", "another answer")]


def test_a_clean_file_exits_with_0_and_a_faulty_one_with_1(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, faulty = write(tmp_path / "clean.jsonl", CLEAN), write(tmp_path / "faulty.jsonl", [*CLEAN, CLEAN[0]])
    tokenizer = ["--model", model, "--template", "zephyr"]
    assert main(["data", "check", clean, *tokenizer]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"{clean}: no faults" and "\x1b" not in out and not err
    assert main(["data", "check", clean, faulty, *tokenizer]) == 1
    assert f"{faulty}: 1 kind of fault: duplicate_row × 1" in capsys.readouterr().out
    assert main(["data", "check", faulty, "--limit", "2"]) == 0
    assert main(["data", "check", clean, "--test", faulty]) == 1
    assert main(["data", "check", clean, "--benchmarks", f"mine={clean}"]) == 1


def test_mistakes_of_the_user_exit_with_2(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    clean = write(tmp_path / "clean.jsonl", CLEAN)
    (tmp_path / "empty.jsonl").write_bytes(b"")
    mistakes = {
        "there is no such file": [str(tmp_path / "no.jsonl")],
        "there are no rows in it": [str(tmp_path / "empty.jsonl")],
        "did you mean sharegpt?": [clean, "--shape", "shargpt"],
        "--template needs --model": [clean, "--template", "zephyr"],
        "--max-length 3: must be 8 or more": [clean, "--model", model, "--max-length", "3"],
        "neither a folder that exists nor a hub id": [clean, "--model", "nowhere"],
        "has no tokenizer here": [clean, "--model", "api://gpt"],
        "has no chat template": [clean, "--model", model],
        "is no known benchmark": [clean, "--benchmarks", "nonsense"],
    }
    for sentence, arguments in mistakes.items():
        assert main(["data", "check", *arguments]) == 2, sentence
        out, err = capsys.readouterr()
        assert sentence in err and not out


def keys(value: Any) -> Any:
    """The shape of a JSON document: the fields of its objects."""
    match value:
        case dict():
            return {name: keys(item) for name, item in value.items()}
        case list():
            return [keys(value[0])] if value else []
    return None


def test_json_is_one_document_of_a_fixed_shape(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "pairs.jsonl", [row for row, _ in PAIRS])
    assert main(["data", "check", path, "--model", model, "--template", "zephyr", "--json"]) == 1
    out, _ = capsys.readouterr()
    document = json.loads(out)
    assert (document["schema"], document["faults"], len(document["files"])) == (1, True, 1)
    bins = [{"low": None, "high": None, "count": None}]
    sizes = ("count", "sum", "least", "median", "p90", "p99", "most")
    distribution = {**dict.fromkeys(sizes), "bins": bins}
    assert keys(document["files"][0]) == {
        "found": {**dict.fromkeys(("source", "shape", "in_words", "read", "usable", "refusal")), "losses": [],
                  "dropped": {preferences.DIFFER_EARLY: None}},
        "training": {**dict.fromkeys(("max_length", "truncation", "kept", "held_out", "tokens", "trained_tokens")),
                     "dropped": {training.SAME: None, training.EMPTY_ANSWER: None}, "stops": []},
        "samples": [{"place": None, "id": None, "parts": [
            {"name": None, "tokens": None, "spans": [{"text": None, "mark": None, "special": None}]}]}],
        "lengths": {"unit": None, "whole": distribution, "trained": distribution, "over": None},
        "turns": distribution,
        "gap": {"unit": None, "difference": distribution, "longer": None, "equal": None},
        "findings": [{**dict.fromkeys(("kind", "severity", "what", "effect", "count", "share", "sample")),
                      "places": [None]}],
        "unchecked": [None],
    }  # fmt: skip


def test_colours_are_for_terminals_that_want_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "clean.jsonl", CLEAN)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def coloured(*arguments: str) -> bool:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert main(["data", "check", path, *arguments]) == 0
        return "\x1b[" in capsys.readouterr().out

    assert coloured()
    assert not coloured("--no-color") and not coloured("--json")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured()


def test_without_a_model_nothing_heavy_is_imported(tmp_path: Path) -> None:
    path = write(tmp_path / "clean.jsonl", CLEAN)
    code = (
        "import sys\nfrom favonius.cli import main\nassert main(['data', 'check', sys.argv[1]]) == 0\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'xllamacpp'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_rows_and_unknown_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="there are no rows in it"):
        diagnosed([])
    with pytest.raises(UserError, match="no known shape"):
        diagnosed([{"turns": ["a", "b"]}])


def test_text_of_a_file_does_nothing_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps([talk("clear\x1b[2J half\r", "so\tbe it", id="\x1b]0;title\x07")]))
    assert main(["data", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "clear\\u001b[2J half\\u000d" in out and "so\tbe it" in out
    assert main(["data", "check", str(path), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["files"][0]["samples"]
    assert row["parts"][0]["spans"][0]["text"] == "clear\x1b[2J half\r"


def test_of_a_model_on_the_hub_only_the_tokenizer_is_fetched(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def download(repository: str, allow_patterns: Sequence[str], **_: object) -> str:
        fetched.extend([repository, *allow_patterns])
        return model

    monkeypatch.setattr("favonius.models.hub.snapshot_download", download)
    path = write(tmp_path / "clean.jsonl", CLEAN)
    assert main(["data", "check", path, "--model", "someone/model", "--template", "zephyr"]) == 0
    assert fetched[0] == "someone/model" and "*.json" in fetched and "*.safetensors" not in fetched
