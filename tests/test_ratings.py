"""Stage `ratings`: what is judged, what is kept of it, what is counted, and what is left for another run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from favonius.data.rows import read_rows, write_rows
from favonius.errors import FavoniusError, UserError
from favonius.feedback import ratings
from favonius.feedback.cases import read_cases
from favonius.feedback.config import CardConfig, RatingsConfig
from favonius.judges.card import JudgeCard
from favonius.judges.config import ConsensusJudge, CritiqueJudge, EnsembleJudge, LikelihoodJudge, PairwiseJudge
from favonius.judges.judge import FIRST, Failure, Judgement, Score, Showing, Verdict
from favonius.report import page
from favonius.report.judge_words import findings
from favonius.run import Context, Inputs, LeftOpen, ModelRef, StepRef
from favonius.types import (
    Answer,
    Feedback,
    JudgeCall,
    JudgedBy,
    Knowledge,
    Message,
    Origin,
    Principle,
    RatedText,
    Request,
    Sampling,
)
from tests.page_reader import Page
from tests.voices import context, source, speak, stats

SOURCES = ("small", "large", "teacher")
CRITIQUE = CritiqueJudge(model=ModelRef("teacher"), reasks=0)
NO_CARD: dict[str, Any] = {"card": None}


def answer(prompt: int, name: str) -> Answer:
    return Answer(
        prompt_id=f"p{prompt}",
        split="test" if prompt % 4 == 0 else "train",
        prompt=(Message(role="user", content=f"What about {prompt}?"),),
        source=name,
        text=f"{name} says {prompt}",
        finished=name != "small",
        tokens=3,
        flaws=("unfinished",) if name == "small" else (),
        principle=Principle(kind="honesty", text="Be honest."),
        origin=Origin(model=name, sampling=Sampling(), request=f"key {name} {prompt}"),
        prompt_source="ours",
        knowledge=Knowledge(correct=("42",)),
    )


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "answers").mkdir()
    (tmp_path / "ratings").mkdir()
    answers = [answer(number, name) for number in range(12) for name in SOURCES]
    write_rows(tmp_path / "answers" / "answers.jsonl", answers)
    return tmp_path


class Scripted:
    """Scores by the answer's source; `verdict` may say otherwise. Shows answers one by one in words, as far as its
    calls tell."""

    def __init__(self, verdict: Callable[[Feedback, RatedText], Verdict] | None = None) -> None:
        self.mark = JudgedBy(name="scripted", kind="critique", template="0" * 64)
        self.tokens = 11
        self.asked: list[tuple[str, Showing, int]] = []
        self.verdict = verdict or (lambda case, answer: Score(float(SOURCES.index(answer.source)), critique="So so."))

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "") -> list[Judgement]:
        self.asked.append((label, showing, len(cases)))
        return [self._judge(case) for case in cases]

    def _judge(self, case: Feedback) -> Judgement:
        if case.id.startswith("calibration"):
            verdicts: tuple[Verdict, ...] = tuple(Score(float(len(one.text))) for one in case.completions)
        else:
            verdicts = tuple(self.verdict(case, one) for one in case.completions)
        calls = tuple(JudgeCall(request=f"{case.id} {place}", order=(place,)) for place in range(len(verdicts)))
        return Judgement(verdicts, calls=calls)


def rate(
    world: Path, monkeypatch: pytest.MonkeyPatch, judge: Scripted | None = None, **changes: Any
) -> tuple[list[Feedback], Scripted]:
    chosen = judge or Scripted()

    @contextmanager
    def opened(*_: object) -> Iterator[Scripted]:
        yield chosen

    monkeypatch.setattr(ratings, "open_judge", opened)
    config = RatingsConfig(answers=StepRef("answers"), judge=CRITIQUE, **changes)
    ratings.run(config, Inputs({"answers": world / "answers"}, {}, {}), world / "ratings", context(world))
    return read_rows(world / "ratings" / "feedback.jsonl", Feedback), chosen


def card(world: Path) -> JudgeCard:
    return JudgeCard.model_validate_json((world / "ratings" / "card.json").read_text())


def test_answers_become_rated_rows(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, judge = rate(world, monkeypatch)
    assert [row.id for row in rows] == [f"p{number}" for number in range(12)]
    row = rows[4]
    assert (row.split, row.source, row.knowledge) == ("test", "ours", Knowledge(correct=("42",)))
    assert row.judge == judge.mark and [call.order for call in row.calls] == [(0,), (1,), (2,)]
    first = row.completions[0]
    assert (first.source, first.overall, first.critique, first.finished) == ("small", 0.0, "So so.", False)
    assert first.flaws == ("unfinished",) and first.principle is not None and first.origin is not None
    told = stats(world / "ratings")
    assert (told["kept"], told["dropped"], told["tokens"], told["judge"], told["prompts"]) == (
        36,
        {},
        11,
        "scripted",
        12,
    )
    assert list(told["scores"]) == ["teacher", "large", "small"] and told["scores"]["teacher"]["value"] == 2.0
    assert set(told["scores"]["teacher"]) == {"value", "low", "high", "n"}


def test_what_the_card_needs_is_asked(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, judge = rate(world, monkeypatch, card=CardConfig(cases=5))
    assert judge.asked == [
        ("  ratings", FIRST, 12),
        ("  ratings, repeated", Showing(sample=1), 5),
        ("  calibration", FIRST, 40),
    ], "it sees one answer at a time: there is nothing to reverse"
    found = card(world)
    assert found.own_sources == ("teacher",), "the judge's own model wrote them"
    assert found.own.judge.estimate is not None and found.own.judge.estimate.value == 1.0
    assert found.calibration.mistakes and found.calibration.right.estimate is not None
    rate(world, monkeypatch, card=CardConfig(cases=0, calibration=False, own_sources=("large",)))
    assert card(world).own_sources == ("large", "teacher") and card(world).calibration.mistakes == ()
    _, silent = rate(world, monkeypatch, card=None)
    assert [asked for asked, _, _ in silent.asked] == ["  ratings"]


def test_a_card_of_unknown_sources_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"card\.own_sources: no answer is from tall; .*large, small, teacher"):
        rate(world, monkeypatch, card=CardConfig(own_sources=("tall",)))


def test_limits_and_draws(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = rate(world, monkeypatch, limit=2, **NO_CARD)
    assert [row.id for row in rows] == ["p0", "p1", "p2", "p4"], "two of each split"
    drawn, _ = rate(world, monkeypatch, per_prompt=2, **NO_CARD)
    again, _ = rate(world, monkeypatch, per_prompt=2, limit=2, **NO_CARD)
    other, _ = rate(world, monkeypatch, per_prompt=2, seed=1, **NO_CARD)
    chosen = {row.id: [one.source for one in row.completions] for row in drawn}
    assert all(len(names) == 2 and names == sorted(names, key=SOURCES.index) for names in chosen.values())
    assert all([one.source for one in row.completions] == chosen[row.id] for row in again)
    assert len({tuple(names) for names in chosen.values()}) == 3
    assert {row.id: [one.source for one in row.completions] for row in other} != chosen


def test_failures_stay_in_their_rows_and_are_counted(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def grumpy(case: Feedback, answer: RatedText) -> Verdict:
        return Failure("no score", "I will not rate this.") if answer.source == "large" else Score(1.0)

    rows, _ = rate(world, monkeypatch, Scripted(grumpy))
    assert all(len(row.completions) == 3 and row.completions[1].overall is None for row in rows)
    told = stats(world / "ratings")
    assert (told["kept"], told["dropped"]) == (24, {"no score": 12})
    assert told["samples"]["no score"][0] == "p0 (large): I will not rate this."
    assert card(world).failures == {"no score": 12}


def test_a_judge_that_always_fails_ends_the_step(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FavoniusError, match=r"ratings: the judge could rate no answer \(36 no score\)"):
        rate(world, monkeypatch, Scripted(lambda case, answer: Failure("no score")))
    assert not (world / "ratings" / "feedback.jsonl").exists()


def test_money_that_ran_out_is_no_failure(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def poor(case: Feedback, answer: RatedText) -> Verdict:
        return Score(1.0) if case.id in ("p0", "p1") else Failure("the budget is spent", asked=False)

    rows, _ = rate(world, monkeypatch, Scripted(poor))
    told = stats(world / "ratings")
    assert (told["kept"], told["dropped"], told["not asked about, for lack of money"]) == (6, {}, 30)
    assert len(rows) == 12 and card(world).answers == 6
    rows, _ = rate(world, monkeypatch, Scripted(lambda case, answer: Failure("the budget is spent", asked=False)))
    assert stats(world / "ratings")["kept"] == 0 and len(rows) == 12, "the step is left open and goes on"


def test_given_scores_are_the_reference_and_nobody_sees_them(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "answers" / "answers.jsonl").unlink()
    given = [
        Feedback(
            id=f"f{number}",
            split="train",
            prompt=(Message(role="user", content=f"Question {number}?"),),
            completions=(
                RatedText(source="small", text="short", overall=2.0 + number % 3, critique="Good.", scores={"a": 1.0}),
                RatedText(source="large", text="much longer", overall=3.0),
                RatedText(source="teacher", text="by aspects only", scores={"a": 4.0, "b": 5.0}),
            ),
            judge=JudgedBy(name="somebody", kind="people"),
        )
        for number in range(9)
    ]
    write_rows(world / "answers" / "feedback.jsonl", given)

    def see(case: Feedback, answer: RatedText) -> Verdict:
        assert case.judge is None and (answer.overall, answer.critique, answer.scores) == (None, None, {})
        return Score(float(len(answer.text)))

    rows, _ = rate(world, monkeypatch, Scripted(see))
    assert rows[0].judge is not None and rows[0].judge.name == "scripted"
    found = card(world)
    right = found.labelled.right.estimate
    # small and large are told apart by the reference where their scores differ: 2 < 3, 3 = 3, 4 > 3.
    assert right is not None and (right.value, right.n) == (0.5, 6)
    config = RatingsConfig(answers=StepRef("answers"), judge=CRITIQUE)
    assert read_cases(world / "answers", config).labels[2] == [4.0, 3.0, None]


def test_a_folder_without_answers_is_the_users_mistake(tmp_path: Path) -> None:
    config = RatingsConfig(answers=StepRef("answers"), judge=CRITIQUE)
    with pytest.raises(UserError, match="there are no answers in it; name an answers step"):
        read_cases(tmp_path, config)


def spoken(world: Path, judge: Any, **changes: Any) -> Context:
    config = RatingsConfig(answers=StepRef("answers"), judge=judge, **changes)
    models = {name: source(world, name) for name in ("teacher", "other")}
    around = context(world)
    ratings.run(config, Inputs({"answers": world / "answers"}, models, {}), world / "ratings", around)
    return around


def likes_the_first(request: Request) -> str:
    return "A"


def test_an_interrupted_step_asks_only_what_is_missing(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after twenty questions; the second run asks the rest and makes the rows of an undisturbed one."""
    pairwise = PairwiseJudge(model=ModelRef("teacher"))
    engines = speak(monkeypatch, {"teacher": likes_the_first})
    spoken(world, pairwise)
    whole = (world / "ratings" / "feedback.jsonl").read_bytes(), (world / "ratings" / "card.json").read_bytes()
    needed = {request.key() for request in engines["teacher"].asked}
    (world / "ledger.sqlite").unlink()

    class KilledError(Exception):
        pass

    heard: list[Request] = []

    def dies(request: Request) -> str:
        heard.append(request)
        if len(heard) > 20:
            raise KilledError
        return "A"

    speak(monkeypatch, {"teacher": dies})
    with pytest.raises(KilledError):
        spoken(world, pairwise)
    engines = speak(monkeypatch, {"teacher": likes_the_first})
    spoken(world, pairwise)
    asked = {request.key() for request in engines["teacher"].asked}
    assert asked < needed and len(needed) - len(asked) >= 20 - 1
    assert whole == (
        (world / "ratings" / "feedback.jsonl").read_bytes(),
        (world / "ratings" / "card.json").read_bytes(),
    )


