"""What the server says: a pure function of prompt, seed and index, in the shapes of the API.

A token is a word with the space before it. Whatever meets a request, its right answer has the same bytes each time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from favonius.types import digest

Finish = Literal["stop", "length", "content_filter"]
WORDS = (
    "amber", "basin", "cedar", "delta", "ember", "field", "grove", "harbour", "island", "jasper", "kettle", "lantern",
    "meadow", "north", "ocean", "pebble", "quarry", "river", "stone", "timber", "upland", "valley", "willow", "yarrow",
    "zephyr", "because", "never", "often", "perhaps", "quietly", "seldom", "under",
)  # fmt: skip
TRANSPORT = frozenset({"stream", "stream_options", "user", "metadata", "store", "service_tier"})
"""Fields that do not change what is asked."""
FIELDS = TRANSPORT | {
    "model", "messages", "prompt", "n", "seed", "stop", "logprobs", "top_logprobs", "max_tokens",
    "max_completion_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "response_format",
}  # fmt: skip
MOST_TOKENS = 4096


@dataclass(frozen=True)
class Choice:
    tokens: tuple[str, ...]
    finish: Finish

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    def halved(self, finish: Finish) -> Choice:
        return replace(self, tokens=self.tokens[: len(self.tokens) // 2], finish=finish)


@dataclass(frozen=True)
class Asked:
    """A request body that makes sense."""

    chat: bool
    body: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The same for requests that ask the same, streamed or not, alone or in a batch."""
        kept = {name: value for name, value in self.body.items() if name not in TRANSPORT}
        return digest({"chat": self.chat, **kept})

    @property
    def prompts(self) -> list[str]:
        """A chat has one; a plain completion may have several."""
        given = self.body["messages"] if self.chat else self.body["prompt"]
        if not self.chat and isinstance(given, list) and given and isinstance(given[0], (str, list)):
            return [json.dumps(prompt) for prompt in given]
        return [json.dumps(given)]

    @property
    def top_logprobs(self) -> int | None:
        """How many log-probs beside each token; None where none are asked."""
        wanted = self.body.get("logprobs")
        if self.chat:
            return int(self.body.get("top_logprobs") or 0) if wanted else None
        return None if wanted is None else int(wanted)

    def choices(self) -> list[Choice]:
        most = self.body.get("max_completion_tokens") or self.body.get("max_tokens") or MOST_TOKENS
        stop = self.body.get("stop") or ()
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        return [
            _written(prompt, int(self.body.get("seed") or 0), index, int(most), stops)
            for prompt in self.prompts
            for index in range(int(self.body.get("n") or 1))
        ]

    def prompt_tokens(self) -> int:
        return sum(len(prompt.split()) for prompt in self.prompts)


def refusal(asked: Asked, models: tuple[str, ...], unsupported: tuple[str, ...]) -> tuple[int, str, str] | None:
    """Status, code and message where the body is one that no server would answer."""
    body = asked.body
    if not isinstance(body, dict):
        return 400, "invalid_type", "The body must be an object."
    wrong = next((name for name in body if name not in FIELDS or name in unsupported), None)
    if wrong is not None:
        return 400, "unsupported_parameter", f"Unsupported parameter: '{wrong}' is not supported with this model."
    if body.get("model") not in models:
        return 404, "model_not_found", f"The model `{body.get('model')}` does not exist."
    if asked.chat and not _are_messages(body.get("messages")):
        return 400, "invalid_type", "'messages' must be a list of objects with role and content."
    if not asked.chat and not body.get("prompt"):
        return 400, "missing_required_parameter", "you must provide a prompt"
    return None


def whole(asked: Asked, choices: list[Choice]) -> dict[str, Any]:
    """The answer that is not streamed."""
    key = "message" if asked.chat else "text"
    listed: list[dict[str, Any]] = []
    for index, choice in enumerate(choices):
        said = {"role": "assistant", "content": choice.text, "refusal": None} if asked.chat else choice.text
        listed.append(
            {"index": index, key: said, "finish_reason": choice.finish, "logprobs": _logprobs(asked, choice.tokens)}
        )
    return {**_head(asked, "chat.completion"), "choices": listed, "usage": usage(asked, choices)}


