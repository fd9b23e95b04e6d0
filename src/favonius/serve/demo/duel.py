"""Two models, one message, and which of them stands on which side: drawn anew for each duel, told after the vote."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from favonius.errors import UserError
from favonius.serve.demo.client import Client, Heard, side_by_side
from favonius.serve.demo.votes import Reply, Verdict, Vote, new_vote
from favonius.types import Messages, Sampling


@dataclass(frozen=True)
class Duel:
    """One message to two models, `models[0]` on side a, and how far they have come."""

    prompt: Messages
    sampling: Sampling
    models: tuple[str, str]
    heard: tuple[Heard, Heard] = (Heard(), Heard())
    revealed: bool = False
    """A vote was cast, so names may be shown, and no second vote counts."""

    @property
    def open(self) -> bool:
        """Whether it can be voted on."""
        return not self.revealed and all(heard.done for heard in self.heard)

    def vote(self, verdict: Verdict) -> Vote:
        """Only of a duel that is `open`."""
        a, b = (_reply(model, heard) for model, heard in zip(self.models, self.heard, strict=True))
        return new_vote(self.prompt, self.sampling, a, b, verdict)


def _reply(model: str, heard: Heard) -> Reply:
    return Reply(model=model, fingerprint=heard.fingerprint, text=heard.text, finished=heard.finish == "stop")


def draw_sides(models: Sequence[str], picked: Sequence[str], rng: random.Random) -> tuple[str, str]:
    """Which model stands on side a, which on side b. Those `picked` fight, the rest of the two is drawn.

    UserError where that leaves no two different models.
    """
    chosen = list(dict.fromkeys(picked))
    others = [model for model in models if model not in chosen]
    if len(chosen) < len(picked):
        raise UserError("a duel needs two different models")
    if len(chosen) + len(others) < 2:
        raise UserError(f"a duel needs two models, and the server has only {', '.join(models)}")
    a, b = rng.sample([*chosen, *rng.sample(others, 2 - len(chosen))], 2)
    return a, b


async def fight(duel: Duel, client: Client) -> AsyncGenerator[Duel, None]:
    """The duel as its answers grow, both at once; closing it stops them."""
    answers = [client.answer(model, duel.prompt, duel.sampling) for model in duel.models]
    async with aclosing(side_by_side(answers)) as rounds:
        async for first, second in rounds:
            yield replace(duel, heard=(first, second))
