"""Votes: kept whatever happens, counted by pairs of models, and made into rows that a dDPO step trains on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.cli import main
from favonius.corpus import stage
from favonius.corpus.config import DataConfig
from favonius.data.exports import PAIR_FORMS
from favonius.data.rows import read_rows
from favonius.data.splits import split_of
from favonius.errors import UserError
from favonius.progress import Progress
from favonius.run import Context, FileRef, Inputs
from favonius.serve.demo.standings import standings
from favonius.serve.demo.votes import Reading, Reply, Verdict, Vote, add, new_vote, read
from favonius.train.objectives import DPO
from favonius.types import Message, Pair, Sampling
from tests.row_files import lines
from tests.tiny import save_tiny
from tests.training import settings, train

SAMPLING = Sampling(seed=7)


def vote(
    verdict: Verdict, prompt: str = "Why is the sky blue?", a: str = "ddpo", b: str = "dsft", *,
    texts: tuple[str, str] | None = None, finished: tuple[bool, bool] = (True, True),
    fingerprints: tuple[str | None, str | None] = (None, None),
) -> Vote:  # fmt: skip
    """`texts` are by default the models' own, whichever side they are on."""
    replies = [
        Reply(model=model, fingerprint=known, text=text, finished=whole)
        for model, known, text, whole in zip(
            (a, b), fingerprints, texts or [f"The answer of {name} to it." for name in (a, b)], finished, strict=True
        )
    ]
    return new_vote((Message(role="user", content=prompt),), SAMPLING, replies[0], replies[1], verdict)


def stored(path: Path, *votes: Vote) -> Path:
    for one in votes:
        add(path, one)
    return path


def read_all(path: Path) -> tuple[list[Vote], Reading]:
    reading = Reading()
    return list(read(path, reading)), reading


def test_votes_come_back_as_they_were_cast(tmp_path: Path) -> None:
    cast = [vote("a"), vote("both_bad", "Zwei\u2028Zeilen?", texts=("", "ä\n😀"), finished=(False, True))]
    path = stored(tmp_path / "votes.jsonl", *cast)
    assert read_all(path) == (cast, Reading())
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2  # of which a line separator makes no third
    assert len({one.id for one in cast}) == 2


