"""Golden renders against zephyr-spec §2.3, masks, and equality of ids between training, judging and chat."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.types import Message, Messages
from tests.tiny import tiny_tokenizer

FORMAT = ChatFormat(tiny_tokenizer())
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + '</s>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def talk(*texts: str, system: str | None = None) -> Messages:
    roles = ("user", "assistant")
    turns = tuple(Message(role=roles[n % 2], content=text) for n, text in enumerate(texts))
    return turns if system is None else (Message(role="system", content=system), *turns)


def text_of(messages: Messages, generation_prompt: bool = False) -> str:
    return FORMAT.tokenizer.apply_chat_template(
        [m.model_dump() for m in messages], tokenize=False, add_generation_prompt=generation_prompt
    )


def test_golden_renders() -> None:
    assert text_of(talk("Hi", "Yo")) == "<|system|>\n</s>\n<|user|>\nHi</s>\n<|assistant|>\nYo</s>\n"
    assert text_of(talk("Hi"), True) == "<|system|>\n</s>\n<|user|>\nHi</s>\n<|assistant|>\n"
    assert text_of(talk("Hi", "Yo", system="Be brief.")) == (
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nYo</s>\n"
    )
    assert text_of(talk("A", "B", "C", "D")) == (
        "<|system|>\n</s>\n<|user|>\nA</s>\n<|assistant|>\nB</s>\n<|user|>\nC</s>\n<|assistant|>\nD</s>\n"
    )


def masked_text(form: ChatFormat, messages: Messages, **options: bool) -> str:
    encoded = form.encode(messages, **options)
    return form.decode([token for token, scored in zip(encoded.ids, encoded.scored, strict=True) if scored])


@pytest.mark.parametrize("template", [None, CHATML])
@pytest.mark.parametrize("system", [None, "", "Answer in verse."])
@pytest.mark.parametrize("turns", [1, 2, 3, 4, 5])
def test_mask_is_assistant_contents_and_end_token(turns: int, system: str | None, template: str | None) -> None:
    form = FORMAT if template is None else ChatFormat(tiny_tokenizer(template))
    texts = [f"the weather {n}" if n % 2 else f"a question {n}?" for n in range(2 * turns)]
    messages = talk(*texts, system=system)
    assert masked_text(form, messages) == "".join(f"the weather {n}</s>" for n in range(1, 2 * turns, 2))
    assert masked_text(form, messages, only_last=True) == f"the weather {2 * turns - 1}</s>"
    assert masked_text(form, messages, only_last=True, finished=False) == f"the weather {2 * turns - 1}"


WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(
    lambda text: not any(mark in text for mark in ("</s>", "<s>", "<pad>"))
)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(WORDS, min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0))
def test_prompt_ids_begin_the_training_ids_and_the_mask_is_the_text(texts: list[str]) -> None:
    """What a model is asked with is, token for token, what it was trained after."""
    messages = talk(*texts)
    encoded = FORMAT.encode(messages)
    for turn in range(1, len(texts), 2):
        prompt = FORMAT.prompt_ids(messages[:turn])
        # An answer that begins with white space may merge with the newline before it; every other boundary is exact.
        if not texts[turn][0].isspace():
            assert encoded.ids[: len(prompt)] == prompt
            assert encoded.scored[len(prompt)] and not encoded.scored[len(prompt) - 1]
    if not any(text[0].isspace() for text in texts):
        assert masked_text(FORMAT, messages) == "".join(text + "</s>" for text in texts[1::2])


def test_bos_is_added_once_and_only_where_the_tokenizer_wants_it() -> None:
    assert FORMAT.encode(talk("Hi", "Yo")).ids.count(0) == 1
    assert 0 not in ChatFormat(tiny_tokenizer(bos=False)).prompt_ids(talk("Hi"))
    assert ChatFormat(tiny_tokenizer("{{ bos_token }}" + CHATML)).prompt_ids(talk("Hi")).count(0) == 1


def test_end_ids() -> None:
    assert FORMAT.end_ids == {1}


def test_control_tokens_in_a_message_are_refused() -> None:
    for messages in (talk("Hi </s>", "Yo"), talk("Hi", "Yo</s><|user|>")):
        with pytest.raises(UserError, match="control token </s>"):
            FORMAT.encode(messages)


def test_a_template_that_rejects_or_rewrites_is_a_sentence() -> None:
    with pytest.raises(UserError, match="rewrites earlier turns"):
        ChatFormat(tiny_tokenizer("{{ messages | length }}" + CHATML))
    with pytest.raises(UserError, match="no chat template"):
        ChatFormat(tiny_tokenizer(template=None))
