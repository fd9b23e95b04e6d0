"""What text each token of an answer adds to it, and its log-probs in those words."""

from __future__ import annotations

from collections.abc import Sequence

from favonius.chat.format import ChatFormat
from favonius.engines.sampler import Odds
from favonius.types import TokenLogprob

HALF = "\ufffd"
"""What stands at the end of a text whose last character still lacks bytes."""
WINDOW = 8
"""Tokens before one that decide how it is spelt: a space at the very beginning, the bytes of one character."""


def token_texts(form: ChatFormat, ids: Sequence[int]) -> list[str]:
    """Joined they are the text of `ids`; a token that ends within a character adds nothing, the next one all of it."""
    texts, shown = [], 0
    for count in range(1, len(ids) + 1):
        text = form.decode(ids[:count])
        whole = text if count == len(ids) else text.rstrip(HALF)
        texts.append(whole[shown:])
        shown = max(shown, len(whole))
    return texts


def token_logprobs(form: ChatFormat, ids: Sequence[int], odds: Sequence[Odds], answer: str) -> tuple[TokenLogprob, ...]:
    """Of the tokens that lie wholly within `answer`, which a stop text may have cut; none where `odds` are none."""
    if not odds:
        return ()
    texts = token_texts(form, ids)
    found = [
        TokenLogprob(token=text, logprob=own.logprob, top=_worded(form, ids[max(0, place - WINDOW) : place], own))
        for place, (text, own) in enumerate(zip(texts, odds, strict=True))
    ]
    return within(found, answer)


def read_logprobs(form: ChatFormat, ids: Sequence[int], odds: Sequence[Odds]) -> tuple[TokenLogprob, ...]:
    """Of all tokens after the first, whose odds these are."""
    texts = token_texts(form, ids)
    return tuple(
        TokenLogprob(token=text, logprob=own.logprob, top=_worded(form, ids[max(0, place - WINDOW) : place], own))
        for place, (text, own) in enumerate(zip(texts[1:], odds, strict=True), start=1)
    )


def within(tokens: Sequence[TokenLogprob], answer: str) -> tuple[TokenLogprob, ...]:
    """The first of `tokens`, as far as their texts lie wholly within the answer."""
    end = 0
    for count, one in enumerate(tokens):
        end += len(one.token)
        if end > len(answer):
            return tuple(tokens[:count])
    return tuple(tokens)


def _worded(form: ChatFormat, before: Sequence[int], odds: Odds) -> tuple[tuple[str, float], ...]:
    """The likeliest tokens as what they would have added after the tokens `before`."""
    shown = len(form.decode(before).rstrip(HALF))
    added = (form.decode([*before, token]).rstrip(HALF)[shown:] or form.decode([token]) for token, _ in odds.top)
    return tuple((text, logprob) for text, (_, logprob) in zip(added, odds.top, strict=True))
