"""MT-Bench as a task: scripted models answer both turns, scripted judges grade and compare them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from favonius.cli import main
from favonius.engines.scripted import ScriptedEngine
from favonius.errors import FavoniusError, UserError
from favonius.evals.benchmarks import stage
from favonius.evals.benchmarks.config import BenchmarkConfig, MtBench
from favonius.evals.benchmarks.open import open_task
from favonius.evals.benchmarks.task import ItemRow, Scored
from favonius.evals.mt_bench import published
from favonius.evals.mt_bench.grades import JUDGMENTS, NO_GRADE
from favonius.evals.mt_bench.judging import grading
from favonius.evals.mt_bench.questions import sampling
from favonius.evals.mt_bench.task import MtBenchTask
from favonius.run import FileRef, Inputs, ModelRef
from favonius.types import Completion, Message, Request, RequestError
from tests.asked_tasks import FlakyError, Table, inputs
from tests.mt_bench_rows import DATA, stored
from tests.mt_bench_rows import published as needs_data
from tests.mt_bench_rows import shown as stored_answers
from tests.voices import Voice, context, source, speak

ASKED = {
    81: ("writing", "Write a poem.", "Make it shorter."),
    82: ("writing", "Write a letter.", "Make it longer."),
    111: ("math", "What is 6 times 7?", "And plus one?"),
    141: ("stem", "What is a quark?", "And a gluon?"),
}
REFERENCE = ("Forty-two is right.", "Forty-three is right.")
ANSWER = re.compile(r"<(\w+) on (.*?) turn (\d)>")


def files(world: Path, questions: Mapping[int, tuple[str, str, str]] = ASKED) -> Path:
    """A folder as FastChat's, without judge prompts."""
    folder = world / "mt_bench"
    (folder / "reference_answer").mkdir(parents=True)
    rows = [{"question_id": key, "category": one[0], "turns": one[1:]} for key, one in questions.items()]
    (folder / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {"question_id": 111, "choices": [{"turns": REFERENCE}]}
    (folder / "reference_answer" / "gpt-4.jsonl").write_text(json.dumps(told) + "\n")
    return folder


def config(**changes: Any) -> MtBench:
    return MtBench(**{"questions": FileRef("mt_bench"), "judge": ModelRef("judge"), **changes})


def task(world: Path, *models: str, **changes: Any) -> MtBenchTask:
    found = open_task("mt", config(**changes), inputs(world, *models))
    assert isinstance(found, MtBenchTask)
    return found


def answerer(name: str) -> Voice:
    """Says who it is, what it was first asked, and in which turn; so that answers can be told apart."""

    def voice(request: Request) -> str:
        return f"<{name} on {request.messages[0].content} turn {(len(request.messages) + 1) // 2}>"

    return voice


def shown(request: Request) -> str:
    return "\n".join(message.content for message in request.messages)


def table(world: Path, monkeypatch: pytest.MonkeyPatch, judge: Voice, **others: Voice) -> Table:
    files(world)
    return Table(task, world, monkeypatch, {"mine": answerer("mine"), "judge": judge, **others})


def grade(request: Request) -> str:
    """A grade for each turn, higher in the second and in mathematics."""
    turns = {found[3] for found in ANSWER.finditer(shown(request))}
    return f"Well. Rating: [[{4 + 3 * ('2' in turns) + ('6 times 7' in shown(request))}]]"


def by_id(scored: Scored) -> dict[str, ItemRow]:
    return {row.id: row for row in scored.rows}


# ------------------------------------------------------------------------------------------------------------ asking


def test_items_are_two_turns_drawn_as_the_category_says(tmp_path: Path) -> None:
    files(tmp_path)
    known = task(tmp_path, tokens=77)
    items = {item.id: item for item in known.items()}
    assert list(items) == ["81", "82", "111", "141"]
    assert items["81"].messages == (Message(role="user", content="Write a poem."),)
    assert items["81"].follow_ups == ("Make it shorter.",)
    for item in items.values():
        assert item.sampling == sampling(str(item.category)).model_copy(update={"max_tokens": 77})
    assert [items[key].sampling.temperature for key in ("81", "111", "141")] == [0.7, 0.0, 0.1]
    assert known.questions == "mt_bench"
    assert set(known.texts) == {turn for _, *turns in ASKED.values() for turn in turns}


def test_limit_is_of_each_category_and_seeded(tmp_path: Path) -> None:
    files(tmp_path)
    drawn = [[item.id for item in task(tmp_path, limit=1, seed=seed).items()] for seed in range(20)]
    assert {tuple(ids[1:]) for ids in drawn} == {("111", "141")}
    assert {ids[0] for ids in drawn} == {"81", "82"}
    assert drawn[3] == [item.id for item in task(tmp_path, limit=1, seed=3).items()]


def test_second_turns_are_asked_and_judged_with_the_first_in_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = table(tmp_path, monkeypatch, grade)
    here.scored()
    second = [request for request in here.asked("mine") if len(request.messages) == 3]
    assert len(second) == len(ASKED)
    for request in second:
        assert request.messages[1].content == f"<mine on {request.messages[0].content} turn 1>"
    judged = [[found[3] for found in ANSWER.finditer(shown(request))] for request in here.asked("judge")]
    assert sorted(judged) == [["1"]] * 4 + [["1", "2"]] * 4
    assert {request.sampling.temperature for request in here.asked("judge")} == {0.0}


def test_reference_answers_are_shown_in_their_categories_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = table(tmp_path, monkeypatch, grade)
    here.scored()
    told = {shown(request): REFERENCE[0] in shown(request) for request in here.asked("judge")}
    assert {text for text, with_it in told.items() if with_it} == {text for text in told if "6 times 7" in text}
    second = next(text for text in told if "plus one" in text)
    assert REFERENCE[1] in second


# ----------------------------------------------------------------------------------------------------------- grading


def test_grades_turn_by_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = table(tmp_path, monkeypatch, grade)
    found = here.scored()
    rows = by_id(found)
    assert {key: row.scores["score"] for key, row in rows.items()} == {
        "81, turn 1": 4, "81, turn 2": 7, "82, turn 1": 4, "82, turn 2": 7,
        "111, turn 1": 5, "111, turn 2": 8, "141, turn 1": 4, "141, turn 2": 7,
    }  # fmt: skip
    assert {row.unit for row in rows.values()} == {"81", "82", "111", "141"}
    assert rows["111, turn 2"].category == "math"
    assert rows["111, turn 2"].answers == ("<mine on What is 6 times 7? turn 2>",)
    assert rows["111, turn 2"].prompt == "What is 6 times 7?\n\nAnd plus one?"
    told = found.protocol
    assert (told["turn_1"], told["turn_2"], told["mean"], told["n"]) == (4.25, 7.25, 5.75, 8)
    assert told["by_category"] == {"writing": 5.5, "math": 6.5, "stem": 5.5}
    assert told["prompts"]["name"] == "favonius" and any("our own prompts" in note for note in found.notes)
    assert found.judge is not None and (found.judge.name, found.judge.template) == ("judge", told["prompts"]["digest"])
    keys = {request.key() for request in here.asked("judge")}
    assert {key for row in rows.values() for key in row.judged} == keys
    assert not found.left_out.counts


def test_what_cannot_be_read_is_in_no_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(request: Request) -> str:
        if "poem" in shown(request):
            return "I like it." if "shorter" in shown(request) else "Rating: [[85]]"
        return "Rating: [[6]]"

    found = table(tmp_path, monkeypatch, judge).scored()
    rows = by_id(found)
    assert rows["81, turn 2"].scores == {"score": None} and rows["81, turn 2"].note == NO_GRADE
    assert rows["81, turn 1"].scores == {"score": None} and "outside 1 to 10" in str(rows["81, turn 1"].note)
    assert (found.protocol["mean"], found.protocol["n"], found.protocol["unparsed"]) == (6, 6, 1)
    assert any("without a score" in note for note in found.notes)


def test_the_command_reckons_the_same_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def judge(request: Request) -> str:
        return "Hm." if "gluon" in shown(request) else grade(request)

    found = table(tmp_path, monkeypatch, judge).scored()
    judgments, questions = tmp_path / "out" / "mine" / JUDGMENTS, tmp_path / "mt_bench" / "question.jsonl"
    assert main(["eval", "mt-bench", "score", str(judgments), "--questions", str(questions), "--json", "-"]) == 0
    again = json.loads(capsys.readouterr().out)["mine"]
    assert {key: found.protocol[key] for key in again} == again
    assert again["unparsed"] == 1 and again["judge"] == "judge/favonius-single-v1"


def test_a_judge_that_fails_is_asked_again_and_only_where_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = True

    def judge(request: Request) -> str:
        if down and "letter" in shown(request):
            raise FlakyError("server 7 is down")
        return grade(request)

    here = table(tmp_path, monkeypatch, judge)
    first = here.scored()
    assert len(first.rows) == 6 and dict(first.left_out.counts) == {"no word from the judge: server N is down": 2}
    assert [left.cause for left in here.context.left_open] == ["failures"]
    assert first.protocol["missing"] == {"turn_1": [82], "turn_2": [82]}
    before, down = len(here.asked("judge")), False
    second = here.scored()
    assert len(second.rows) == 8 and not second.left_out.counts and not here.context.left_open
    assert all("letter" in shown(request) for request in here.asked("judge")[before:])
    assert len(here.asked("judge")) == before + 2
    assert len(here.asked("mine")) == 8
    assert here.scored().protocol == second.protocol
    assert len(here.asked("judge")) == before + 2


@pytest.mark.parametrize("reply", [None, "no grade", "[[0]]"])
def test_a_judge_of_no_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: str | None) -> None:
    def judge(request: Request) -> str:
        if reply is None:
            raise RequestError("the prompt is too long")
        return reply

    found = table(tmp_path, monkeypatch, judge).scored()
    assert all(row.scores["score"] is None for row in found.rows)
    assert len(found.rows) == (0 if reply is None else 8)
    assert "mean" not in found.protocol
    assert sum(found.left_out.counts.values()) == (8 if reply is None else 0)


