"""Binarisation: what each rule makes of rated answers, what is dropped and counted, and how rules are compared."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from favonius.data.checks import Drops
from favonius.data.intake import read_any
from favonius.data.rows import read_rows, write_rows
from favonius.errors import FavoniusError
from favonius.feedback import pairs as stage
from favonius.feedback.binarise import as_pairs, aspects_mean, choices_of, scores_of
from favonius.feedback.compare_rules import Compared, Variant, variants
from favonius.feedback.config import NEVER_CHOSEN, Binarisation, PairsConfig, Repair
from favonius.feedback.pairs import Account, prepared
from favonius.feedback.reference import Reference
from favonius.feedback.repair import repaired
from favonius.feedback.rules import (
    AllPairs,
    BestVsRandomLower,
    BestVsRandomOther,
    BestVsWorst,
    LengthMatched,
    Margin,
    Rule,
    ScoredBy,
)
from favonius.run import Inputs, StepRef
from favonius.types import (
    Comparison,
    Feedback,
    JudgeCall,
    JudgedBy,
    Message,
    Origin,
    Pair,
    Principle,
    RatedText,
    Sampling,
    Split,
)
from tests.voices import context

RULES: tuple[Rule, ...] = (
    BestVsRandomLower(), BestVsRandomOther(), BestVsWorst(), Margin(least=2.0), LengthMatched(within=0.3), AllPairs(),
    AllPairs(least=1.0, most=2),
)  # fmt: skip
OVERALL = ScoredBy(by="overall")


def answer(source: str, score: float | None, text: str = "", *flaws: str, **scores: float | None) -> RatedText:
    return RatedText(source=source, text=text or f"text of {source}", overall=score, flaws=flaws, scores=scores)


def row(*answers: RatedText, id: str = "p", split: Split = "train", source: str | None = None) -> Feedback:
    return Feedback(id=id, split=split, prompt=(Message(role="user", content=f"q {id}"),), completions=answers,
                    source=source)  # fmt: skip


def pairs_of(
    feedback: Feedback, rule: Rule, score: ScoredBy, never_chosen: Sequence[str], seed: int, drops: Drops
) -> list[Pair]:
    return as_pairs(feedback, choices_of(feedback, rule, score, never_chosen, seed, drops), rule, score, seed)


def made(
    feedback: Feedback, rule: Rule, seed: int = 0, score: ScoredBy = OVERALL
) -> tuple[list[tuple[str | None, str | None]], dict[str, int]]:
    drops = Drops()
    pairs = pairs_of(feedback, rule, score, NEVER_CHOSEN, seed, drops)
    return [(pair.chosen_source, pair.rejected_source) for pair in pairs], dict(drops.counts)


ABCD = row(answer("a", 9.0), answer("b", 8.5), answer("c", 6.0), answer("d", 3.0))


def rejected_by(rule: Rule, feedback: Feedback = ABCD) -> set[str | None]:
    found = [made(feedback, rule, seed)[0] for seed in range(40)]
    assert all(pairs[0][0] == "a" for pairs in found if pairs)
    return {pairs[0][1] for pairs in found if pairs}


def test_each_rule_by_hand() -> None:
    assert rejected_by(BestVsRandomLower()) == {"b", "c", "d"}
    assert rejected_by(BestVsRandomOther()) == {"b", "c", "d"}
    assert rejected_by(BestVsWorst()) == {"d"}
    assert rejected_by(Margin(least=3.0)) == {"c", "d"}, "a margin that is met exactly counts"
    assert len(made(ABCD, AllPairs())[0]) == 6
    assert sorted(made(ABCD, AllPairs(least=2.5))[0]) == [("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    assert len(made(ABCD, AllPairs(most=2))[0]) == 2
    assert made(ABCD, Margin(least=6.5)) == ([], {"no answer is lower by the margin": 1})
    assert made(ABCD, AllPairs(least=6.5)) == ([], {"no answer is lower by the margin": 1})


def test_means_that_are_equal_but_for_rounding_tie_and_a_margin_of_one_is_one() -> None:
    """0.1 × 5 + 0.2 × 2 over 0.3 is 2.9999999999999996 in floats, and 13/3 - 10/3 is 0.9999999999999996."""
    weighted = ScoredBy(by="aspects", weights={"x": 0.1, "y": 0.2})
    tied = row(answer("a", None, x=3.0, y=3.0), answer("b", None, x=5.0, y=2.0))
    for rule in (BestVsRandomLower(), BestVsRandomOther(), BestVsWorst(), AllPairs()):
        assert made(tied, rule, score=weighted) == ([], {"tie": 1})
    thirds = row(answer("a", None, x=5.0, y=4.0, z=4.0), answer("b", None, x=4.0, y=3.0, z=3.0))
    assert made(thirds, Margin(least=1.0), score=ScoredBy(by="aspects"))[0] == [("a", "b")]
    assert made(thirds, AllPairs(least=1.0), score=ScoredBy(by="aspects"))[1] == {"no answer is lower by the margin": 1}
    worst = row(answer("a", None, x=9.0, y=9.0), answer("b", None, x=3.0, y=3.0),
                answer("c", None, x=5.0, y=2.0))  # fmt: skip
    assert {made(worst, BestVsWorst(), seed, weighted)[0][0][1] for seed in range(40)} == {"b", "c"}


def test_length_matched_looks_for_a_loser_of_the_winners_length() -> None:
    found = row(answer("a", 9.0, "x" * 100), answer("b", 8.0, "y" * 90), answer("c", 7.0, "z" * 89),
                answer("d", 6.0, "w" * 111), answer("e", 5.0, "v" * 112))  # fmt: skip
    assert rejected_by(LengthMatched(within=0.1), found) == {"b", "d"}
    assert made(row(answer("a", 9.0, "x" * 100), answer("b", 8.0, "y" * 50)), LengthMatched())[1] == {
        "no lower answer is of about the length": 1
    }


def test_the_draw_is_that_of_earlier_runs() -> None:
    """A pair that changes silently would make a run's later steps start afresh."""
    for seed in range(5):
        for name in ("p", "q", "r"):
            feedback = ABCD.model_copy(update={"id": name})
            expected = random.Random(f"{seed} {name}").choice(["b", "c", "d"])
            assert made(feedback, BestVsRandomLower(), seed)[0] == [("a", expected)]


