"""AlpacaEval as a task: scripted models answer, scripted judges rank, and the command reckons the same."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from favonius.cli import main
from favonius.data import hub
from favonius.errors import UserError
from favonius.evals.alpaca_eval.bouts import DRAW, Word
from favonius.evals.alpaca_eval.house_judges import word_of
from favonius.evals.alpaca_eval.instructions import FILES
from favonius.evals.alpaca_eval.judging import is_switched
from favonius.evals.alpaca_eval.length_controlled import FEWEST
from favonius.evals.alpaca_eval.ranking import preference
from favonius.evals.alpaca_eval.task import PREFERENCES, AlpacaEvalTask
from favonius.evals.benchmarks.config import AlpacaEval, RankingJudge
from favonius.evals.benchmarks.open import open_task
from favonius.judges.config import PairwiseJudge
from favonius.judges.judge import Failure, Judgement, Score
from favonius.judges.spoken.numerals import Unreadable
from favonius.judges.spoken.verdicts import Names
from favonius.run import FileRef, ModelRef
from favonius.types import Comparison, Completion, JudgeCall, Request, RequestError, Sampling, TokenLogprob
from tests.asked_tasks import FlakyError, Table, inputs
from tests.voices import Voice

DATA = Path(os.environ.get("FAVONIUS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "alpaca_eval"
COUNT = 30
NAMES = Names(first="m", second="M", tie=None)
RANKING = RankingJudge(model=ModelRef("judge"))
TEXTS = [f"Instruction {number}." for number in range(COUNT)]
SHOWN = re.compile(r"<(\w+) on (.*?)>")


def written(world: Path, rows: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """alpaca_eval.json: references by `ref`, ten rows of each data set."""
    usual = [
        {"instruction": text, "output": f"<ref on {text}>", "generator": "ref", "dataset": f"set{number // 10}"}
        for number, text in enumerate(TEXTS)
    ]
    path = world / "alpaca_eval.json"
    path.write_text(json.dumps(usual if rows is None else rows))
    return path


def config(**changes: Any) -> AlpacaEval:
    return AlpacaEval(**{"instructions": FileRef("alpaca_eval.json"), "judge": RANKING, **changes})


def task(world: Path, *models: str, **changes: Any) -> AlpacaEvalTask:
    found = open_task("alpaca", config(**changes), inputs(world, *models))
    assert isinstance(found, AlpacaEvalTask)
    return found


def answerer(name: str) -> Voice:
    return lambda request: f"<{name} on {request.messages[0].content}>"


def table(world: Path, monkeypatch: pytest.MonkeyPatch, judge: Voice, **others: Voice) -> Table:
    written(world)
    return Table(task, world, monkeypatch, {"mine": answerer("mine"), "judge": judge, **others})


def shown(request: Request) -> list[tuple[str, str]]:
    """Who gave the first and the second answer, and to which instruction."""
    return SHOWN.findall(request.messages[-1].content)


def likes(name: str) -> Callable[[Request], str]:
    return lambda request: "mM"[[who for who, _ in shown(request)].index(name)]


def weighted(request: Request, chance: float, space: str = "") -> Completion:
    """A reply whose first token is the first shown's name with the probability `chance`, of what the names share."""
    odds = (("m", math.log(0.9 * chance)), (f"{space}M", math.log(0.9 * (1 - chance))), ("x", math.log(0.1)))
    name = max(odds, key=lambda one: one[1])
    token = TokenLogprob(token=name[0], logprob=name[1], top=tuple(sorted(odds, key=lambda one: -one[1])))
    return Completion(text=name[0].strip(), finish="stop", prompt_tokens=1, completion_tokens=1, logprobs=(token,))


def lines(world: Path, model: str = "mine") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (world / "out" / model / PREFERENCES).read_text().splitlines()]


