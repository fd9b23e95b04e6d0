"""What `favonius check` says a judge, a pool or a constitution will ask, and what it can cost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from favonius.cli import main
from favonius.feedback.config import CardConfig
from favonius.judges.calibration import calibration_items
from favonius.judges.config import (
    AspectsJudge,
    ConsensusJudge,
    ContrastJudge,
    CritiqueJudge,
    EnsembleJudge,
    JudgeConfig,
    LikelihoodJudge,
    PairwiseJudge,
)
from favonius.judges.spoken.pairwise import VERDICT_TOKENS
from favonius.pipeline.estimate import Estimate, dollars, estimate
from favonius.pipeline.estimate.amounts import part_of
from favonius.pipeline.estimate.judging import TEMPLATE_TOKENS, Cases, carded, judging
from favonius.recipe import load_recipe
from favonius.run import FileRef, ModelRef
from favonius.types import Sampling

PRICED = ModelRef("judge")
CASES = Cases(count=10, answers=4, prompt_tokens=50, answer_tokens=200)
GREEDY = Sampling(temperature=0.0, max_tokens=100)
WARM = Sampling(temperature=1.0, max_tokens=100)
SERVED = {"kind": "openai", "endpoints": ["https://host/v1"]}


def asks(judge: JudgeConfig, folder: Path = Path()) -> tuple[int, int, int]:
    """Requests, prompt tokens, answer tokens."""
    found = judging(judge, CASES, folder).asks
    return (
        sum(one.requests for one in found),
        sum(one.prompt_tokens for one in found),
        sum(one.completion_tokens for one in found),
    )


def test_aspects_see_all_answers_in_one_call_each() -> None:
    asked = asks(AspectsJudge(model=PRICED, sampling=GREEDY))
    assert asked == (40, 40 * (TEMPLATE_TOKENS + 50 + 4 * 200), 40 * 100)
    assert asks(AspectsJudge(model=PRICED, aspects=("honesty",)))[0] == 10


def test_a_critique_is_written_of_each_answer() -> None:
    assert asks(CritiqueJudge(model=PRICED, sampling=GREEDY)) == (40, 40 * (TEMPLATE_TOKENS + 50 + 200), 40 * 100)


def test_pairs_are_asked_in_one_order_or_both() -> None:
    both, once = PairwiseJudge(model=PRICED), PairwiseJudge(model=PRICED, both_orders=False)
    assert asks(both) == (120, 120 * (TEMPLATE_TOKENS + 50 + 400), 120 * VERDICT_TOKENS)
    assert asks(once)[0] == 60
    assert asks(PairwiseJudge(model=PRICED, explain=True, sampling=GREEDY))[2] == 120 * 100


def test_judges_that_read_ask_nothing_and_read_no_more_than_there_is() -> None:
    work = judging(LikelihoodJudge(model=PRICED, max_length=1024), CASES, Path())
    assert not work.asks and 40 * 250 < work.read < 40 * 400
    assert judging(LikelihoodJudge(model=PRICED, max_length=99), CASES, Path()).read == 40 * 99
    assert judging(ContrastJudge(model=PRICED, base=PRICED, max_length=99), CASES, Path()).read == 80 * 99


def test_an_ensemble_asks_what_its_members_ask() -> None:
    members = {
        "one": CritiqueJudge(model=PRICED),
        "two": PairwiseJudge(model=PRICED),
        "three": LikelihoodJudge(model=PRICED),
    }
    work = judging(EnsembleJudge(judges=members), CASES, Path())
    assert [one.requests for one in work.asks] == [40, 120] and work.read and work.reasks
    assert judging(ConsensusJudge(judge=EnsembleJudge(judges=members)), CASES, Path()) == work


def test_a_template_of_ones_own_is_as_long_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("x" * 3000)
    judge = CritiqueJudge(model=PRICED, template=FileRef("own.yaml"))
    assert asks(judge, tmp_path)[1] == 40 * (1000 + 50 + 200)


@pytest.mark.parametrize(
    ("judge", "showings"),
    [
        (AspectsJudge(model=PRICED, sampling=GREEDY), 1),
        (AspectsJudge(model=PRICED, sampling=WARM), 2),
        (CritiqueJudge(model=PRICED, sampling=GREEDY), 0),
        (CritiqueJudge(model=PRICED, sampling=WARM), 1),
        (PairwiseJudge(model=PRICED), 0),
        (PairwiseJudge(model=PRICED, both_orders=False), 1),
    ],
)
def test_a_card_asks_again_only_what_is_another_question(judge: JudgeConfig, showings: int) -> None:
    """In the other order where order is seen, once more where chance is at work; and the built-in items."""

    def requests(card: CardConfig | None) -> int:
        return sum(one.requests for one in carded(judge, CASES, card, Path()).asks)

    each = requests(None) / 10
    assert requests(CardConfig(cases=5, calibration=False)) == each * 10 + showings * each * 5
    assert requests(CardConfig(cases=99, calibration=False)) == each * 10 * (1 + showings)
    items, two = len(calibration_items()), Cases(1, 2, 1, 1)
    of_item = sum(one.requests for one in judging(judge, two, Path()).asks)
    assert requests(CardConfig(cases=0)) == each * 10 + items * of_item


def test_parts_by_a_hash_are_bounded_and_never_more_than_there_are() -> None:
    assert part_of(1000, 1.0) == 1000
    assert 250 < part_of(1000, 0.25) < 300
    assert part_of(3, 0.9) == 3
    assert part_of(0, 0.5) == 0


RECIPE: dict[str, Any] = {
    "name": "toy",
    "models": {
        "base": "org/base",
        "judge": {"source": "api://judge", "price": {"prompt": 1.0, "completion": 2.0}},
    },
    "steps": {
        "prompts": {"stage": "data", "sources": {"own": {"path": "seeds.jsonl", "shape": "prompts"}}},
        "answers": {
            "stage": "answers",
            "prompts": "prompts",
            "test_share": 0.2,
            "samples": 2,
            "pool": {name: {"model": "base", "sampling": {"max_tokens": 64}} for name in "abc"},
        },
        "ratings": {
            "stage": "ratings",
            "answers": "answers",
            "judge": {"kind": "critique", "model": "judge", "engine": SERVED, "sampling": {"max_tokens": 100}},
            "card": None,
        },
        "pairs": {"stage": "pairs", "ratings": "ratings"},
        "best": {"stage": "best", "ratings": "ratings", "top_share": 0.5},
        "constitution": {
            "stage": "constitution",
            "prompts": "prompts",
            "rounds": 2,
            "model": "base",
            "sampling": {"max_tokens": 50},
            "reviser": "judge",
            "reviser_engine": SERVED,
            "reviser_sampling": {"max_tokens": 80},
        },
        "mixed": {"stage": "data", "sources": {"a": {"step": "pairs"}, "b": {"step": "constitution"}}},
        "judge-of-ours": {"stage": "train", "model": "base", "rows": "ratings", "objective": {"kind": "reward"}},
        "ddpo": {"stage": "train", "model": "base", "rows": "mixed", "objective": {"kind": "dpo"}},
    },
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    rows = [json.dumps({"id": str(number), "prompt": f"Why is it {number}?"}) for number in range(100)]
    (tmp_path / "seeds.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False), encoding="utf-8")
    return tmp_path / "recipe.yaml"


def estimates(recipe: Path, *overrides: str) -> dict[str, Estimate]:
    return estimate(load_recipe(recipe, overrides), recipe.parent)


def test_every_stage_of_feedback_is_bounded(recipe: Path) -> None:
    found = estimates(recipe)
    answers = found["answers"]
    assert (answers.train, answers.test, answers.answers, answers.requests) == (80, 20, 6, 600)
    assert answers.written == 600 * 64
    assert found["ratings"].requests == 600
    assert (found["pairs"].train, found["pairs"].test, found["best"].train) == (80, 20, 40)
    assert found["constitution"].requests == 100 * (1 + 2 * 2)
    assert (found["constitution"].train, found["constitution"].test) == (90, 10)
    assert (found["mixed"].train, found["mixed"].test) == (170, 30)
    assert found["judge-of-ours"].read == 80 * 6 * 1024
    assert found["ddpo"] == Estimate(read=170 * 2 * 1024, optimizer_steps=math.ceil(170 / 32))


def test_members_that_are_drawn_are_asked_less(recipe: Path) -> None:
    found = estimates(recipe, "steps.answers.per_prompt=2")["answers"]
    assert found.answers == 4
    assert all(2 * 100 * 2 / 3 < one.requests < 2 * 100 for one in found.asks)
    assert found.written == 100 * 2 * 2 * 64
    assert estimates(recipe, "steps.answers.part=[1, 4]")["answers"].train < 50
    assert estimates(recipe, "steps.answers.limit=7")["answers"].train == 7


def test_rules_that_make_more_pairs_are_counted(recipe: Path) -> None:
    assert estimates(recipe, "steps.pairs.rule={kind: all_pairs}")["pairs"].train == 80 * 15
    assert estimates(recipe, "steps.pairs.rule={kind: all_pairs, most: 4}")["pairs"].train == 80 * 4


def test_each_step_is_paid_once_and_shown(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded, found = load_recipe(recipe), estimates(recipe)
    costs = {name: dollars(loaded, step) for name, step in found.items()}
    assert {name for name, cost in costs.items() if cost} == {"ratings", "constitution"}
    read, written = found["ratings"].asks[0].prompt_tokens, found["ratings"].asks[0].completion_tokens
    assert costs["ratings"] == pytest.approx((read + 2 * written) / 1e6)
    assert main(["check", str(recipe)]) == 0
    page = capsys.readouterr().out
    assert f"This can cost up to ${sum(costs.values()):,.2f}; there is no cap." in page
    assert "Replies that the judge of ratings garbles are asked for again, which is not counted." in page
    assert main(["check", str(recipe), "--set", "budget={dollars: 0.1}"]) == 2
    assert "can cost up to" in capsys.readouterr().err


def test_feedback_that_there_is_is_looked_at(recipe: Path) -> None:
    answers = [{"model": "m", "response": "word " * 30, "overall_score": 3.0}] * 5
    rows = [json.dumps({"instruction": f"Why {number}?", "completions": answers}) for number in range(40)]
    (recipe.parent / "feedback.jsonl").write_text("\n".join(rows), encoding="utf-8")
    steps = {
        "data": {"stage": "data", "sources": {"own": {"path": "feedback.jsonl"}}},
        "ratings": RECIPE["steps"]["ratings"] | {"answers": "data", "per_prompt": 3, "limit": 10},
    }
    recipe.write_text(yaml.safe_dump(RECIPE | {"steps": steps}, sort_keys=False), encoding="utf-8")
    found = estimates(recipe)
    assert (found["data"].answers, found["data"].answer_tokens) == (5, 50)
    assert found["ratings"].requests == (10 + found["data"].test) * 3
