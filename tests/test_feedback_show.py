"""Hand checks: what is shown first, how it is laid out, and what becomes of a person's verdicts."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.cli import main
from favonius.cli.feedback import open_deck, ruled
from favonius.data.rows import read_rows, write_rows
from favonius.doctor.paint import Paint
from favonius.errors import UserError
from favonius.review import walk
from favonius.review.agreement import verdicts
from favonius.review.choose import (
    ONE_ALONE,
    OTHER_CHOSEN,
    OTHER_REJECTED,
    REVERSED,
    Deck,
    between_judges,
    between_rules,
)
from favonius.review.columns import columns, halves, wrapped
from favonius.review.contest import Contest
from favonius.review.judged import Judged
from favonius.review.labels import Labels
from favonius.review.page import render
from favonius.review.replies import ordinal, replies
from favonius.review.walk import Walk, print_all
from favonius.types import Comparison, Feedback, Message, RatedText
from tests.page_reader import Page
from tests.report_feedback_run import ESCAPES, make_feedback_run
from tests.report_run import HOSTILE

PLAIN = Paint(colours=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_feedback_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "60")


def row(
    name: str, *scores: float | None, texts: Sequence[str] = (), comparisons: Sequence[Comparison] = ()
) -> Feedback:
    texts = texts or [f"{name}, answer {at}" for at in range(len(scores))]
    answers = (
        RatedText(source=f"m{at}", text=text, overall=score)
        for at, (text, score) in enumerate(zip(texts, scores, strict=True))
    )
    return Feedback(
        id=name, split="train", prompt=(Message(role="user", content=f"{name}?"),), completions=tuple(answers),
        comparisons=tuple(comparisons),
    )  # fmt: skip


def deck_of(ours: Sequence[Feedback], theirs: Sequence[Feedback], everything: bool = False, seed: int = 0) -> Deck:
    return between_judges([Judged("ours", ours), Judged("theirs", theirs)], everything, seed)


def sides(contest: Contest) -> set[str]:
    return {answer.source for answer in contest.answers}


# what is shown, and in which order


def test_the_clearest_disagreement_comes_first() -> None:
    ours = [row("mild", 4, 5, 4.5), row("agreed", 1, 9), row("clear", 1, 10, 5), row("tied", 3, 3)]
    theirs = [row("clear", 900, 100, 500), row("agreed", 10, 800), row("mild", 500, 400, 450), row("tied", 1, 2)]
    deck = deck_of(ours, theirs)
    assert [contest.row.id for contest in deck.contests] == ["clear", "mild"]
    assert all(sides(contest) == {"m0", "m1"} for contest in deck.contests)
    assert deck.prompts == 4 and not deck.drawn


def test_answers_are_found_by_their_text_whatever_their_place_and_units() -> None:
    ours = [row("a", 1, 2, texts=("first ", "second"))]
    theirs = [row("a", 70, 10, 5, texts=("something else", " first", "second"))]
    [contest] = deck_of(ours, theirs).contests
    opinion = Judged("theirs", theirs).opinion(contest)
    assert opinion.prefers == 1 + contest.texts.index("first")
    assert set(opinion.scores) == {10, 5}


def test_a_comparison_counts_for_more_than_scores() -> None:
    compared = Comparison(first=1, second=0, preference=0.9, seen_first=1.0, seen_second=0.8)
    judge = Judged("ours", [row("a", 5, 1, comparisons=[compared])])
    lean = judge.reading(judge.rated[0])
    assert (lean(0, 1), lean(1, 0)) == (pytest.approx(-0.8), pytest.approx(0.8))
    opinion = judge.opinion(Contest(judge.rated[0].row, (0, 1)))
    assert opinion.notes == ("preference for 1: 20 % when it is shown first, 0 % second",)


@given(st.lists(st.lists(st.none() | st.integers(0, 9), min_size=2, max_size=5), min_size=1, max_size=6), st.integers())
@settings(max_examples=60, deadline=None)
def test_a_disagreement_is_one_whoever_is_asked_first(scores: list[list[int | None]], seed: int) -> None:
    ours = [row(f"r{at}", *given) for at, given in enumerate(scores)]
    theirs = [row(f"r{at}", *reversed(given)) for at, given in enumerate(scores)]
    one, other = Judged("ours", ours), Judged("theirs", theirs)
    found, turned = between_judges([one, other], False, seed), between_judges([other, one], False, seed)
    assert {contest.row.id for contest in found.contests} == {contest.row.id for contest in turned.contests}
    for contest in found.contests:
        assert {one.opinion(contest).prefers, other.opinion(contest).prefers} == {1, 2}


def test_a_random_sample_is_the_same_for_a_seed_and_holds_agreements_too() -> None:
    rows = [row(f"r{at}", 1, 2, 3) for at in range(20)]
    drawn = deck_of(rows, rows, everything=True)
    assert drawn.drawn and len(drawn.contests) == 20
    assert drawn.contests == deck_of(rows, rows, everything=True).contests
    assert drawn.contests != deck_of(rows, rows, everything=True, seed=1).contests
    assert [contest.row.id for contest in drawn.contests] != [one.id for one in rows]
    assert not deck_of(rows, rows).contests


def test_sides_are_drawn_and_the_key_does_not_depend_on_them() -> None:
    rows = [row(f"r{at}", 1, 2) for at in range(40)]
    contests = deck_of(rows, [row(f"r{at}", 2, 1) for at in range(40)]).contests
    turned = sum(contest.places == (1, 0) for contest in contests)
    assert 8 < turned < 32
    contest = contests[0]
    assert Contest(contest.row, contest.places[::-1]).key == contest.key != contests[1].key


def test_rules_differ_in_three_ways_the_most_telling_first() -> None:
    far = row("far", 9, 1, 5, texts=("x" * 100, "y" * 10, "z" * 98))
    honest = (one.model_copy(update={"scores": {"honesty": float(at)}}) for at, one in enumerate(far.completions))
    rows = [far.model_copy(update={"completions": tuple(honest)}), row("near", 3, 2, texts=("long" * 9, "short"))]

    def kinds(*names: str) -> list[tuple[str, str]]:
        voices = [ruled(name, rows, 0) for name in names]
        return [(contest.row.id, contest.kind) for contest in between_rules(voices, rows, False, 0).contests]

    assert kinds("best_vs_worst", "length_matched") == [("near", ONE_ALONE), ("far", OTHER_REJECTED)]
    assert kinds("best_vs_worst", "best_vs_worst,by=honesty") == [("far", OTHER_CHOSEN), ("near", ONE_ALONE)]
    assert kinds("all_pairs", "all_pairs,by=honesty") == [("far", REVERSED), ("near", ONE_ALONE)]
    assert kinds("best-vs-worst", "best_vs_worst") == []


def test_what_a_rule_says_of_two_answers() -> None:
    rows = [row("a", 9, 1, 5)]
    rule = ruled("best_vs_worst", rows, 0)
    said = {places: rule.opinion(Contest(rows[0], places)) for places in ((0, 1), (1, 0), (0, 2), (2, 1))}
    assert [said[0, 1].says, said[1, 0].says] == ["chooses 1, rejects 2", "chooses 2, rejects 1"]
    assert (said[0, 2].says, said[0, 2].prefers) == ("chooses 1 over m1", 1)
    assert (said[2, 1].says, said[2, 1].lean) == ("rejects 2 for m0", None)
    lone = ruled("margin,least=20", rows, 0).opinion(Contest(rows[0], (0, 1)))
    assert lone.says == "makes no pair of this prompt: no answer is lower by the margin" and lone.lean is None


# how it is laid out


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("词 —\t\n"), max_size=80), st.integers(2, 30))
def test_wrapped_lines_fit_and_lose_nothing_but_blanks(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(columns(line) <= width for line in lines)
    assert not re.search("[\x00-\x1f\x7f-\x9f]", "".join(lines))
    if text.isprintable():
        assert "".join(lines).replace(" ", "") == re.sub(r"\s", "", text)


def test_characters_of_two_columns_and_of_none() -> None:
    assert columns("ab") == 2 and columns("词词") == 4 and columns("e\u0301") == 1
    assert wrapped("词词词", 4) == ["词词", "词"]
    assert wrapped("one two", 4) == ["one", "two"]


def shown(deck: Deck, limit: int = 200, labels: Labels | None = None) -> str:
    writing = io.StringIO()
    print_all(deck, limit, labels, writing, PLAIN)
    return writing.getvalue()


@pytest.mark.parametrize("width", [40, 80, 160])
def test_no_line_is_wider_than_the_terminal(run: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = shown(open_deck(str(run / "ratings"), str(run / "by_length"), [], False, 0))
    assert max(map(columns, text.splitlines())) <= width
    assert ("│ 2  " in text) == (halves(width) is not None) == (width > 40)


def test_a_models_text_never_drives_the_terminal(run: Path) -> None:
    text = shown(open_deck(str(run / "ratings"), str(run / "by_length"), [], True, 0))
    assert "\x1b" not in text and "\x07" not in text
    assert r"\u001b[2J\u001b]0;owned\u0007" in text


def test_everything_that_is_known_of_two_answers_is_shown(run: Path) -> None:
    deck = open_deck(str(run / "ratings"), str(run / "by_length"), [], False, 0)
    text = shown(Deck(deck.voices, tuple(c for c in deck.contests if c.row.id in ("p5", "p9")), 2, False))
    for expected in (
        "aspects of wise against the longer",
        "What is jasper number 9 good for?",
        "told to mind",
        "temperature 0.7",
        "aspects of wise on 1 ",
        "Worth ",
        " · helpfulness ",
        "word for word (helpfulness, saw 1 as its ",
        "Rationale: helpfulness of p5",
        "it is not in the run's ledger any more",
    ):
        assert expected in text, expected


def test_replies_tell_as_which_text_an_answer_was_shown(run: Path) -> None:
    judge = open_deck(str(run / "ratings"), None, [], True, 0).voices[0]
    ratings = {one.id: one for one in read_rows(run / "ratings" / "feedback.jsonl", Feedback)}
    found = replies(judge.opinion(Contest(ratings["p6"], (0, 2))))
    assert [reply.title for reply in found] == [
        "helpfulness, saw 1 as its 3rd and 2 as its 1st",
        "honesty, saw 1 as its 3rd and 2 as its 1st",
    ]
    assert found[0].text is not None and "helpfulness of p6" in found[0].text
    assert [ordinal(index) for index in (0, 1, 2, 3, 10, 20)] == ["1st", "2nd", "3rd", "4th", "11th", "21st"]


def test_looking_changes_nothing_in_the_run(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    shown(open_deck(str(run / "ratings"), str(run / "by_length"), [], False, 0))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


# what a person says


def three() -> Deck:
    ours = [row(f"r{at}", 1 + at, 9) for at in range(3)]
    return deck_of(ours, [row(f"r{at}", 9, 1 + at) for at in range(3)])


def walked(deck: Deck, words: str, labels: Labels | None = None) -> str:
    writing = io.StringIO()
    Walk(deck, 200, labels, io.StringIO("\n".join(words.split(";")) + "\n"), writing, PLAIN).run()
    return writing.getvalue()


def test_walking_forward_back_and_by_number() -> None:
    text = walked(three(), ";p;j 3;j 9;what;q")
    places = re.findall(r"── (\d) of 3 · ", text)
    assert places == ["1", "2", "1", "3"]
    assert "There is no 'j 9' here." in text and "There is no 'what' here." in text
    assert "Verdicts are written down with --labels" in walked(three(), "1;q")
    assert walked(three(), ";;;;;").count("── ") == 3


def test_a_verdict_is_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    path, deck = tmp_path / "labels.jsonl", three()
    first = walked(deck, "1;q", Labels(path))
    assert "1 is better" in first and "1 verdict on 3" in first
    again = Labels(path)
    assert again.verdict(deck.contests[0]) == "first" and again.verdict(deck.contests[1]) is None
    second = walked(deck, "t;s", again)
    assert "── 1 of 3" not in second and "── 2 of 3" in second
    assert [Labels(path).verdict(contest) for contest in deck.contests] == ["first", "tie", "skip"]
    assert "your verdict on all" in walked(deck, "", Labels(path))


def test_the_last_word_counts_and_earlier_ones_stay_in_the_file(tmp_path: Path) -> None:
    path, deck = tmp_path / "labels.jsonl", three()
    walked(deck, "1;p;2;q", Labels(path))
    assert Labels(path).verdict(deck.contests[0]) == "second"
    assert [[one.overall for one in found.completions] for found in read_rows(path, Feedback)] == [[1, 0], [0, 1]]


def test_nobody_is_told_whose_the_answers_are_before_speaking(tmp_path: Path) -> None:
    deck = three()
    blind = walked(deck, "q", Labels(tmp_path / "a.jsonl"))
    assert "m0" not in blind and "m1" not in blind and "prefers" not in blind
    asked = walked(deck, "v;q", Labels(tmp_path / "b.jsonl"))
    assert "prefers" in asked
    spoken = walked(deck, "1;q", Labels(tmp_path / "c.jsonl"))
    assert re.search(r"1 is m\d's, 2 is m\d's", spoken) and "prefers" in spoken


def test_a_verdict_is_told_for_the_sides_as_they_are_shown(tmp_path: Path) -> None:
    contest = three().contests[0]
    labels = Labels(tmp_path / "labels.jsonl")
    labels.say(contest, "first")
    assert labels.verdict(Contest(contest.row, contest.places[::-1])) == "second"


def test_a_torn_verdict_is_asked_for_again_and_a_whole_one_kept(tmp_path: Path) -> None:
    path, deck = tmp_path / "labels.jsonl", three()
    labels = Labels(path)
    for contest in deck.contests[:2]:
        labels.say(contest, "first")
    text = path.read_text()
    path.write_text(text[:-1])
    assert [Labels(path).verdict(contest) for contest in deck.contests[:2]] == ["first", "first"]
    path.write_text(text[: len(text) * 3 // 4])
    torn = Labels(path)
    assert [torn.verdict(contest) for contest in deck.contests[:2]] == ["first", None]
    torn.say(deck.contests[1], "tie")
    assert [Labels(path).verdict(contest) for contest in deck.contests[:2]] == ["first", "tie"]


@pytest.mark.parametrize("text", ["not json", '{"id": "a"}\n', "notes\n"])
def test_other_files_are_not_written_into(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=r"labels\.jsonl"):
        Labels(path)
    assert path.read_text() == text


def test_feedback_of_more_answers_is_no_file_of_verdicts(tmp_path: Path) -> None:
    write_rows(tmp_path / "labels.jsonl", [row("a", 1, 2, 3)])
    with pytest.raises(UserError, match="row a is no verdict on two answers"):
        Labels(tmp_path / "labels.jsonl")
    with pytest.raises(UserError, match="there is no folder"):
        Labels(tmp_path / "nowhere" / "labels.jsonl")


def test_verdicts_given_again_are_looked_at_once(tmp_path: Path) -> None:
    path, deck = tmp_path / "labels.jsonl", three()
    walked(deck, "1;p;2;q", Labels(path))
    again = open_deck(str(path), None, [], False, 0)
    assert len(again.contests) == 1 and again.voices[0].opinion(deck.contests[0]).prefers == 2


def test_agreement_with_the_person_leaves_out_ties_and_says_so(tmp_path: Path) -> None:
    ours = [row(f"r{at}", 1, 2) for at in range(10)]
    deck = deck_of(ours, [row(f"r{at}", 2, 1) for at in range(10)])
    labels = Labels(tmp_path / "labels.jsonl")
    for number, contest in enumerate(deck.contests[:8]):
        better = contest.places.index(1 if number < 5 else 0)
        labels.say(contest, "tie" if number == 7 else ("first", "second")[better])  # type: ignore[arg-type]
    found = verdicts(deck, labels)
    assert (found.preferred, found.ties, found.skipped, found.contests) == (7, 1, 0, 10)
    ours_share, theirs_share = found.agreements
    assert (ours_share.agreed, ours_share.of, theirs_share.agreed) == (5, 7, 2)
    assert ours_share.share is not None and ours_share.share.low < 5 / 7 < ours_share.share.high
    text = shown(deck, labels=labels)
    assert "8 verdicts on 10, of them 1 tie" in text
    assert re.search(r"ours +agrees with you: 5 of 7 = 71 % \(\d+–\d+\)", text)
    assert "the shares say who is right there" in text and "your verdict: a tie" in text


def test_verdicts_are_reference_labels(tmp_path: Path) -> None:
    deck = three()
    labels = Labels(tmp_path / "labels.jsonl")
    for contest in deck.contests:
        labels.say(contest, ("first", "second")[contest.places.index(0)])  # type: ignore[arg-type]
    rows = [contest.row for contest in deck.contests]
    write_rows(tmp_path / "feedback.jsonl", rows)
    found = open_deck(str(tmp_path), str(tmp_path / "labels.jsonl"), [], False, 0)
    assert [voice.name for voice in found.voices] == [tmp_path.name, "person"] and len(found.contests) == 3


# the command and the page


def test_piped_it_prints_everything(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feedback", "show", str(run / "ratings"), str(run / "by_length"), "--limit", "2"]) == 0
    text = capsys.readouterr().out
    assert "── 2 of 2 · " in text and "the first 2 are shown" in text and "\x1b" not in text


def test_one_judge_alone_and_rules_on_its_feedback(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feedback", "show", str(run / "ratings")]) == 0
    assert "Two answers to each of 24 prompts, drawn at random." in capsys.readouterr().out
    rules = ["--rule", "best_vs_random", "--rule", "best-vs-worst,by=honesty"]
    assert main(["feedback", "show", str(run / "ratings" / "feedback.jsonl"), *rules]) == 0
    assert "best_vs_random against best-vs-worst,by=honesty" in capsys.readouterr().out


def test_the_scores_that_answers_came_with_are_the_other_judge(tmp_path: Path) -> None:
    step = tmp_path / "ratings"
    step.mkdir()
    (tmp_path / "given").mkdir()
    write_rows(step / "feedback.jsonl", [row("a", 1, 2)])
    identity = {"stage": "ratings", "version": 1, "config": {"answers": "given"}, "inputs": {}}
    (step / "config.json").write_text(json.dumps({"identity": identity, "attempts": 1}))
    write_rows(tmp_path / "given" / "feedback.jsonl", [row("a", 5, 3)])
    deck = open_deck(str(step), None, [], False, 0)
    assert [voice.name for voice in deck.voices] == ["ratings", "given"] and len(deck.contests) == 1
    write_rows(tmp_path / "given" / "feedback.jsonl", [row("a", None, None)])
    assert [voice.name for voice in open_deck(str(step), None, [], False, 0).voices] == ["ratings"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{run}"], "name a step of this run; those with feedback: by_length, ratings"),
        (["{run}/pairs"], "holds no feedback.jsonl"),
        (["{run}/pairs/pairs.jsonl"], "these rows are preference"),
        (["{run}/ratings", "--rule", "best_vs_wurst"], "did you mean best-vs-worst?"),
        (["{run}/ratings", "--rule", "margin,lest=2"], "lest is no known key, did you mean least?"),
        (["{run}/ratings", "--rule", "margin,least=x"], 'least is "x"'),
        (["{run}/ratings", "--rule", "margin,2"], "'2' sets nothing"),
        (["{run}/ratings", "--rule", "margin,by=honesti"], "there is no score honesti; did you mean honesty?"),
        (["{run}/ratings", "{run}/by_length", "--rule", "margin"], "leave out --rule or OTHER"),
        (["{run}/ratings", "--rule", "a", "--rule", "b", "--rule", "c"], "3 rules are given"),
        (["{run}/ratings", "--limit", "0"], "--limit 0: must be 1 or more"),
        (["{run}/ratings", "{other}"], "no prompt with two different answers that all judge"),
        (["{run}/ratings", "--rule", "margin,least=99"], "no prompt gives a pair by margin,least=99"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    other = tmp_path / "other.jsonl"
    write_rows(other, [row("elsewhere", 1, 2)])
    told = [part.format(run=run, other=other) for part in arguments]
    assert main(["feedback", "show", *told]) == 2
    found = capsys.readouterr().err
    assert sentence in found and len(found.splitlines()) == 1


def test_the_page_is_one_safe_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, labels = tmp_path / "out.html", tmp_path / "labels.jsonl"
    deck = open_deck(str(run / "ratings"), str(run / "by_length"), [], False, 0)
    Labels(labels).say(deck.contests[0], "second")
    command = ["feedback", "show", str(run / "ratings"), str(run / "by_length")]
    assert main([*command, "--page", str(out), "--labels", str(labels)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    html = out.read_text(encoding="utf-8")
    page = Page(html)
    assert not {"script", "img", "iframe", "link"} & set(page.names())
    assert "http:" not in html and "https:" not in html and "default-src 'none'" in html and str(run.parent) not in html
    assert HOSTILE.split("&")[0] in page.text and ESCAPES not in html and "\x1b" not in html
    text = page.plain()
    assert "1 of 24" in text and "They differ on 24 of 24 prompts" in text and "2 is better" in text
    assert "agrees with the person" in text and "word for word" in text and "Rationale: honesty" in text
    assert html == render(deck, 200, Labels(labels))


def test_on_a_terminal_it_asks(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main_end, other_end = os.openpty()
    with open(other_end) as keyboard, open(os.dup(other_end), "w") as screen, open(main_end, "wb", 0) as person:
        person.write(b"\nq\n")
        monkeypatch.setattr("sys.stdin", keyboard)
        monkeypatch.setattr("sys.stdout", screen)
        asked: list[Walk] = []
        monkeypatch.setattr("favonius.cli.feedback.Walk", lambda *given: asked.append(Walk(*given)) or asked[-1])
        monkeypatch.setattr(walk, "_write", lambda writing, lines: None)
        assert main(["feedback", "show", str(run / "ratings"), str(run / "by_length")]) == 0
    assert [one.at for one in asked] == [1]