def test_of_several_best_answers_one_is_drawn() -> None:
    tied = row(answer("a", 9.0), answer("b", 9.0), answer("c", 1.0))
    found = Counter(made(tied.model_copy(update={"id": str(n)}), BestVsWorst())[0][0][0] for n in range(400))
    assert set(found) == {"a", "b"} and 140 < found["a"] < 260


def test_what_gives_no_pair_is_counted_by_cause() -> None:
    for rule in (BestVsRandomLower(), BestVsRandomOther(), BestVsWorst(), Margin(), LengthMatched(), AllPairs()):
        assert made(row(answer("a", 1.0), answer("b", 1.0)), rule) == ([], {"tie": 1})
        assert made(row(answer("a", 1.0, "x"), answer("b", 2.0, " x\n")), rule)[1] == {"all answers are the same": 1}
        assert made(row(answer("a", 1.0), answer("b", None)), rule)[1] == {"fewer than two answers have a score": 1}
        flawed = row(answer("a", 1.0, "x", "leak"), answer("b", 2.0, "y", "loop"))
        assert made(flawed, rule)[1] == {"every answer has a flaw": 1}


def test_released_data_lose_a_prompt_to_an_equal_draw() -> None:
    tied = row(answer("a", 9.0), answer("b", 9.0), answer("c", 1.0))
    outcomes = {str(made(tied, BestVsRandomOther(), seed)) for seed in range(40)}
    assert "([], {'tie': 1})" in outcomes and len(outcomes) > 1
    assert all(made(tied, BestVsRandomLower(), seed)[0][0][1] == "c" for seed in range(40))


def test_a_flaw_keeps_from_being_chosen_and_not_from_being_rejected() -> None:
    flawed = row(answer("a", 1.0), answer("b", 2.0), answer("c", 9.0, "x x", "loop"))
    assert {made(flawed, BestVsRandomLower(), seed)[0][0] for seed in range(30)} == {("b", "a"), ("b", "c")}
    assert made(flawed, BestVsWorst())[0] == [("b", "c")], "a flaw is worse than any score"
    assert made(flawed, Margin(least=1.0))[0] == [("b", "a")], "a margin is a matter of scores alone"
    assert made(flawed, AllPairs())[0] == [("b", "a")]
    drops = Drops()
    assert pairs_of(flawed, BestVsWorst(), OVERALL, (), 0, drops)[0].chosen_source == "c"


