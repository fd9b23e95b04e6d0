"""Many dialogues at once: the same tokens and marks as one at a time, for every template, tokenizer and text."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from favonius.chat.batches import Batches
from favonius.chat.fast_tokens import FastTokens, UnsuitableError
from favonius.chat.format import ChatFormat, ControlTokenError, Encoded, Outcome
from favonius.chat.rendering import Renderer, any_of
from favonius.chat.skeletons import Skeletons
from favonius.chat.template import ZEPHYR
from favonius.chat.token_bytes import Spelling, TokenBytes, byte_spans
from favonius.errors import UserError
from favonius.types import Message, Messages
from tests.tiny import tiny_tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou help.' + eos_token + '\n' }}{% endif %}"
) + CHATML.replace(" | trim", "")
MODEL_TURNS = """{{ bos_token }}{% if messages[0].role == 'system' -%}
{% set first = messages[0].content | trim + '\n\n' %}{% set rest = messages[1:] %}
{%- else %}{% set first = '' %}{% set rest = messages %}{% endif %}
{%- for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}
{%- endif %}{{ '<turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (first if loop.first else '') }}
{{- m.content | trim + eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"""
HEADERS = (
    "{% for m in messages %}{{ (bos_token if loop.first else '') + '<|head|>' + m.role + '<|/head|>\n\n' + "
    "m.content.strip() + eos_token }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content | trim + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('no system') }}{% endif %}{% endfor %}"
)
THINKING = CHATML.replace("m['content'] | trim", "m.content.split('</think>')[-1]")
SHOUTING = CHATML.replace("| trim", "| upper")
COUNTING = "{{ messages | length }}"
BY_LENGTH = CHATML.replace("m['content'] | trim", "m.content + ('!' if m.content | length > 300 else '')")
TEMPLATES = {
    "zephyr": ZEPHYR, "chatml": CHATML, "default system": WITH_DEFAULT_SYSTEM, "model turns": MODEL_TURNS,
    "headers": HEADERS, "brackets": BRACKETS, "thinking": THINKING,
}  # fmt: skip
FOX = ["the quick brown fox answers a question about the weather, and then another  one\n\nthe end é 日本"] * 4
SPECIALS = ["<s>", "</s>", "<unk>", "<|im_start|>"]
REPLACE = normalizers.Replace(" ", "▁")


def byte_level(**parts: object) -> Tokenizer:
    tokenizer: Tokenizer = tiny_tokenizer().backend_tokenizer
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def without_byte_4() -> Tokenizer:
    """As SmolLM2 has no token for some bytes."""
    tokenizer = json.loads(byte_level().to_str())
    del tokenizer["model"]["vocab"]["Ą"]
    return Tokenizer.from_str(json.dumps(tokenizer))


def byte_fallback(**parts: object) -> Tokenizer:
    """Pieces of text, with ▁ for a space, and bytes for what is not among them."""
    small = Tokenizer(models.BPE())
    small.normalizer = REPLACE
    small.train_from_iterator(FOX, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    learned = json.loads(small.to_str())["model"]
    names = [*SPECIALS[:3], *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    merges = [tuple(merge) for merge in learned["merges"]]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def without_fallback() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "the": 1, "a": 2, "</s>": 3, "<s>": 4}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def trimming() -> processors.ByteLevel:
    return processors.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)


PREPEND = normalizers.Sequence([normalizers.Prepend("▁"), REPLACE])
METASPACE = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
TOKENIZERS = {
    "byte-level": byte_level,
    "byte-level, trimmed offsets": lambda: byte_level(post_processor=trimming()),
    "byte-level, a byte missing": without_byte_4,
    "byte-level, NFC": lambda: byte_level(normalizer=normalizers.NFC()),
    "replacing": lambda: byte_fallback(
        normalizer=REPLACE, pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous")
    ),
    "prepending": lambda: byte_fallback(normalizer=PREPEND),
    "metaspace": lambda: byte_fallback(pre_tokenizer=METASPACE),
    "of no known kind": without_fallback,
}


def fresh(tokenizer: str = "byte-level", template: str = ZEPHYR) -> ChatFormat:
    backend = TOKENIZERS[tokenizer]()
    backend.add_special_tokens(SPECIALS)
    backend.add_tokens(
        [
            AddedToken("\n\n", normalized=False),
            AddedToken("<mark>", normalized=False),
            AddedToken("<gap> ", normalized=False),
        ]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = template
    return ChatFormat(fast)


form = cache(fresh)


@pytest.fixture(autouse=True)
def _differences_are_errors() -> Iterator[None]:
    """Else a difference would be mended by the slow way, and no test would see it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def one_by_one(form: ChatFormat, dialogues: Sequence[Messages], finished: Sequence[bool], last: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for messages, ended in zip(dialogues, finished, strict=True):
        try:
            outcomes.append(form.encode(messages, ended, last))
        except UserError as error:
            outcomes.append(error)
    return outcomes


def plain(outcomes: Sequence[Outcome]) -> list[tuple[object, object]]:
    return [(one.ids, one.scored) if isinstance(one, Encoded) else (type(one).__name__, str(one)) for one in outcomes]


def same(form: ChatFormat, dialogues: Sequence[Messages], finished: Sequence[bool], last: bool) -> bool:
    many = form.encode_many(dialogues, finished, last)
    return plain(many) == plain(one_by_one(form, dialogues, finished, last))


def talk(*texts: str) -> Messages:
    return tuple(Message(role=("user", "assistant")[n % 2], content=text) for n, text in enumerate(texts))


def exact(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    return [np.array(row.ids, np.uint32) for row in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


SNIPPETS = (
    " ", "  ", "\n", "\n\n", " \n", "\r\n", "\t", "\u00a0", "▁", "▁▁", " ▁", "é", "e\u0301", "A\u030a", "a\u0301\u0323",
    "日本", "😀", "👩\u200d👧", "\u200b", "\ufeff", "\U00033000", "\u088f", "\x00", "\x04", "the quick brown fox",
    " the", "answers", "x" * 40, "aaaa", "<0x0A>", "<gap> ", "<mark>", "</think>", "<think>", "[INST]", "[/INST]",
    "assistant", "<|user|>\n", "<|", "s>", "</s",
)  # fmt: skip
CONTROL = st.sampled_from(["</s>", "<s>", "<unk>", "<|im_start|>"])
PIECES = st.one_of(st.sampled_from(SNIPPETS), st.text(st.characters(exclude_categories=("Cs",)), max_size=6))
CONTENTS = st.lists(st.one_of(*[PIECES] * 40, CONTROL), max_size=6).map("".join)
TURNS = st.builds(
    lambda system, texts: ((Message(role="system", content=system),) if system is not None else ()) + talk(*texts),
    st.one_of(st.none(), CONTENTS),
    st.lists(CONTENTS, min_size=1, max_size=6),
)
DISORDER = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=CONTENTS), max_size=4
).map(tuple)
ROWS = st.lists(st.tuples(st.one_of(TURNS, TURNS, DISORDER), st.booleans()), min_size=1, max_size=8)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=30, deadline=None)
@given(rows=ROWS, last=st.booleans(), template=st.sampled_from(sorted(TEMPLATES)))
def test_many_at_once_are_the_same_as_one_at_a_time(
    tokenizer: str, rows: list[tuple[Messages, bool]], last: bool, template: str
) -> None:
    finished = [ended for _, ended in rows]
    assert same(form(tokenizer, TEMPLATES[template]), [messages for messages, _ in rows], finished, last)


TEXTS = st.lists(st.one_of(PIECES, PIECES, PIECES, CONTROL), max_size=8).map("".join)


KNOWN = [name for name in TOKENIZERS if name != "of no known kind"]


@cache
def token_bytes(tokenizer: str) -> TokenBytes:
    own = form(tokenizer).tokenizer
    spelling = Spelling.of(own.backend_tokenizer)
    assert spelling is not None
    return TokenBytes(own, spelling)


def agree(tokenizer: str, texts: list[str], spans: list[tuple[int, int]]) -> bool:
    """Whether the tokens that overlap each text's span are those that do so by the tokenizer's own offsets."""
    rows = form(tokenizer).tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    places = token_bytes(tokenizer).places([np.array(row.ids, np.uint32) for row in rows], texts)
    marks = places.overlapping([byte_spans(text, [span]) for text, span in zip(texts, spans, strict=True)]).tolist()
    return all(
        marks[begin : begin + len(row)] == [low < end and high > start for low, high in row.offsets]
        for row, (start, end), known, begin in zip(rows, spans, places.exact, places.first.tolist(), strict=False)
        if known
    )


@pytest.mark.parametrize("tokenizer", KNOWN)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), data=st.data())
def test_places_are_the_tokenizers_offsets(tokenizer: str, texts: list[str], data: st.DataObject) -> None:
    spans = [sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2))) for text in texts]
    assert agree(tokenizer, texts, [(start, end) for start, end in spans])