def by_command(world: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    capsys.readouterr()
    path = str(world / "out" / "mine" / PREFERENCES)
    assert main(["eval", "alpacaeval", "score", path, *options, "--json", "-"]) == 0
    return dict(json.loads(capsys.readouterr().out)["mine"])


# ------------------------------------------------------------------------------------------------------ instructions


def test_items(tmp_path: Path) -> None:
    written(tmp_path)
    known = task(tmp_path)
    assert [item.messages[0].content for item in known.items()] == TEXTS == list(known.texts)
    assert {item.category for item in known.items()} == {"set0", "set1", "set2"}
    assert {item.sampling for item in known.items()} == {config().sampling}
    fewer = task(tmp_path, limit=2, seed=1)
    assert [item.category for item in fewer.items()] == ["set0"] * 2 + ["set1"] * 2 + ["set2"] * 2
    assert {item.id for item in fewer.items()} < {item.id for item in known.items()}
    assert [item.id for item in fewer.items()] == [item.id for item in task(tmp_path, limit=2, seed=1).items()]


def test_rows_that_come_again_and_rows_that_lack_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [{"instruction": "Why?", "output": "So."}, {"instruction": "Why?", "output": "Other."}]
    written(tmp_path, twice)
    here = Table(task, tmp_path, monkeypatch, {"mine": answerer("mine"), "judge": lambda request: "m"})
    found = here.scored()
    assert len(found.rows) == 1 and found.protocol["reference"] == "reference"
    assert dict(found.left_out.counts) == {"an instruction that stood there before": 1}
    written(tmp_path, [{"instruction": "Why?"}])
    with pytest.raises(UserError, match=r"task alpaca: .*output is missing"):
        task(tmp_path)
    assert task(tmp_path, baseline=ModelRef("mine")).texts == ["Why?"]
    written(tmp_path, [])
    with pytest.raises(UserError, match="holds no instruction"):
        task(tmp_path)


def test_without_a_file_the_published_set_of_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    fetched = []

    def fetch(repository: str, name: str) -> Path:
        fetched.append((repository, name))
        return tmp_path / "alpaca_eval.json"

    monkeypatch.setattr(hub, "fetch_file", fetch)
    for version, name in FILES.items():
        known = task(tmp_path, instructions=None, evaluation_version=version)
        assert fetched[-1] == ("tatsu-lab/alpaca_eval", name)
        assert known.questions == "hf://tatsu-lab/alpaca_eval"


# ----------------------------------------------------------------------------------------------------------- ranking


@pytest.mark.parametrize(("name", "rate"), [("mine", 100.0), ("ref", 0.0)])
def test_a_judge_that_sees_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, rate: float) -> None:
    here = table(tmp_path, monkeypatch, likes(name))
    found = here.scored(evaluation_version=1)
    assert {row.scores["preference"] for row in found.rows} == {rate / 100}
    assert found.protocol["win_rate"] == rate and found.protocol["n"] == COUNT
    assert not any("place weighs" in note for note in found.notes)
    assert "length_controlled_winrate" not in found.protocol
    assert found.protocol["reference"] == "ref"
    assert {row.category for row in found.rows} == {"set0", "set1", "set2"}
    assert {key for row in found.rows for key in row.judged} == {request.key() for request in here.asked()}
    assert all(request.logprobs == 0 for request in here.asked())
    assert found.judge is not None and found.judge.kind == "ranking"
    assert any("our own prompt" in note for note in found.notes)


def test_the_order_is_drawn_as_the_original_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = table(tmp_path, monkeypatch, lambda request: "m")
    found = here.scored()
    order = {shown(request)[0][1]: shown(request)[0][0] for request in here.asked()}
    assert order == {text: "mine" if is_switched(text) else "ref" for text in TEXTS}
    assert {row.prompt: row.scores["preference"] for row in found.rows} == {
        text: float(is_switched(text)) for text in TEXTS
    }
    told = found.protocol["first_shown_preferred"]
    assert (told["value"], told["n"]) == (1.0, COUNT) and told["low"] < 1
    assert any("the answer shown first got 100% of its word" in note for note in found.notes)
    swapped = here.scored(seed=1)
    assert {row.prompt: row.scores["preference"] for row in swapped.rows} == {
        text: float(is_switched(text, 1)) for text in TEXTS
    }


@pytest.mark.parametrize("space", ["", " "])
def test_version_2_takes_the_odds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str) -> None:
    def judge(request: Request) -> Completion:
        return weighted(request, 0.8 if shown(request)[0][0] == "mine" else 0.4, space)

    here = table(tmp_path, monkeypatch, judge)
    found = here.scored()
    for row in found.rows:
        assert row.scores["preference"] == pytest.approx(0.8 if is_switched(row.prompt) else 0.6)
    assert found.protocol["read_from"] == {"log-probs": COUNT, "text": 0}
    assert {request.logprobs for request in here.asked()} == {5}
    first = [0.8 if is_switched(text) else 0.4 for text in TEXTS]
    assert found.protocol["first_shown_preferred"]["value"] == pytest.approx(sum(first) / COUNT)


