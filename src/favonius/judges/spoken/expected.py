"""The mean over all that a judge might have said at the place where it said a score, weighted by probability.

Ratings as in G-Eval, preferences as in AlpacaEval 2 (zephyr-spec §5.3). The tokens are found by the letters that they
spell: spaces are left out on both sides, as engines differ in where they put them.

What cannot be known:
- Tokens that are not among the likeliest that the engine lists count for nothing; what is listed is made to sum to 1.
- Everything said before the score is as it was drawn: another critique might have led to other odds.
- Where 10 is written as "1" and "0", a "1" that was not drawn may be the beginning of either. If leaving it out could
  move the mean by more than MOST_SHIFT it is refused as unreadable, and otherwise left out. Such judges are better
  asked for `aspects`, whose scale ends at 5. A "1" that was drawn is told by the odds of the token after it; where the
  engine lists none, since the reply ends there, it is taken for a 1: refusing it would lose the lowest scores alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from favonius.judges.spoken.numerals import Number, Scale, Unreadable
from favonius.judges.spoken.verdicts import PREFERENCE, Names, Said
from favonius.types import Completion, TokenLogprob

LIKELIEST = 20
"""Tokens that are asked for in each place: the most that servers give. There are at most eleven wanted ones."""
MOST_SHIFT = 0.25
"""By how many points an expected score may be wrong for what a "1" may have begun."""
BLANK = re.compile(r"[\s▁ĠĊ]+")


def expected_score(reply: Completion, score: Number, scale: Scale) -> float:
    """The mean score of the whole numbers that might stand where `score` does. Raises Unreadable."""
    if not reply.text[score.start : score.end].isdecimal():
        raise Unreadable("the score is no whole number, whose probability is in one place")
    place, before = _token_at(reply, score.start)
    odds: dict[str, float] = {}
    for rest, probability in _alternatives(reply.logprobs[place], before):
        if (digits := re.match(r"[1-9][0-9]*", rest)) and scale.low <= int(digits[0]) <= scale.high:
            begun = "1…" if rest == "1" and scale.high >= 10 else digits[0]
            odds[begun] = odds.get(begun, 0.0) + probability
    if not sum(odds.values()):
        raise Unreadable("no score is among the likeliest tokens")
    return _mean(odds, reply, place, before)


def expected_preference(reply: Completion, verdict: Said, names: Names) -> float:
    """How far the answer shown first is preferred: 1 wholly, 0.5 neither, 0 not at all. Raises Unreadable."""
    place, before = _token_at(reply, verdict.start)
    sides = names.sides()
    odds = dict.fromkeys(PREFERENCE, 0.0)
    for rest, probability in _alternatives(reply.logprobs[place], before):
        if (name := re.match(r"\w+", rest)) and name[0] in sides:
            odds[sides[name[0]]] += probability
    if not sum(odds.values()):
        raise Unreadable("no verdict is among the likeliest tokens")
    return sum(PREFERENCE[side] * probability for side, probability in odds.items()) / sum(odds.values())


def _mean(odds: dict[str, float], reply: Completion, place: int, before: str) -> float:
    """Of scores by how they begin, where "1…" is a lone 1 that may yet become a 10."""
    open_one = odds.pop("1…", 0.0)
    drawn = BLANK.sub("", reply.logprobs[place].token)[len(before) :]
    if "10" in odds:  # whoever writes 10 in one token does not begin it with a 1
        one, ten, unknown = open_one, 0.0, 0.0
    elif drawn == "1":
        zero, digit = _goes_on(reply.logprobs[place + 1 :])
        one, ten, unknown = open_one * (1 - digit), open_one * zero, 0.0
    else:
        one, ten, unknown = 0.0, 0.0, open_one
    weights = {float(value): probability for value, probability in odds.items()}
    weights[1.0] = weights.get(1.0, 0.0) + one
    weights[10.0] = weights.get(10.0, 0.0) + ten
    total = sum(weights.values())
    if not total:
        raise Unreadable("a 1 cannot be told from a 10 by its probability")
    mean = sum(value * weight for value, weight in weights.items()) / total
    if unknown / (total + unknown) * max(mean - 1, 10 - mean) > MOST_SHIFT:
        raise Unreadable("a 1 cannot be told from a 10 by its probability")
    return mean


def _goes_on(following: Sequence[TokenLogprob]) -> tuple[float, float]:
    """The probability that a 0, and that any digit, follows a 1."""
    odds = [(text, math.exp(logprob)) for text, logprob in _listed(following[0])] if following else []
    zero = sum(probability for text, probability in odds if re.match(r"0(?![0-9])", text))
    return zero, sum(probability for text, probability in odds if re.match(r"[0-9]", text))


def _alternatives(token: TokenLogprob, before: str) -> Iterator[tuple[str, float]]:
    """What might stand in a token's place after the letters `before`, which belong to it, and how probable that is."""
    for text, logprob in _listed(token):
        letters = BLANK.sub("", text)
        if letters.startswith(before):
            yield letters[len(before) :], math.exp(logprob)


def _listed(token: TokenLogprob) -> list[tuple[str, float]]:
    """The likeliest tokens, with the one that was drawn. Without a list the drawn one tells nothing of the odds."""
    if not token.top or any(text == token.token for text, _ in token.top):
        return list(token.top)
    return [*token.top, (token.token, token.logprob)]


def _token_at(reply: Completion, start: int) -> tuple[int, str]:
    """The token that holds the character at `start` of the reply's text, and its letters before that one."""
    if not reply.logprobs:
        raise Unreadable("the engine gave no log-probs")
    spelled = [BLANK.sub("", token.token) for token in reply.logprobs]
    target = _letters_before("".join(spelled), reply.text, start)
    passed = 0
    for place, letters in enumerate(spelled):
        if target < passed + len(letters):
            return place, letters[: target - passed]
        passed += len(letters)
    raise Unreadable("the tokens do not spell the reply")


def _letters_before(spelled: str, text: str, start: int) -> int:
    """How many letters of the tokens come before the one at `start` of the text.

    Where a character was broken into several tokens, text and tokens differ there; the line up to `start` is then
    looked for by itself.
    """
    found = spelled.find(BLANK.sub("", text))
    if found >= 0:
        return found + len(BLANK.sub("", text[:start]))
    line = BLANK.sub("", text[text.rfind("\n", 0, start) + 1 : start + 1])
    before, everywhere = BLANK.sub("", text[: start + 1]), BLANK.sub("", text)
    if spelled.count(line) != everywhere.count(line):
        raise Unreadable("the tokens do not spell the reply")
    found = -1
    for _ in range(before.count(line)):
        found = spelled.index(line, found + 1)
    return found + len(line) - 1
