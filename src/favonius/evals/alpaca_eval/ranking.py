"""AlpacaEval's own judge: shown both answers in a seeded order, it names the better model (zephyr-spec §5.2, §5.3).

Version 2 takes the probabilities of the two names where the engine gives them, in place of the name that was drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from favonius.engines.asked import Failure
from favonius.engines.interview import Reply, interview
from favonius.evals.alpaca_eval.bouts import DRAW, SAME, Bout, Verdicts, Word
from favonius.evals.alpaca_eval.judging import is_switched, unswitched, weighted_preference
from favonius.evals.benchmarks.config import RankingJudge
from favonius.evals.benchmarks.task import Desk
from favonius.judges.duels import EVEN
from favonius.judges.spoken.expected import BLANK
from favonius.judges.spoken.numerals import Unreadable
from favonius.judges.spoken.pairwise import VERDICT_TOKENS
from favonius.judges.spoken.templates import PairwisePrompt, Template, read_template, template_at
from favonius.judges.spoken.verdicts import PREFERENCE, Names, read_verdict
from favonius.run import Inputs
from favonius.statistics import Estimate, share
from favonius.types import Completion, JudgedBy, Messages, Sampling

SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=VERDICT_TOKENS)
LIKELIEST = 5
"""Tokens whose log-probs are looked at, as in AlpacaEval 2."""
BUILT_IN = "favonius"
OWN_PROMPT = (
    "the judge was asked by our own prompt (favonius) and not by the published one, so the win rate cannot be compared "
    "with published ones"
)
Way = Literal["log-probs", "text"]
WAYS: tuple[Way, ...] = ("log-probs", "text")


class Read(NamedTuple):
    """A preference between the answers as shown, 1 (the first) to 2, and what it was read from."""

    preference: float
    way: Way


class Ranked(NamedTuple):
    word: Word
    read: Read | None


def template_of(config: RankingJudge, inputs: Inputs) -> Template[PairwisePrompt]:
    """The template that the config names, of the form that pairwise judges have, else our own. UserError as they do."""
    if config.template is not None:
        return template_at(inputs.file(config.template), PairwisePrompt)
    text = (files("favonius.evals.alpaca_eval") / "builtin" / "ranking.yaml").read_text(encoding="utf-8")
    return read_template(text, PairwisePrompt, BUILT_IN)


def ranked(config: RankingJudge, version: int, seed: int, bouts: Sequence[Bout], desk: Desk) -> Verdicts:
    """A word on each bout. Of answers that are the same nothing is asked."""
    template = template_of(config, desk.inputs)
    source = desk.inputs.speaker(config.model)
    switched = [is_switched(bout.instruction.text, seed) for bout in bouts]
    with interview(config.engine, source, desk.context) as judge:
        questions = [
            judge.question(_messages(template, bout, turned), SAMPLING, logprobs=LIKELIEST if version == 2 else 0)
            for bout, turned in zip(bouts, switched, strict=True)
            if not bout.same
        ]
        replies = judge.interviews.replies(questions, f"  judging {desk.label}")
    keys = (question.request.key() for question in questions)
    asked = iter(zip(replies, keys, strict=True))
    found = [
        Ranked(Word(DRAW, SAME), None) if bout.same else _ranked(*next(asked), turned, template.prompts.verdicts)
        for bout, turned in zip(bouts, switched, strict=True)
    ]
    read = [one.read for one in found if one.read is not None]
    first_shown = share([2 - one.preference for one in read], [1.0] * len(read))
    return Verdicts(
        words=[one.word for one in found],
        judge=JudgedBy(name=source.name, kind=config.kind, template=template.digest),
        protocol={
            "template": {"name": Path(template.name).name, "digest": template.digest},
            "read_from": {way: sum(one.way == way for one in read) for way in WAYS},
            "first_shown_preferred": None if first_shown is None else first_shown._asdict(),
        },
        notes=[*([OWN_PROMPT] if config.template is None else ()), *_on_place(first_shown)],
    )


def preference(reply: Completion, names: Names) -> Read:
    """By the log-probs of the first token where a name is among its likeliest, else by the words. Raises Unreadable.

    Tokens are told by their letters: a name with a space before it is the name.
    """
    first = next((token for token in reply.logprobs if BLANK.sub("", token.token)), None)
    if first is not None and (weighted := weighted_preference(_by_letters(first.top), names.first, names.second)):
        return Read(weighted, "log-probs")
    said = read_verdict(reply.text, names, cut_off=reply.finish == "length")
    return Read(2 - PREFERENCE[said.side], "text")


def _by_letters(likeliest: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for token, logprob in likeliest:
        letters = BLANK.sub("", token)
        found[letters] = float(np.logaddexp(found.get(letters, -np.inf), logprob))
    return found


def _messages(template: Template[PairwisePrompt], bout: Bout, switched: bool) -> Messages:
    first, second = (bout.answer, bout.reference) if switched else (bout.reference, bout.answer)
    return template.prompts.messages(None, instruction=bout.instruction.text, first=first, second=second)


def _ranked(reply: Reply, request: str, switched: bool, names: Names) -> Ranked:
    if isinstance(reply, Failure):
        return Ranked(Word(None, reply.countable, silent=True), None)
    try:
        read = preference(reply, names)
    except Unreadable as fault:
        return Ranked(Word(None, str(fault), judged=(request,)), None)
    return Ranked(Word(unswitched(read.preference, switched), judged=(request,)), read)


def _on_place(first_shown: Estimate | None) -> list[str]:
    """The order is drawn, so a judge that goes by quality prefers the answer shown first half of the time."""
    if first_shown is None or first_shown.low <= EVEN <= first_shown.high:
        return []
    interval = f"95 %: {first_shown.low:.0%} to {first_shown.high:.0%}"
    return [
        f"place weighs with this judge: the answer shown first got {first_shown.value:.0%} of its word ({interval})"
    ]
