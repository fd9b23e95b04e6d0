"""The nouns that every floor speaks: messages, rows, requests and completions.

Rows are frozen pydantic models because they arrive from files that people write by hand; a bad one is refused with
the name of its field (see `data.rows.read_rows`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "test"]
Manner = Literal["world", "writing", "material"]


class Noun(BaseModel):
    """A frozen value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    not_identity: ClassVar[frozenset[str]] = frozenset()
    """Fields that say how work is done and not what it makes: changing one never makes a step start afresh."""


class Message(Noun):
    role: Role
    content: str


Messages = tuple[Message, ...]


class SeedPrompt(Noun):
    """What a dialogue starts from.

    `sector` is the part of an openings step that wrote it, `subtopic` a narrower topic. `manner` says how a simulated
    user goes on: asking about the world, refining one piece of writing, or asking more of one text.
    """

    id: str
    prompt: str = Field(min_length=1)
    topic: str | None = None
    kind: str | None = None
    sector: str | None = None
    subtopic: str | None = None
    manner: Manner | None = None


class Dialogue(Noun):
    """A conversation that dSFT learns from; the last message is the assistant's.

    `source` is the file, hub dataset or sector that it comes from; `topic` is what it is about, where that is known.
    """

    id: str
    split: Split
    messages: Messages = Field(min_length=2)
    source: str | None = None
    topic: str | None = None


class Sampling(Noun):
    """How tokens are drawn. temperature 0 is greedy; `seed` and a request's sample index fix the draw."""

    temperature: float = Field(default=0.7, ge=0.0)
    top_p: float = Field(default=0.95, gt=0.0, le=1.0)
    max_tokens: int = Field(default=256, ge=1)
    stop: tuple[str, ...] = ()
    """Texts at which the answer ends; they are not part of it."""
    seed: int = 0


class Principle(Noun):
    """What an answer's author was told to mind: helpfulness, honesty, … (zephyr-spec §4.3).

    `text` is the system message that said so; `shown` is False where it was recorded and not said.
    """

    kind: str
    text: str = ""
    shown: bool = True


class Origin(Noun):
    """How an answer was drawn: enough to find its text in the run's ledger, and to draw it again."""

    model: str
    """As the recipe calls it."""
    sampling: Sampling
    sample: int = 0
    request: str
    """Key of the request in the ledger."""


class Knowledge(Noun):
    """What is known of the right answer to a prompt, for judges that are told (zephyr-spec §4.5)."""

    correct: tuple[str, ...] = ()
    incorrect: tuple[str, ...] = ()
    note: str | None = None
    """Such as that the question rests on something false."""


class Answer(Noun):
    """One model's answer to one prompt.

    `finished` is False where the answer was cut off by the token limit: such an answer is never followed by an end
    token, neither in training nor in judging. `flaws` names what `data.checks.flaws` found in the text.
    """

    prompt_id: str
    split: Split
    prompt: Messages
    source: str
    text: str
    finished: bool
    tokens: int
    flaws: tuple[str, ...] = ()
    principle: Principle | None = None
    origin: Origin | None = None
    prompt_source: str | None = None
    """The data set or sector that the prompt comes from."""
    knowledge: Knowledge | None = None


class JudgedBy(Noun):
    """Which judge gave scores; `template` is the digest of the prompts that it was asked with, where it was asked."""

    name: str
    kind: str
    template: str | None = None


class JudgeCall(Noun):
    """One question to a judge: where its raw reply lies, and in which order it saw the answers."""

    request: str
    """Key of the request in the run's ledger."""
    order: tuple[int, ...]
    """Places in `Feedback.completions`, in the order shown."""
    aspect: str | None = None


class Comparison(Noun):
    """How far a judge prefers one of two answers: 1 wholly the first, 0 wholly the second, 0.5 neither.

    `first` and `second` are places in `Feedback.completions`. `seen_first` and `seen_second` are the preferences for
    `first` when it was shown first and when it was shown second; None where it was not shown so or nothing readable
    was said.
    """

    first: int
    second: int
    preference: float = Field(ge=0.0, le=1.0)
    seen_first: float | None = None
    seen_second: float | None = None


class PairOrigin(Noun):
    """Where a preference comes from."""

    rule: str
    seed: int = 0
    prompt_source: str | None = None
    places: tuple[int, int] | None = None
    """Of chosen and rejected in `Feedback.completions`, of which `calls` speak too."""
    judge: JudgedBy | None = None
    calls: tuple[JudgeCall, ...] = ()
    """The questions to the judge in which it saw either answer."""
    chosen: Origin | None = None
    rejected: Origin | None = None
    chosen_principle: Principle | None = None
    rejected_principle: Principle | None = None


