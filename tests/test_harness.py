"""The lm-eval adapter against lm-eval's own transformers backend."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.errors import UserError
from favonius.progress import Progress
from favonius.trees.continuations import Continuation, groups, read_continuations
from favonius.trees.head import likeliest, token_logps
from tests.tiny import VOCABULARY, tiny_model, tiny_tokenizer

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from favonius.evals.harness.adapter import FavoniusLM

FAMILIES = ("llama", "gemma3", "qwen3")
TOLERANCE = 1e-4
WORDS = ["the", "quick", "brown", "fox", "answers", "a", "question", "about", "weather", "and", "then", "another"]
LENGTH = 160
"""Tokens of the models' context here."""


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def quiet() -> Progress:
    return Progress(io.StringIO())


class Sides:
    """Ours and theirs, with the same weights and tokenizer."""

    def __init__(self, family: str, bos: bool = True, **options: Any) -> None:
        ours, theirs = tiny_model(family), tiny_model(family, attention="eager")
        theirs.config.use_cache = True
        self.ours = FavoniusLM(ours, tiny_tokenizer(bos=bos), max_length=LENGTH, progress=quiet(), **options)
        tokenizer = tiny_tokenizer(bos=bos)
        self.theirs = HFLM(theirs, tokenizer=tokenizer, max_length=LENGTH, device="cpu", batch_size=1, **options)

    def agree(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        mine = self.ours.loglikelihood(requests, disable_tqdm=True)
        its = self.theirs.loglikelihood(requests, disable_tqdm=True)
        assert [logprob for logprob, _ in mine] == pytest.approx([logprob for logprob, _ in its], abs=TOLERANCE)
        assert [greedy for _, greedy in mine] == [greedy for _, greedy in its]
        return mine


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def requests_like(task: str, rng: random.Random) -> list[tuple[str, str]]:
    """Pairs as the task's own are shaped, in little."""
    shots = "\n\n".join(f"Question: {text(rng, 4)}\nAnswer: {text(rng, 2)}" for _ in range(4))
    pairs: list[tuple[str, str]] = []
    for _ in range(3):
        match task:
            case "hellaswag":
                context, choices = f"{text(rng, 12)}\n\n{text(rng, 9)}", [text(rng, 5) for _ in range(4)]
            case "arc":
                context, choices = f"Question: {text(rng, 9)}\nAnswer:", [text(rng, n) for n in (1, 2, 3, 2)]
            case "mmlu":
                context, choices = f"{shots}\n\n{text(rng, 6)}\nA. x\nB. y\nAnswer:", list("ABCD")
            case _:
                context, choices = f"{shots}\n\nQ: {text(rng, 5)}\nA:", [text(rng, n) for n in range(1, 7)]
        pairs += [(context, f" {choice}") for choice in choices]
    return pairs


@pytest.fixture(scope="module", params=FAMILIES)
def sides(request: pytest.FixtureRequest) -> Sides:
    return Sides(request.param)


@pytest.mark.parametrize("task", ["hellaswag", "arc", "mmlu", "truthfulqa"])
def test_the_same_log_likelihoods_as_their_own_backend(sides: Sides, task: str) -> None:
    sides.agree(requests_like(task, random.Random(task)))


def test_greedy_flags_are_told_where_they_are_true(sides: Sides) -> None:
    """Random words are never greedy; what the model itself writes is."""
    context = "the quick brown fox"
    (written,) = sides.ours.generate_until([Instance("generate_until", {}, (context, {"max_gen_toks": 3}), 0)])
    ids = sides.ours.tok_encode(context)
    with torch.no_grad():
        best = int(sides.theirs.model(torch.tensor([ids])).logits[0, -1].argmax())
    token = sides.ours.tokenizer.decode([best])
    found = sides.agree([(context, other) for other in (token, " the", " fox", written) if other.strip()])
    if sides.ours.tok_encode(context + token) == [*ids, best]:
        assert found[0][1]


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("options", [{}, {"add_bos_token": True}, {"add_bos_token": False}, {"prefix_token_id": 1}])
def test_begin_tokens_as_theirs(bos: bool, options: dict[str, Any]) -> None:
    sides = Sides("llama", bos, **options)
    sides.agree([("", "the fox"), ("<s>the fox", " answers"), ("</s>", "the"), ("the fox", " answers"), ("", "<s>the")])


ODD = st.one_of(
    st.sampled_from(["", "the fox ", "the fox  \n", "the fox", "\n", "a" * 40]),
    st.integers(1, 200).map(lambda words: text(random.Random(words), words)),
    st.text(st.sampled_from("ab Qé\n."), max_size=30),
)
OWN = st.one_of(st.sampled_from([" a", " the", "\n", " the quick brown fox"]), st.text("aé b", min_size=1, max_size=12))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(ODD, OWN), min_size=1, max_size=8), again=st.integers(0, 3))
def test_odd_requests_as_theirs(sides: Sides, pairs: list[tuple[str, str]], again: int) -> None:
    """Empty and over-long contexts, spaces at their ends, the same request twice; contexts that take up what follows
    are refused by both."""
    pairs = [pair for pair in pairs if _has_own_tokens(sides.ours, *pair)]
    sides.agree(pairs + pairs[:again])