scores = st.one_of(st.none(), st.integers(1, 5).map(float))
answers = st.lists(
    st.tuples(scores, st.sampled_from(["x", "xx", "a longer text", "another one"]), st.booleans()),
    min_size=1, max_size=6,
)  # fmt: skip


@given(drawn=answers, rule=st.sampled_from(RULES), seed=st.integers(0, 3))
def test_every_pair_holds_and_every_prompt_is_accounted_for(
    drawn: list[tuple[float | None, str, bool]], rule: Rule, seed: int
) -> None:
    feedback = row(*(answer(f"m{n}", score, text, *(["loop"] if flawed else []))
                     for n, (score, text, flawed) in enumerate(drawn)))  # fmt: skip
    drops = Drops()
    pairs = pairs_of(feedback, rule, OVERALL, NEVER_CHOSEN, seed, drops)
    assert bool(pairs) != bool(drops.counts) and sum(drops.counts.values()) <= 1
    assert pairs == pairs_of(feedback, rule, OVERALL, NEVER_CHOSEN, seed, Drops())
    assert len({pair.id for pair in pairs}) == len(pairs)
    sound = [score for score, _, flawed in drawn if score is not None and not flawed]
    for pair in pairs:
        assert pair.origin is not None and pair.origin.places is not None
        chosen, rejected = (feedback.completions[place] for place in pair.origin.places)
        assert (pair.chosen, pair.rejected) == (chosen.text, rejected.text) and chosen.text != rejected.text
        assert not chosen.flaws and chosen.overall is not None and rejected.overall is not None
        assert (pair.chosen_score, pair.rejected_score) == (chosen.overall, rejected.overall)
        assert rejected.flaws or chosen.overall > rejected.overall
        assert isinstance(rule, AllPairs) or chosen.overall == max(sound)


@given(drawn=st.lists(scores, min_size=2, max_size=5), rule=st.sampled_from(RULES))
def test_a_prompt_more_changes_no_other_pair(drawn: list[float | None], rule: Rule) -> None:
    one = row(*(answer(f"m{n}", score) for n, score in enumerate(drawn)))
    how = Binarisation(rule=rule, score=OVERALL)
    alone = list(prepared([one], how, Account()))
    among = list(prepared([ABCD.model_copy(update={"id": "z"}), one], how, Account()))
    assert made(alone[0], rule) == made(among[1], rule)


def test_scores() -> None:
    rated = answer("a", 7.0, help=4.0, honesty=None, truth=2.0)
    assert aspects_mean(rated, ScoredBy(by="aspects")) == 3.0, "N/A is left out, not counted as 0"
    assert aspects_mean(rated, ScoredBy(by="aspects", weights={"help": 3.0, "truth": 1.0})) == 3.5
    assert aspects_mean(rated, ScoredBy(by="aspects", weights={"honesty": 1.0})) is None
    assert aspects_mean(rated, ScoredBy(by="aspects", weights={"honesty": 5.0, "truth": 1.0})) == 2.0
    with pytest.raises(ValidationError, match="by: aspects"):
        ScoredBy(weights={"honesty": 1.0})
    with pytest.raises(ValidationError, match="every weight is 0"):
        ScoredBy(by="aspects", weights={"honesty": 0.0})


def test_the_origin_names_the_aspects_that_counted() -> None:
    rated = row(answer("a", 1.0, x=5.0, y=1.0), answer("b", 9.0, x=1.0, y=1.0))
    for weights, name in (({"x": 1.0}, "x"), ({"x": 2.0, "y": 0.5}, "x × 2, y × 0.5")):
        [pair] = pairs_of(rated, BestVsWorst(), ScoredBy(by="aspects", weights=weights), (), 0, Drops())
        assert pair.origin is not None and pair.origin.rule == f"best_vs_worst by {name}"


