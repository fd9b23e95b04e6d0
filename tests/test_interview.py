"""Models asked within a stage: paid once, failures recorded, money never overdrawn, memory flat."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.engines import interview as module
from favonius.engines.account import Account, SpentError, Till
from favonius.engines.asked import Failure
from favonius.engines.conduct import conduct
from favonius.engines.config import Transformers
from favonius.engines.interview import Interview, Question, interview, interviews
from favonius.engines.ledger import Ledger
from favonius.engines.ledger_books import in_dollars
from favonius.engines.policy.money import Purse
from favonius.engines.scripted import ScriptedEngine
from favonius.errors import FavoniusError, UserError
from favonius.progress import Progress
from favonius.run import Budget, Context, ModelSource, ServedModel
from favonius.types import Completion, Message, Messages, Price, Request, RequestError, Sampling
from tests.tiny import save_tiny

QUIET = Progress(io.StringIO())
SAMPLING = Sampling(max_tokens=12)
SOURCE = ModelSource("scripted", Path("nowhere"), "scripted")


def talk(text: str) -> Messages:
    return (Message(role="user", content=text),)


def talks(*texts: str) -> dict[str, Messages]:
    return {text: talk(text) for text in texts}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedEngine], None]:
    """Put a scripted engine in the place of every engine; it pays as a remote one does."""

    def use(engine: ScriptedEngine) -> None:
        @contextmanager
        def opened(config: object, source: object, account: Account, *_: object) -> Iterator[ScriptedEngine]:
            engine.account = account  # type: ignore[attr-defined]
            yield engine

        monkeypatch.setattr(module, "open_engine", opened)

    return use


class Paid(ScriptedEngine):
    """Sets money aside before it answers, in its own time."""

    account: Account

    async def complete(self, request: Request) -> Completion:
        await self.account.open([request])
        await asyncio.sleep(0)
        return await super().complete(request)


def test_what_was_answered_is_never_asked_again(tmp_path: Path, use: Callable[[ScriptedEngine], None]) -> None:
    engine = ScriptedEngine(lambda asked: asked.messages[0].content.upper())
    use(engine)
    asked = {f"{n}": talk(f"q{n % 4}") for n in range(10)}
    for _ in range(2):
        with interview(Transformers(), SOURCE, Context(tmp_path, QUIET, "answers")) as model:
            replies = model.ask(asked, SAMPLING, "answers")
            assert [reply.text for reply in replies.values()] == [f"Q{n % 4}" for n in range(10)]  # type: ignore[union-attr]
            assert list(replies) == list(asked)
            assert model.tokens == 10
    assert len(engine.asked) == 4
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        [spend] = ledger.spend()
    assert (spend.step, spend.requests, spend.completion_tokens) == ("answers", 4, 4)


def test_the_rate_is_of_what_was_written_now(tmp_path: Path, use: Callable[[ScriptedEngine], None]) -> None:
    use(ScriptedEngine(lambda asked: asked.messages[0].content))

    def converse(model: Interview, text: str) -> Generator[Question, Completion | Failure, None]:
        yield model.question(talk(text), SAMPLING)

    shown = []
    for _ in range(2):
        stream = io.StringIO()
        with interviews(Context(tmp_path, Progress(stream))) as opened:
            model = opened.open(Transformers(), SOURCE)
            assert len(list(opened.conduct((converse(model, text) for text in ("a", "b")), "talks", 2))) == 2
        shown.append(stream.getvalue())
    assert "tokens/s" in shown[0]
    assert "talks: 2/2" in shown[1] and "tokens/s" not in shown[1]


def test_a_failed_request_is_a_row_with_its_cause_and_is_asked_again(
    tmp_path: Path, use: Callable[[ScriptedEngine], None]
) -> None:
    down = {"q1"}

    def answer(asked: Request) -> str:
        text = asked.messages[0].content
        if text in down:
            raise RequestError("no answer")
        return text

    engine = ScriptedEngine(answer)
    use(engine)
    asked = talks(*(f"q{n}" for n in range(8)))
    with interview(Transformers(), SOURCE, Context(tmp_path, QUIET)) as model:
        assert model.ask(asked, SAMPLING, "answers")["q1"] == Failure(cause="no answer")
        assert [row.cause for row in model.interviews.ledger.failures()] == ["no answer"]
        down.clear()
        assert isinstance(model.ask(asked, SAMPLING, "answers")["q1"], Completion)
        assert not list(model.interviews.ledger.failures())
    assert len(engine.asked) == 9


def test_failures_of_one_kind_are_counted_as_one_cause() -> None:
    causes = [
        f"answered 500 (internal error): worker {worker}; tried {times} times: {times} overloaded"
        for worker, times in ((3, 6), (12, 9))
    ]
    assert {Failure(cause=cause).countable for cause in causes} == {"answered 500 (internal error): worker N"}
    assert Failure(cause="the prompt “Add 2 and 3 …” has 900 tokens").countable == "the prompt … has N tokens"


def test_a_dead_engine_loses_nothing(tmp_path: Path, use: Callable[[ScriptedEngine], None]) -> None:
    def answer(asked: Request) -> str:
        if asked.messages[0].content == "q5":
            raise FavoniusError("the teacher is gone")
        return "yes"

    use(ScriptedEngine(answer, slots=1))
    asked = talks(*(f"q{n}" for n in range(8)))
    with pytest.raises(FavoniusError, match="the teacher is gone"):
        with interview(Transformers(), SOURCE, Context(tmp_path, QUIET)) as model:
            model.ask(asked, SAMPLING, "answers")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert sum(spend.requests for spend in ledger.spend()) == 5


def test_a_prompt_that_is_too_long_is_the_users_mistake_before_anything_is_asked(tmp_path: Path) -> None:
    source = ModelSource("tiny", save_tiny(tmp_path / "tiny"), "digest")
    asked = {"short": talk("Hi"), "seed-7": talk("many words " * 60)}
    with interview(Transformers(slots=1, context_tokens=96), source, Context(tmp_path, QUIET)) as model:
        with pytest.raises(UserError, match=r"prompt seed-7: .* more than context_tokens 96; raise"):
            model.refuse_unanswerable(asked, SAMPLING)
        assert model.interviews.ledger.spend() == []


def test_conversations_go_on_at_their_own_pace(tmp_path: Path, use: Callable[[ScriptedEngine], None]) -> None:
    engine = ScriptedEngine(lambda asked: asked.messages[-1].content + "!")
    use(engine)

    def converse(text: str, rounds: int) -> Generator[Question, Completion | Failure, str]:
        for _ in range(rounds):
            reply = yield model.question(talk(text), SAMPLING)
            assert isinstance(reply, Completion)
            text = reply.text
        return text

    with interviews(Context(tmp_path, QUIET)) as opened:
        model = opened.open(Transformers(), SOURCE)
        assert opened.open(Transformers(), SOURCE) is model
        ended = dict(opened.conduct((converse("a", rounds) for rounds in (3, 1, 0, 2)), "talks", 4))
    assert ended == {0: "a!!!", 1: "a!", 2: "a", 3: "a!!"}
    assert len(engine.asked) == 3  # the same questions are asked once, whichever talk asks them


PRICE = Price(prompt=0.0, completion=100.0)  # a token written costs 100 micro-dollars
SERVED = ServedModel("teacher", "served", "digest", PRICE)


@pytest.mark.parametrize("slots", [1, 5])
def test_at_the_cap_a_step_keeps_what_it_has_and_goes_on_when_there_is_more(
    tmp_path: Path, use: Callable[[ScriptedEngine], None], slots: int
) -> None:
    engine = Paid(lambda asked: "four words are this", slots=slots)
    use(engine)
    asked = talks(*(f"q{n}" for n in range(20)))
    answered = []
    for dollars in (0.005, 0.005, 1.0):  # room for 12 tokens in flight: 10 answers of 4 tokens cost 0.004
        context = Context(tmp_path, QUIET, "answers", Budget(dollars=dollars))
        with interview(Transformers(), SERVED, context) as model:
            replies = model.ask(asked, SAMPLING, "answers").values()
            answered.append(sum(isinstance(reply, Completion) for reply in replies))
            assert model.interviews.ledger.spent() == answered[-1] * 400_000 <= dollars * 1e9
        unasked = [reply for reply in replies if isinstance(reply, Failure)]
        assert all(not reply.asked for reply in unasked)
        assert [left.sentence for left in context.left_open] == (
            [f"the budget of {in_dollars(round(dollars * 1e9))} is spent and {len(unasked)} requests were not asked"]
            if unasked
            else []
        )
    assert answered == [10, 10, 20]
    assert len(engine.asked) == 20


def test_a_steps_purse_is_within_the_runs(tmp_path: Path, use: Callable[[ScriptedEngine], None]) -> None:
    use(Paid(lambda asked: "four words are this", slots=1))
    budget = Budget(dollars=0.005, steps={"small": 0.0025})
    answered = {}
    for step in ("small", "large"):
        with interview(Transformers(), SERVED, Context(tmp_path, QUIET, step, budget)) as model:
            replies = model.ask(talks(*(f"{step}{n}" for n in range(20))), SAMPLING, "answers").values()
            answered[step] = sum(isinstance(reply, Completion) for reply in replies)
    assert answered == {"small": 4, "large": 6}


def test_samples_that_share_a_call_are_paid_for_together_or_not_at_all(tmp_path: Path) -> None:
    request = Request(model="m", messages=talk("q"), sampling=SAMPLING)
    samples = [request.model_copy(update={"sample": number}) for number in range(3)]

    async def ask(cap: int) -> int:
        with Ledger(tmp_path / f"{cap}.sqlite") as ledger:
            till = Till(Purse(cap))
            try:
                # Room for two of three: the call must not wait for what it holds itself.
                await asyncio.wait_for(Account(PRICE, till, ledger).open(samples), 20)
            except SpentError:
                assert ledger.spent() == till.purse.reserved
            return till.purse.reserved

    one = 12 * 100_000
    assert asyncio.run(ask(2 * one)) == 0
    assert asyncio.run(ask(3 * one)) == 3 * one


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 40))
def test_every_job_ends_once_and_few_are_open(seed: int, concurrency: int, jobs: int) -> None:
    rng = random.Random(seed)
    open_now = most = 0

    async def answer(number: int) -> int:
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        return number + 1

    def job(number: int) -> Generator[int, int, int]:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        for _ in range(rng.randrange(4)):
            number = yield number
        open_now -= 1
        return number

    with asyncio.Runner() as runner:
        ended = list(conduct(runner, (job(0) for _ in range(jobs)), answer, concurrency))
    assert sorted(number for number, _ in ended) == list(range(jobs))
    assert most <= concurrency and open_now == 0


@pytest.mark.parametrize("where", ["job", "answer"])
def test_an_error_ends_the_whole_and_is_raised_once(where: str) -> None:
    async def answer(number: int) -> int:
        await asyncio.sleep(0)
        if where == "answer" and number == 3:
            raise ArithmeticError
        return number

    def job(number: int) -> Generator[int, int, int]:
        got = yield number
        if where == "job" and number == 3:
            raise ArithmeticError
        return got

    seen: Sequence[int] = []
    with asyncio.Runner() as runner, pytest.raises(ArithmeticError):
        for _, got in conduct(runner, (job(number) for number in range(9)), answer, 2):
            seen = [*seen, got]
    assert set(seen) <= {0, 1, 2, 4}