# ---------------------------------------------------------------------------------------------------------- pairwise


def pairwise(here: Table, model: str = "mine") -> Scored:
    return here.scored(model, mode="pairwise", baseline=ModelRef("theirs"))


def sides(request: Request) -> list[str]:
    """Whose last answer is shown as A and as B."""
    found = [(match[1], match[3]) for match in ANSWER.finditer(shown(request))]
    last = max(turn for _, turn in found)
    return [name for name, turn in found if turn == last]


def likes(name: str) -> Voice:
    return lambda request: f"So: [[{'AB'[sides(request).index(name)]}]]"


def test_a_win_counts_where_both_orders_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = table(tmp_path, monkeypatch, likes("mine"), theirs=answerer("theirs"))
    found = pairwise(here)
    assert [row.scores for row in found.rows] == [{"win_rate": 1.0}] * 8
    told = found.protocol
    assert (told["wins"], told["losses"], told["ties"], told["win_rate"]) == (8, 0, 0, 1.0)
    assert told["baseline"] == "theirs" and all(len(row.judged) == 2 for row in found.rows)
    assert len(here.asked("judge")) == 16
    games = [json.loads(line) for line in (tmp_path / "out" / "mine" / "games.jsonl").read_text().splitlines()]
    assert {(game["g1_winner"], game["g2_winner"]) for game in games} == {("model_1", "model_1")}
    assert {(game["model_1"], game["model_2"]) for game in games} == {("mine", "theirs")}
    assert {tuple(game["judge"]) for game in games if game["question_id"] == 111} == {
        ("judge", "favonius-pair-math-v1"), ("judge", "favonius-pair-math-v1-multi-turn")
    }  # fmt: skip
    lost = pairwise(table_again(here, monkeypatch, likes("theirs")))
    assert {row.scores["win_rate"] for row in lost.rows} == {0.0}