def _has_own_tokens(lm: FavoniusLM, context: str, continuation: str) -> bool:
    if context == "":
        return True
    return len(lm._encode_pair(context, continuation)[1]) > 0


def test_a_continuation_without_tokens_of_its_own_is_refused(sides: Sides) -> None:
    with pytest.raises(UserError, match="tokens of its own"):
        sides.ours.loglikelihood([Instance("loglikelihood", {}, ("the fox", ""), 0)], disable_tqdm=True)


def test_a_context_of_spaces_alone_is_the_begin_token() -> None:
    """Where no begin token is put before a text, theirs fails."""
    lm = Sides("llama", bos=False).ours
    asked = [Instance("loglikelihood", {}, pair, 0) for pair in (("  ", "the fox"), ("", "  the fox"))]
    spaces, nothing = lm.loglikelihood(asked, disable_tqdm=True)
    assert spaces == nothing
    (written,) = lm.generate_until([Instance("generate_until", {}, ("", {"max_gen_toks": 3}), 0)])
    assert isinstance(written, str)


def test_what_is_too_long_is_counted() -> None:
    sides = Sides("llama")
    sides.agree([(text(random.Random(0), 300), " the"), ("the", " fox")])
    assert sides.ours.truncated == 1


def test_rolling_windows_as_theirs(sides: Sides) -> None:
    texts = ["the", text(random.Random(1), 30), text(random.Random(2), 400)]
    requests = [Instance("loglikelihood_rolling", {}, (one,), 0) for one in texts]
    mine, its = (
        lm.loglikelihood_rolling(requests, disable_tqdm=True)
        for lm in (sides.ours, sides.theirs)
    )  # fmt: skip
    assert mine == pytest.approx(its, rel=1e-6, abs=TOLERANCE)


def test_answers_as_theirs(sides: Sides) -> None:
    rng = random.Random(3)
    options = {"until": ["fox", "\n\n"], "max_gen_toks": 24, "do_sample": False}
    requests = [Instance("generate_until", {}, (text(rng, words), options), 0) for words in (1, 6, 20, 300)]
    assert sides.ours.generate_until(requests) == sides.theirs.generate_until(requests, disable_tqdm=True)


def test_an_answer_ends_before_its_stop_text(sides: Sides) -> None:
    ask = {"max_gen_toks": 24}
    (whole,) = sides.ours.generate_until([Instance("generate_until", {}, ("the fox", ask), 0)])
    stop = whole[4:7]
    (cut,) = sides.ours.generate_until([Instance("generate_until", {}, ("the fox", {**ask, "until": [stop]}), 0)])
    assert cut == whole[: whole.index(stop)]


def test_draws_depend_on_the_seed_alone() -> None:
    options = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 12}
    requests = [Instance("generate_until", {}, ("the fox", options), 0)] * 3

    def written(seed: int) -> list[str]:
        lm = FavoniusLM(tiny_model("llama"), tiny_tokenizer(), progress=quiet(), seed=seed)
        return lm.generate_until(requests)

    assert written(0) == written(0) != written(1)
    assert len(set(written(0))) == 3


