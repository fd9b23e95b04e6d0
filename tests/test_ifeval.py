"""IFEval: each of the 25 instructions, strict and loose readings, the four numbers, and what is left out and named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.cli import main
from favonius.data.checks import Drops
from favonius.data.raw import RawRow
from favonius.errors import UserError
from favonius.evals.ifeval import rows
from favonius.evals.ifeval.catalogue import BAD_PARAMETERS, UNKNOWN, AnyInstruction, UnfitInstructionError
from favonius.evals.ifeval.catalogue import instruction_of as instruction
from favonius.evals.ifeval.rows import answered
from favonius.evals.ifeval.score import follows, readings, result, score
from favonius.evals.ifeval.sentences import count_sentences
from favonius.evals.ifeval.wording import capital_words

Case = tuple[str, dict[str, Any], str, str]
ENGLISH = "the river ran quietly past the old mill, and nobody in the village knew where it came from."

# Instruction, parameters, an answer that follows it, one that does not.
CASES: list[Case] = [
    ("keywords:existence", {"keywords": ["Mill", "sea"]}, "Windmills by the SEA.", "A mill by the lake."),
    ("keywords:frequency", {"keyword": "rain ", "frequency": 2, "relation": "at least"}, "Rain, rainbow.", "Rain."),
    ("keywords:frequency", {"keyword": "c++", "frequency": 1, "relation": "less than"}, "Just c.", "I know C++."),
    ("keywords:forbidden_words", {"forbidden_words": ["art"]}, "An artist starts.", "Modern Art!"),
    ("keywords:letter_frequency", {"letter": "Z", "let_frequency": 2, "let_relation": "at least"}, "Zz", "z"),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 1, "let_relation": "less than"}, "a", "# a"),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "A, BC d", "A b"),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH.capitalize()),
    ("change_case:english_capital", {}, ENGLISH.upper(), "DER FLUSS FLOSS LEISE AN DER ALTEN MÜHLE VORBEI."),
    ("change_case:english_lowercase", {}, ENGLISH, ENGLISH.capitalize()),
    ("change_case:english_lowercase", {}, ENGLISH, "la rivière coulait doucement devant le vieux moulin."),
    ("punctuation:no_comma", {}, "None; here.", "One, here."),
    ("language:response_language", {"language": "de"}, "Der Fluss floss leise an der alten Mühle vorbei.", ENGLISH),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "I don't.", "I do"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "One two.", "One two three."),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "One.", "One. Two."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One\n***\ntwo", "One\n\ntwo"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\nOne *** two\n***", "One *** *** two"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        'First.\n\n"then, second.',
        "First.\n\nThereafter second.",
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "One.\n\nThen two.",
        "One.\n\nThen two.\n\nThree.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [town]", "[name] and [to\nwn]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np. s. More.", "Bye. PS: more."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P. P. S. More", "P.S. More"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "Two:\n* one\n  - two", "* one\n* two\n* three"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* one\n** no", "**bold** only"),
    ("detectable_format:constrained_response", {}, "Well. My answer is maybe.", "My answer is perhaps."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and ** **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "PART", "num_sections": 2},
        "PART 1 a\nPART 2 b",
        "PART one\nPART 2",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1, null]}\n```', '{"a": 1,}'),
    ("detectable_format:json_format", {}, "[]", "[" * 100_000),
    ("detectable_format:title", {}, "<<A walk>>\nIt was ...", "<< >>\n<A walk>"),
    ("combination:two_responses", {}, "One.\n******\nTwo.\n******", "One.\n******\n One. "),
    ("combination:two_responses", {}, "a******b", "a******b******c"),
    ("combination:two_responses", {}, "******a******b", "a************b"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it. "}, " say it. It.", "It. Say it."),
    ("startend:end_checker", {"end_phrase": "The end. "}, 'So. the END."', "The end. Or not."),
    ("startend:quotation", {}, '\n"Quoted."\n', '"Quoted" once.'),
    ("startend:quotation", {}, '""', '"'),
]


@pytest.mark.parametrize(("name", "parameters", "following", "failing"), CASES)
def test_each_instruction_knows_who_follows_it(
    name: str, parameters: dict[str, Any], following: str, failing: str
) -> None:
    check = instruction(name, parameters)
    assert follows(check, [following])
    assert not follows(check, [failing])
    assert not follows(check, ["", " \n"])


def test_all_25_are_in_the_table() -> None:
    kinds = get_args(get_args(AnyInstruction)[0])
    assert {name for name, *_ in CASES} == {kind.model_fields["id"].default for kind in kinds}
    assert len(kinds) == 25


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("No stop at all", 1),
        ("One. Two! Three?", 3),
        ('He said "go." She went.', 2),
        ("Dr. Smith met Mr. Jones.", 1),
        ("At 5 p.m. The bells rang.", 2),
        ("It costs 3.50 in the U.S. today.", 1),
        ("Wait... no, go on.", 1),
        ("Wait... The end.", 2),
        ("J. Austen wrote it.", 1),
        ("1. First\n2. Second", 3),  # as Punkt has it: the number's full stop ends a sentence
        ("Really?! Yes.", 2),
        ("Apples, pears etc. are fruit.", 2),  # Punkt does not know "etc."
    ],
)
def test_sentences_are_counted_as_by_punkt(text: str, count: int) -> None:
    assert count_sentences(text) == count


@given(st.lists(st.sampled_from(["The cat sat down", "Is it so", "We saw 7 ships"]), min_size=1, max_size=8))
def test_plain_sentences_add_up(sentences: list[str]) -> None:
    assert count_sentences(" ".join(f"{sentence}." for sentence in sentences)) == len(sentences)
    assert count_sentences("\n".join(f"{sentence}?" for sentence in sentences)) == len(sentences)


@pytest.mark.parametrize(
    ("text", "count"),
    [("I DON'T", 3), ("WELL-BEING AND/OR U.S.", 3), ('(NASA), "ESA": 9,000', 2), ("CANNOT", 2), ("Ab aB 12 --", 0)],
)
def test_capital_words_are_parted_as_by_the_treebank(text: str, count: int) -> None:
    assert capital_words(text) == count


@given(st.text(st.sampled_from("ab*\n ")))
def test_eight_readings_of_which_the_first_is_the_answer(text: str) -> None:
    found = readings(text)
    assert len(found) == 8 and found[0] == text
    assert not any("*" in reading for reading in found[4:])


@settings(deadline=None)  # langdetect reads its tables at the first call
@given(st.sampled_from(CASES), st.text(st.sampled_from('aB.,*\n["-')))
def test_what_is_strictly_followed_is_loosely_followed(case: Case, text: str) -> None:
    name, parameters, following, _ = case
    scored = score(answered([_prompt("p", [name], [parameters])], [_response("p", text or following)], Drops())[0])
    assert all(loose or not strict for strict, loose in zip(scored.strict, scored.loose, strict=True))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["\n", "* ", "[", "<", "(", "a.", "P."])
def test_a_looping_answer_is_no_trap(piece: str) -> None:
    """A search whose time grows with the square of the length would not end here."""
    for name, parameters, *_ in CASES:
        if name != "language:response_language":  # langdetect reads the first 10,000 characters
            instruction(name, parameters).followed_by(piece * 3_000 + "x")


def test_four_numbers_over_prompts_and_instructions() -> None:
    prompts = [
        _prompt("one", ["punctuation:no_comma", "startend:quotation"], [{}, {}]),
        _prompt("two", ["detectable_format:title"], [{"keywords": None}]),
    ]
    # The first keeps one of two; the second both ways; loosely the first line, which has the comma, is forgiven.
    responses = [_response("two", "<<T>>"), _response("one", 'Sure, here:\n"Quoted."')]
    found = result(list(map(score, answered(prompts, responses, Drops()))))
    assert found["strict"] == {"prompt": 50.0, "instruction": pytest.approx(33.3333)}
    assert found["loose"] == {"prompt": 100.0, "instruction": 100.0}
    assert [item["prompt"] for item in found["items"]] == ["one", "two"]
    assert found["items"][0] == {
        "key": None,
        "prompt": "one",
        "instructions": ["punctuation:no_comma", "startend:quotation"],
        "strict": False,
        "loose": True,
        "per_instruction_strict": [False, False],
        "per_instruction_loose": [True, True],
    }
    low, high = found["intervals"]["loose"]["prompt"]
    assert low < 100 and high == 100
    assert found["by_instruction"]["startend:quotation"] == {"n": 1, "strict": 0.0, "loose": 100.0}


@pytest.mark.parametrize(
    ("name", "parameters", "cause"),
    [
        ("punctuation:no_full_stop", {}, UNKNOWN),
        ("length_constraints:number_words", {"num_words": 3}, BAD_PARAMETERS),
        ("length_constraints:number_words", {"num_words": 3, "relation": "at most"}, BAD_PARAMETERS),
        ("length_constraints:number_words", {"num_words": -1, "relation": "at least"}, BAD_PARAMETERS),
        ("punctuation:no_comma", {"num_words": 3}, BAD_PARAMETERS),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, BAD_PARAMETERS),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"},
            BAD_PARAMETERS,
        ),
    ],
)
def test_an_instruction_that_cannot_be_checked_is_named(name: str, parameters: dict[str, Any], cause: str) -> None:
    with pytest.raises(UnfitInstructionError, match=name) as caught:
        instruction(name, parameters)
    assert caught.value.cause == cause


def test_what_is_not_scored_is_counted_by_its_cause() -> None:
    fine = _prompt("fine", ["startend:quotation"], [None])
    prompts = [
        fine,
        fine,
        _prompt("alone", ["startend:quotation"], [{}]),
        _prompt("odd", ["no:such"], [{}]),
        _prompt("uneven", ["startend:quotation"], [{}, {}]),
        _prompt("empty", [], []),
    ]
    texts = [("fine", '"a"'), ("fine", "b"), ("odd", "a"), ("stray", "a"), ("alone", None)]
    left_out = Drops()
    ready = answered(prompts, [_response(*text) for text in texts], left_out)
    assert [(one.task.prompt, one.answer) for one in ready] == [("fine", '"a"')]
    assert dict(left_out.counts) == {
        rows.PROMPT_AGAIN: 1,
        UNKNOWN: 1,
        rows.UNEQUAL: 1,
        rows.NOTHING_ASKED: 1,
        rows.ANSWER_AGAIN: 1,
        rows.NO_TEXT: 1,
        rows.NO_PROMPT: 1,
        rows.NO_ANSWER: 1,
    }
    assert left_out.samples[rows.NO_PROMPT] == ["stray"]


@pytest.mark.parametrize(
    ("prompt", "response", "told"),
    [
        ({"prompt": "p"}, {"prompt": "p", "response": "a"}, "instruction_id_list"),
        ({"prompt": "p", "instruction_id_list": [1], "kwargs": [{}]}, {"prompt": "p", "response": "a"}, "names"),
        ({"prompt": "p", "instruction_id_list": ["x"], "kwargs": [3]}, {"prompt": "p", "response": "a"}, "objects"),
        ({"prompt": "p", "instruction_id_list": [], "kwargs": []}, {"prompt": "p"}, "response is missing"),
        ({"instruction_id_list": [], "kwargs": []}, {"prompt": "p", "response": "a"}, "prompt is missing"),
    ],
)
def test_rows_of_another_kind_are_refused(prompt: dict[str, Any], response: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        answered([RawRow("p.jsonl, line 1", prompt)], [RawRow("r.jsonl, line 1", response)], Drops())


def test_a_few_rows_of_another_kind_are_counted_and_named() -> None:
    left_out = Drops()
    asked = [_prompt("p", ["startend:quotation"], [{}]), RawRow("p.jsonl, line 2", {"prompt": None})]
    said = [
        RawRow("r.jsonl, line 1", {"prompt": "q"}),
        _response("p", "a"),
        RawRow("r.jsonl, line 3", {"response": "b"}),
    ]
    assert [one.task.prompt for one in answered(asked, said, left_out)] == ["p"]
    assert left_out.counts == {rows.STRANGE: 3}
    assert [sample.partition(":")[0] for sample in left_out.samples[rows.STRANGE]] == [
        "p.jsonl, line 2",
        "r.jsonl, line 1",
        "r.jsonl, line 3",
    ]


def test_the_command_prints_one_document_and_names_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts, responses = tmp_path / "p.jsonl", tmp_path / "r.jsonl"
    asked = [_prompt("p", ["startend:quotation"], [{}]), _prompt("q", ["startend:quotation"], [{}])]
    prompts.write_text("".join(json.dumps(row.value) + "\n" for row in asked))
    responses.write_text(json.dumps(_response("p", '"a"').value) + "\n")
    files = ["eval", "ifeval", "score", "--prompts", str(prompts), "--responses", str(responses)]
    assert main([*files, "--json", "-"]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    assert found["strict"] == found["loose"] == {"prompt": 100.0, "instruction": 100.0}
    assert found["left_out"] == {rows.NO_ANSWER: 1} and found["left_out_samples"] == {rows.NO_ANSWER: ["q"]}
    assert "a prompt without a response × 1, such as q" in error
    assert main(files) == 0
    assert "1 prompt with 1 instruction" in capsys.readouterr().out
    responses.write_text(responses.read_text() + '{"prompt": "q", "resp\n')
    assert main([*files, "--json", str(tmp_path / "found.json")]) == 0
    lost = json.loads((tmp_path / "found.json").read_text())["lost"]
    assert lost[str(responses)]["lost_rows"] == 1 and "1 row" in capsys.readouterr().err
    responses.write_text(json.dumps(_response("r", "a").value) + "\n")
    assert main(files) == 2
    assert "can be scored" in capsys.readouterr().err


DATA = Path(os.environ.get("FAVONIUS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "ifeval"


@pytest.mark.skipif(not DATA.is_dir(), reason="FAVONIUS_TEST_DATA names no folder with IFEval")
def test_gpt4_scores_what_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    """540 of the 541 prompts. lm-eval's checker (0.4.13) gives these counts too, instruction by instruction."""
    paths = ["--prompts", str(DATA / "input_data.jsonl"), "--responses", str(DATA / "responses_gpt4.jsonl")]
    assert main(["eval", "ifeval", "score", *paths, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == {"prompts": 540, "instructions": 832} and not found["left_out"]
    assert found["strict"]["prompt"] == pytest.approx(76.89, abs=0.6)
    assert found["strict"]["instruction"] == pytest.approx(83.57, abs=0.6)
    assert found["loose"]["prompt"] == pytest.approx(79.30, abs=0.6)
    assert found["loose"]["instruction"] == pytest.approx(85.37, abs=0.6)
    items = found["items"]
    assert (sum(item["strict"] for item in items), sum(item["loose"] for item in items)) == (417, 431)
    assert sum(map(sum, (item["per_instruction_strict"] for item in items))) == 697
    assert sum(map(sum, (item["per_instruction_loose"] for item in items))) == 713


def _prompt(prompt: str, names: list[str], parameters: list[Any]) -> RawRow:
    return RawRow(prompt, {"prompt": prompt, "instruction_id_list": names, "kwargs": parameters})


def _response(prompt: str, text: str | None) -> RawRow:
    return RawRow(prompt, {"prompt": prompt, "response": text})
