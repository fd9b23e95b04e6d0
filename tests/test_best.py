"""Stage `best`: the best answer of each prompt, and only where it is good enough, becomes a dialogue."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.data.checks import Drops
from favonius.data.rows import read_rows, write_rows
from favonius.errors import FavoniusError
from favonius.feedback import best
from favonius.feedback.config import BestConfig
from favonius.files import read_json
from favonius.progress import Progress
from favonius.run import Context, Inputs, StepRef
from favonius.types import Dialogue, Feedback, Message, RatedText, Split

PROMPT = (Message(role="system", content="Be brief."), Message(role="user", content="Why is the sky blue?"))


def rated(source: str, overall: float | None, **fields: object) -> RatedText:
    return RatedText.model_validate({"source": source, "text": f"Says {source}.", "overall": overall, **fields})


def row(name: str, *completions: RatedText, split: Split = "train") -> Feedback:
    return Feedback(id=name, split=split, prompt=PROMPT, completions=completions, source="mine")


def config(**fields: object) -> BestConfig:
    return BestConfig.model_validate({"ratings": StepRef("ratings"), **fields})


def kept(rows: list[Feedback], **fields: object) -> tuple[dict[str, str], dict[str, int]]:
    """Prompt → source of its best answer, and what was dropped."""
    drops, settings = Drops(), config(**fields)
    found = best.at_top(best.best_answers(rows, settings, drops), settings.top_share, drops)
    return {one.row.id: one.row.completions[one.answer.place].source for one in found}, dict(drops.counts)


def test_the_best_sound_answer_wins() -> None:
    rows = [
        row("a", rated("x", 3.0), rated("y", 7.0), rated("z", 9.0, flaws=("loop",))),
        row("b", rated("x", 9.0, finished=False), rated("y", 2.0)),
        row("c", rated("x", None), rated("y", None)),
        row("d", rated("x", 8.0, flaws=("leak",))),
    ]
    assert kept(rows) == ({"a": "y", "b": "y"}, {best.NO_SCORE: 1, best.ALL_FLAWED: 1})
    # An answer that was cut off is out even where `unfinished` is no reason to be.
    assert kept(rows, never_chosen=())[0] == {"a": "z", "b": "y", "d": "x"}


def test_least_and_top_share_spare_the_held_out() -> None:
    rows = [row(str(score), rated("x", float(score)), rated("y", 0.0)) for score in range(1, 9)]
    rows.append(row("held out", rated("x", 1.0), rated("y", 0.5), split="test"))
    winners, dropped = kept(rows, top_share=0.25)
    assert set(winners) == {"7", "8", "held out"} and dropped == {best.NOT_AT_TOP: 6}
    winners, dropped = kept(rows, least=8.0)
    assert set(winners) == {"8"} and dropped == {best.LOW: 8}


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=9), st.floats(0.05, 1.0))
def test_the_top_share_is_at_least_that_share_and_ties_stay(scores: list[float], share: float) -> None:
    rows = [row(str(index), rated("x", score)) for index, score in enumerate(scores)]
    winners, _ = kept(rows, top_share=share)
    assert len(winners) >= share * len(scores)
    left_out = [score for index, score in enumerate(scores) if str(index) not in winners]
    assert all(score < min(scores[int(name)] for name in winners) for score in left_out)


def run(folder: Path, rows: list[Feedback]) -> Path:
    (folder / "ratings").mkdir()
    (folder / "best").mkdir()
    write_rows(folder / "ratings" / "feedback.jsonl", rows)
    inputs = Inputs({"ratings": folder / "ratings"}, {}, {})
    best.run(config(), inputs, folder / "best", Context(folder, Progress()))
    return folder / "best"


def test_the_stage_writes_dialogues_and_what_they_are_worth(tmp_path: Path) -> None:
    out = run(tmp_path, [row("a", rated("x", 3.0), rated("y", 7.0)), row("b", rated("x", 4.0), split="test")])
    [first, second] = read_rows(out / "dialogues.jsonl", Dialogue)
    assert first.messages == (*PROMPT, Message(role="assistant", content="Says y.")) and first.source == "mine"
    assert (first.split, second.split) == ("train", "test")
    stats = read_json(out / "stats.json")
    assert stats["kept"] == 2 and stats["wins"] == {"y": 1, "x": 1} and stats["mean_score"] == 5.5
    assert stats["gain_over_average"]["value"] == 1.0  # 7 beside a mean of 5, and 4 beside itself


def test_nothing_to_train_on_is_said_with_its_causes(tmp_path: Path) -> None:
    with pytest.raises(FavoniusError, match=r"best: no prompt has an answer to train on \(1 no answer has a score\)"):
        run(tmp_path, [row("a", rated("x", None)), row("b", rated("x", 4.0), split="test")])