def table_again(here: Table, monkeypatch: pytest.MonkeyPatch, judge: Voice) -> Table:
    """The same models with a new ledger and another judge."""
    (here.world / "ledger.sqlite").unlink()
    voices = {name: engine.answer for name, engine in here.engines.items()}
    return Table(task, here.world, monkeypatch, {**voices, "judge": judge})


def test_a_judge_that_goes_by_position_makes_ties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = table(tmp_path, monkeypatch, lambda request: "[[A]]", theirs=answerer("theirs"))
    found = pairwise(here)
    assert {row.scores["win_rate"] for row in found.rows} == {0.5}
    assert (found.protocol["ties"], found.protocol["same_position_won_twice"]) == (8, 8)
    assert any("in 8 of 8 turns the judge named the same place" in note for note in found.notes)
    calm = pairwise(table_again(here, monkeypatch, lambda request: "[[C]]"))
    assert (calm.protocol["ties"], calm.protocol["same_position_won_twice"]) == (8, 0)
    assert not any("same place" in note for note in calm.notes)


def test_a_game_without_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(request: Request) -> str:
        undecided = "poem" in shown(request) and sides(request)[0] == "theirs"
        return "Both are fine." if undecided else likes("mine")(request)  # type: ignore[return-value]

    found = pairwise(table(tmp_path, monkeypatch, judge, theirs=answerer("theirs")))
    rows = by_id(found)
    assert [rows[f"81, turn {turn}"].scores["win_rate"] for turn in (1, 2)] == [None, None]
    assert (found.protocol["wins"], found.protocol["unparsed"]) == (6, 2)