def test_both_scores_are_never_set_against_each_other() -> None:
    """1 to 10 and 1 to 5 are different units: an answer with 4.5 of 5 must not lose to one with 5 of 10."""
    half = [answer("a", None, x=4.5), answer("b", 5.0, x=2.0), answer("c", 9.0, x=3.0)]
    assert scores_of(half, ScoredBy()) == ("aspects", [4.5, 2.0, 3.0])
    assert scores_of(half[1:], ScoredBy()) == ("overall", [5.0, 9.0])
    assert scores_of([answer("a", 3.0), answer("b", None)], ScoredBy()) == ("overall", [3.0, None])
    pair = pairs_of(row(*half), BestVsWorst(), ScoredBy(), (), 0, Drops())[0]
    assert (pair.chosen_source, pair.rejected_source) == ("a", "b")
    assert pair.origin is not None and pair.origin.rule == "best_vs_worst by aspects"


def test_a_pair_says_where_it_comes_from() -> None:
    origins = [Origin(model=name, sampling=Sampling(), request=name * 4) for name in "ab"]
    honest = Principle(kind="honesty", text="Be honest.")
    rated = [
        answer("a", 1.0).model_copy(update={"origin": origins[0]}),
        answer("b", 3.0).model_copy(update={"origin": origins[1], "principle": honest}),
        answer("c", None),
    ]
    calls = [
        JudgeCall(request="r0", order=(0,)),
        JudgeCall(request="r1", order=(2, 1)),
        JudgeCall(request="r2", order=(2,)),
    ]
    judge = JudgedBy(name="j", kind="critique", template="t")
    judged = row(*rated, source="flan").model_copy(update={"calls": tuple(calls), "judge": judge})
    [pair] = pairs_of(judged, BestVsRandomLower(), OVERALL, (), 3, Drops())
    origin = pair.origin
    assert origin is not None
    assert (origin.rule, origin.seed, origin.prompt_source, origin.places) == (
        "best_vs_random by overall",
        3,
        "flan",
        (1, 0),
    )
    assert [call.request for call in origin.calls] == ["r0", "r1"]
    assert (origin.chosen, origin.rejected, origin.chosen_principle, origin.judge) == (*origins[::-1], honest, judge)


@pytest.mark.parametrize(
    ("aspects", "becomes", "cause"),
    [
        ([1.0, 2.0, 3.0], 1.0, "a 10 that became a 1"),
        ([5.0, None, 4.0], 10.0, "a 10 that stayed"),
        ([4.0, 4.0], None, "a 10 left out, as its aspects leave it open"),
        ([2.0, 2.0, 3.0], None, "a 10 left out, as its aspects leave it open"),
        ([None], None, "a 10 left out, as it has no aspects"),
        ([], None, "a 10 left out, as it has no aspects"),
    ],
)
def test_repair_of_old_tens(aspects: list[float | None], becomes: float | None, cause: str) -> None:
    counts: Counter[str] = Counter()
    rated = row(answer("a", 10.0, **{f"x{n}": score for n, score in enumerate(aspects)}), answer("b", 9.0, x0=1.0))
    mended = repaired(rated, Repair(), counts)
    assert [one.overall for one in mended.completions] == [becomes, 9.0]
    assert counts == {cause: 1}


def test_sources_are_left_out_by_name() -> None:
    account = Account()
    rows = [row(*ABCD.completions, id=str(n), source=source) for n, source in enumerate(("truthful_qa", "flan", None))]
    assert [one.id for one in prepared(rows, Binarisation(), account)] == ["1", "2"]
    assert (account.prompts, dict(account.dropped.counts)) == (3, {"prompt of truthful_qa": 1})
    assert len(list(prepared(rows, Binarisation(without_sources=()), Account()))) == 3


def run_stage(folder: Path, rows: list[Feedback], **changes: object) -> dict[str, object]:
    (folder / "r").mkdir(exist_ok=True)
    (folder / "p").mkdir(exist_ok=True)
    write_rows(folder / "r" / "feedback.jsonl", rows)
    config = PairsConfig(ratings=StepRef("ratings"), **changes)  # type: ignore[arg-type]
    stage.run(config, Inputs({"ratings": folder / "r"}, {}, {}), folder / "p", context(folder))
    return dict(json.loads((folder / "p" / "stats.json").read_text()))