def test_what_a_reply_says() -> None:
    def reply(text: str, *tops: tuple[tuple[str, float], ...], finish: str = "stop") -> Completion:
        tokens = tuple(TokenLogprob(token=top[0][0], logprob=top[0][1], top=top) for top in tops)
        return Completion.model_validate(
            {"text": text, "finish": finish, "prompt_tokens": 1, "completion_tokens": 1, "logprobs": tokens}
        )

    assert preference(reply("M"), NAMES) == (2, "text")
    assert preference(reply("Model m", (("Model", -0.1), ("The", -3.0))), NAMES) == (1, "text")
    blank_first = reply("M", (("\n", -0.1),), ((" M", -0.2), ("M", -2.0), ("m", -0.2)))
    odds = math.exp(-0.2) + math.exp(-2.0)
    assert preference(blank_first, NAMES).preference == pytest.approx(1 + odds / (odds + math.exp(-0.2)))
    assert preference(reply("x", (("x", -0.1), ("m", -4.0))), NAMES) == (1, "log-probs")
    assert preference(reply("C"), Names()) == (DRAW, "text")
    with pytest.raises(Unreadable):
        preference(reply("Both are good", (("Both", -0.1), ("The", -3.0))), NAMES)
    assert preference(reply("M", finish="length"), NAMES) == (2, "text")


def test_what_cannot_be_read_is_in_no_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def judge(request: Request) -> str:
        return "Neither." if shown(request)[0][1] == TEXTS[0] else likes("mine")(request)

    found = table(tmp_path, monkeypatch, judge).scored(evaluation_version=1)
    assert [row.prompt for row in found.rows if row.scores["preference"] is None] == [TEXTS[0]]
    assert found.rows[0].note == "no verdict is given"
    assert (found.protocol["unreadable"], found.protocol["n"], found.protocol["win_rate"]) == (1, COUNT - 1, 100.0)
    assert any("unreadable" in note for note in found.notes)
    again = by_command(tmp_path, capsys, "--version", "1")
    assert {key: found.protocol[key] for key in again} == again


def test_equal_answers_are_a_draw_that_nobody_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = table(tmp_path, monkeypatch, likes("ref"), ref=answerer("ref"))
    found = here.scored("ref")
    assert {row.scores["preference"] for row in found.rows} == {0.5} and not here.asked()
    assert found.protocol["win_rate"] == 50.0 and found.protocol["length_controlled_winrate"] == 50.0


def test_a_judge_that_fails_is_asked_again_and_only_where_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = True

    def judge(request: Request) -> str:
        if down and shown(request)[0][1] in TEXTS[:4]:
            raise FlakyError("server 7 is down")
        return likes("mine")(request)

    here = table(tmp_path, monkeypatch, judge)
    first = here.scored()
    assert dict(first.left_out.counts) == {"no word from the judge: server N is down": 4}
    assert len(first.rows) == COUNT - 4 == len(lines(tmp_path))
    assert [left.cause for left in here.context.left_open] == ["failures"]
    down = False
    second = here.scored()
    assert len(second.rows) == COUNT and not second.left_out.counts and not here.context.left_open
    assert len(here.asked()) == COUNT + 4 and len(here.asked("mine")) == COUNT
    here.scored()
    assert len(here.asked()) == COUNT + 4


def test_a_dead_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(request: Request) -> str:
        raise RequestError("it knows nobody of this name")

    found = table(tmp_path, monkeypatch, judge).scored()
    assert not found.rows and "win_rate" not in found.protocol
    assert sum(found.left_out.counts.values()) == COUNT and lines(tmp_path) == []


# ---------------------------------------------------------------------------------------------------- length control


def rambling(request: Request) -> str:
    return answerer("mine")(request) + " and" * (len(request.messages[0].content) * 7 % 23)  # type: ignore[operator]


def uneven(request: Request) -> Completion:
    """Fonder of the model where the instruction's number is odd."""
    odd = int(shown(request)[0][1].split()[1].strip(".")) % 2
    mine = 0.7 if odd else 0.35
    return weighted(request, mine if shown(request)[0][0] == "mine" else 1 - mine)


