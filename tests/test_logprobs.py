"""Log-probs of answers: what plain transformers says of the same tokens, from every local engine."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from favonius.chat.format import ChatFormat
from favonius.engines.config import LlamaCpp, Transformers
from favonius.engines.decoder import Decoder, Job
from favonius.engines.llamacpp import LlamaCppEngine, completion
from favonius.engines.sampler import odds
from favonius.engines.token_texts import token_logprobs, token_texts
from favonius.engines.transformers_engine import TransformersEngine
from favonius.run import ModelSource
from favonius.types import Completion, Engine, Message, Request, Sampling
from tests.tiny import FAMILIES, SHAPE, save_tiny, tiny_model, tiny_tokenizer
from tests.weights import gguf_tensors, write_gguf

FORM = ChatFormat(tiny_tokenizer())
WORDS = len(FORM.tokenizer)
BY_TEXT = {text: token for token in range(WORDS) if "\ufffd" not in (text := FORM.decode([token]))}


def request(text: str, logprobs: int = 4, **sampling: object) -> Request:
    return Request(
        model="tiny",
        messages=(Message(role="user", content=text),),
        sampling=Sampling(**{"max_tokens": 12, **sampling}),  # type: ignore[arg-type]
        logprobs=logprobs,
    )


def ask(engine: Engine, *requests: Request) -> list[Completion]:
    async def together() -> list[Completion]:
        return await asyncio.gather(*map(engine.complete, requests))

    return asyncio.run(together())


def forced(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """[T, V] log-probs of what may follow the prompt and each token of the answer but the last."""
    with torch.no_grad():
        logits_TV = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
    return torch.log_softmax(logits_TV.float(), -1)[len(prompt) - 1 : -1]


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_log_probs_are_those_of_plain_transformers_whatever_the_sampling(family: str, temperature: float) -> None:
    softcap = {"final_logit_softcapping": 5.0} if family == "gemma2" else {}
    drawing = Sampling(temperature=temperature, top_p=0.7, max_tokens=10)
    jobs = [Job([3 + n, 9, 40 + n, 7], drawing, random.Random(n), logprobs=3) for n in range(4)]
    decoder = Decoder(tiny_model(family, **softcap), frozenset(), 3, 32)
    waiting = list(jobs)
    while waiting or decoder.busy:
        while waiting and decoder.free:
            decoder.admit(waiting.pop(0))
        decoder.step()
    plain = tiny_model(family, attention="eager", **softcap)
    for job in jobs:
        expected_TV = forced(plain, job.ids, job.tokens)
        assert len(job.odds) == len(job.tokens) == 10
        for token, own, expected_V in zip(job.tokens, job.odds, expected_TV, strict=True):
            assert own.logprob == pytest.approx(float(expected_V[token]), abs=1e-4)
            assert [logprob for _, logprob in own.top] == pytest.approx(expected_V.topk(3).values.tolist(), abs=1e-4)
            if temperature == 0:
                assert own.top[0] == (token, own.logprob)


def test_of_equally_likely_tokens_the_first_is_the_one_that_greedy_drawing_takes() -> None:
    """bf16 logits are often equal."""
    logits = torch.tensor([0.0, 2.0, 2.0, -math.inf, 2.0, 1.0]).bfloat16()
    found = odds(logits, 1, 2)
    assert [token for token, _ in found.top] == [1, 2] and int(logits.argmax()) == 1
    assert [token for token, _ in odds(logits, 3, 20).top] == [1, 2, 4, 5, 0, 3]
    assert odds(logits, 3, 1).logprob == -math.inf
    assert sum(math.exp(logprob) for _, logprob in odds(logits, 1, 20).top) == pytest.approx(1.0, abs=1e-5)


def test_an_engine_gives_them_only_when_asked_and_its_answers_do_not_change(tmp_path: Path) -> None:
    source = ModelSource("tiny", save_tiny(tmp_path / "tiny"), "tiny")
    asked = [request(f"question {n}", temperature=0.0) for n in range(5)]
    silent = [one.model_copy(update={"logprobs": 0}) for one in asked]
    assert silent[0].key() == Request(model="tiny", messages=asked[0].messages, sampling=asked[0].sampling).key()
    with TransformersEngine(source, Transformers(slots=3, context_tokens=96)) as engine:
        engine.check(asked[0])
        alone = ask(engine, *silent)
        mixed = ask(engine, *asked, *silent)
    assert mixed[5:] == alone and not any(reply.logprobs for reply in alone)
    for reply, plain in zip(mixed, alone, strict=False):
        assert reply.model_copy(update={"logprobs": ()}) == plain
        assert "".join(one.token for one in reply.logprobs) == reply.text
        assert len(reply.logprobs) == reply.completion_tokens
        assert all(len(one.top) == 4 and one.logprob == one.top[0][1] for one in reply.logprobs)


def test_tokens_that_a_stop_text_cuts_have_none(tmp_path: Path) -> None:
    source = ModelSource("tiny", save_tiny(tmp_path / "tiny"), "tiny")
    with TransformersEngine(source, Transformers(slots=1, context_tokens=96)) as engine:
        [whole] = ask(engine, request("question", temperature=0.0))
        [cut] = ask(engine, request("question", temperature=0.0, stop=(whole.text[7:9],)))
    assert cut.text == whole.text[: whole.text.index(whole.text[7:9])] and len(cut.logprobs) < len(whole.logprobs)
    assert cut.text.startswith("".join(one.token for one in cut.logprobs))
    assert cut.logprobs == whole.logprobs[: len(cut.logprobs)]
    ids = FORM.tokenizer("a quick fox", add_special_tokens=False)["input_ids"]
    found = token_logprobs(FORM, ids, [odds(torch.zeros(WORDS), token, 1) for token in ids], "a qu")
    assert [one.token for one in found] == ["a"]


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(3, WORDS - 1), max_size=30))
def test_texts_of_tokens_join_to_the_text_even_where_it_is_no_text(ids: list[int]) -> None:
    assert "".join(token_texts(FORM, ids)) == FORM.decode(ids)


@given(text=st.text(alphabet="ab é🦊🎉\ufffd\n", max_size=20))
def test_no_token_text_holds_half_a_character(text: str) -> None:
    ids = FORM.tokenizer(text, add_special_tokens=False)["input_ids"]
    texts = token_texts(FORM, ids)
    assert "".join(texts) == text and all(part in text for part in texts)


def test_the_likeliest_are_spelt_as_they_would_have_continued() -> None:
    ids = FORM.tokenizer("a 🦊", add_special_tokens=False)["input_ids"]
    logits = torch.zeros(WORDS)
    logits[ids[-1]] = 5.0
    found = token_logprobs(FORM, ids, [odds(logits, token, 2) for token in ids], "a 🦊")
    assert [one.token for one in found][-4:] == ["", "", "", "🦊"]
    assert found[-1].top[0] == ("🦊", found[-1].logprob)


# ---------------------------------------------------------------------------------------------------- llama.cpp


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModelSource, PreTrainedModel]:
    """A tiny Llama as a GGUF file in fp32, and the same in transformers."""
    for name, value in {"intermediate_size": 64, "vocab_size": WORDS}.items():
        monkeypatch.setitem(SHAPE, name, value)
    model = tiny_model("llama", attention="eager", rope_theta=10000.0)
    path = write_gguf(tmp_path / "toy.gguf", gguf_tensors(model))
    return ModelSource("toy", save_tiny(tmp_path / "tiny"), "tiny", gguf=path), model


@pytest.mark.parametrize("prefix_cache", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_llamacpp_gives_those_of_plain_transformers(
    toy: tuple[ModelSource, PreTrainedModel], temperature: float, prefix_cache: bool
) -> None:
    source, model = toy
    asked = [request(f"question {n}", temperature=temperature, top_p=0.6, max_tokens=16) for n in range(6)]
    compared = 0
    with LlamaCppEngine(source, LlamaCpp(slots=2, context_tokens=96, prefix_cache=prefix_cache)) as engine:
        engine.check(asked[0])
        replies = ask(engine, *asked)
        [silent] = ask(engine, asked[0].model_copy(update={"logprobs": 0}))
        prompts = [engine.form.prompt_ids(one.messages) for one in asked]
    assert silent.logprobs == ()
    assert temperature > 0 or silent.text == replies[0].text
    for prompt, reply in zip(prompts, replies, strict=True):
        assert reply.text.startswith("".join(one.token for one in reply.logprobs))
        ids = [BY_TEXT.get(one.token) for one in reply.logprobs]
        known = next((n for n, token in enumerate(ids) if token is None), len(ids))  # characters of several tokens
        for own, token, expected_V in zip(reply.logprobs, ids, forced(model, prompt, ids[:known]), strict=False):
            tolerance = 0.02 if prefix_cache else 0.2  # keys and values are fp16, and bf16 without the cache
            assert own.logprob == pytest.approx(float(expected_V[token]), abs=tolerance)
            assert [logprob for _, logprob in own.top] == pytest.approx(
                expected_V.topk(4).values.tolist(), abs=tolerance
            )
            compared += 1
    assert compared > 10


def entry(text: str, token: int, logprob: float, top: str | None = None) -> dict[str, Any]:
    likeliest = [{"id": token, "token": top or text, "bytes": [], "logprob": logprob}]
    return {"id": token, "token": text, "bytes": [], "logprob": logprob, "top_logprobs": likeliest}


def reply(text: str, entries: list[dict[str, Any]]) -> Completion:
    """As the wheel's server (2026.10) replies."""
    choice = {"text": text, "index": 0, "logprobs": {"content": entries}, "finish_reason": "stop"}
    return completion({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 4}}, FORM)


