"""The request policy: every fate of a request by hand, its promises as properties. Fleets are in test_fleet.py."""

from __future__ import annotations

import itertools
import math
import random
from decimal import Decimal
from email.utils import formatdate
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.engines.policy.limits import BURST, Bucket
from favonius.engines.policy.money import Purse, Tariff
from favonius.engines.policy.retry import GaveUp, RetryRules, Send, Sleep, attempts
from favonius.engines.policy.trouble import Trouble, trouble_of_status, without_secrets
from favonius.engines.policy.window import Window
from favonius.types import Price, RequestError

NOON = 1_763_726_400.0
"""Some time of day."""
RESET = Trouble("connection", "closed the connection")
STALLED = Trouble("timeout", "did not answer within 60 s")
BLANK = Trouble("empty", "the answer is empty", paid=True)
BROKEN = Trouble("overloaded", "answered 500 (internal server error)")
THROTTLED = Trouble("rate_limited", "answered 429 (too many requests)")
REJECTED = Trouble("rejected", "answered 400 (bad request): the prompt is too long")
WRONG_KEY = Trouble("rejected", "answered 401 (unauthorized)", closes=True)


def throttled(seconds: float) -> Trouble:
    return Trouble("rate_limited", THROTTLED.sentence, retry_after=seconds)


# What a status means


@pytest.mark.parametrize(
    ("status", "kind", "closes"),
    [
        (429, "rate_limited", False),
        (408, "timeout", False),
        (504, "timeout", False),
        (409, "overloaded", False),
        (425, "overloaded", False),
        (500, "overloaded", False),
        (502, "overloaded", False),
        (503, "overloaded", False),
        (529, "overloaded", False),
        (400, "rejected", False),
        (413, "rejected", False),
        (422, "rejected", False),
        (301, "rejected", True),
        (401, "rejected", True),
        (402, "rejected", True),
        (403, "rejected", True),
        (404, "rejected", True),
    ],
)
def test_statuses(status: int, kind: str, closes: bool) -> None:
    trouble = trouble_of_status(status, '{"error": {"message": "No."}}', {}, NOON)
    assert (trouble.kind, trouble.closes) == (kind, closes)
    assert trouble.sentence.startswith(f"answered {status} (") and trouble.sentence.endswith(": No.")
    assert trouble.retry_after is None and not trouble.paid


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "7", "retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": formatdate(NOON + 90, usegmt=True)}, 90.0),
        ({"Retry-After": formatdate(NOON - 90, usegmt=True)}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "Wed, 99 Nov 2026 99:00:00 GMT"}, None),
        ({}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "12.5"}, 12.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "a while"}, None),
        ({"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"retry-after": "2", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 2.0),
    ],
)
def test_how_long_a_server_asks_to_be_left_alone(headers: dict[str, str], seconds: float | None) -> None:
    assert trouble_of_status(429, "", headers, NOON).retry_after == pytest.approx(seconds)


def test_who_cannot_be_helped_by_waiting() -> None:
    body = '{"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}'
    trouble = trouble_of_status(429, body, {"retry-after": "5"}, NOON)
    assert (trouble.kind, trouble.closes, trouble.retry_after) == ("rejected", True, None)
    assert "You exceeded your current quota." in trouble.sentence
    flagged = trouble_of_status(403, '{"error": {"message": "Your input was flagged"}}', {}, NOON)
    assert (flagged.kind, flagged.closes) == ("rejected", False)
    unknown = trouble_of_status(400, '[{"error": {"message": "API key not valid.", "code": 400}}]', {}, NOON)
    assert (unknown.kind, unknown.closes) == ("rejected", True)


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        ('{"error": {"message": "Too\\nlong"}}', ": Too long"),
        ('{"error": "Too long"}', ": Too long"),
        ('{"object": "error", "message": "Too long"}', ": Too long"),
        ('{"detail": "Too long"}', ": Too long"),
        ('{"detail": [{"loc": ["body"]}]}', ': [{"loc": ["body"]}]'),
        ("Too long", ": Too long"),
        ("<html><h1>Bad</h1></html>", ")"),
        ("", ")"),
        ("{}", ")"),
        ("[" * 100_000, ": " + "[" * 199 + "…"),
        ('{"error": {"message": "\\u001b[2J\\ud800Too long"}}', ": [2J Too long"),
        ("[]", ": []"),
        ("null", ": null"),
        ('{"error": {"message": null}}', ")"),
    ],
)
def test_what_is_quoted_of_a_body(body: str, quoted: str) -> None:
    assert trouble_of_status(422, body, {}, NOON).sentence.endswith(quoted)