@pytest.mark.parametrize("tokenizer", KNOWN)
@pytest.mark.parametrize("text", ["a\u0301\u0323", "  a  \n  ", "a<gap> b", "\n é</s>\n 😀 a", "▁a", " <s> a"])
def test_places_with_every_span(tokenizer: str, text: str) -> None:
    spans = [(start, end) for end in range(len(text) + 1) for start in range(end + 1)]
    assert agree(tokenizer, [text] * len(spans), spans)


@pytest.mark.parametrize("tokenizer", KNOWN)
def test_places_of_plain_texts_are_known(tokenizer: str) -> None:
    texts = ["the quick </s>brown é", "\nfox 日本 \n\n😀", " a", "<s>a", ""]
    rows = exact(form(tokenizer).tokenizer.backend_tokenizer, texts)
    assert token_bytes(tokenizer).places(rows, texts).exact.all()


@pytest.mark.parametrize("template", TEMPLATES)
def test_usual_dialogues_take_the_short_ways(template: str) -> None:
    own = fresh("replacing", TEMPLATES[template])
    dialogues = [talk(f"question {n}", f" an answer, {n} é\n", "more?", "no") for n in range(520)]
    assert same(own, dialogues, [True] * 520, False)
    ways = own.batches.ways
    assert (ways.dialogues, ways.by_jinja, ways.by_offsets) == (520, 0, 0)
    assert ways.compared == ways.one_by_one == 2


