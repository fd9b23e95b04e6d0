"""A judge that is asked in words with a scripted model in its place: what it is shown, and some ways to answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from favonius.judges.config import JudgeConfig
from favonius.judges.judge import FIRST, Judgement, Score, Showing
from favonius.judges.open import open_judge
from favonius.run import Inputs, ModelRef
from favonius.types import Feedback, Message, RatedText, Request, Sampling
from tests.voices import context, source, speak

JUDGE = ModelRef("judge")
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=512)
Voice = Callable[[Request], str]


def case(*texts: str, id: str = "p1", prompt: str = "Name a river.", **fields: object) -> Feedback:
    return Feedback(
        id=id,
        split="train",
        prompt=(Message(role="user", content=prompt),),
        completions=tuple(RatedText(source=f"m{place}", text=text) for place, text in enumerate(texts)),
        **fields,  # type: ignore[arg-type]
    )


def inputs(world: Path, **files: str) -> Inputs:
    paths = {}
    for name, text in files.items():
        paths[name] = world / name
        paths[name].write_text(text, encoding="utf-8")
    return Inputs({}, {"judge": source(world, "judge")}, paths)


class Bench:
    """Judges cases with a scripted model; `asked` are the requests that reached it."""

    def __init__(self, world: Path, monkeypatch: pytest.MonkeyPatch, voice: Voice) -> None:
        self.world = world
        self.engine = speak(monkeypatch, {"judge": voice})["judge"]
        self.asked = self.engine.asked

    def judge(self, config: JudgeConfig, *cases: Feedback, showing: Showing = FIRST, **files: str) -> list[Judgement]:
        with open_judge(config, inputs(self.world, **files), context(self.world)) as judge:
            return judge.judge(cases, showing)


def said(request: Request) -> str:
    return request.messages[-1].content


def shown_pair(request: Request) -> tuple[str, str]:
    found = re.search(r"### Answer A\n(.*?)\n\n### Answer B\n(.*?)\n\n###", said(request), re.DOTALL)
    assert found
    return found[1], found[2]


def shown_texts(request: Request) -> list[str]:
    return re.findall(r"<text \d+>\n(.*?)\n</text", said(request), re.DOTALL)


def values(judgement: Judgement) -> list[float]:
    assert all(isinstance(verdict, Score) for verdict in judgement.verdicts), judgement.verdicts
    return [verdict.value for verdict in judgement.verdicts if isinstance(verdict, Score)]


def rate_texts(request: Request, rating: Callable[[str], object], typed: bool = False) -> str:
    fields = (
        "Type: 1\nRationale: because\nRating: {}\nRationale (For Rating): so" if typed else "Rating: {}\nRationale: so"
    )
    parts = enumerate(shown_texts(request), 1)
    return "\n\n".join(f"#### Output for Text {n}\n" + fields.format(rating(text)) for n, text in parts)


def prefers_first(request: Request) -> str:
    return "A"


def prefers_longer(request: Request) -> str:
    first, second = shown_pair(request)
    return "C" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


WORTH = {"good": 5, "fair": 3, "poor": 1, "good and more": 5}


def by_worth(request: Request) -> str:
    return rate_texts(request, lambda text: WORTH[text], typed="Type:" in said(request))


def grades(request: Request) -> str:
    return f"It is an answer.\n\nOverall Score: {WORTH[said(request).partition('### Answer')[2].split()[0]]}"