@settings(deadline=None)
@given(st.integers(100, 999), st.text(max_size=300), st.dictionaries(st.just("Retry-After"), st.text(max_size=20)))
def test_any_response_is_understood(status: int, body: str, headers: dict[str, str]) -> None:
    trouble = trouble_of_status(status, body, headers, NOON)
    assert len(trouble.sentence) < 350 and "\n" not in trouble.sentence
    assert trouble.retry_after is None or 0 <= trouble.retry_after < math.inf


def test_no_sentence_holds_a_key() -> None:
    keys = ["pass word", "sk-proj-Ab12-Cd34_Ef56", "hf_AbCdEfGh1234", "AIzaSyD0123456789abcdefghijklmnopq"]
    for key in keys:
        body = f'{{"error": {{"message": "Incorrect API key provided: {key}. See https://me:{key}@host/v1"}}}}'
        sentence = trouble_of_status(401, body, {}, NOON, secrets=["", "pass word"]).sentence
        assert key not in sentence and "Incorrect API key provided: ***" in sentence and "@host/v1" in sentence
    assert without_secrets("Authorization: Bearer abc.def") == "Authorization: Bearer ***"
    assert without_secrets("a key of keys", secrets=["key", "keys"]) == "a *** of ***"
    plain = "The model meta-llama/Meta-Llama-3.1-8B-Instruct allows 8192 tokens, see https://host/v1/models?a=b@c"
    assert without_secrets(plain) == plain


# One request's life

RULES = RetryRules(attempts=4, patience_seconds=600.0, first_seconds=0.5, longest_seconds=60.0)


def live(*fates: Trouble | None, rules: RetryRules = RULES) -> tuple[list[float], tuple[Trouble, ...]]:
    """Drive one request through its fates: the waits, and the troubles that were returned."""
    life = attempts(rules, random.Random(1))
    waits = []
    step = next(life)
    try:
        for number, fate in enumerate(fates, 1):
            assert step == Send(number)
            step = life.send(fate)
            assert isinstance(step, Sleep)
            waits.append(step.seconds)
            step = next(life)
    except StopIteration as end:
        return waits, end.value
    raise AssertionError("still alive")


def test_an_answer_at_once() -> None:
    assert live(None) == ([], ())


def test_faults_are_waited_out_with_growing_waits() -> None:
    waits, troubles = live(BROKEN, RESET, STALLED, None)
    assert troubles == (BROKEN, RESET, STALLED)
    assert all(0 <= wait <= 0.5 * 2**number for number, wait in enumerate(waits)) and len(set(waits)) == 3


def test_too_many_faults() -> None:
    with pytest.raises(GaveUp) as caught:
        live(BROKEN, STALLED, BROKEN, BROKEN)
    assert caught.value.troubles == (BROKEN, STALLED, BROKEN, BROKEN)
    assert str(caught.value) == f"{BROKEN.sentence}; tried 4 times: 3 overloaded, 1 timeout"
    assert isinstance(caught.value, RequestError)


def test_a_rejected_request_is_not_tried_again() -> None:
    with pytest.raises(GaveUp, match=r"^answered 400 \(bad request\): the prompt is too long$"):
        live(REJECTED)
    assert live(WRONG_KEY, None)[1] == (WRONG_KEY,)  # another server may know the key


def test_ten_minutes_of_rate_limits_do_not_end_a_request() -> None:
    waits, troubles = live(*[throttled(20.0)] * 15, BROKEN, BROKEN, BROKEN, None)
    assert len(troubles) == 18 and all(wait >= 20.0 for wait in waits[:15])


def test_patience_ends() -> None:
    with pytest.raises(GaveUp) as caught:
        live(*[THROTTLED] * 2000)
    assert RULES.attempts < len(caught.value.troubles) < 100
    with pytest.raises(GaveUp):
        live(throttled(601.0))
    with pytest.raises(GaveUp):
        live(throttled(400.0), throttled(400.0))
    impatient = RetryRules(attempts=3, patience_seconds=0.0)
    assert live(throttled(5.0), THROTTLED, None, rules=impatient)[1] == (throttled(5.0), THROTTLED)


