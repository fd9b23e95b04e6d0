"""Pairwise mode: a judge compares the answers with a baseline's, each pair in both orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from favonius.data.checks import Drops
from favonius.engines.asked import Failure
from favonius.engines.interview import interview
from favonius.evals.benchmarks.asking import Heard, ask
from favonius.evals.benchmarks.config import MtBench
from favonius.evals.benchmarks.task import Desk, Item, ItemRow, Said, Scored
from favonius.evals.mt_bench.hearing import Word, hear, leave_out
from favonius.evals.mt_bench.judging import Asking, comparing
from favonius.evals.mt_bench.material import Material
from favonius.evals.mt_bench.pairwise import SHOWN_AS_A, SWAPPED, WON, Match, Winner, standings
from favonius.evals.mt_bench.questions import TURNS, Question
from favonius.evals.mt_bench.reading import Side, read_verdict
from favonius.evals.mt_bench.turns import answers, notes_on, place, prompts_record, turn_row, write_lines
from favonius.phrases import counted
from favonius.run import ModelRef
from favonius.types import Completion, JudgedBy

GAMES = "games.jsonl"
"""FastChat's rows of pairwise judgments."""
NO_VERDICT = "a reply of the judge holds no verdict"
SAME = "both models gave the same answers: a tie, of which nothing was asked"


@dataclass(frozen=True)
class Pairing:
    """Both models' answers to a question, up to a turn, and the two games about them; none where they are the same."""

    question: Question
    said: Said
    turn: int
    games: tuple[Asking, ...]


def compared(
    config: MtBench, baseline: ModelRef, material: Material, items: Sequence[Item], said: Sequence[Said], desk: Desk
) -> Scored:
    """A row per turn that both models answered and on which the judge had a word in both games.

    What the baseline did not answer and what the judge had no word on is left out and counted.
    """
    judge, other = desk.inputs.speaker(config.judge), desk.inputs.speaker(baseline).name
    opponent = f"{other} (baseline)" if other == desk.label else other
    heard = _baseline(baseline, items, desk)
    left_out = Drops()
    left_out.absorb(heard.left_out, "no answer of the baseline: ")
    rows, matches, records = list[ItemRow](), list[Match](), list[dict[str, Any]]()
    pairings = list(_pairings(material, said, heard.said))
    words = iter(hear(config, [game for one in pairings for game in one.games], desk, f"  comparing {desk.label}"))
    for one in pairings:
        own = [next(words) for _ in one.games]
        failures = [word.reply for word in own if isinstance(word.reply, Failure)]
        if failures:
            leave_out(left_out, place(one.question, one.turn), failures[0])
            continue
        match = _match(one, desk.label, opponent, own)
        matches.append(match)
        rows.append(_row(one, match, own))
        records += [_record(one, match, judge.name, own)] if own else []
    write_lines(desk.folder / GAMES, records)
    return Scored(
        rows=rows,
        judge=JudgedBy(name=judge.name, kind="mt-bench pairwise", template=material.prompts.digest),
        protocol={**prompts_record(material.prompts), "baseline": other, **_standing(matches, desk.label)},
        left_out=left_out,
        notes=[*notes_on(material.prompts), *_on_place(matches)],
    )


def _baseline(baseline: ModelRef, items: Sequence[Item], desk: Desk) -> Heard:
    with interview(desk.engine, desk.inputs.speaker(baseline), desk.context) as model:
        return ask(items, model, f"  {baseline} answers")


def _pairings(material: Material, said: Sequence[Said], others: Sequence[Said]) -> Iterator[Pairing]:
    answered = {one.item.id: answers(one) for one in others}
    for one in said:
        if (other := answered.get(one.item.id)) is None:
            continue
        question, own = material.questions[int(one.item.id)], answers(one)
        reference = material.references.get(question.question_id)
        for turn in TURNS:
            same = own[:turn] == other[:turn]
            games = () if same else comparing(material.prompts, question, own, other, turn, reference)
            yield Pairing(question, one, turn, games)


def _match(one: Pairing, model: str, opponent: str, words: Sequence[Word]) -> Match:
    read = [read_verdict(word.reply.text) for word in words if isinstance(word.reply, Completion)]
    sides: tuple[Side | None, Side | None] = (read[0], read[1]) if read else ("tie", "tie")
    return Match(one.question.question_id, one.turn, model, opponent, *sides)


def _row(one: Pairing, match: Match, words: Sequence[Word]) -> ItemRow:
    score = None if match.winner is None else WON[match.winner]
    note = NO_VERDICT if score is None else None if words else SAME
    return turn_row(one.question, one.said, one.turn, {"win_rate": score}, note, tuple(word.request for word in words))


def _record(one: Pairing, match: Match, judge: str, words: Sequence[Word]) -> dict[str, Any]:
    """As FastChat writes it: g1 is the game in which the first model was shown as A."""
    names: dict[Winner, str] = {"first": "model_1", "second": "model_2", "tie": "tie"}
    winners = (match.game and names[SHOWN_AS_A[match.game]], match.swapped and names[SWAPPED[match.swapped]])
    games = {
        f"g{number}_{name}": value
        for number, (asking, word, winner) in enumerate(zip(one.games, words, winners, strict=True), start=1)
        for name, value in (
            ("winner", winner or "error"),
            ("user_prompt", asking.messages[-1].content),
            ("judgment", word.reply.text if isinstance(word.reply, Completion) else ""),
        )
    }
    return {
        "question_id": match.question_id,
        "model_1": match.first,
        "model_2": match.second,
        "judge": [judge, one.games[0].prompt.name],
        "turn": match.turn,
        **games,
    }


def _standing(matches: Sequence[Match], model: str) -> dict[str, Any]:
    """The model's wins and losses, and how many of the ties come of one position's winning both games."""
    if not matches:
        return {}
    found = standings(matches)[model]
    return {
        "wins": found.wins,
        "losses": found.losses,
        "ties": found.ties,
        "unparsed": found.unread,
        "win_rate": found.win_rate,
        "adjusted_win_rate": None if found.adjusted is None else found.adjusted._asdict(),
        "same_position_won_twice": _by_place(matches),
    }


def _by_place(matches: Sequence[Match]) -> int:
    return sum(match.game == match.swapped and match.game in ("A", "B") for match in matches)


def _on_place(matches: Sequence[Match]) -> list[str]:
    found = _by_place(matches)
    of = f"{found} of {counted(len(matches), 'turn')}"
    return [f"in {of} the judge named the same place in both orders, which makes ties"] if found else []