def test_the_command_reckons_the_same_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    here = Table(task, tmp_path, monkeypatch, {"mine": rambling, "judge": uneven})
    found = here.scored()
    again = by_command(tmp_path, capsys)
    assert {key: found.protocol[key] for key in again} == again
    assert again["length_controlled_winrate"] is not None
    assert found.protocol["difficulty"] == "none: fewer than 5 models to fit it from"
    assert any("left out of the regression" in note for note in found.notes)
    scores = [row.scores["preference"] or 0.0 for row in found.rows]
    assert found.protocol["win_rate"] == pytest.approx(100 * sum(scores) / COUNT)
    assert found.protocol["avg_length"] == sum(len(row.answers[0]) for row in found.rows) / COUNT
    assert {line["length_reference"] for line in lines(tmp_path)} == {len(f"<ref on {text}>") for text in TEXTS}


def many_models(world: Path, texts: Sequence[str]) -> Path:
    rows = [
        {"model": f"m{model}", "instruction": text, "preference": 1 + ((number * 7 + model * 3) % 10) / 10,
         "length_reference": 100 + number, "length_model": 90 + 5 * model + number * model}
        for model in range(6) for number, text in enumerate(texts)
    ]  # fmt: skip
    path = world / "many.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_difficulty_of_other_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = table(tmp_path, monkeypatch, uneven)
    plain = here.scored()
    many = many_models(tmp_path, TEXTS)
    found = here.scored(difficulty=FileRef("many.jsonl"))
    assert found.protocol["difficulty"] == "fitted from 6 models of many.jsonl"
    assert not any("left out of the regression" in note for note in found.notes)
    assert found.protocol["length_controlled_winrate"] != plain.protocol["length_controlled_winrate"]
    again = by_command(tmp_path, capsys, "--difficulty", str(many))
    assert {key: found.protocol[key] for key in again} == again


def test_difficulties_that_do_not_fit_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    written(tmp_path)
    many_models(tmp_path, TEXTS[:-1])
    with pytest.raises(UserError, match="no preference on 1 of the instructions"):
        task(tmp_path, difficulty=FileRef("many.jsonl"))
    with pytest.raises(UserError, match="version 2's length control"):
        task(tmp_path, difficulty=FileRef("many.jsonl"), evaluation_version=1)


def test_published_difficulties_number_the_whole_set_where_only_some_are_asked(tmp_path: Path) -> None:
    written(tmp_path)
    body = "".join(f"{number},{number / 10}\n" for number in range(COUNT))
    (tmp_path / "difficulty.csv").write_text(",instruction_difficulty\n" + body)
    known = task(tmp_path, difficulty=FileRef("difficulty.csv"), limit=2)
    assert known.difficulty is not None
    assert known.difficulty.of[TEXTS[7]] == 0.7 and len(known.difficulty.of) == COUNT


def test_too_few_for_length_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = table(tmp_path, monkeypatch, likes("mine")).scored(limit=8)
    assert len(found.rows) == 24 < FEWEST
    assert found.protocol["length_controlled_winrate"] is None
    assert any("too few readable preferences" in note for note in found.notes)


# ----------------------------------------------------------------------------------------- baselines and house judges


def test_a_baseline_answers_in_the_references_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def base(request: Request) -> str:
        if request.messages[0].content == TEXTS[0]:
            raise RequestError("too long")
        return str(answerer("base")(request))

    here = table(tmp_path, monkeypatch, likes("mine"), base=base, other=answerer("other"))
    found = here.scored(baseline=ModelRef("base"))
    assert {who for request in here.asked() for who, _ in shown(request)} == {"mine", "base"}
    assert found.protocol["reference"] == "base"
    assert dict(found.left_out.counts) == {"no answer of the baseline: too long": 1} and len(found.rows) == COUNT - 1
    asked = len(here.asked("base"))
    here.engines["judge"].answer = likes("base")
    lost = here.scored("other", baseline=ModelRef("base"))
    assert {row.scores["preference"] for row in lost.rows} == {0.0}
    assert len(here.asked("base")) == asked + 1  # what failed is tried again, and nothing else


def test_a_pairwise_judge_of_the_house_sees_both_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = PairwiseJudge(model=ModelRef("judge"))
    here = table(tmp_path, monkeypatch, lambda request: "AB"[shown(request)[0][0] != "mine"])
    found = here.scored(judge=judge, evaluation_version=1)
    assert found.protocol["win_rate"] == 100.0 and len(here.asked()) == 2 * COUNT
    assert all(len(row.judged) == 2 for row in found.rows)
    assert found.judge is not None and found.judge.kind == "pairwise"
    here.engines["judge"].answer = lambda request: "A"
    (tmp_path / "ledger.sqlite").unlink()
    biased = here.scored(judge=judge, evaluation_version=1)
    assert {row.scores["preference"] for row in biased.rows} == {0.5}