def test_the_stage_writes_pairs_and_accounts_for_every_prompt(tmp_path: Path) -> None:
    rows = [
        row(answer("a", 10.0, x=1.0), answer("b", 5.0, x=3.0), answer("c", None), id="mended"),
        row(answer("a", 3.0), answer("b", 5.0), id="test", split="test"),
        row(answer("a", 3.0), answer("b", 3.0), id="tie"),
        row(answer("a", 3.0), answer("b", 5.0), id="qa", source="truthful_qa"),
    ]
    stats = run_stage(tmp_path, rows, repair=Repair())
    pairs = read_rows(tmp_path / "p" / "pairs.jsonl", Pair)
    assert [(pair.id, pair.split, pair.chosen_source) for pair in pairs] == [
        ("mended", "train", "b"),
        ("test", "test", "b"),
    ]
    assert (stats["kept"], stats["prompts"], stats["held out"], stats["answers_without_score"]) == (2, 4, 1, 1)
    assert stats["dropped"] == {"prompt of truthful_qa": 1, "tie": 1}
    assert stats["repairs"] == {"a 10 that became a 1": 1}
    assert (stats["wins"], stats["mean_margin"]) == ({"b": 2}, 3.0)
    comparison = json.loads((tmp_path / "p" / "comparison.json").read_text())
    assert set(comparison["rules"]) >= {"best_vs_random", "best_vs_worst", "margin 1", "all_pairs"}
    assert comparison["rules"]["best_vs_random"]["pairs"] == 2


def test_a_step_without_a_pair_to_train_on_says_why(tmp_path: Path) -> None:
    tied = row(answer("a", 3.0), answer("b", 3.0))
    with pytest.raises(FavoniusError, match=r"no prompt gave a pair to train on \(1 tie\)"):
        run_stage(tmp_path, [tied])
    with pytest.raises(FavoniusError, match="all prompts are held out"):
        run_stage(tmp_path, [ABCD.model_copy(update={"split": "test"})])
    assert not (tmp_path / "p" / "pairs.jsonl").exists()


def compared(rows: list[Feedback], how: Binarisation, reference: Reference | None = None) -> Compared:
    found = Compared(variants(how, rows), how, reference)
    for one in rows:
        found.add(one)
    return found


def test_rules_are_compared_by_every_score_that_is_there() -> None:
    rows = [row(answer("a", 9.0, x=1.0, y=2.0), answer("b", 3.0, x=2.0, y=2.0), id="1")]
    names = [variant.name for variant in variants(Binarisation(rule=Margin(least=2.0)), rows)]
    assert names[0] == "margin 2" and len([name for name in names if name.startswith("margin")]) == len(names) - 5
    assert names[6:] == ["margin 2 by aspects", "margin 2 by x", "margin 2 by y"]
    assert len(variants(Binarisation(), [ABCD])) == 6


def test_the_other_score_is_a_witness_of_label_noise() -> None:
    """Of five pairs by overall the aspects reverse one and tie one."""
    means = [(4.0, 2.0), (4.0, 2.0), (4.0, 2.0), (2.0, 4.0), (3.0, 3.0)]
    rows = [row(answer("a", 9.0, x=up), answer("b", 5.0, x=down), id=str(n)) for n, (up, down) in enumerate(means)]
    record = compared(rows, Binarisation()).record()["rules"]["best_vs_random"]
    assert record["witnesses"] == {"other_score": {"pairs": 5, "ties": 1, "otherwise": 1, "share": 0.25}}
    noise = record["label_noise"]
    assert 2 * noise * (1 - noise) == pytest.approx(0.25, abs=1e-3)


def test_estimated_noise_is_that_of_two_raters_who_err_alike() -> None:
    draw = random.Random(0)

    def rated(better: bool) -> float:
        return (1.0 if better else 0.0) if draw.random() > 0.15 else (0.0 if better else 1.0)

    rows = []
    for number in range(4000):
        truth = draw.random() < 0.5
        first, second = rated(truth), rated(truth)
        rows.append(row(answer("a", first, x=second), answer("b", 1 - first, x=1 - second), id=str(number)))
    found = Compared([Variant("r", BestVsRandomLower(), OVERALL)], Binarisation())
    for one in rows:
        found.add(one)
    assert found.own.witnesses.label_noise() == pytest.approx(0.15, abs=0.02)


