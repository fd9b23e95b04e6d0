"""Engines: answers depend on the request alone, equal transformers' own, and are paid for once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from favonius.engines import sampler
from favonius.engines.config import LlamaCpp, Transformers
from favonius.engines.decoder import Decoder, Job
from favonius.engines.llamacpp import LlamaCppEngine
from favonius.engines.prompting import Prompted, prompted
from favonius.engines.sampler import draw
from favonius.engines.transformers_engine import TransformersEngine
from favonius.engines.writing import Writer, Written, settled
from favonius.errors import FavoniusError, UserError
from favonius.run import ModelSource
from favonius.types import Completion, Engine, Message, Request, RequestError, Sampling
from tests.tiny import FAMILIES, VOCABULARY, save_tiny, tiny_model


def request(text: str, **sampling: object) -> Request:
    return Request(
        model="scripted",
        messages=(Message(role="user", content=text),),
        sampling=Sampling(**{"max_tokens": 12, **sampling}),  # type: ignore[arg-type]
    )


def job(seed: int, **sampling: object) -> Job:
    rng = random.Random(seed)
    ids = [rng.randrange(3, VOCABULARY) for _ in range(rng.randint(1, 25))]
    settings = {"temperature": 1.0, "top_p": 0.9, "max_tokens": rng.randint(1, 14), **sampling}
    return Job(ids, Sampling(**settings), random.Random(seed))  # type: ignore[arg-type]


def run(decoder: Decoder, jobs: list[Job]) -> None:
    """Feed jobs in the given order, refilling slots as they fall free."""
    waiting = list(jobs)
    while waiting or decoder.busy:
        while waiting and decoder.free:
            decoder.admit(waiting.pop(0))
        decoder.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_depend_on_the_request_alone(family: str, dtype: torch.dtype) -> None:
    model = tiny_model(family, dtype)
    crowd = [job(seed) for seed in range(9)]
    run(Decoder(model, frozenset({5, 6}), 4, 48), crowd)
    reverse = [job(seed) for seed in reversed(range(9))]
    run(Decoder(model, frozenset({5, 6}), 4, 48), reverse)
    assert [one.tokens for one in crowd] == [one.tokens for one in reversed(reverse)]
    alone = job(4)
    run(Decoder(model, frozenset({5, 6}), 4, 48), [alone])
    assert alone.tokens == crowd[4].tokens
    assert all(one.over for one in crowd) and len({tuple(one.tokens) for one in crowd}) > 5


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_transformers_generate(family: str) -> None:
    ours = job(3, temperature=0.0, max_tokens=20)
    others = [job(seed) for seed in range(3)]
    run(Decoder(tiny_model(family), frozenset(), 2, 64), [*others, ours])
    reference = tiny_model(family, attention="sdpa")
    reference.config.use_cache = True
    theirs = reference.generate(
        torch.tensor([ours.ids]), attention_mask=torch.ones(1, len(ours.ids)), do_sample=False, max_new_tokens=20,
        eos_token_id=None, pad_token_id=2,
    )  # fmt: skip
    assert ours.tokens == theirs[0, len(ours.ids) :].tolist()


def test_end_tokens_end_an_answer() -> None:
    model = tiny_model("llama")
    free = job(1, temperature=0.0, max_tokens=10)
    run(Decoder(model, frozenset(), 1, 48), [free])
    end = free.tokens[4]
    stopped = job(1, temperature=0.0, max_tokens=10)
    run(Decoder(model, frozenset({end}), 1, 48), [stopped])
    assert stopped.tokens == free.tokens[: free.tokens.index(end)]
    assert stopped.end == end and not free.finished


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), top_p=st.floats(0.05, 1.0), temperature=st.floats(0.2, 3.0), near=st.integers(1, 40))
def test_draw_stays_in_the_nucleus(seed: int, top_p: float, temperature: float, near: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, generator=generator) * 3
    probabilities = torch.softmax(logits.double() / temperature, 0)
    kept = sampler.NEAR
    sampler.NEAR = near  # a nucleus larger than what is looked at first takes the other path
    try:
        token = draw(logits, Sampling(temperature=temperature, top_p=top_p), random.Random(seed))
    finally:
        sampler.NEAR = kept
    above = float(probabilities[probabilities > probabilities[token]].sum())
    assert above < top_p + 1e-5


def test_draw_follows_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    rng = random.Random(0)
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[draw(logits, Sampling(temperature=1.0, top_p=1.0), rng)] += 1
    torch.testing.assert_close(counts / 4000, torch.softmax(logits, 0), atol=0.03, rtol=0)
    assert draw(logits, Sampling(temperature=0.0), rng) == 0


def ask(engine: Engine, requests: Sequence[Request]) -> list[Completion | BaseException]:
    async def together() -> list[Completion | BaseException]:
        return await asyncio.gather(*map(engine.complete, requests), return_exceptions=True)

    return asyncio.run(together())


def test_transformers_engine_answers_and_names_a_prompt_that_is_too_long(tmp_path: Path) -> None:
    source = ModelSource("tiny", save_tiny(tmp_path / "tiny"), "digest")
    with TransformersEngine(source, Transformers(slots=3, context_tokens=96)) as engine:
        asked = [request(f"question {n}", seed=n).model_copy(update={"model": engine.model}) for n in range(7)]
        replies = ask(engine, asked)
        assert all(isinstance(reply, Completion) and reply.completion_tokens <= 12 for reply in replies)
        assert ask(engine, asked[3:4]) == replies[3:4]
        [failure] = ask(engine, [request("many words " * 60)])
        assert isinstance(failure, RequestError) and "more than context_tokens 96" in str(failure)


def test_an_answer_ends_before_a_stop_text(tmp_path: Path) -> None:
    source = ModelSource("tiny", save_tiny(tmp_path / "tiny"), "digest")
    with TransformersEngine(source, Transformers(slots=2, context_tokens=96)) as engine:
        free = request("question", temperature=0.0)
        [whole, same] = ask(engine, [free, free])
        assert isinstance(whole, Completion) and whole == same
        middle = len(whole.text) // 2
        stop = whole.text[middle : middle + 2]
        stopping = free.model_copy(update={"sampling": free.sampling.model_copy(update={"stop": (stop, "never")})})
        [cut, whole_again] = ask(engine, [stopping, free])
        assert isinstance(cut, Completion)
        assert (cut.text, cut.finish) == (whole.text[: whole.text.index(stop)], "stop")
        assert whole_again == whole


def test_llamacpp_needs_a_gguf_that_it_can_read(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    with pytest.raises(UserError, match="no GGUF file"):
        LlamaCppEngine(ModelSource("tiny", folder, "digest"), LlamaCpp())
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(FavoniusError, match=r"llama\.cpp cannot load it"):
        LlamaCppEngine(ModelSource("tiny", folder, "digest", gguf=broken), LlamaCpp(slots=1))


def read_along(engine: Writer, prompt: Prompted, most: int | None = None) -> tuple[list[str], Written | None]:
    """The pieces of an answer, at most so many of them, and the whole."""

    async def listen() -> tuple[list[str], Written | None]:
        pieces: list[str] = []
        async with aclosing(engine.write(prompt)) as writing:
            async for piece in writing:
                if isinstance(piece, Written):
                    return pieces, piece
                pieces.append(piece)
                if len(pieces) == most:
                    return pieces, None
        raise AssertionError("the writing ended without the whole")

    return asyncio.run(listen())


def test_who_reads_along_hears_what_others_are_answered(tmp_path: Path) -> None:
    source = ModelSource("tiny", save_tiny(tmp_path / "tiny"), "digest")
    with TransformersEngine(source, Transformers(slots=2, context_tokens=96)) as engine:
        asked = request("question", seed=4).model_copy(update={"model": engine.model})
        [reply] = ask(engine, [asked])
        pieces, whole = read_along(engine, prompted(engine.form, asked, 96))
        assert whole is not None and whole.completion == reply and "".join(pieces) == whole.completion.text
        middle = whole.completion.text[len(whole.completion.text) // 2 :][:3]
        sampling = asked.sampling.model_copy(update={"stop": (middle,)})
        cut, end = read_along(engine, replace(prompted(engine.form, asked, 96), sampling=sampling))
        assert end is not None and "".join(cut) == end.completion.text == before(whole.completion.text, middle)


def before(text: str, stop: str) -> str:
    return text[: text.index(stop)]


def test_a_reader_who_leaves_frees_the_slot(tmp_path: Path) -> None:
    source = ModelSource("tiny", save_tiny(tmp_path / "tiny"), "digest")
    with TransformersEngine(source, Transformers(slots=1, context_tokens=2048)) as engine:
        endless = prompted(engine.form, request("question", temperature=0.0, max_tokens=1900), 2048)
        read_along(engine, endless, most=2)
        [reply] = ask(engine, [request("another")])  # it would wait for 1900 tokens
        assert isinstance(reply, Completion)
        assert engine._decoder.free == 1


def test_an_echo_has_the_log_probs_of_the_prompt(tmp_path: Path) -> None:
    source = ModelSource("tiny", save_tiny(tmp_path / "tiny"), "digest")
    with TransformersEngine(source, Transformers(slots=1, context_tokens=96)) as engine:
        prompt = prompted(engine.form, request("question", temperature=0.0, max_tokens=1), 96)
        [_, whole] = read_along(engine, replace(prompt, logprobs=2, echo=True))
        assert isinstance(whole, Written)
        model = AutoModelForCausalLM.from_pretrained(source.folder)
        logps = model(torch.tensor([prompt.ids])).logits[0].float().log_softmax(-1)
        expected = logps[:-1].gather(1, torch.tensor(prompt.ids[1:])[:, None])[:, 0]
        assert len(whole.read) == len(prompt.ids)  # one for each token after the first, and the one that was drawn
        read = torch.tensor([one.logprob for one in whole.read])
        torch.testing.assert_close(read[:-1], expected, atol=0.15, rtol=0)  # bfloat16
        assert all(one.top[0][1] >= one.logprob for one in whole.read)


@given(
    text=st.text("abc", max_size=8), more=st.text("abc", max_size=4),
    stops=st.lists(st.text("abc", min_size=1, max_size=3), max_size=2),
)  # fmt: skip
def test_nothing_that_is_shown_is_taken_back(text: str, more: str, stops: list[str]) -> None:
    assume(not any(stop in text for stop in stops))  # else it is over
    places = [place for stop in stops if (place := (text + more).find(stop)) >= 0]
    final = (text + more)[: min(places, default=None)]
    assert final.startswith(settled(text, stops))
    assert settled(text + "\ufffd", ()) == text == settled(text, ())


def test_an_error_in_the_decoding_thread_reaches_every_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(decoder: Decoder) -> list[Job]:
        raise ArithmeticError("broken kernel")

    monkeypatch.setattr(Decoder, "step", fail)

    async def together(engine: TransformersEngine) -> list[object]:
        asked = (engine.complete(request(f"q{n}")) for n in range(5))
        return list(await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 60))

    source = ModelSource("tiny", save_tiny(tmp_path / "tiny"), "digest")
    with TransformersEngine(source, Transformers(slots=2, context_tokens=96)) as engine:
        assert [type(error) for error in asyncio.run(together(engine))] == [ArithmeticError] * 5
