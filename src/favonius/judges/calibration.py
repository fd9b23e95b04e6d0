"""Questions with two answers of which everybody knows the better: what a judge must get right to be believed.

The items are our own (builtin/calibration.jsonl). About half of the better answers are the longer ones, except in the
kind that is a trap for judges who like length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Literal

from favonius.data.rows import read_rows
from favonius.judges.duels import decided, preferences, value
from favonius.judges.figures import Figure, by_prompt, figure
from favonius.judges.judge import Failure, Judgement
from favonius.statistics import share
from favonius.types import Feedback, Message, Noun, RatedText

BETTER, WORSE = "better", "worse"
UNREADABLE = "nothing that it said of these could be read"


class Item(Noun):
    """One question. `finished` is False where the worse answer is one that was cut off."""

    id: str
    kind: str
    prompt: str
    better: str
    worse: str
    finished: bool = True


class Mistake(Noun):
    """An item that a judge did not get right: it preferred the worse answer, neither, or said nothing readable."""

    item: Item
    preferred: Literal["worse", "neither", "nothing"]
    scores: tuple[float | None, float | None]
    """Of the better and of the worse answer."""
    cause: str = ""
    """Why nothing readable was said."""


class Calibration(Noun):
    right: Figure
    kinds: dict[str, Figure]
    mistakes: tuple[Mistake, ...]


def calibration_items() -> list[Item]:
    """The built-in items, in their order."""
    with as_file(files("favonius.judges") / "builtin" / "calibration.jsonl") as path:
        return read_rows(path, Item)


def calibration_cases(items: Sequence[Item]) -> list[Feedback]:
    """A case of each item; every second one has the better answer first."""
    return [_case(item, better_first=number % 2 == 0) for number, item in enumerate(items)]


def calibrated(items: Sequence[Item], judgements: Sequence[Judgement], why: str) -> Calibration:
    """How many of `items` a judge got right; a tie is half of it, and unreadable words are left out of the shares and
    listed. `why` is what to say where no item was judged; items for which there was no money have no part."""
    cases = calibration_cases(items)
    judged = [_Judged(*one) for one in zip(items, cases, judgements, strict=True)]
    heard = [one for one in judged if not one.unasked]
    trials = [(number, one.item.kind, one.word) for number, one in enumerate(heard) if one.word is not None]
    kinds = dict.fromkeys(one.item.kind for one in heard)
    of_kind = {kind: [(number, word) for number, other, word in trials if other == kind] for kind in kinds}
    return Calibration(
        right=figure(share(*by_prompt((number, word) for number, _, word in trials)), why),
        kinds={kind: figure(share(*by_prompt(found)), UNREADABLE) for kind, found in of_kind.items()},
        mistakes=tuple(one.mistake() for one in heard if one.word != 1.0),
    )


@dataclass(frozen=True)
class _Judged:
    item: Item
    case: Feedback
    judgement: Judgement

    @property
    def unasked(self) -> bool:
        return any(isinstance(verdict, Failure) and not verdict.asked for verdict in self.judgement.verdicts)

    @property
    def better(self) -> int:
        """Place of the better answer."""
        return 0 if self.case.completions[0].source == BETTER else 1

    @property
    def word(self) -> float | None:
        """1 where the better answer is preferred, 0 where the worse is, a half where neither; None: unreadable."""
        preference = preferences(self.judgement).get((0, 1))
        return None if preference is None else decided(preference if self.better == 0 else 1 - preference)

    def mistake(self) -> Mistake:
        verdicts = self.judgement.verdicts
        causes = [verdict.cause for verdict in verdicts if isinstance(verdict, Failure)]
        return Mistake(
            item=self.item,
            preferred="nothing" if self.word is None else "neither" if self.word else "worse",
            scores=(value(verdicts[self.better]), value(verdicts[1 - self.better])),
            cause=causes[0] if causes else "",
        )


def _case(item: Item, better_first: bool) -> Feedback:
    better = RatedText(source=BETTER, text=item.better)
    worse = RatedText(source=WORSE, text=item.worse, finished=item.finished)
    return Feedback(
        id=f"calibration {item.id}",
        split="test",
        prompt=(Message(role="user", content=item.prompt),),
        completions=(better, worse) if better_first else (worse, better),
    )
