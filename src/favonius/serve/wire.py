"""Bodies of requests: what of OpenAI's API is understood, and a sentence for what is not."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from favonius.serve.problems import ApiError
from favonius.types import Message, Messages, Role, Sampling

MOST_TOP_LOGPROBS = 20
MOST_CHOICES = 16
MOST_ANSWERS = 1024
"""To all prompts of one request."""
MOST_STOPS = 16
"""Each is looked for at every token, in all that is being written."""
NOTHING: tuple[Any, ...] = (None, 0, [], {}, "")
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("tools", "functions", "logit_bias", "presence_penalty", "frequency_penalty", "suffix"), NOTHING),
    **dict.fromkeys(("audio", "prediction", "web_search_options"), NOTHING),
    **dict.fromkeys(("tool_choice", "function_call"), (*NOTHING, "none", "auto")),
    "modalities": (*NOTHING, ["text"]),
    "response_format": (*NOTHING, {"type": "text"}),
    "best_of": (None, 1),
    # What other servers take beside OpenAI's fields.
    "top_k": (None, 0, -1),
    "min_p": (None, 0),
    "repetition_penalty": (None, 1),
}
"""Fields that would change an answer, and the values that they are let pass with, because those change nothing."""


class StreamOptions(BaseModel):
    include_usage: bool = False


class _Part(BaseModel):
    type: Literal["text"]
    text: str


def _joined(content: Any) -> Any:
    """Text in parts, as OpenAI's clients may send it, as one text."""
    if isinstance(content, list):
        return "".join(_Part.model_validate(part).text for part in content)
    return content


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_joined)]

    @property
    def message(self) -> Message:
        role: Role = "system" if self.role == "developer" else self.role
        return Message(role=role, content=self.content)


class Body(BaseModel):
    """What both kinds of request have. Fields that say nothing of the answer (`user`, `metadata`) are ignored."""

    model_config = ConfigDict(extra="allow")

    model: str
    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @field_validator("stop")
    @classmethod
    def _few(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and len(value) > MOST_STOPS:
            raise PydanticCustomError("many", f"At most {MOST_STOPS} texts")
        return value

    @property
    def stops(self) -> tuple[str, ...]:
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=max_tokens, stop=self.stops)


class ChatBody(Body):
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)

    @property
    def talk(self) -> Messages:
        return tuple(one.message for one in self.messages)

    @property
    def told(self) -> int | None:
        """Beside each token's log-prob, those of so many are told; None: no log-probs at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def likeliest(self) -> int:
        """The engine is asked for the log-probs of so many; 0: for none."""
        return 0 if self.told is None else max(1, self.told)


class CompletionBody(Body):
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int = Field(default=16, ge=0)
    logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)
    echo: bool = False

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or several, as text or as token ids."""
        match self.prompt:
            case str():
                return [self.prompt]
            case [int(), *_]:
                return [self.prompt]  # type: ignore[list-item]
        return list(self.prompt)  # type: ignore[arg-type]


KINDS = ("str", "list[", "function-")
"""Parts of a place in a body that pydantic adds where a field may be of several kinds."""

Kind = TypeVar("Kind", ChatBody, CompletionBody)


def read_body(raw: Any, kind: type[Kind]) -> Kind:
    """ApiError where it is not what it should be, or wants what nobody here can do."""
    if not isinstance(raw, dict):
        raise ApiError(400, "the body must be a JSON object")
    try:
        body = kind.model_validate({name: value for name, value in raw.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if not str(part).startswith(KINDS))
        raise ApiError(400, f"{place}: {first['msg'].lower()}", param=place or None) from None
    for name, harmless in UNSUPPORTED.items():
        if raw.get(name) not in harmless:
            raise ApiError(400, f"{name} is not supported", param=name, code="unsupported_parameter")
    if raw.get("top_logprobs") and not raw.get("logprobs"):
        raise ApiError(400, "top_logprobs: goes with logprobs: true", param="top_logprobs")
    return body
