"""The doctor: every fault that is planted is found and counted, and it drops what training drops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.chat.format import ChatFormat
from favonius.data import convert, turns
from favonius.data.benchmarks_known import EvaluationText
from favonius.data.checks import Drops
from favonius.data.decontaminate import EvaluationIndex
from favonius.data.near_duplicates import ExactDuplicateIndex
from favonius.data.raw import RawRow
from favonius.data.sources import open_rows
from favonius.doctor import examine
from favonius.doctor.characters import Characters
from favonius.doctor.diagnosis import Diagnosis, Sample
from favonius.doctor.examine import Source, diagnose
from favonius.doctor.measure import Measured
from favonius.doctor.numbers import Numbers
from favonius.doctor.paint import Paint
from favonius.doctor.sums import Limits
from favonius.doctor.text import text
from favonius.doctor.texts import Against
from favonius.doctor.tokens import Tokens
from favonius.doctor.views import Placed
from favonius.train import rows as training
from favonius.train.rows import Encoder
from favonius.types import Pair
from tests.diagnoses import (
    FORM,
    LENGTH,
    LONG,
    NOTHING_ELSE,
    PAIRS,
    PLAIN,
    answered,
    conversation,
    diagnosed,
    finding,
    limits,
    pair,
    talk,
    tokens,
)
from tests.row_files import lines
from tests.tiny import tiny_tokenizer


def told(diagnosis: Diagnosis) -> dict[str, list[int]]:
    """Of each kind, the lines on which it was found."""
    return {finding.kind: [int(place.split()[-1]) for place in finding.places] for finding in diagnosis.findings}


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