class Pair(Noun):
    """Two answers to one prompt, one preferred: a row of dDPO."""

    id: str
    split: Split
    prompt: Messages
    chosen: str
    rejected: str
    chosen_finished: bool = True
    rejected_finished: bool = True
    chosen_source: str | None = None
    rejected_source: str | None = None
    chosen_score: float | None = None
    rejected_score: float | None = None
    origin: PairOrigin | None = None


class LabelledAnswer(Noun):
    """One answer to one prompt, to be given more often or less: a row of KTO, in labelled_answers.jsonl."""

    id: str
    split: Split
    prompt: Messages
    text: str
    desirable: bool
    finished: bool = True
    source: str | None = None


class RatedText(Noun):
    """One of several answers to a prompt, with what a judge said of it; None where it gave no number (N/A)."""

    source: str
    text: str
    finished: bool = True
    flaws: tuple[str, ...] = ()
    principle: Principle | None = None
    origin: Origin | None = None
    scores: dict[str, float | None] = {}
    """By aspect: helpfulness, honesty, …; in the judge's own unit, higher is better."""
    overall: float | None = None
    critique: str | None = None


class Feedback(Noun):
    """Several answers to one prompt and a judge's word on each, as UltraFeedback publishes them.

    Before it is judged it has no scores, and after it those that the judge gave. `source` is the data set or sector
    that the prompt comes from.
    """

    id: str
    split: Split
    prompt: Messages
    completions: tuple[RatedText, ...] = Field(min_length=1)
    source: str | None = None
    knowledge: Knowledge | None = None
    judge: JudgedBy | None = None
    calls: tuple[JudgeCall, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


class Request(Noun):
    """A question to a model. Two requests with one key are the same request and are asked once."""

    model: str
    """Digest of weights and template, not a name: the key must survive renaming."""
    messages: Messages = Field(min_length=1)
    sampling: Sampling = Sampling()
    sample: int = 0
    """Which of several draws of the same question this is."""
    logprobs: int = Field(default=0, ge=0, le=20)
    """For each token of the answer, the log-probs of so many likeliest tokens; 0 asks for none."""

    def key(self) -> str:
        """Fields at their defaults are left out, so that a field added later changes no key."""
        return self.known_key

    @cached_property
    def known_key(self) -> str:
        """The key, reckoned once: a request on its way is looked up by it many times."""
        return digest(self.model_dump(exclude_defaults=True))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("known_key", None)  # it was the original's
        return copy


class TokenLogprob(Noun):
    """A token that was written, its log-prob in nats, and the likeliest tokens in its place with theirs.

    Log-probs are of the model's own distribution: before temperature and top-p. The end token is not among an answer's
    tokens, and tokens that a stop text cut are not. `token` is what the answer grew by: nothing where a token ends
    within a character, and the whole character at the next (engine llamacpp leaves such tokens out). What a remote
    server gives is passed on as it is.
    """

    # JSON has no infinities; without this a log-prob of -inf would be written as a null that cannot be read again.
    model_config = ConfigDict(ser_json_inf_nan="strings")

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Completion(Noun):
    text: str
    finish: Literal["stop", "length"]
    """`stop`: the model ended its turn. `length`: the token limit cut it off."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Of the prompt's tokens, those that a provider's prefix cache held."""
    logprobs: tuple[TokenLogprob, ...] = ()


class Price(Noun):
    """What a provider asks for a million tokens, in dollars."""

    prompt: float = Field(ge=0.0)
    completion: float = Field(ge=0.0)
    cached_prompt: float | None = Field(default=None, ge=0.0)
    """Of prompt tokens that the provider had in its prefix cache; left out, they cost like others."""


class Engine(Protocol):
    """The one seam for everything that answers a prompt. Ledger, limits and budgets wrap it in the same shape."""

    model: str
    """Digest of the model that answers; a `Request.model` must equal it."""
    slots: int
    """How many requests it answers at once."""

    def check(self, request: Request) -> None:
        """Raise RequestError where it can be seen, before it is asked, that a request cannot be answered."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer, or raise RequestError where this one request cannot be answered."""
        ...


class RequestError(Exception):
    """An engine could not answer one request; others may still be answered."""

    lasting = True
    """Whether it would fail again, as a prompt that is too long does."""
    attempts = 1
    """How often it was sent."""
    paid_attempts = 0
    """How many of these were billed."""


def digest(value: Mapping[str, Any] | list[Any] | str) -> str:
    """sha256 of the canonical JSON of a value: the same for equal values on any machine, whatever the key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