def test_a_baseline_answers_once_and_equal_answers_are_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = table(tmp_path, monkeypatch, likes("theirs"), theirs=answerer("theirs"), twin=answerer("theirs"))
    pairwise(here)
    assert len(here.asked("theirs")) == 8
    asked = len(here.asked("judge"))
    for name in ("twin", "theirs"):
        found = pairwise(here, name)
        assert [row.scores["win_rate"] for row in found.rows] == [0.5] * 8
        assert (found.protocol["ties"], found.protocol["wins"], found.protocol["losses"]) == (8, 0, 0)
    assert len(here.asked("theirs")) == 8 and len(here.asked("judge")) == asked


def test_what_the_baseline_did_not_answer_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def theirs(request: Request) -> str:
        if "quark" in request.messages[0].content:
            raise RequestError("too long")
        return str(answerer("theirs")(request))

    found = pairwise(table(tmp_path, monkeypatch, likes("mine"), theirs=theirs))
    assert len(found.rows) == 6
    assert dict(found.left_out.counts) == {"no answer of the baseline: turn 1: too long": 1}


# ------------------------------------------------------------------------------------------------------------- files


def test_what_is_missing_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    folder = files(tmp_path)
    with pytest.raises(UserError, match="mode pairwise needs a `baseline`"):
        task(tmp_path, mode="pairwise")
    (folder / "reference_answer" / "gpt-4.jsonl").unlink()
    with pytest.raises(UserError, match="judged beside reference answers"):
        task(tmp_path)
    only = folder / "judge_prompts.jsonl"
    only.write_text(json.dumps({
        "name": "single", "type": "single", "system_prompt": "", "output_format": "[[rating]]",
        "prompt_template": "{question} {answer}",
    }) + "\n")  # fmt: skip
    with pytest.raises(UserError, match="no single prompt for turn 2"):
        task(tmp_path)


def test_a_file_of_questions_alone(tmp_path: Path) -> None:
    """What lies beside a file is not what the config names."""
    folder = files(tmp_path, {81: ASKED[81]})
    (folder / "judge_prompts.jsonl").write_text("no JSON")
    given = Inputs({}, {"judge": source(tmp_path, "judge")}, {"q": folder / "question.jsonl"})
    known = MtBenchTask.of(config(questions=FileRef("q")), given)
    assert known.material.prompts.name == "favonius" and not known.material.references


