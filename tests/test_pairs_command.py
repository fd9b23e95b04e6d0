"""`favonius pairs`, and the forms in which pairs leave and come back."""

from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius import files
from favonius.cli import main
from favonius.data.convert import convert
from favonius.data.exports import PAIR_FORMS, PairForm, exported
from favonius.data.raw import RawRow
from favonius.data.shapes import detect
from favonius.data.splits import split_of
from favonius.data.turns import UnfitRowError
from favonius.types import Feedback, Knowledge, Message, Messages, Pair, PairOrigin, Principle
from tests.row_files import lines

ASPECTS = ("helpfulness", "honesty")


def completion(model: str, overall: float | None, *ratings: object, text: str = "") -> dict[str, Any]:
    rated = zip(ASPECTS, ratings, strict=False)
    return {
        "model": model, "principle": "honesty", "custom_system_prompt": "Be honest.", "critique": "Fine.",
        "response": text or f"The answer of {model}.", "overall_score": overall,
        "annotations": {name: {"Rating": rating, "Rationale": "."} for name, rating in rated},
    }  # fmt: skip


def ultrafeedback(number: int, source: str = "flan") -> dict[str, Any]:
    return {
        "source": source, "instruction": f"Question {number}?", "models": ["a", "b", "c"],
        "completions": [
            completion("a", 9.0, "1", "2"),
            completion("b", 5.0, "5", "N/A", text="Longer than the other answers are."),
            completion("c", 2.0, "3", "3"),
        ],
        "correct_answers": ["Yes", "None"], "incorrect_answers": ["None"],
    }  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "feedback.jsonl"
    path.write_bytes(lines([*(ultrafeedback(number) for number in range(9)), ultrafeedback(9, "truthful_qa")]))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["pairs", *map(str, arguments), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_file_becomes_pairs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = file.with_name("pairs.jsonl")
    assert main(["pairs", str(file), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("9 pairs, of 10 prompts (best-vs-random, score both, seed 0)\n")
    assert "1 prompt gave none: prompt of truthful_qa" in said and f"9 rows: {out}" in said
    pairs = [Pair.model_validate(row) for row in rows_of(out)]
    assert {pair.chosen_source for pair in pairs} == {"a"} and {pair.rejected_source for pair in pairs} == {"b", "c"}
    assert pairs[0].origin is not None and pairs[0].origin.prompt_source == "flan"
    again = file.with_name("again.jsonl")
    assert main(["pairs", str(file), "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_a_full_disk_is_named_and_leaves_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "synced", full)
    out = file.with_name("pairs.jsonl")
    assert main(["pairs", str(file), "--out", str(out)]) == 1
    assert f"error: no space left on the disk that holds {out}; free some" in capsys.readouterr().err
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("options", "winner", "rejected"),
    [
        (["--score", "overall", "--rule", "best-vs-worst"], "a", {"c"}),
        (["--score", "aspects", "--rule", "best-vs-worst"], "b", {"a"}),
        (["--score", "honesty"], "c", {"a"}),
        (["--score", "helpfulness=1,honesty=3"], "b", {"a", "c"}),
        (["--rule", "margin", "--margin", "5"], "a", {"c"}),
        (["--rule", "length-matched", "--within", "0.05"], "a", {"c"}),
        (["--rule", "best_vs_other"], "a", {"b", "c"}),
    ],
)
def test_rules_and_scores(
    options: list[str], winner: str, rejected: set[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, file, "--out", file.with_name("pairs.jsonl"), *options)["pairs"]
    assert set(found["wins"]) == {winner} and set(found["losses"]) == rejected


def test_all_pairs_and_kept_sources(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = file.with_name("pairs.jsonl")
    found = told(capsys, file, "--out", out, "--rule", "all-pairs", "--keep-source", "truthful_qa")
    assert (found["pairs"]["kept"], found["pairs"]["dropped"]) == (30, {})
    assert len({row["id"] for row in rows_of(out)}) == 30


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl.gz", "rows.parquet"])
def test_any_container_gives_the_same_pairs(name: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [ultrafeedback(number) for number in range(9)]
    path = file.with_name(name)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines(rows)))
    elif name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows))
    one, other = file.with_name("one.jsonl"), file.with_name("other.jsonl")
    told(capsys, file, "--out", one)
    told(capsys, path, "--out", other)
    assert one.read_bytes() == other.read_bytes()


def test_held_out_rows_of_foreign_forms_have_a_file_of_their_own(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(lines([ultrafeedback(number) for number in range(60)]))
    out = file.with_name("pairs.jsonl")
    found = told(capsys, file, "--out", out, "--as", "trl", "--test-share", "0.3")
    train, test = rows_of(out), rows_of(file.with_name("pairs.test.jsonl"))
    assert len(train) + len(test) == 60 and 5 < len(test) == found["pairs"]["held out"]
    assert {split_of(row["prompt"][0]["content"], 0.3) for row in test} == {"test"}
    assert set(train[0]) == {"prompt", "chosen", "rejected"}
    own = file.with_name("own.jsonl")
    told(capsys, file, "--out", own, "--test-share", "0.3")
    assert sum(row["split"] == "test" for row in rows_of(own)) == len(test)


def test_pairs_that_a_form_cannot_hold_are_counted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    long = {**ultrafeedback(1), "instruction": None, "prompt": asked}
    file.write_bytes(lines([long, ultrafeedback(2)]))
    out = file.with_name("pairs.jsonl")
    assert main(["pairs", str(file), "--out", str(out), "--as", "argilla"]) == 0
    said = capsys.readouterr().out
    assert "1 pair left out, as the form cannot hold it: a prompt of several turns" in said and f"1 row: {out}" in said
    file.write_bytes(lines([long]))
    other = file.with_name("other.jsonl")
    assert main(["pairs", str(file), "--out", str(other), "--as", "argilla"]) == 2
    assert "no pair fits this form (a prompt of several turns)" in capsys.readouterr().err and not other.exists()


def test_benchmarks_are_found_by_their_text(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = file.with_name("questions.jsonl")
    asked = "Which of the planets in the solar system has the most moons?"
    questions.write_bytes(lines([{"question": asked}]))
    file.write_bytes(lines([ultrafeedback(1), {**ultrafeedback(2), "source": None, "instruction": asked.upper()}]))
    found = told(capsys, file, "--out", file.with_name("p.jsonl"), "--benchmarks", f"truthful_qa={questions}")
    assert found["pairs"]["dropped"] == {"prompt in truthful_qa": 1} and found["pairs"]["kept"] == 1


def test_rows_without_sources_are_told_apart_from_clean_ones(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pairs", str(file), "--compare"]) == 0
    assert "no row says" not in capsys.readouterr().out
    file.write_bytes(lines([{**ultrafeedback(1), "source": None}]))
    assert main(["pairs", str(file), "--compare"]) == 0
    assert "no row says where its prompt comes from, so prompts of truthful_qa may" in capsys.readouterr().out


def test_the_comparison_is_a_page_and_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pairs", str(file), "--compare", "--reference", str(file)]) == 0
    page = capsys.readouterr().out
    assert "\x1b" not in page
    for text in ("How the rules differ", "best_vs_random by honesty", "Who would turn labels round", "same pair"):
        assert text in page
    comparison = told(capsys, file, "--compare")["comparison"]
    own = comparison["rules"]["best_vs_random"]
    assert own["pairs"] == 9 and own["witnesses"]["other_score"]["otherwise"] == 9
    assert own["label_noise"] == 0.5, "the two scores always contradict each other"
    assert list(file.parent.iterdir()) == [file]


def test_repair_is_counted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = ultrafeedback(1)
    row["completions"] = [completion("a", 10.0, "1", "1"), completion("b", 5.0, "5", "5")]
    file.write_bytes(lines([row]))
    assert main(["pairs", str(file), "--out", str(file.with_name("p.jsonl")), "--repair", "--score", "overall"]) == 0
    assert "1 time a 10 that became a 1" in capsys.readouterr().out
    assert rows_of(file.with_name("p.jsonl"))[0]["chosen_source"] == "b"


@pytest.mark.parametrize("name", ["feedback.jsonl", "feedback.json"])
def test_a_score_that_python_wrote_as_nan_is_missing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = ultrafeedback(1)
    row["completions"][0]["overall_score"] = float("nan")
    (tmp_path / name).write_text(json.dumps(row if name.endswith("l") else [row]), encoding="utf-8")
    found = told(capsys, tmp_path / name, "--out", tmp_path / "p.jsonl", "--score", "overall")
    assert (found["pairs"]["kept"], found["pairs"]["answers_without_score"]) == (1, 1)


def test_rows_need_not_say_who_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [{"response": "Rain falls.", "overall_score": 4}, {"response": "It rains.", "overall_score": "2"}]
    file = tmp_path / "bare.jsonl"
    file.write_bytes(lines([{"instruction": "Weather?", "completions": answers}]))
    assert main(["pairs", str(file), "--out", str(tmp_path / "p.jsonl")]) == 0
    assert "1 pair, of 1 prompt (" in capsys.readouterr().out
    [pair] = rows_of(tmp_path / "p.jsonl")
    assert (pair["chosen"], pair["rejected"]) == ("Rain falls.", "It rains.")
    assert (pair["chosen_score"], pair["rejected_score"]) == (4.0, 2.0)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["nowhere.jsonl"], ["nowhere.jsonl: there is no such file"]),
        (["DIALOGUES"], ["rated answers", "shape messages"]),
        (["--rule", "best-vs-wurst"], ["--rule best-vs-wurst", "did you mean best-vs-worst?"]),
        (["--score", "honestly"], ["--score honestly", "did you mean honesty?"]),
        (["--score", "honesty=-1"], ["--score honesty=-1", "greater than 0"]),
        (["--as", "trll"], ["--as trll", "did you mean trl?"]),
        (["--margin", "1"], ["--margin 1", "best-vs-random has no such setting"]),
        (["--rule", "margin", "--margin", "0"], ["--margin 0", "greater than 0"]),
        (["--rule", "margin", "--margin", "nan"], ["--margin nan", "greater than 0"]),
        (["--rule", "margin", "--margin", "inf"], ["--margin inf", "greater than 0"]),
        (["--rule", "length-matched", "--within", "1"], ["--within 1", "between 0 and 1"]),
        (["--rule", "all-pairs", "--most", "0"], ["--most 0", "greater than 0"]),
        (["--test-share", "1.5"], ["--test-share 1.5", "between 0 and 1"]),
        (["--keep-source", "flan"], ["--keep-source flan", "only prompts of truthful_qa"]),
        (["--reference", "x.jsonl"], ["--reference", "add --compare"]),
        (["--out", "pairs.csv"], ["pairs.csv: pairs are written as .jsonl"]),
        (["--out", "EXISTING"], ["is there already"]),
        (["NOTHING"], ["--out", "--compare"]),
        (["TIES"], ["no prompt gives a pair (2 tie)"]),
        (["UNSCORED"], ["no prompt gives a pair (1 fewer than two answers have a score)"]),
    ],
)
def test_mistakes_are_sentences(
    options: list[str], parts: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = file.parent
    (folder / "dialogues.jsonl").write_bytes(lines([{"messages": [{"role": "user", "content": "a"}]}]))
    (folder / "ties.jsonl").write_bytes(lines([tied(1), tied(2)]))
    (folder / "unscored.jsonl").write_bytes(lines([{"instruction": "a", "completions": [{"model": "m", "text": "b"}]}]))
    (folder / "there.jsonl").touch()
    before = sorted(folder.iterdir())
    files = {"DIALOGUES": "dialogues.jsonl", "TIES": "ties.jsonl", "UNSCORED": "unscored.jsonl"}
    match options:
        case ["NOTHING"]:
            arguments = [str(file)]
        case [name]:
            arguments = [str(folder / files.get(name, name)), "--out", str(folder / "p.jsonl")]
        case ["--out", name]:
            arguments = [str(file), "--out", str(folder / ("there.jsonl" if name == "EXISTING" else name))]
        case _:
            arguments = [str(file), "--out", str(folder / "p.jsonl"), *options]
    assert main(["pairs", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    for part in parts:
        assert part in said.err
    assert sorted(folder.iterdir()) == before, "nothing is left behind"


def tied(number: int) -> dict[str, Any]:
    return {"instruction": f"Q{number}", "completions": [completion("a", 5.0), completion("b", 5.0)]}


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
numbers = st.none() | st.floats(-9, 9).map(lambda value: round(value, 3))


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    system = (Message(role="system", content=draw(words)),) if draw(st.booleans()) else ()
    turns = [Message(role=role, content=draw(words)) for role in ("user", "assistant") for _ in range(1)]
    earlier = tuple(turns) if draw(st.booleans()) else ()
    origin = PairOrigin(rule="margin 1 by overall", seed=3, prompt_source=draw(words), places=(1, 0))
    return Pair(
        id=draw(words.filter(str.strip).map(str.strip)), split=draw(st.sampled_from(["train", "test"])),
        prompt=(*system, *earlier, Message(role="user", content=draw(words))),
        chosen=draw(words), rejected=draw(words), chosen_finished=draw(st.booleans()),
        chosen_source=draw(words), rejected_source=draw(words),
        chosen_score=draw(numbers), rejected_score=draw(numbers),
        origin=origin if draw(st.booleans()) else None,
    )  # fmt: skip


CARRIED: dict[PairForm, set[str]] = {
    "favonius": set(Pair.model_fields),
    "binarized": {"id", "prompt", "chosen", "rejected", "chosen_score", "rejected_score"},
    "argilla": {"prompt", "chosen", "rejected", "chosen_score", "rejected_score", "chosen_source"},
    "trl": {"prompt", "chosen", "rejected"},
}


@given(pair=pairs(), form=st.sampled_from(PAIR_FORMS))
def test_what_a_form_carries_comes_back(pair: Pair, form: PairForm) -> None:
    try:
        value = json.loads(json.dumps(exported(pair, form)))
    except UnfitRowError as error:
        assert form == "argilla" and len(pair.prompt) > 1 and error.cause == "a prompt of several turns"
        return
    row = RawRow("rows.jsonl, line 1", value)
    back = convert(row, detect([row]))
    assert isinstance(back, Pair)
    for name in CARRIED[form]:
        assert getattr(back, name) == getattr(pair, name), name
    if form == "argilla":
        known = pair.origin.prompt_source if pair.origin is not None else None
        assert (back.origin.prompt_source if back.origin is not None else None) == known


USER: Messages = (Message(role="user", content="The sky is"),)


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "The sky is", "chosen": "blue.", "rejected": "green."},
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        {"prompt": [{"role": "user", "content": "The sky is"}], "chosen": [{"role": "assistant", "content": "blue."}],
         "rejected": [{"role": "assistant", "content": "green."}]},
        {"chosen": [{"role": "user", "content": "The sky is"}, {"role": "assistant", "content": "blue."}],
         "rejected": [{"role": "user", "content": "The sky is"}, {"role": "assistant", "content": "green."}]},
    ],
)  # fmt: skip
def test_all_four_rows_of_trl_are_the_same_pair(value: dict[str, Any]) -> None:
    row = RawRow("rows.jsonl, line 1", value)
    back = convert(row, detect([row]))
    assert isinstance(back, Pair) and (back.prompt, back.chosen, back.rejected) == (USER, "blue.", "green.")


def test_an_implicit_prompt_needs_a_shared_beginning() -> None:
    for chosen, rejected in (("Blue.", "Green."), ("blue.", "blush."), ("", "Green.")):
        row = RawRow("rows.jsonl, line 1", {"chosen": chosen, "rejected": rejected})
        with pytest.raises(UnfitRowError, match="share no beginning"):
            convert(row, "preference")


def test_ultrafeedback_keeps_principle_knowledge_and_source() -> None:
    value = ultrafeedback(1, "false_qa")
    value["completions"][0]["model"] = "wizardlm-7b"
    row = RawRow("rows.jsonl, line 1", value)
    feedback = convert(row, detect([row]))
    assert isinstance(feedback, Feedback) and feedback.source == "false_qa"
    assert feedback.knowledge == Knowledge(
        correct=("Yes",), note="The question takes something for granted that is false."
    )
    told_one, told_other = (answer.principle for answer in feedback.completions[:2])
    assert told_one == Principle(kind="honesty", text="Be honest.", shown=False), "noted and not shown"
    assert told_other == Principle(kind="honesty", text="Be honest.")
    plain = convert(RawRow("x", {**ultrafeedback(1), "correct_answers": ["None"]}), "ultrafeedback")
    assert isinstance(plain, Feedback) and plain.knowledge is None
