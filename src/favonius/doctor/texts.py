"""What texts show without a tokenizer: empty turns, repetitions, leaks between splits and from benchmarks, manners."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from favonius.data.checks import leaks
from favonius.data.decontaminate import EvaluationIndex
from favonius.data.filters.loops import loops
from favonius.data.filters.politeness import without_politeness
from favonius.data.filters.refusals import RefusalSearch
from favonius.data.near_duplicates import ExactDuplicateIndex, NearDuplicateIndex
from favonius.doctor.tally import Tally
from favonius.doctor.views import Placed, View, score, view
from favonius.types import Dialogue, Feedback, LabelledAnswer, Pair, SeedPrompt, Split

SHOWN = 180
"""Characters of an answer that show what is meant."""

Found = Iterator[tuple[str, str]]
"""Kinds of finding, each with what is to be shown of it."""


@dataclass(frozen=True)
class Against:
    """What rows are compared with besides one another. `held_out`: `View.asked_key`s of another file."""

    held_out: ExactDuplicateIndex | None = None
    benchmarks: EvaluationIndex | None = None
    near: bool = False


class Texts:
    """Looks at rows one after another. Keeps digests of what it has seen; with `near` about 3 kB a prompt."""

    def __init__(self, against: Against) -> None:
        self._against = against
        self._rows, self._prompts = ExactDuplicateIndex(), ExactDuplicateIndex()
        self._sides: dict[Split, ExactDuplicateIndex] = {"train": ExactDuplicateIndex(), "test": ExactDuplicateIndex()}
        self._near = NearDuplicateIndex() if against.near else None
        self._refusals = RefusalSearch()

    def look(self, placed: Placed, tally: Tally) -> None:
        seen = view(placed.row)
        for kind, sample in self._found(placed, seen):
            tally.add(kind, placed.place, sample)

    def _found(self, placed: Placed, seen: View) -> Found:
        yield from _empty_turns(placed)
        yield from _scores(placed)
        leak, again = self._leak(placed, seen), self._again(placed, seen)
        if leak is not None:
            yield "leakage", leak
        elif again is not None:
            yield again
        if self._against.benchmarks is not None and (hits := self._against.benchmarks.hits(seen.said)):
            yield "contamination", f"{hits[0].place} holds of {hits[0].benchmark} {hits[0].item}: {hits[0].matched}"
        yield from self._manners(placed, seen)

    def _leak(self, placed: Placed, seen: View) -> str | None:
        """Where the prompt stands on the other side."""
        self._sides[seen.split].add(seen.asked_key, placed.place)
        if self._against.held_out is not None and (found := self._against.held_out.first_like(seen.asked_key)):
            return f"held out as {found.name}: {seen.asked}"
        other: Split = "train" if seen.split == "test" else "test"
        if found := self._sides[other].first_like(seen.asked_key):
            return f"the {other} split has it in {found.name}: {seen.asked}"
        return None

    def _again(self, placed: Placed, seen: View) -> tuple[str, str] | None:
        """What an earlier row was, too."""
        whole = "\0".join(turn.content for turn in seen.said)
        row = None if isinstance(placed.row, SeedPrompt) else self._rows.first_like_or_add(whole, placed.place)
        prompt = self._prompts.first_like_or_add(seen.asked, placed.place)
        near = self._near.first_like_or_add(seen.asked, placed.place) if self._near is not None else None
        if row is not None:
            return "duplicate_row", f"as {row.name}: {seen.asked}"
        if prompt is not None:
            several = isinstance(placed.row, Pair | LabelledAnswer)
            return "prompt_again" if several else "duplicate_prompt", f"as {prompt.name}: {seen.asked}"
        if near is not None:
            return "near_duplicate_prompt", f"{near.similarity:.0%} as {near.name}: {seen.asked}"
        return None

    def _manners(self, placed: Placed, seen: View) -> Found:
        if text := next(filter(loops, seen.taught), None):
            yield "loop", f"… {text[-SHOWN:]}"
        if text := next(filter(leaks, seen.taught), None):
            yield "leak", text
        for text in seen.taught:
            if found := self._refusals.find(text):
                family, words = found
                yield "refusal", f"{family}: {_around(text, words)}"
                break
        if isinstance(placed.row, Dialogue) and without_politeness(placed.row.messages).cause is not None:
            yield "politeness", " … ".join(turn.content for turn in placed.row.messages[-2:])


def _around(text: str, words: str) -> str:
    at = max(0, text.lower().replace("’", "'").find(words) - SHOWN // 3)
    return ("… " if at else "") + text[at : at + SHOWN]


def _empty_turns(placed: Placed) -> Found:
    """Of users; of assistants that do say something elsewhere, or there is no answer. Empty system turns are usual."""
    match placed.row:
        case Dialogue(messages=turns):
            answered = any(turn.role == "assistant" and turn.content.strip() for turn in turns)
            roles = ("user", "assistant") if answered else ("user",)
        case SeedPrompt():
            return
        case row:
            turns, roles = row.prompt, ("user", "assistant")
    for number, turn in enumerate(turns):
        if turn.role in roles and not turn.content.strip():
            yield "empty_message", f"{placed.row.id}: message {number + 1}, of the {turn.role}, is empty"
            return


def _scores(placed: Placed) -> Found:
    match placed.row:
        case Pair(chosen_score=float(chosen), rejected_score=float(rejected)) as pair:
            if chosen < rejected:
                yield "score_order", f"{pair.id}: chosen {chosen:g}, rejected {rejected:g}"
            elif chosen == rejected:
                yield "tied_scores", f"{pair.id}: both {chosen:g}"
        case Feedback() as feedback:
            scores = [score(one) for one in feedback.completions]
            if len(set(scores) - {None}) < 2:
                known = ", ".join("none" if one is None else f"{one:g}" for one in scores)
                yield "no_order", f"{feedback.id}: scores {known}"