def test_a_house_judge_that_fails_or_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(request: Request) -> str:
        if shown(request)[0][1] == TEXTS[0]:
            raise FlakyError("down")
        return "who knows" if shown(request)[0][1] == TEXTS[1] else "B"

    found = table(tmp_path, monkeypatch, judge).scored(judge=PairwiseJudge(model=ModelRef("judge"), both_orders=False))
    assert dict(found.left_out.counts) == {"no word from the judge: down": 1}
    unread = [row for row in found.rows if row.scores["preference"] is None]
    assert [(row.prompt, row.note) for row in unread] == [(TEXTS[1], "no verdict is given")]


def test_words_of_judges_that_compare_and_of_judges_that_score() -> None:
    calls = (JudgeCall(request="a", order=(0, 1)), JudgeCall(request="a", order=(1, 0)))
    compared = Judgement((Score(0.25), Score(0.75)), (Comparison(first=0, second=1, preference=0.25),), calls)
    assert word_of(compared, spoken=True).preference == 1.75
    assert word_of(compared, spoken=True).judged == ("a",)
    assert word_of(Judgement((Score(-2.0), Score(-1.0))), spoken=False).preference == 2
    assert word_of(Judgement((Score(3.0), Score(3.0))), spoken=False).preference == DRAW
    assert word_of(Judgement((Score(-1.0), Failure("empty answer"))), spoken=False) == Word(None, "empty answer")
    assert word_of(Judgement((Failure("down"),) * 2), spoken=True).silent
    broke = Judgement((Failure("the budget is spent", asked=False),) * 2)
    assert word_of(broke, spoken=False).silent


def test_a_template_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(
        "kind: pairwise\nuser: '{instruction} | {first} | {second}'\nverdicts: {first: X, second: Y, tie: null}\n"
    )
    ranking = RankingJudge(model=ModelRef("judge"), template=FileRef("mine.yaml"))
    here = table(tmp_path, monkeypatch, lambda request: "XY"[shown(request)[0][0] != "mine"])
    found = here.scored(judge=ranking, evaluation_version=1)
    assert found.protocol["win_rate"] == 100.0
    assert found.protocol["template"]["name"] == "mine.yaml" and not any("our own prompt" in one for one in found.notes)
    assert here.asked()[0].messages[-1].content.count(" | ") == 2
    (tmp_path / "mine.yaml").write_text("kind: pairwise\nuser: '{instruction}'\n")
    with pytest.raises(UserError, match=r"needs the place \{first\}"):
        task(tmp_path, judge=ranking)


@pytest.mark.skipif(not DATA.is_dir(), reason="FAVONIUS_TEST_DATA names no folder with AlpacaEval")
def test_published_preferences_come_out_as_the_published_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that gives the odds that GPT-4 gave, on answers of the lengths that the model's had."""
    name = "vicuna-7b"
    with gzip.open(DATA / "v2_preferences.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = {one["instruction"]: one for one in map(json.loads, file) if one["model"] == name}
    written(tmp_path, [{"instruction": text, "output": "r" * one["length_reference"]} for text, one in rows.items()])

    def judge(request: Request) -> Completion:
        prompt = request.messages[-1].content
        text = prompt.partition("### Instruction\n")[2].partition("\n\n### Answer of model m\n")[0]
        mine = rows[text]["preference"] - 1
        shown_first = prompt.partition("### Answer of model m\n")[2].startswith("a")
        return weighted(request, min(max(mine if shown_first else 1 - mine, 1e-12), 1 - 1e-12))

    voices: dict[str, Voice] = {
        name: lambda request: "a" * rows[request.messages[0].content]["length_model"], "judge": judge
    }  # fmt: skip
    here = Table(task, tmp_path, monkeypatch, voices)
    found = here.scored(name, sampling=Sampling(max_tokens=100_000))
    published = json.loads((DATA / "v2_published.json").read_text())[name]
    assert found.protocol["n"] == 805
    assert found.protocol["win_rate"] == pytest.approx(published["win_rate"], abs=1e-6)
    assert found.protocol["standard_error"] == pytest.approx(published["standard_error"], abs=1e-6)
    assert found.protocol["length_controlled_winrate"] == pytest.approx(published["length_controlled_winrate"], abs=2)
