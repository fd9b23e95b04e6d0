"""A fleet of servers: who is asked next, who is left alone, and all of it in simulated time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Generator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from favonius.engines.policy.endpoint import LONGEST_PAUSE, START, EndpointRules, Flight
from favonius.engines.policy.fleet import Dead, Fleet, Wait
from favonius.engines.policy.retry import GaveUp, RetryRules, Send, Sleep, attempts
from favonius.engines.policy.trouble import Trouble
from tests.test_policy import BLANK, BROKEN, REJECTED, RESET, STALLED, TROUBLES, WRONG_KEY, throttled

# A fleet by hand


def fleet(count: int = 2, patience: float = 600.0, **rules: float | None) -> Fleet:
    names = [EndpointRules(f"server {index}", **rules) for index in range(count)]  # type: ignore[arg-type]
    return Fleet(names, 0.0, random.Random(0), patience)


def send(fleet: Fleet, now: float, tokens: int = 10, **where: int | None) -> Flight:
    chosen = fleet.choose(now, tokens, **where)
    assert isinstance(chosen, int), chosen
    return fleet.started(chosen, now, tokens)


def states(fleet: Fleet) -> list[str]:
    return [endpoint.state for endpoint in fleet.endpoints]


def test_the_least_loaded_server_is_chosen() -> None:
    two = fleet(2)
    assert [send(two, 0.0).endpoint for _ in range(4)] == [0, 1, 0, 1]
    uneven = Fleet([EndpointRules("small", 2), EndpointRules("large", 8)], 0.0, random.Random(0))
    assert Counter(send(uneven, 0.0).endpoint for _ in range(10)) == {0: 2, 1: 8}
    assert uneven.choose(0.0, 10) == Wait(None)
    heavy = fleet(2)
    send(heavy, 0.0, tokens=500)
    send(heavy, 0.0, tokens=10)
    assert send(heavy, 0.0).endpoint == 1


def test_a_request_goes_elsewhere_after_a_failure() -> None:
    two = fleet(2)
    assert two.choose(0.0, 10, avoid=0) == 1
    assert fleet(1).choose(0.0, 10, avoid=0) == 0
    trouble = two.failed(send(two, 0.0), 0.0, throttled(30.0))
    assert trouble.retry_after is None  # the other server asked for nothing
    one = fleet(1)
    assert one.failed(send(one, 0.0), 0.0, throttled(30.0)).retry_after == 30.0


def test_one_prefix_keeps_to_one_server_while_that_is_not_clearly_busier() -> None:
    many = fleet(4)
    homes = Counter(many.choose(0.0, 10, hint=hint) for hint in range(400))
    assert set(homes) == {0, 1, 2, 3} and min(homes.values()) > 60
    home = many.choose(0.0, 10, hint=7)
    served = [send(many, 0.0, hint=7).endpoint for _ in range(12)]
    assert served[:3] == [home] * 3 and len(set(served)) == 4
    before = {hint: fleet(4).choose(0.0, 10, hint=hint) for hint in range(100)}
    fewer = fleet(4)
    fewer.failed(fewer.started(3, 0.0, 10), 0.0, WRONG_KEY)
    assert all(fewer.choose(0.0, 10, hint=hint) == home for hint, home in before.items() if home != 3)


def test_limits_of_one_server_send_requests_to_another() -> None:
    both = Fleet(
        [EndpointRules("free", requests_per_minute=3), EndpointRules("paid", tokens_per_minute=6000)],
        0.0,
        random.Random(0),
    )
    assert [send(both, 0.0, tokens=300).endpoint for _ in range(2)] == [0, 1]
    waits = both.choose(0.0, 300)
    assert isinstance(waits, Wait) and waits.seconds == pytest.approx(300 / 95)
    now = waits.seconds
    flight = send(both, now, tokens=300)
    assert flight.endpoint == 1 and isinstance(both.choose(now, 300), Wait)
    both.answered(flight, now, 20)
    assert both.choose(now, 280) == 1
    both.failed(send(both, now, tokens=280), now, RESET)
    assert both.choose(now, 280) == 1  # tokens that nobody was billed for are given back
    both.failed(send(both, now, tokens=280), now, Trouble("malformed", "sent half a body", paid=True))
    assert isinstance(both.choose(now, 280), Wait)


@pytest.mark.parametrize(("trouble", "times"), [(RESET, 3), (STALLED, 3), (BROKEN, 10)])
def test_a_server_that_only_fails_is_drained_probed_and_revived(trouble: Trouble, times: int) -> None:
    two = fleet(2)
    for number in range(times):
        assert states(two)[0] == "open"
        taken = two.failed(two.started(0, 1.0, 10), 1.0, trouble)
        assert taken.outage == (number == times - 1)
    assert states(two) == ["drained", "open"]
    assert all(send(two, 1.2).endpoint == 1 for _ in range(5))
    probe = send(two, 2.5)
    assert (probe.endpoint, probe.probe) == (0, True)
    assert send(two, 2.5).endpoint == 1  # one probe at a time
    assert two.failed(probe, 3.0, trouble).outage
    assert send(two, 3.9).endpoint == 1  # the second pause is longer
    probe = send(two, 5.1)
    assert probe.probe
    two.answered(probe, 6.0, 10)
    assert states(two) == ["open", "open"] and not send(two, 6.0).probe


def test_a_probe_that_is_due_comes_first_and_its_server_begins_anew() -> None:
    two = fleet(2)
    for _ in range(60):
        flights = [two.started(0, 0.0, 10) for _ in range(two.endpoints[0].window.limit)]
        for flight in flights:
            two.answered(flight, 0.0, 10)
    assert two.endpoints[0].window.limit == 64
    early = two.started(0, 0.0, 10)  # has not come back yet
    failed = 0
    while states(two)[0] == "open":
        two.failed(two.started(0, 0.0, 10), 0.0, RESET)
        failed += 1
    assert failed == 16  # a wide window may see a longer row of bad luck
    assert two.endpoints[0].window.limit == START
    assert not early.probe and all(two.choose(5.0, 10, hint=hint) == 0 for hint in range(20))


def test_a_probe_goes_elsewhere_if_that_server_is_to_be_avoided() -> None:
    two = fleet(2)
    for _ in range(3):
        two.failed(two.started(0, 0.0, 10), 0.0, RESET)
    assert two.choose(5.0, 10, avoid=0) == 1
    assert two.choose(5.0, 10) == 0


def test_what_was_sent_before_a_pause_neither_ends_nor_lengthens_it() -> None:
    one = fleet(1)
    early = [send(one, 0.0) for _ in range(8)]
    for flight in early[:3]:
        one.failed(flight, 0.0, RESET)
    until = one.choose(0.0, 10)
    for flight in early[3:7]:
        assert one.failed(flight, 0.0, RESET).outage
    one.answered(early[7], 0.0, 10)
    assert one.choose(0.0, 10) == until and isinstance(until, Wait) and states(one) == ["drained"]


def test_answers_in_between_keep_a_faulty_server() -> None:
    one = fleet(1)
    for _ in range(50):
        for trouble in (RESET, STALLED, BROKEN):
            one.failed(send(one, 0.0), 0.0, trouble)
        one.answered(send(one, 0.0), 0.0, 10)
    for _ in range(50):  # a server that rejects a request is alive
        one.failed(send(one, 0.0), 0.0, RESET)
        assert one.failed(send(one, 0.0), 0.0, REJECTED) == REJECTED
    assert states(one) == ["open"]


def test_a_server_that_only_throttles_is_left_alone_as_long_as_it_asks() -> None:
    one = fleet(1)
    for _ in range(3):
        one.failed(send(one, 0.0), 0.0, throttled(30.0))
    assert states(one) == ["resting"] and one.choose(10.0, 10) == Wait(20.0)
    assert not send(one, 30.0).probe and states(one) == ["open"]


def test_a_server_that_turns_the_caller_away_is_closed() -> None:
    two = fleet(2)
    assert two.failed(two.started(0, 0.0, 10), 0.0, WRONG_KEY).outage
    assert states(two) == ["closed", "open"]
    assert all(send(two, 1e6).endpoint == 1 for _ in range(8))
    used = fleet(1)
    used.answered(send(used, 0.0), 0.0, 10)
    for _ in range(2):  # once it has answered, a single refusal may be about one request
        used.failed(send(used, 0.0), 0.0, WRONG_KEY)
    assert states(used) == ["open"]
    used.failed(send(used, 0.0), 0.0, WRONG_KEY)
    assert states(used) == ["closed"]
    dead = used.choose(0.0, 10)
    assert isinstance(dead, Dead) and "server 0 answered 401 (unauthorized)" in dead.sentence


def test_a_fleet_is_dead_once_its_patience_is_over_and_nothing_is_under_way() -> None:
    one = fleet(1, patience=100.0)
    hanging = send(one, 0.0)
    for _ in range(3):
        one.failed(send(one, 0.0), 0.0, RESET)
    now, probes = 0.0, 0
    while now < 200.0:
        chosen = one.choose(now, 10)
        if isinstance(chosen, int):
            one.failed(one.started(chosen, now, 10), now, RESET)
            probes += 1
        else:
            assert isinstance(chosen, Wait) and chosen.seconds is not None
            now += chosen.seconds
    assert 5 <= probes < 20 and states(one) == ["drained"]
    one.failed(hanging, now, STALLED)
    now += LONGEST_PAUSE
    one.failed(send(one, now), now, RESET)  # never without a last try
    dead = one.choose(now, 10)
    assert isinstance(dead, Dead) and dead.sentence.startswith(f"no server can be used: server 0 {RESET.sentence}; ")


def test_an_answer_gives_a_fleet_its_patience_back() -> None:
    one = fleet(1, patience=10.0)
    one.failed(send(one, 0.0), 0.0, RESET)
    one.answered(send(one, 100.0), 100.0, 10)
    for _ in range(3):
        one.failed(send(one, 200.0), 200.0, RESET)
    assert isinstance(one.choose(200.0, 10), Wait)


def test_the_dead_are_named_but_not_all() -> None:
    many = fleet(6)
    for index in range(6):
        many.failed(many.started(index, 0.0, 10), 0.0, WRONG_KEY)
    dead = many.choose(0.0, 10)
    assert isinstance(dead, Dead) and "server 2" in dead.sentence and "server 3" not in dead.sentence
    assert "; and 3 more;" in dead.sentence


def test_a_fleet_needs_a_server() -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Fleet([], 0.0, random.Random(0))


class AnyTraffic(RuleBasedStateMachine):
    """Whatever happens, in-flight counts are exact, a drained server sees probes only, and nothing waits for ever."""

    def __init__(self) -> None:
        super().__init__()
        rules = [EndpointRules("a", 5), EndpointRules("b", 40, 600.0, 60_000.0), EndpointRules("c", 12, None, 9000.0)]
        self.fleet, self.now = Fleet(rules, 0.0, random.Random(0), patience=300.0), 0.0
        self.flights: list[Flight] = []

    @rule(seconds=st.floats(0, 90))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(tokens=st.integers(1, 5000), avoid=st.none() | st.integers(0, 2), hint=st.none() | st.integers(0, 9))
    def send(self, tokens: int, avoid: int | None, hint: int | None) -> None:
        chosen = self.fleet.choose(self.now, tokens, avoid, hint)
        if isinstance(chosen, int):
            before = self.fleet.endpoints[chosen]
            probing = any(flight.probe for flight in self.flights if flight.endpoint == chosen)
            assert before.state in ("open", "drained") and not (before.state == "drained" and probing)
            assert before.state == "drained" or before.window.in_flight < before.window.limit
            self.flights.append(self.fleet.started(chosen, self.now, tokens))
            assert self.flights[-1].probe == (before.state == "drained")
        elif isinstance(chosen, Dead):
            assert not self.flights and "open" not in states(self.fleet)
        else:
            assert self.flights if chosen.seconds is None else chosen.seconds > 0

    @precondition(lambda self: self.flights)
    @rule(which=st.integers(0, 10**6), used=st.integers(0, 6000))
    def answer(self, which: int, used: int) -> None:
        self.fleet.answered(self.flights.pop(which % len(self.flights)), self.now, used)

    @precondition(lambda self: self.flights)
    @rule(which=st.integers(0, 10**6), trouble=TROUBLES)
    def fail(self, which: int, trouble: Trouble) -> None:
        flight = self.flights.pop(which % len(self.flights))
        taken = self.fleet.failed(flight, self.now, trouble)
        assert (taken.kind, taken.closes, taken.paid) == (trouble.kind, trouble.closes, trouble.paid)

    @invariant()
    def counts_are_exact(self) -> None:
        under_way = Counter(flight.endpoint for flight in self.flights)
        for index, endpoint in enumerate(self.fleet.endpoints):
            assert endpoint.window.in_flight == under_way[index]
            assert endpoint.window.limit >= 1


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


# A fleet in simulated time


Server = Callable[[float, int], tuple[float, Trouble | None]]
"""From the time and what it has in flight to after how long it replies, and with what."""


class Simulation:
    """Requests, a fleet, and servers that are functions, with a heap for a clock."""

    def __init__(self, fleet: Fleet, servers: list[Server]) -> None:
        self.fleet, self.servers, self.now = fleet, servers, 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.waiting: deque[tuple[int, int | None]] = deque()
        self.lives: dict[int, Generator[Send | Sleep, Trouble | None, tuple[Trouble, ...]]] = {}
        self.busy, self.probes = Counter[int](), Counter[int]()
        self.answers: list[tuple[float, int, int]] = []
        self.gave_up: list[GaveUp] = []
        self.dead: Dead | None = None

    def run(self, count: int, rules: RetryRules) -> None:
        for number in range(count):
            self.lives[number] = attempts(rules, random.Random(number))
            next(self.lives[number])
            self.waiting.append((number, None))
        self.pump()
        while self.events:
            self.now, _, event = heapq.heappop(self.events)
            event()

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), event))

    def pump(self) -> None:
        while self.waiting and self.dead is None:
            number, avoid = self.waiting[0]
            chosen = self.fleet.choose(self.now, 100, avoid)
            if isinstance(chosen, Dead):
                self.dead = chosen
            elif isinstance(chosen, Wait):
                if chosen.seconds is not None:
                    self.later(chosen.seconds, self.pump)
                return
            else:
                self.waiting.popleft()
                self.call(number, chosen)

    def call(self, number: int, server: int) -> None:
        flight = self.fleet.started(server, self.now, 100)
        self.busy[server] += 1
        self.probes[server] += flight.probe
        seconds, trouble = self.servers[server](self.now, self.busy[server])
        self.later(seconds, lambda: self.reply(number, flight, trouble))

    def reply(self, number: int, flight: Flight, trouble: Trouble | None) -> None:
        self.busy[flight.endpoint] -= 1
        if trouble is None:
            self.fleet.answered(flight, self.now, 60)
            self.answers.append((self.now, number, flight.endpoint))
        else:
            trouble = self.fleet.failed(flight, self.now, trouble)
        try:
            step = self.lives[number].send(trouble)
            assert isinstance(step, Sleep)
            self.later(step.seconds, lambda: self.again(number, flight.endpoint))
        except StopIteration:
            del self.lives[number]
        except GaveUp as end:
            self.gave_up.append(end)
        self.pump()

    def again(self, number: int, avoid: int) -> None:
        next(self.lives[number])
        self.waiting.append((number, avoid))
        self.pump()


def queueing(slots: int, seconds: float) -> Server:
    """A server like vLLM: `slots` at once, the others wait in its queue."""
    return lambda now, busy: (seconds * max(1.0, busy / slots), None)


def throttling(slots: int, seconds: float) -> Server:
    return lambda now, busy: (seconds, None) if busy <= slots else (0.02, throttled(0.5))


def away(server: Server, since: float, until: float) -> Server:
    """What it has not answered when it dies it drops; then it refuses connections."""

    def reply(now: float, busy: int) -> tuple[float, Trouble | None]:
        seconds, trouble = server(now, busy)
        if since <= now < until:
            return 0.001, RESET
        return (since - now + 0.001, RESET) if now < since < now + seconds else (seconds, trouble)

    return reply


def everyone_answered(simulation: Simulation, count: int) -> bool:
    numbers = sorted(number for _, number, _ in simulation.answers)
    return numbers == list(range(count)) and not simulation.gave_up and simulation.busy.total() == 0


def rate(simulation: Simulation, start: float, end: float) -> float:
    return sum(start <= at < end for at, _, _ in simulation.answers) / (end - start)


def test_two_thousand_requests_over_a_fast_a_throttling_and_a_dying_server() -> None:
    three = fleet(3)
    servers = [queueing(32, 1.0), throttling(24, 0.75), away(queueing(64, 2.0), 10.0, math.inf)]
    simulation = Simulation(three, servers)
    simulation.run(2000, RetryRules())
    assert everyone_answered(simulation, 2000)
    # Capacities are 32, 32 and, for ten seconds, 32 requests a second.
    assert rate(simulation, 4.0, 10.0) > 0.7 * 96
    assert rate(simulation, 12.0, 28.0) > 0.8 * 64
    assert states(three) == ["open", "open", "drained"]
    assert simulation.probes[2] <= 1 + 6  # of pauses that double up to a minute


def test_all_servers_away_for_a_minute_costs_a_minute() -> None:
    two = fleet(2)
    simulation = Simulation(two, [away(queueing(32, 1.0), 5.0, 65.0) for _ in range(2)])
    simulation.run(1000, RetryRules(attempts=3))
    assert everyone_answered(simulation, 1000)
    assert states(two) == ["open", "open"] and simulation.answers[-1][0] < 65 + LONGEST_PAUSE + 30


def test_all_servers_away_for_good_ends_with_a_sentence_and_nothing_lost() -> None:
    two = fleet(2, patience=120.0)
    simulation = Simulation(two, [away(queueing(32, 1.0), 5.0, math.inf) for _ in range(2)])
    simulation.run(1000, RetryRules(attempts=3))
    assert simulation.dead is not None and RESET.sentence in simulation.dead.sentence
    assert simulation.now <= 5 + 120 + LONGEST_PAUSE and not simulation.gave_up
    assert len(simulation.answers) + len(simulation.lives) == 1000 and simulation.busy.total() == 0


@pytest.mark.parametrize("trouble", [BLANK, Trouble("malformed", "sent half a body", paid=True)])
def test_requests_that_never_get_an_answer_are_given_up_though_their_server_is_out(trouble: Trouble) -> None:
    simulation = Simulation(fleet(1), [lambda now, busy: (0.1, trouble)])
    simulation.run(2, RetryRules(attempts=6))
    assert len(simulation.gave_up) == 2 and simulation.dead is None
    assert simulation.now < LONGEST_PAUSE


def test_the_only_server_is_not_blamed_for_blank_answers_to_the_last_requests() -> None:
    one = fleet(1)
    one.answered(send(one, 0.0), 0.0, 10)
    simulation = Simulation(one, [lambda now, busy: (0.1, BLANK)])
    simulation.run(100, RetryRules(attempts=6))
    assert len(simulation.gave_up) == 100 and simulation.now < 60 and states(one) == ["open"]


def test_a_server_that_answers_nothing_but_blanks_gets_no_more_while_there_is_another() -> None:
    two = fleet(2)
    two.answered(two.started(0, 0.0, 10), 0.0, 10)
    simulation = Simulation(two, [lambda now, busy: (0.1, BLANK), queueing(8, 1.0)])
    simulation.run(500, RetryRules())
    assert everyone_answered(simulation, 500)
    assert {server for _, _, server in simulation.answers} == {1} and states(two)[0] == "drained"


@pytest.mark.parametrize("fault", [BROKEN, RESET, Trouble("malformed", "sent half a body", paid=True)])
def test_a_few_faults_cost_little(fault: Trouble) -> None:
    rng, sound = random.Random(3), queueing(64, 1.0)
    faulty = lambda now, busy: (0.5, fault) if rng.random() < 0.03 else sound(now, busy)  # noqa: E731
    simulation = Simulation(fleet(1), [faulty])
    simulation.run(2000, RetryRules())
    assert everyone_answered(simulation, 2000)
    assert rate(simulation, 5.0, 25.0) > 0.85 * 64