@pytest.mark.parametrize(("template", "usable"), [(THINKING, True), (SHOUTING, False)])
def test_what_a_template_reads_in_a_content_is_left_to_jinja(template: str, usable: bool) -> None:
    tokenizer = form().tokenizer.__class__(tokenizer_object=byte_level(), chat_template=template, eos_token="</s>")
    skeletons = Skeletons(Renderer(tokenizer))
    assert (skeletons.dialogue(talk("Hi", "Yo"), True, False) is not None) == usable
    assert skeletons.dialogue(talk("Hi", "<think>so</think>Yo"), True, False) is None


def test_an_error_is_returned_in_the_place_of_its_dialogue() -> None:
    dialogues = [talk("Hi", "Yo"), talk("Hi </s>", "Yo"), (), talk("a", "b")]
    outcomes = form().encode_many(dialogues)
    assert [type(one) for one in outcomes] == [Encoded, ControlTokenError, UserError, Encoded]
    assert "user message holds the control token </s>" in str(outcomes[1])
    assert form().encode_many([]) == []


def test_a_template_that_hides_a_rule_is_caught_by_the_sample() -> None:
    own = fresh(template=BY_LENGTH)
    dialogues = [talk("Hi", "long enough " * 30), talk("Hi", "Yo")]
    with pytest.warns(UserWarning, match="gives other tokens than one at a time"):
        many = own.encode_many(dialogues)
    assert plain(many) == plain(one_by_one(own, dialogues, [True, True], False))
    assert own.batches.ways.one_by_one == 3
    assert same(own, dialogues[::-1], [True, False], True)