def test_a_judges_comparisons_and_a_reference_are_witnesses() -> None:
    plain = row(answer("a", 9.0), answer("b", 5.0))
    says = [(0, 1, 0.9, 0.9, 0.9), (1, 0, 0.8, 1.0, 0.4), (0, 1, 0.2, None, 0.2), (0, 1, 0.5, 1.0, 0.0)]
    rows = [
        plain.model_copy(update={"id": str(n), "comparisons": (Comparison(
            first=first, second=second, preference=preference, seen_first=early, seen_second=late),)})
        for n, (first, second, preference, early, late) in enumerate(says)
    ]  # fmt: skip
    trusted = Reference.of([row(answer("z", 4.0, "text of b"), answer("z", 2.0, " text of a "), id="p")])
    own = compared(rows, Binarisation(), trusted).own.record()
    assert own["witnesses"]["comparison"] == {"pairs": 4, "ties": 1, "otherwise": 2, "share": round(2 / 3, 4)}
    assert own["witnesses"]["other_order"] == {"pairs": 3, "ties": 0, "otherwise": 2, "share": round(2 / 3, 4)}
    assert own["witnesses"]["reference"]["share"] == own["label_noise"] == 1.0
    assert Reference.of([])(plain) == [None, None]


@pytest.mark.parametrize("kind", ["aspects", "ensemble"])
def test_a_score_that_the_overall_one_is_made_of_is_no_witness(kind: str) -> None:
    """It can only agree, and labels would seem to be free of noise."""
    judge = JudgedBy(name="j", kind=kind)
    rated = row(answer("a", 3.5, x=4.0, y=3.0), answer("b", 2.0, x=1.0, y=3.0)).model_copy(update={"judge": judge})
    record = compared([rated], Binarisation()).record()["rules"]
    assert list(record)[6:] == ["best_vs_random by x", "best_vs_random by y"]
    assert all(one["witnesses"] == {} and one["label_noise"] is None for one in record.values())


def test_a_comparison_that_scores_are_made_of_tells_no_noise() -> None:
    said = Comparison(first=0, second=1, preference=0.9, seen_first=0.9)
    rated = row(answer("a", 0.9), answer("b", 0.1)).model_copy(update={"comparisons": (said,)})
    own = compared([rated], Binarisation()).own.record()
    assert own["witnesses"]["comparison"]["pairs"] == 1 and own["label_noise"] is None


def test_agreement_counts_prompts_of_which_both_rules_make_a_pair() -> None:
    rows = [
        row(answer("a", 9.0, x=5.0), answer("b", 8.5, x=1.0), id="same"),
        row(answer("a", 9.0, x=1.0), answer("b", 5.0, x=5.0), answer("c", 1.0, x=3.0), id="other"),
        row(answer("a", 9.0, x=1.0), answer("b", 5.0, x=1.0), id="tie by x"),
    ]
    found = compared(rows, Binarisation(rule=BestVsWorst(), score=OVERALL)).record()["agreement"]
    by_two = {tuple(one["rules"]): one for one in found}
    one = by_two["best_vs_worst", "best_vs_worst by aspects"]
    assert (one["prompts"], one["same_chosen"], one["same_pair"]) == (2, 0.5, 0.5)
    assert not any("all_pairs" in two for two in by_two)


DATA = Path(os.environ.get("FAVONIUS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
REAL = DATA / "feedback" / "gpt4_feedback.test.jsonl.gz"


@pytest.mark.skipif(not REAL.is_file(), reason="FAVONIUS_TEST_DATA names no folder with GPT-4's feedback")
@pytest.mark.parametrize(("least", "longer"), [(0.0, 0.729), (1.0, 0.790)])
def test_on_real_feedback_length_alone_is_often_right(least: float, longer: float) -> None:
    rows = [one for one in read_any(str(REAL))[1] if isinstance(one, Feedback)]
    found = Compared([Variant("all", AllPairs(least=least), OVERALL)], Binarisation())
    for one in rows:
        found.add(one)
    assert found.own.record()["longer_chosen_share"] == pytest.approx(longer, abs=5e-4)