def word(text: str) -> int:
    [token] = FORM.tokenizer(text, add_special_tokens=False)["input_ids"]
    return int(token)


def test_the_end_token_of_llamacpp_is_left_out_and_nought_is_minus_infinity() -> None:
    read = reply("a", [entry("a", word("a"), -3.4028234663852886e38), entry("", 1, -0.5)])
    assert [(one.token, one.logprob) for one in read.logprobs] == [("a", -math.inf)]
    assert Completion.model_validate_json(read.model_dump_json()) == read


def test_a_character_of_several_tokens_is_one_entry_of_llamacpp() -> None:
    read = reply("a🦊", [entry("a", word("a"), -1.0), entry("🦊", 200, -0.25, top="\ufffd")])
    assert [(one.token, one.logprob) for one in read.logprobs] == [("a", -1.0), ("🦊", -0.25)]


def test_text_that_llamacpp_held_back_returns_to_its_tokens() -> None:
    """It might have been the beginning of a stop text."""
    quick, fox = word(" quick"), word(" fox")
    held = [entry("a", word("a"), -1.0), entry("", quick, -2.0, " quick"), entry(" quick fox", fox, -3.0, " fox")]
    assert [(one.token, one.logprob) for one in reply("a quick fox", held).logprobs] == [
        ("a", -1.0), (" quick", -2.0), (" fox", -3.0),
    ]  # fmt: skip
    never_said = [entry("a", word("a"), -1.0), entry("", quick, -2.0, " quick")]
    assert [one.token for one in reply("a quick", never_said).logprobs] == ["a", " quick"]
    assert [one.token for one in reply("a", never_said).logprobs] == ["a"]
    assert [one.token for one in reply("a qu", never_said).logprobs] == ["a"]
    assert [one.token for one in reply("", [entry("", 1, -0.5)]).logprobs] == []


def test_tokens_behind_a_stop_text_are_left_out_where_llamacpp_gives_them() -> None:
    read = reply("a", [entry("a", word("a"), -1.0), entry(" fox", word(" fox"), -2.0)])
    assert [one.token for one in read.logprobs] == ["a"]
