"""How a model is made to answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from favonius.types import Noun


class LlamaCpp(Noun):
    """llama.cpp in this process; needs a model that came from a GGUF file."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"slots", "prefix_cache"})

    kind: Literal["llamacpp"] = "llamacpp"
    slots: int | Literal["auto"] = Field(default="auto")
    """Requests answered at once; `auto`: as many as keep this machine's cores busy and a quarter of its memory free."""
    context_tokens: int = Field(default=1024, ge=16)
    """Longest prompt and answer together; memory is set aside for it in every slot."""
    prefix_cache: bool = True
    """Prompts that begin alike are read once, by the fastest kernels. Without it an answer does not depend on what else
    is asked (docs/decisions/0005), so that a run that was killed ends with the same rows, at up to half the speed."""

    @field_validator("slots")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("slots must be at least 1")
        return value


class Transformers(Noun):
    """Our own continuous batching over a transformers model, on GPU or CPU; answers any model."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"slots"})

    kind: Literal["transformers"] = "transformers"
    slots: int = Field(default=16, ge=1)
    context_tokens: int = Field(default=1024, ge=16)


class Endpoint(Noun):
    """One OpenAI-compatible server. Its key is read from the environment or a file, and is kept nowhere."""

    base_url: str
    """With its path, such as https://host/v1."""
    key_env: str | None = None
    """Name of the environment variable that holds the key."""
    key_file: Path | None = None
    """File that holds the key alone; `~` is the home folder."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    concurrency: int = Field(default=64, ge=1)
    """Most requests at once; how many there really are follows from what the server bears."""

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// address with its path, such as https://host/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("must hold no user, password or query; name the key's variable in `key_env`")
        return value.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _a_name(cls, value: str | None) -> str | None:
        # A key that was pasted here would be written into the run folder.
        if value is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", value):
            raise ValueError("must be the name of an environment variable, such as OPENAI_API_KEY, never the key")
        return value

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"base_url": value} if isinstance(value, str) else value


class OpenAI(Noun):
    """A model behind one or several servers that speak OpenAI's API (vendors, vLLM, SGLang, llama.cpp, Favonius)."""

    not_identity: ClassVar[frozenset[str]] = frozenset(
        {
            "endpoints",
            "mode",
            "stream",
            "timeout_seconds",
            "attempts",
            "patience_seconds",
            "poll_seconds",
            "batch_requests",
        }
    )

    kind: Literal["openai"] = "openai"
    endpoints: tuple[Endpoint, ...] = Field(min_length=1)
    """Servers of one and the same model: each request goes to the least busy one that is alive."""
    api: Literal["chat", "completions"] = "chat"
    """`completions`: the messages' texts, a blank line between them, are continued as plain text."""
    mode: Literal["live", "batch"] = "live"
    """`batch`: through the provider's Batch API, cheaper and within a day; a run may be stopped while it waits. Money
    is counted by the model's price in the recipe: write there what the provider asks for batches, often half."""
    stream: bool = False
    """Tokens as they are written, so that a server that has fallen silent is noticed sooner (chat, live only)."""
    group_samples: bool = False
    """Several samples of one question in one call (`n`): the prompt is paid once, and their draws share a seed."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls it; OpenAI's newer models want the second."""
    send_seed: bool = True
    """Some servers refuse a seed."""
    extra: dict[str, Any] = Field(default={})
    """Further fields of the request's body, such as top_k."""
    timeout_seconds: float = Field(default=300.0, gt=0)
    """A call that takes longer is asked again; with `stream`, one that is silent for so long."""
    attempts: int = Field(default=6, ge=1)
    """How often a request is tried before it is recorded as failed."""
    patience_seconds: float = Field(default=3600.0, ge=0)
    """How long rate limits are waited out, for one request, and servers that are down, for all."""
    poll_seconds: float = Field(default=30.0, gt=0)
    """How often a batch is looked at."""
    batch_requests: int = Field(default=50_000, ge=1, le=50_000)
    """Most requests in one batch; less where the provider limits what may wait."""

    @property
    def slots(self) -> int:
        return sum(endpoint.concurrency for endpoint in self.endpoints)

    @model_validator(mode="after")
    def _fits(self) -> OpenAI:
        taken = {"model", "messages", "prompt", "stream", "n", "seed", self.max_tokens_field} & set(self.extra)
        if taken:
            raise ValueError(f"extra may not set {', '.join(sorted(taken))}, which Favonius sets itself")
        if self.stream and (self.mode == "batch" or self.api == "completions"):
            raise ValueError("stream is for mode live and api chat only")
        if self.stream and self.group_samples:
            raise ValueError("stream and group_samples do not go together")
        return self


EngineConfig = Annotated[LlamaCpp | Transformers | OpenAI, Field(discriminator="kind")]