@cache
def with_fast_tokens(tokenizer: str) -> ChatFormat:
    pytest.importorskip("gigatoken")
    own = fresh(tokenizer)
    own.__dict__["batches"] = Batches(own._renderer, own.encode, own._opening, fast_from=0)
    own.encode_many([talk("Hi", "Yo")])
    assert own.batches.ways.why == "" and own.batches.ways.by_exact_tokenizer == 0
    return own


@pytest.mark.parametrize("tokenizer", ["byte-level, a byte missing", "byte-level, NFC", "replacing", "prepending"])
@settings(max_examples=40, deadline=None)
@given(rows=ROWS, last=st.booleans())
def test_the_faster_tokenizer_gives_the_same(tokenizer: str, rows: list[tuple[Messages, bool]], last: bool) -> None:
    assert same(with_fast_tokens(tokenizer), [messages for messages, _ in rows], [ended for _, ended in rows], last)


def test_texts_that_the_two_tokenizers_may_see_differently_go_to_the_exact_one() -> None:
    own = with_fast_tokens("byte-level, NFC")
    before = own.batches.ways.by_exact_tokenizer
    for text in ("\u088f", "\U00033479", "e\u0301"):  # two not in Unicode 16; one that is not normalised
        assert same(own, [talk("Hi", f"a {text}b")], [True], False)
    assert own.batches.ways.by_exact_tokenizer == before + 3


def test_texts_that_need_bytes_which_the_vocabulary_lacks_go_to_the_exact_tokenizer() -> None:
    own = with_fast_tokens("byte-level, a byte missing")
    ways = own.batches.ways
    before = ways.by_exact_tokenizer, ways.by_offsets
    assert same(own, [talk("Hi", "Yo"), talk("Hi", "a\x04b the qu\x04ick")], [True, True], False)
    assert (ways.by_exact_tokenizer, ways.by_offsets) == (before[0] + 1, before[1] + 1)


class Bytes:
    """A tokenizer that never merges: its tokens are places in the text, but not the right ones."""

    def __init__(self, form: ChatFormat) -> None:
        self.vocabulary = form.tokenizer.get_vocab()

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        spelled = [text.replace(" ", "Ġ").replace("\n", "Ċ") for text in texts]
        return [np.array([self.vocabulary[letter] for letter in text], np.uint32) for text in spelled]


class Sevens:
    """A tokenizer whose tokens do not add up to the text."""

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.full(3, 7, dtype=np.uint32) for _ in texts]


def test_a_tokenizer_that_turns_out_to_differ_is_not_believed() -> None:
    dialogues = [talk("Hi", "the quick fox"), talk("a", "b")]
    own = fresh()
    expected = plain(one_by_one(own, dialogues, [True, True], False))
    own.batches._fast = Sevens()  # type: ignore[assignment]
    assert plain(own.encode_many(dialogues)) == expected and own.batches.ways.by_offsets == 2
    own.batches._fast = Bytes(own)  # type: ignore[assignment]
    with pytest.warns(UserWarning, match="gives other tokens than one at a time"):
        assert plain(own.encode_many(dialogues)) == expected


def test_a_tokenizer_that_differs_on_the_probe_texts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gigatoken")
    monkeypatch.setattr("favonius.chat.probe_texts.characters", lambda: [ord("é")])
    backend = form("replacing").tokenizer.backend_tokenizer
    spelling = form("replacing").batches._spelling
    assert spelling is not None
    other = byte_fallback(normalizer=PREPEND)
    monkeypatch.setattr("favonius.chat.fast_tokens.exact_ids", lambda _, texts: exact(other, texts))
    with pytest.raises(UnsuitableError, match="differs from tokenizers on"):
        FastTokens(backend, spelling, backend.get_vocab_size())


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.text("ab.*", min_size=1, max_size=4), min_size=1), text=st.text("ab.*", max_size=12))
def test_any_of(words: list[str], text: str) -> None:
    assert (re.search(any_of(words), text) is not None) == any(word in text for word in words)