@hypothesis.settings(deadline=None, max_examples=25)
@given(cut=st.integers(1, 200))
def test_a_torn_line_costs_that_line_alone(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "votes.jsonl"
    first, second, third = vote("a"), vote("b"), vote("tie")
    stored(path, first, second)
    path.write_bytes(path.read_bytes()[:-cut])
    whole = [first, second] if cut == 1 else [first]  # without its line feed it is still whole
    assert read_all(path) == (whole, Reading(torn=int(cut > 1)))
    add(path, third)
    assert read_all(path) == ([*whole, third], Reading(torn=int(cut > 1)))


def test_a_vote_that_stands_there_twice_counts_once(tmp_path: Path) -> None:
    path = stored(tmp_path / "votes.jsonl", vote("a"), vote("b"))
    path.write_bytes(2 * path.read_bytes())
    assert len(read_all(path)[0]) == 2 and read_all(path)[1] == Reading(repeated=2)


def test_a_row_that_is_no_vote_is_refused_by_line_and_field(tmp_path: Path) -> None:
    path = stored(tmp_path / "votes.jsonl", vote("a"))
    row = {**vote("a").model_dump(mode="json"), "verdict": "left"}
    path.write_bytes(path.read_bytes() + lines([row]))
    with pytest.raises(UserError, match=r"votes\.jsonl, line 2: verdict is .left., allowed are 'a', 'b'"):
        read_all(path)
    with pytest.raises(UserError, match="there is no such file"):
        read_all(tmp_path / "none.jsonl")


ADDING = """
import sys
from pathlib import Path
from favonius.serve.demo.votes import Reading, add, read
path, model = Path(sys.argv[1]), sys.argv[2]
(pattern,) = read(path.with_name("pattern.jsonl"), Reading())
for number in range(25):
    add(path, pattern.model_copy(update={"id": f"{model}-{number}"}))
"""


def test_two_processes_at_once_garble_nothing(tmp_path: Path) -> None:
    long = "words " * 4000  # more than one write of the operating system's
    stored(tmp_path / "pattern.jsonl", vote("a", texts=(long, "short")))
    path = tmp_path / "votes.jsonl"
    others = [subprocess.Popen([sys.executable, "-c", ADDING, path, model]) for model in ("x", "y")]
    threads = [threading.Thread(target=stored, args=(path, *(vote("b") for _ in range(10)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(120) for other in others] == [0, 0]
    votes, reading = read_all(path)
    assert len(votes) == 80 and reading == Reading()
    assert [one.id for one in votes if one.id.startswith("x")] == [f"x-{number}" for number in range(25)]


def test_win_rates_are_the_shares_of_duels_won(tmp_path: Path) -> None:
    verdicts: list[Verdict] = ["a"] * 6 + ["b"] + ["tie"] * 2 + ["both_bad"]
    votes = [vote(verdict, f"Question {number}?") for number, verdict in enumerate(verdicts)]
    votes += [vote("b", f"Question {number}?", a="dsft", b="ddpo") for number in range(10, 14)]  # sides do not matter
    votes += [vote("a", a="base", b="ddpo"), vote("a", a="base", b="base")]
    first, second = standings(votes)
    assert (first.first, first.second, first.votes) == ("ddpo", "dsft", 14)
    assert (first.wins, first.losses, first.ties, first.both_bad) == (10, 1, 2, 1)
    assert first.rate.value == pytest.approx((10 + 1.5) / 14)
    assert first.rate.n == 14 and 0.5 < first.rate.low < first.rate.value < first.rate.high <= 1.0
    assert (second.first, second.second, second.rate.value) == ("base", "ddpo", 1.0)
    assert second.rate.low < 0.5  # one vote shows nothing
    assert standings([]) == []


def test_votes_on_one_prompt_are_one_unit() -> None:
    (standing,) = standings([vote("a") for _ in range(40)])
    assert standing.votes == 40 and standing.rate.n == 1 and standing.rate.low < 0.5


def test_a_model_trained_anew_is_another() -> None:
    known: Sequence[tuple[str | None, str | None]] = [("11111111", "f"), ("22222222", "f"), (None, "f")]
    found = standings([vote("a", fingerprints=two) for two in known])
    assert sorted(one.first for one in found) == ["ddpo (111111)", "ddpo (222222)", "ddpo (unknown)"]
    assert {one.second for one in found} == {"dsft"}


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["pairs", *map(str, arguments), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_votes_become_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cast = [
        vote("a", "One?", finished=(True, False)),
        vote("b", "Two?"),
        vote("tie", "Three?"),
        vote("both_bad", "Four?"),
        vote("a", "Five?", texts=("same", "same")),
        vote("a", "Six?", texts=(" ", "words")),
        vote("b", "Seven?", texts=("", "words")),
    ]
    path, out = stored(tmp_path / "votes.jsonl", *cast), tmp_path / "pairs.jsonl"
    with open(path, "ab") as file:
        file.write(b'{"id": "vote-torn", "pro')
    assert main(["pairs", "--from-votes", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 pairs, of 7 votes\n") and f"3 rows: {out}" in said and "1 torn line skipped" in said
    for cause in ("tie", "both bad", "all answers are the same", "the answer preferred is empty"):
        assert f"1 vote gave none: {cause}" in said
    first, second, third = read_rows(out, Pair)
    assert (first.id, first.chosen_source, first.rejected_source) == (cast[0].id, "ddpo", "dsft")
    assert (first.chosen, first.chosen_finished, first.rejected_finished) == (cast[0].a.text, True, False)
    assert first.origin is not None and first.origin.judge is not None and first.origin.judge.name == "human"
    assert (second.chosen_source, second.chosen, third.rejected) == ("dsft", cast[1].b.text, "")


def test_repeated_votes_give_one_pair_and_contradictions_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cast = [
        *(vote("a", "One?") for _ in range(3)),
        vote("b", "One?", a="dsft", b="ddpo"),  # the same from the other side
        vote("a", "Two?"),
        vote("b", "Two?"),
        vote("tie", "Two?"),
        vote("a", "Two?", texts=("another", "pair of answers")),
    ]
    path, out = stored(tmp_path / "votes.jsonl", *cast), tmp_path / "pairs.jsonl"
    found = told(capsys, "--from-votes", path, "--out", out)
    assert (found["votes"], found["pairs"], found["contradictions"]) == (8, 2, 1)
    assert found["dropped"] == {
        "tie": 1,
        "said again of the same answers": 3,
        "votes on the same answers contradict each other": 2,
    }
    assert found["votes"] == found["pairs"] + sum(found["dropped"].values())
    assert [pair.id for pair in read_rows(out, Pair)] == [cast[0].id, cast[7].id]


def test_prompts_are_held_out_as_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(tmp_path / "votes.jsonl", *(vote("a", f"Question number {number}?") for number in range(40)))
    found = told(capsys, "--from-votes", path, "--out", tmp_path / "pairs.jsonl", "--test-share", "0.3")
    pairs = read_rows(tmp_path / "pairs.jsonl", Pair)
    assert all(pair.split == split_of(pair.prompt[0].content, 0.3) for pair in pairs)
    assert 0 < found["held_out"] == sum(pair.split == "test" for pair in pairs) < 40


def test_prompts_of_benchmarks_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = "Compose an engaging travel blog post about a recent trip to the islands"
    path = stored(tmp_path / "votes.jsonl", vote("a", f"Please: {asked}."), vote("a", "Something else?"))
    (tmp_path / "bench.jsonl").write_bytes(lines([{"question_id": 81, "turns": [asked]}]))
    given = ("--from-votes", path, "--out", tmp_path / "pairs.jsonl", "--benchmarks")
    found = told(capsys, *given, f"mt_bench={tmp_path / 'bench.jsonl'}")
    assert found["pairs"] == 1 and found["dropped"] == {"prompt in mt_bench": 1}


@pytest.mark.parametrize("form", PAIR_FORMS)
def test_every_form_can_be_had(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = stored(tmp_path / "votes.jsonl", vote("a", "One?"), vote("b", "Two?")), tmp_path / "pairs.jsonl"
    assert told(capsys, "--from-votes", path, "--out", out, "--as", form)["written"] == {str(out): 2}
    assert "The answer of ddpo to it." in out.read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from-votes", "votes.jsonl", "--out", "x.jsonl", "--rule", "margin"], "--rule is for rated answers"),
        (["ratings.jsonl", "--from-votes", "votes.jsonl", "--out", "x.jsonl"], "FILE is for rated answers"),
        (["--from-votes", "votes.jsonl", "--compare"], "--compare is for rated answers"),
        (["--from-votes", "votes.jsonl"], "name the file for the pairs with --out"),
        (["--from-votes", "votes.jsonl", "--out", "x.parquet"], "pairs are written as .jsonl"),
        (["--from-votes", "none.jsonl", "--out", "x.jsonl"], "none.jsonl: there is no such file"),
        (["--from-votes", "votes.jsonl", "--out", "x.jsonl"], "votes.jsonl: no vote gives a pair (1 tie)"),
        (["--out", "x.jsonl"], "name a file of rated answers, or one of votes with --from-votes"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str],
    sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    stored(Path("votes.jsonl"), vote("tie"))
    assert main(["pairs", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("x.jsonl").exists()


def test_a_ddpo_step_trains_on_votes(tmp_path: Path) -> None:
    words = ("the quick brown fox answers", "a question about the weather, and then another")
    cast = [vote("a" if number % 3 else "b", f"the weather, {number}", texts=words) for number in range(6)]
    path = stored(tmp_path / "votes.jsonl", *cast)
    assert main(["pairs", "--from-votes", str(path), "--out", str(tmp_path / "pairs.jsonl")]) == 0
    data = tmp_path / "data"
    data.mkdir()
    source = {"votes": {"path": "pairs.jsonl", "shape": "preference"}}
    config = DataConfig.model_validate({"sources": source, "test_share": 0})
    files = {FileRef("pairs.jsonl"): tmp_path / "pairs.jsonl"}
    stage.run(config, Inputs({}, {}, files), data, Context(tmp_path, Progress()))
    rows = read_rows(data / "pairs.jsonl", Pair)
    assert len(rows) == 6 and {row.origin and row.origin.judge and row.origin.judge.name for row in rows} == {"human"}
    step = settings(DPO(beta=0.1), batch_size=6, epochs=1)
    done = train(tmp_path / "ddpo", save_tiny(tmp_path / "base"), data, step)
    assert len(done.lines) == 1 and done.lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