def test_the_card_finds_a_real_pairwise_judge_that_likes_the_first(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(monkeypatch, {"teacher": likes_the_first})
    spoken(world, PairwiseJudge(model=ModelRef("teacher")))
    both = card(world)
    assert both.order.flips.estimate is not None and both.order.flips.estimate.value == 1.0
    assert both.order.first_wins.estimate is not None and both.order.first_wins.estimate.value == 0.5
    rows = read_rows(world / "ratings" / "feedback.jsonl", Feedback)
    assert {answer.overall for row in rows for answer in row.completions} == {0.5}, "asked both ways it has no word"
    assert both.calibration.right.estimate is not None and both.calibration.right.estimate.value == 0.5
    spoken(world, PairwiseJudge(model=ModelRef("teacher"), both_orders=False))
    once = card(world)
    assert once.order.first_wins.estimate is not None and once.order.first_wins.estimate.value == 0.5
    assert once.order.first_wins.estimate.n == 12, "what was judged in one order was asked again in the other"
    asked_both, asked_once = (" ".join(one.sentence for one in findings(found)) for found in (both, once))
    assert "in both orders, which takes this out of its scores" in asked_both
    assert "in both orders" not in asked_once


def test_unreadable_replies_of_a_real_judge_are_on_its_card(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mumbles(request: Request) -> str:
        return "Hm." if "small says" in request.messages[-1].content.partition("large says")[0] else "A"

    speak(monkeypatch, {"teacher": mumbles})
    spoken(world, PairwiseJudge(model=ModelRef("teacher"), reasks=0), card=CardConfig(cases=4))
    found = card(world)
    assert found.failures == {} and found.unread.estimate is not None and found.unread.estimate.value > 0.2
    text = Page(page_of(world)).plain()
    assert "It gave each of 36 answers a score, though" in text and "of its replies could not be read." in text


def test_replies_that_could_be_read_only_when_asked_again_are_on_the_card(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hesitates(request: Request) -> str:
        is_first = request.sampling.temperature == 0 and "small says" in request.messages[-1].content
        return "7 or 8" if is_first else "Overall Score: 7"

    speak(monkeypatch, {"teacher": hesitates})
    spoken(world, CritiqueJudge(model=ModelRef("teacher")), card=CardConfig(cases=0, calibration=False))
    found = card(world)
    assert found.unread.estimate is not None and found.unread.estimate.value == 0
    assert found.reasked.estimate is not None and found.reasked.estimate.value == pytest.approx(1 / 3)
    assert "It gave each of 36 answers a score; 33 %" in Page(page_of(world)).plain().replace("\u00a0", " ")


def test_an_ensemble_of_real_judges(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def critic(request: Request) -> str:
        text = request.messages[-1].content
        return "Fine.\nOverall Score: " + ("9" if "teacher says" in text else "4" if "large says" in text else "none")

    speak(monkeypatch, {"teacher": critic, "other": critic})
    members = {"one": CRITIQUE, "two": CritiqueJudge(model=ModelRef("other"), reasks=0)}
    spoken(world, EnsembleJudge(judges=dict(members), combine="mean"), card=CardConfig(cases=4))
    rows = read_rows(world / "ratings" / "feedback.jsonl", Feedback)
    assert [answer.overall for answer in rows[0].completions] == [None, 0.0, 1.0]
    assert rows[0].completions[2].scores == {"one": 9.0, "two": 9.0}
    found = card(world)
    assert found.alpha.estimate is not None and found.alpha.estimate.value == 1.0
    assert found.own_sources == ("teacher",) and found.judge.name == "mean of one, two"
    assert sum(count for cause, count in found.failures.items() if cause.startswith("one: ")) == 12


def test_a_majority_is_shown_in_reverse_for_its_card(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": likes_the_first, "other": likes_the_first})
    members = {name: PairwiseJudge(model=ModelRef(name), both_orders=False) for name in ("teacher", "other")}
    spoken(world, EnsembleJudge(judges=dict(members), combine="majority"), card=CardConfig(cases=4))
    flips = card(world).order.flips.estimate
    assert flips is not None and flips.value == 1.0


def test_a_consensus_of_real_judges(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def critic(request: Request) -> str:
        text = request.messages[-1].content
        return "Fine.\nOverall Score: " + ("9" if "teacher says" in text else "8" if "large says" in text else "1")

    speak(monkeypatch, {"teacher": critic, "other": critic})
    members = {"one": CRITIQUE, "two": CritiqueJudge(model=ModelRef("other"), reasks=0)}
    both = ConsensusJudge(judge=EnsembleJudge(judges=dict(members)), weight=0.1, least=3)
    spoken(world, both, card=CardConfig(cases=4))
    first, *_ = read_rows(world / "ratings" / "feedback.jsonl", Feedback)
    assert [answer.scores["judge"] for answer in first.completions] == [0.0, 0.5, 1.0]
    # Every two texts share as much as any other two: all have the same support, and nothing is moved.
    assert {round(answer.scores["support"] or 0.0, 12) for answer in first.completions} == {round(3 / 7, 12)}
    assert [answer.overall for answer in first.completions] == [0.0, 0.5, 1.0]
    found = card(world)
    assert found.judge.name == "consensus by mean of one, two" and found.alpha.estimate is not None
    assert found.order.flips.estimate is None


def test_a_budget_that_is_spent_leaves_the_step_open(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from favonius.engines.account import SpentError

    def broke(request: Request) -> str:
        if "p" in request.messages[-1].content and "says 7" in request.messages[-1].content:
            raise SpentError
        return "Good.\nOverall Score: 7"

    speak(monkeypatch, {"teacher": broke})
    around = spoken(world, CRITIQUE, **NO_CARD)
    told = stats(world / "ratings")
    assert told["not asked about, for lack of money"] == 3 and told["dropped"] == {} and told["kept"] == 33
    assert all(isinstance(left, LeftOpen) for left in around.left_open)


def test_a_judge_that_draws_nothing_is_not_asked_again(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    class Reads(Scripted):
        def _judge(self, case: Feedback) -> Judgement:
            return Judgement(super()._judge(case).verdicts)

    _, judge = rate(world, monkeypatch, Reads())
    assert [label for label, _, _ in judge.asked] == ["  ratings", "  calibration"]
    assert card(world).repeats.kept.why and not card(world).repeats.kept.estimate


def page_of(world: Path, **changes: Any) -> str:
    """The page of a run that has this one step."""
    recipe = {"models": {"teacher": "org/teacher"}, "steps": {"ratings": {"stage": "ratings", **changes}}}
    (world / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    return page.write(world).read_text(encoding="utf-8")


def test_the_page_says_it_in_words(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"teacher": likes_the_first})
    spoken(world, PairwiseJudge(model=ModelRef("teacher"), both_orders=False))
    html = page_of(world)
    text = Page(html).plain()
    assert '<section id="judge">' in html and "The judge" in text
    for sentence in (
        "It gave each of 36 answers a score.",
        "In the reverse order 100 %",
        "The answer shown earlier wins 100 %",
        "where a fair judge has 50 %.",
        "Of 40 questions whose better answer is known it gets",
        "known answers that it did not get right",
    ):
        assert sentence in text, sentence
    assert html.count('<span class="flag">bias</span>') == 1
    assert "short and right or long and wrong" in text and "Not measured, as there are no scores of a reference" in text


def test_the_page_without_a_card(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate(world, monkeypatch, **NO_CARD)
    text = Page(page_of(world)).plain()
    assert "Mean score" in text and "It gave each" not in text
    (world / "ratings" / "card.json").write_text('{"judge": "of another age"}')
    assert "its card was written by another version" in Page(page_of(world)).plain()
    (world / "ratings" / "stats.json").unlink()
    assert "Nothing to show yet: step ratings" in Page(page_of(world)).plain()


def test_config_takes_judges_by_kind() -> None:
    config = RatingsConfig.model_validate(
        {"answers": "a", "judge": {"kind": "ensemble", "judges": {"x": {"kind": "likelihood", "model": "m"},
         "y": {"kind": "critique", "model": "n"}}}, "card": {"cases": 3, "own_sources": ["x"]}}
    )  # fmt: skip
    assert isinstance(config.judge, EnsembleJudge) and isinstance(config.judge.judges["x"], LikelihoodJudge)
    assert config.card == CardConfig(cases=3, own_sources=("x",))