def test_jitter_that_is_always_small_does_not_make_a_request_immortal() -> None:
    class Eager(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return a

    life = attempts(RULES, Eager())
    next(life)
    with pytest.raises(GaveUp) as caught:
        while life.send(THROTTLED) == Sleep(0.0):
            next(life)
    assert len(caught.value.troubles) == 600 / 0.5 + RULES.attempts


def test_an_outage_is_not_the_requests_fault() -> None:
    outage = Trouble("connection", "refused the connection", outage=True)
    assert len(live(*[outage] * 12, None)[1]) == 12
    with pytest.raises(GaveUp):
        live(*[RESET] * 12, None)


TROUBLES = st.builds(
    Trouble,
    st.sampled_from(["rate_limited", "overloaded", "connection", "timeout", "malformed", "empty", "rejected"]),
    st.just("did something"),
    retry_after=st.none() | st.floats(0, 2000),
    closes=st.booleans(),
    outage=st.booleans(),
)
ANY_RULES = st.builds(RetryRules, st.integers(1, 8), st.floats(0, 900), st.floats(0.1, 2), st.floats(2, 90))


@settings(deadline=None)
@given(ANY_RULES, st.lists(TROUBLES, min_size=1, max_size=40), st.integers(0, 2**32))
def test_every_request_ends_within_its_rules(rules: RetryRules, fates: list[Trouble], seed: int) -> None:
    life = attempts(rules, random.Random(seed))
    sent, waited = 0, 0.0
    with pytest.raises(GaveUp) as caught:
        step = next(life)
        for fate in itertools.cycle(fates):
            assert isinstance(step, Send)
            sent += 1
            assert step.attempt == sent
            step = life.send(fate)
            assert isinstance(step, Sleep) and step.seconds >= (fate.retry_after or 0.0)
            assert step.seconds <= max(rules.patience_seconds, rules.longest_seconds) + rules.longest_seconds
            waited += step.seconds
            step = next(life)
    assert (
        len(caught.value.troubles) == sent <= rules.attempts + math.ceil(rules.patience_seconds / rules.first_seconds)
    )
    longest = max(rules.patience_seconds, rules.longest_seconds) + rules.longest_seconds
    assert waited <= rules.patience_seconds + rules.attempts * longest
    faults = [fate for fate in caught.value.troubles if fate.kind != "rate_limited" and not fate.outage]
    assert len(faults) <= rules.attempts


# Limits


@settings(deadline=None)
@given(
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.001, 0.3)), min_size=1, max_size=60),
)
def test_no_minute_takes_more_than_its_amount(per_minute: float, traffic: list[tuple[float, float]]) -> None:
    bucket, now = Bucket(per_minute, 0.0), 0.0
    taken: list[tuple[float, float]] = []
    for pause, share in traffic:
        now += pause
        amount = share * per_minute
        now += bucket.wait(now, amount)
        assert bucket.wait(now, amount) == 0
        bucket.take(now, amount)
        taken.append((now, amount))
    largest = max(amount for _, amount in taken)
    for first, _ in taken:
        minute = sum(amount for at, amount in taken if first <= at <= first + 60)
        assert minute <= (1 - BURST) * per_minute + max(bucket.capacity, largest) + 1e-6 * per_minute


def test_three_requests_a_minute() -> None:
    bucket, now, times = Bucket(3, 0.0), 0.0, []
    while now < 300:
        now += bucket.wait(now, 1)
        bucket.take(now, 1)
        times.append(now)
    assert all(later - earlier > 60 for earlier, later in zip(times, times[3:], strict=False))