def test_fastchats_files_are_fetched_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, cache = tmp_path / "there", tmp_path / "cache"
    monkeypatch.setenv("FAVONIUS_CACHE", str(cache))
    pinned = {}
    for name, (path, _) in published.FILES.items():
        (there / path).parent.mkdir(parents=True, exist_ok=True)
        (there / path).write_text(name)
        pinned[name] = (path, hashlib.sha256(name.encode()).hexdigest())
    monkeypatch.setattr(published, "FILES", pinned)
    folder = published.fetch(there.as_uri())
    assert (folder / published.REFERENCES).read_text() == published.REFERENCES
    (there / "judge_prompts.jsonl").write_text("another")
    assert published.fetch(there.as_uri()) == folder
    (folder / published.PROMPTS).unlink()
    with pytest.raises(FavoniusError, match="not the one that FastChat published"):
        published.fetch(there.as_uri())
    (there / "judge_prompts.jsonl").unlink()
    with pytest.raises(FavoniusError, match="could not be fetched"):
        published.fetch(there.as_uri())


@needs_data
def test_the_published_files_are_the_pinned_ones_and_make_160_judgments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (_, sha256) in published.FILES.items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == sha256
    here = Table(task, tmp_path, monkeypatch, {"mine": lambda request: "An answer.", "judge": lambda request: "[[7]]"})
    (tmp_path / "mt_bench").symlink_to(DATA)
    found = here.scored()
    assert (found.protocol["n"], found.protocol["mean"], found.protocol["judge"]) == (160, 7.0, "judge/single-v1")
    assert found.protocol["prompts"]["name"] == "judge_prompts.jsonl" and not found.notes
    engine: ScriptedEngine = here.engines["judge"]
    assert sum("reference answer" in shown(request).lower() for request in engine.asked) == 60


@needs_data
def test_published_judgments_come_out_as_fastchats_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that answers and a judge that grades as they are stored."""
    rows = [one for one in stored() if one["model"] == "mistral-orpo-mix"]
    (tmp_path / "mt_bench").symlink_to(DATA)
    material = task(tmp_path).material
    answers: dict[tuple[str, int], str] = {}
    replies: dict[str, str] = {}
    for one in rows:
        question = material.questions[one["question_id"]]
        said = [text.strip() for text in stored_answers(one, question)]
        answers[question.turns[0], one["turn"]] = said[-1]
        reference = material.references.get(question.question_id)
        asking = grading(material.prompts, question, said, one["turn"], reference)
        replies[asking.messages[-1].content] = one["judgment"]

    def model(request: Request) -> Completion:
        text = answers[request.messages[0].content, (len(request.messages) + 1) // 2]
        return Completion(text=text, finish="stop", prompt_tokens=1, completion_tokens=1)

    def judge(request: Request) -> Completion:
        text = replies[request.messages[-1].content]
        return Completion(text=text, finish="stop", prompt_tokens=1, completion_tokens=1)

    found = Table(task, tmp_path, monkeypatch, {"mine": model, "judge": judge}).scored()
    assert found.protocol["mean"] == pytest.approx(6.003125, abs=1e-6)
    assert found.protocol["n"] == 160 and not found.protocol["not_as_told"]


def test_the_stage_runs_it_for_several_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path)
    voices = {"mine": answerer("mine"), "theirs": answerer("theirs"), "judge": likes("mine")}
    engines = speak(monkeypatch, voices)
    benchmark = BenchmarkConfig(
        models={"new": ModelRef("mine"), "old": ModelRef("theirs")},
        tasks={"games": config(mode="pairwise", baseline=ModelRef("theirs"))},
    )
    for _ in range(2):
        stage.run(benchmark, inputs(tmp_path, "mine", "theirs"), tmp_path / "bench", context(tmp_path))
        told = {
            name: json.loads((tmp_path / "bench" / name / "games" / "result.json").read_text())
            for name in benchmark.models
        }
        assert {name: one["metrics"]["win_rate"]["value"] for name, one in told.items()} == {"new": 1.0, "old": 0.5}
        assert [len(engines[name].asked) for name in voices] == [8, 8, 16]
    assert told["new"]["judge"]["name"] == "judge" and told["new"]["protocol"]["wins"] == 8
