"""An engine whose answers are a function, for tests: no weights, no network."""

from __future__ import annotations

from collections.abc import Callable

from favonius.types import Completion, Request


class ScriptedEngine:
    """`answer` maps a request to its text, or to a whole completion (with log-probs), or raises.

    `asked` lists the requests in the order they came.
    """

    def __init__(self, answer: Callable[[Request], str | Completion], model: str = "scripted", slots: int = 16) -> None:
        self.answer, self.model, self.slots = answer, model, slots
        self.asked: list[Request] = []

    def check(self, request: Request) -> None:
        """Every request can be asked."""

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        text = self.answer(request)
        if isinstance(text, Completion):
            return text
        words = len(text.split())
        cut = words > request.sampling.max_tokens
        return Completion(
            text=" ".join(text.split()[: request.sampling.max_tokens]) if cut else text,
            finish="length" if cut else "stop",
            prompt_tokens=sum(len(message.content.split()) for message in request.messages),
            completion_tokens=min(words, request.sampling.max_tokens),
        )