def test_a_bucket_settles_what_was_used() -> None:
    bucket = Bucket(6000, 0.0)  # holds 300, filled with 95 a second
    bucket.take(0.0, 300)
    assert bucket.wait(0.0, 95) == pytest.approx(1.0)
    bucket.settle(0.0, 300, 205)
    assert bucket.wait(0.0, 95) == 0
    bucket.settle(0.0, 0, 190)
    assert bucket.wait(0.0, 95) == pytest.approx(2.0)
    bucket.settle(100.0, 300, 0)
    assert bucket.wait(100.0, 300) == 0 and bucket.capacity == 300
    bucket.take(100.0, 1250)  # more than it holds: passed, and owed
    assert bucket.wait(100.0, 1250) == bucket.wait(100.0, 300) == pytest.approx(1250 / 95)
    assert bucket.wait(99.0, 0.0) > 0  # a clock that goes back fills nothing


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 200), st.lists(st.sampled_from("saaaate"), max_size=400))
def test_a_window_stays_in_its_bounds(start: int, most: int, events: list[str]) -> None:
    window, under_way = Window(start, most), 0
    for event in events:
        before = window.limit
        if event == "s":
            if under_way < window.limit:
                window.started()
                under_way += 1
        elif under_way:
            {"a": window.answered, "t": window.throttled, "e": window.ended}[event]()
            under_way -= 1
        assert 1 <= window.limit <= most and window.in_flight == under_way
        assert max(1, before // 2) <= window.limit <= before + 1


def fill(window: Window) -> None:
    while window.in_flight < window.limit:
        window.started()


def test_a_window_doubles_then_halves_once_a_round_then_creeps() -> None:
    window = Window(8, 1000)
    for expected in (16, 32, 64):
        for _ in range(window.limit):
            fill(window)
            window.answered()
        assert window.limit == expected
    fill(window)
    for _ in range(64):  # all were sent before the first cut
        window.throttled()
    assert window.limit == 32
    for expected in (33, 34, 35):
        for _ in range(16):
            fill(window)
            window.answered()
        assert window.limit == expected
    seen = [35]
    for _ in range(20):
        fill(window)
        for _ in range(window.in_flight):
            window.throttled()
        if window.limit != seen[-1]:
            seen.append(window.limit)
    assert seen == [35, 17, 8, 4, 2, 1]


def test_a_window_forgives_a_few_failures_and_not_many() -> None:
    rare, often = Window(64, 64), Window(64, 64)
    for window, pause in ((rare, 20), (often, 5)):
        for number in range(1000):
            fill(window)
            window.throttled() if number % pause == 0 else window.answered()
    assert rare.limit == 64 and often.limit < 16


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = Window(8, 1000)
    for _ in range(100):
        window.started()
        window.answered()
    assert window.limit == 8


# Money


@settings(deadline=None)
@given(
    st.decimals(0, 1000, places=4),
    st.decimals(0, 1000, places=6),
    st.none() | st.decimals(0, 1000, places=3),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
)
def test_costs_are_exact_and_rounded_up(
    prompt: Decimal, completion: Decimal, cached: Decimal | None, fresh: int, hit: int, written: int
) -> None:
    price = Price(
        prompt=float(prompt), completion=float(completion), cached_prompt=None if cached is None else float(cached)
    )
    tariff = Tariff(price)
    exact = fresh * Fraction(prompt) + written * Fraction(completion)
    exact += hit * Fraction(prompt if cached is None else cached)
    cost = tariff.cost(fresh + hit, written, hit)
    assert cost == math.ceil(exact * 1000)  # dollars per million tokens, in nano-dollars
    assert cost <= tariff.bound(fresh + hit, written)


def test_known_costs() -> None:
    tariff = Tariff(Price(prompt=0.15, completion=0.6, cached_prompt=0.075))
    assert tariff.cost(1_000_000, 0) == 150_000_000
    assert tariff.cost(1000, 500) == 1000 * 150 + 500 * 600
    assert tariff.cost(1001, 0, cached_tokens=1001) == 75_075
    assert Tariff(Price(prompt=0.0001, completion=0)).cost(1, 0) == 1
    assert tariff.bound(1000, 500) == tariff.cost(1000, 500)
    assert Tariff(Price(prompt=0, completion=0)).cost(5, 5) == 0


@settings(deadline=None)
@given(
    st.none() | st.integers(0, 2000),
    st.integers(0, 1000),
    st.integers(0, 300),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 400), st.floats(0, 1)), max_size=80),
)
def test_no_interleaving_overdraws_a_purse(
    run_cap: int | None, step_cap: int, spent: int, events: list[tuple[bool, bool, int, float]]
) -> None:
    run = Purse(run_cap, spent)
    steps = Purse(step_cap, within=run), Purse(within=run)
    open_calls: list[tuple[Purse, int]] = []
    total = spent
    for ask, which, bound, share in events:
        if ask:
            purse = steps[which]
            before = [(one.spent, one.reserved) for one in (run, *steps)]
            if purse.reserve(bound):
                open_calls.append((purse, bound))
                assert not purse.empty
            else:
                assert before == [(one.spent, one.reserved) for one in (run, *steps)]
                assert purse.empty or open_calls
        elif open_calls:
            purse, bound = open_calls.pop(int(share * 1000) % len(open_calls))
            cost = round(share * bound)
            purse.settle(bound, cost)
            total += cost
        assert run.cap is None or run.spent + run.reserved <= max(run.cap, spent)
        assert steps[0].spent + steps[0].reserved <= step_cap
        assert run.spent == total == spent + sum(step.spent for step in steps)
        assert run.reserved == sum(bound for _, bound in open_calls) == sum(step.reserved for step in steps)


def test_a_purse_is_empty_once_nothing_can_come_back() -> None:
    purse = Purse(100)
    assert purse.reserve(60) and not purse.reserve(60) and not purse.empty
    purse.settle(60, 10)
    assert purse.reserve(60) and purse.spent == 10
    purse.settle(60, 60)
    assert not purse.empty
    assert not purse.reserve(60) and purse.empty
    assert purse.reserve(30) and not purse.empty  # what is smaller still fits
    run = Purse(50)
    step = Purse(1000, within=run)
    assert not step.reserve(51) and step.empty and step.reserved == 0
    other = Purse(within=run)
    assert other.reserve(40) and not step.reserve(20) and not step.empty


def test_a_bill_above_its_bound_is_told_and_ends_the_spending() -> None:
    purse = Purse(100)
    assert purse.reserve(90)
    purse.settle(90, 120)
    assert purse.spent == 120 and not purse.reserve(0) and purse.empty
