"""AI feedback: answers, ratings, and what is made of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from favonius.feedback.config import (
    AnswersConfig,
    BestConfig,
    ConstitutionConfig,
    PairsConfig,
    PoolMember,
    RatingsConfig,
)
from favonius.feedback.rules import AllPairs
from favonius.pipeline.estimate.amounts import INSTRUCTION_TOKENS, Asks, Estimate, part_of, tokens_of
from favonius.pipeline.estimate.judging import Cases, carded

PRINCIPLE_TOKENS = 100
"""What a model is told to mind, in one of the built-in wordings."""


def of_answers(config: AnswersConfig, prompts: Estimate) -> Estimate:
    asked = _split(prompts, config.test_share)
    train = asked.train if config.part is None else part_of(asked.train, 1 / config.part[1])
    train = train if config.limit is None else min(train, config.limit)
    count = train + asked.test
    each = config.per_prompt or len(config.pool)
    share = each / len(config.pool)
    asks = tuple(_pool_asks(config, member, part_of(count, share), asked) for member in config.pool.values())
    longest = max(member.sampling.max_tokens for member in config.pool.values())
    return Estimate(
        train,
        asked.test,
        written=min(sum(ask.completion_tokens for ask in asks), count * each * config.samples * longest),
        answers=each * config.samples,
        prompt_tokens=asked.prompt_tokens,
        answer_tokens=longest,
        asks=asks,
    )


def _pool_asks(config: AnswersConfig, member: PoolMember, prompts: int, asked: Estimate) -> Asks:
    told = PRINCIPLE_TOKENS if config.principles is not None and member.shows_principle else 0
    requests = prompts * config.samples
    read = asked.prompt_tokens + tokens_of(member.system) + told
    return Asks(member.model, requests, requests * read, requests * member.sampling.max_tokens)


def of_ratings(config: RatingsConfig, answers: Estimate, folder: Path) -> Estimate:
    train, test = (side if config.limit is None else min(side, config.limit) for side in (answers.train, answers.test))
    each = answers.answers if config.per_prompt is None else min(answers.answers, config.per_prompt)
    cases = Cases(train + test, each, answers.prompt_tokens, answers.answer_tokens)
    work = carded(config.judge, cases, config.card, folder)
    return Estimate(
        train,
        test,
        written=sum(ask.completion_tokens for ask in work.asks),
        read=work.read,
        answers=each,
        prompt_tokens=answers.prompt_tokens,
        answer_tokens=answers.answer_tokens,
        asks=work.asks,
        reasks=work.reasks,
        uncounted=answers.uncounted,
    )


def of_pairs(config: PairsConfig, ratings: Estimate) -> Estimate:
    pairs = 1
    if isinstance(config.rule, AllPairs):
        all_of_them = ratings.answers * (ratings.answers - 1) // 2
        pairs = all_of_them if config.rule.most is None else min(all_of_them, config.rule.most)
    return _made_of(ratings, ratings.train * pairs, ratings.test * pairs)


def of_best(config: BestConfig, ratings: Estimate) -> Estimate:
    return _made_of(ratings, math.ceil(ratings.train * config.top_share), ratings.test)


def _made_of(ratings: Estimate, train: int, test: int) -> Estimate:
    """Rows that cost nothing."""
    return Estimate(
        train,
        test,
        prompt_tokens=ratings.prompt_tokens,
        answer_tokens=ratings.answer_tokens,
        uncounted=ratings.uncounted,
    )


def of_constitution(config: ConstitutionConfig, prompts: Estimate) -> Estimate:
    """One answer to a prompt, then a critique and a revision in every round."""
    asked = _split(prompts, config.test_share)
    train = asked.train if config.limit is None else min(asked.train, config.limit)
    count, reply = train + asked.test, config.reviser_sampling.max_tokens
    longest = max(config.sampling.max_tokens, reply)
    critique = asked.prompt_tokens + longest + INSTRUCTION_TOKENS
    revision = critique + reply + INSTRUCTION_TOKENS
    asks = (
        Asks(config.model, count, count * asked.prompt_tokens, count * config.sampling.max_tokens),
        Asks(
            config.reviser or config.model,
            2 * config.rounds * count,
            config.rounds * count * (critique + revision),
            2 * config.rounds * count * reply,
        ),
    )
    return Estimate(
        train,
        asked.test,
        written=sum(ask.completion_tokens for ask in asks),
        prompt_tokens=asked.prompt_tokens,
        answer_tokens=longest,
        asks=asks,
    )


def _split(prompts: Estimate, test_share: float) -> Estimate:
    """Prompts that nobody has split yet are split where they are answered."""
    if prompts.test:
        return prompts
    test = round(prompts.train * test_share)
    return replace(prompts, train=prompts.train - test, test=test)