def events(asked: Asked, choices: list[Choice]) -> Iterator[dict[str, Any]]:
    """The answer as the chunks of a stream; the usage comes last, where it is asked for."""
    head = _head(asked, "chat.completion.chunk")

    def chunk(index: int, tokens: tuple[str, ...], finish: str | None, **delta: str) -> dict[str, Any]:
        text = {"content": "".join(tokens)} if tokens else {}
        said: dict[str, Any] = {"delta": {**delta, **text}} if asked.chat else {"text": "".join(tokens)}
        logprobs = _logprobs(asked, tokens) if tokens else None
        return {**head, "choices": [{"index": index, **said, "finish_reason": finish, "logprobs": logprobs}]}

    for index, choice in enumerate(choices):
        yield chunk(index, (), None, role="assistant")
        for token in choice.tokens:
            yield chunk(index, (token,), None)
        yield chunk(index, (), choice.finish)
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": usage(asked, choices)}


def usage(asked: Asked, choices: list[Choice]) -> dict[str, int]:
    prompt, written = asked.prompt_tokens(), sum(len(choice.tokens) for choice in choices)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def error(message: str, code: str | None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _written(prompt: str, seed: int, index: int, most: int, stops: tuple[str, ...]) -> Choice:
    draw = random.Random(f"{prompt}/{seed}/{index}")
    words = [draw.choice(WORDS) for _ in range(draw.randint(4, 40))]
    tokens = [words[0].capitalize(), *(f" {word}" for word in words[1:])]
    places = [place for place in ("".join(tokens).find(stop) for stop in stops) if place >= 0]
    if places:
        tokens = _cut(tokens, min(places))
    return Choice(tuple(tokens[:most]), "length" if len(tokens) > most else "stop")


def _cut(tokens: list[str], place: int) -> list[str]:
    """The tokens of the text's first `place` characters."""
    kept = []
    for token in tokens:
        if place <= 0:
            break
        kept.append(token[:place])
        place -= len(token)
    return kept


def _logprobs(asked: Asked, tokens: tuple[str, ...]) -> dict[str, Any] | None:
    """In the shape of the chat, or of plain completions."""
    most = asked.top_logprobs
    if most is None:
        return None
    likely = [_likely(token, most) for token in tokens]
    if not asked.chat:
        offsets = [len("".join(tokens[:place])) for place in range(len(tokens))]
        values = [found[0][1] for found in likely]
        tops = [dict(found[:most]) for found in likely]
        return {"tokens": list(tokens), "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}
    content = [{**_entry(*found[0]), "top_logprobs": [_entry(*one) for one in found[:most]]} for found in likely]
    return {"content": content, "refusal": None}


def _likely(token: str, most: int) -> list[tuple[str, float]]:
    """The token and others in its place, likeliest first."""
    draw = random.Random(token)
    first = -round(draw.uniform(0.01, 1.0), 4)
    others = draw.sample([f" {word}" for word in WORDS if word != token.strip()], max(0, most - 1))
    return [(token, first), *((other, round(first - 1 - rank / 2, 4)) for rank, other in enumerate(others))]


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _head(asked: Asked, kind: str) -> dict[str, Any]:
    name = kind if asked.chat else "text_completion"
    prefix = "chatcmpl" if asked.chat else "cmpl"
    return {
        "id": f"{prefix}-{asked.digest[:24]}",
        "object": name,
        "created": 1_700_000_000,
        "model": asked.body["model"],
    }


def _are_messages(value: Any) -> bool:
    roles = {"system", "developer", "user", "assistant"}
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(one, dict) and one.get("role") in roles and isinstance(one.get("content"), str) for one in value
        )
    )