def test_unknown_ways_of_drawing_are_refused(sides: Sides) -> None:
    with pytest.raises(UserError, match="top_k"):
        sides.ours.generate_until([Instance("generate_until", {}, ("the", {"do_sample": True, "top_k": 3}), 0)])


def test_a_shared_context_runs_once(sides: Sides) -> None:
    """Four letters after a question are four targets of one place; the examples run once for all questions."""
    rng = random.Random(4)
    shots = text(rng, 60)
    questions = [f"{shots}\n\n{text(rng, 6)}:" for _ in range(6)]
    pairs = [(question, f" {letter}") for question in questions for letter in "ABCD"]
    before = sides.ours.tokens
    sides.agree(pairs)
    longest = max(len(sides.ours.tok_encode(context)) for context, _ in pairs)
    assert sides.ours.tokens - before < 2.2 * longest


def test_results_do_not_depend_on_what_is_asked_beside(sides: Sides) -> None:
    pairs = requests_like("truthfulqa", random.Random(5))
    together = sides.agree(pairs)
    alone = [value for pair in reversed(pairs) for value in sides.agree([pair])][::-1]
    assert [one for one, _ in together] == pytest.approx([one for one, _ in alone], abs=TOLERANCE)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_the_likeliest_token_is_the_first_of_equals(softcap: float | None) -> None:
    """Also where the vocabulary is walked in several tiles, and the equal ones lie in different ones. Whole numbers:
    their products do not depend on the order of addition."""
    torch.manual_seed(0)
    hidden, weight = torch.randint(-9, 10, (6, 16)).float(), torch.randint(-9, 10, (9000, 16)).float()
    best = (hidden @ weight.T).argmax(1)
    weight[(best + 4500) % 9000] = weight[best]
    first = (hidden @ weight.T).argmax(1)
    assert (first != best).any() and (first == best).any()
    for targets in (first, (first + 4500) % 9000, torch.arange(6)):
        logps, greedy = likeliest(hidden, weight, targets, softcap)
        torch.testing.assert_close(logps, token_logps(hidden, weight, targets, softcap))
        assert greedy.tolist() == (targets == first).tolist()


def test_packs_of_any_size_read_the_same() -> None:
    model, rng = tiny_model("gemma3"), random.Random(6)
    shots = tuple(rng.randrange(VOCABULARY) for _ in range(50))
    asked = [
        Continuation((*shots, *ids), tuple(rng.randrange(VOCABULARY) for _ in range(size)))
        for ids in ([1, 2, 3], [4, 5], [1, 2, 9])
        for size in (1, 3, 7)
    ]
    few, many = (read_continuations(model, asked, tokens) for tokens in (8, 4096))
    assert [one.logprob for one in few] == pytest.approx([one.logprob for one in many], abs=TOLERANCE)
    assert [one.greedy for one in few] == [one.greedy for one in many]


def test_groups_share_what_is_worth_it() -> None:
    """Subjects, and not the words that introduce them all; nor one example of two long prompts."""
    rows = lambda start, count: [(*start, number, number) for number in range(count)]  # noqa: E731
    header, one, other = (7,) * 40, (1,) * 100, (2,) * 100
    contexts = sorted([*rows(header + one, 5), *rows(header + other, 4), (3, 4), (3, 5)])
    assert [tuple(group) for group in groups(contexts)] == [(0, 2, 0), (2, 7, 140), (7, 11, 140)]
    assert [tuple(group) for group in groups([header + one * 10, header + other * 10])] == [(0, 2, 0)]


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=90).map(tuple), max_size=12))
def test_groups_hold_every_context_once(contexts: list[tuple[int, ...]]) -> None:
    ordered = sorted(set(contexts))
    found = groups(ordered)
    assert [place for group in found for place in range(group.start, group.stop)] == list(range(len(ordered)))
    for group in found:
        beginnings = {context[: group.shared] for context in ordered[group.start : group.stop]}
        assert len(beginnings) == 1 and all(
            len(context) > group.shared for context in ordered[group.start : group.stop]
        )
