"""Log-probs on rows that no training saw: the teacher's answers, and preference pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from favonius.chat.format import ChatFormat, ControlTokenError
from favonius.data.checks import Drops
from favonius.models.load import load
from favonius.run import Context, ModelSource
from favonius.trees.store import stored_logps
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Dialogue, Message, Messages, Pair

PACK_TOKENS = 4096


@dataclass(frozen=True)
class HeldOut:
    """One model's log-probs. Rows longer than the limit under its tokenizer, that hold one of its control tokens, with
    an answer that has no token, or whose log-prob is no finite number, are left out and counted by cause."""

    teacher: dict[str, tuple[float, int]]
    """Dialogue id → summed log-prob of the assistant's turns, and their tokens."""
    pairs: dict[str, tuple[float, float, int, int]]
    """Pair id → summed log-probs of chosen and rejected, and their tokens."""
    left_out: Drops


def held_out_logps(
    source: ModelSource,
    label: str,
    dialogues: Sequence[Dialogue],
    pairs: Sequence[Pair],
    max_length: int,
    context: Context,
) -> HeldOut:
    form = ChatFormat.load(source)
    texts: dict[tuple[str, str], list[tuple[Messages, bool]]] = {}
    for dialogue in dialogues:
        texts["dialogue", dialogue.id] = [(dialogue.messages, True)]
    for pair in pairs:
        answers = ((pair.chosen, pair.chosen_finished), (pair.rejected, pair.rejected_finished))
        texts["pair", pair.id] = [(_answered(pair.prompt, text), finished) for text, finished in answers]
    left_out = Drops()
    fitting: dict[tuple[str, str], Tree] = {}
    for key, own in texts.items():
        try:
            fitting[key] = _tree(form, own, key[0] == "pair", max_length)
        except _UnfitError as error:
            left_out.add(error.cause, f"{key[1]}: {error}")
    with context.progress.bar(f"  {label}, held-out log-probs", len(fitting), "rows") as bar:
        stored = stored_logps(load(source), source.digest, list(fitting.values()), PACK_TOKENS, done=bar.advance)
    teacher = {}
    preferences = {}
    for ((kind, name), tree), totals in zip(fitting.items(), stored.sums, strict=True):
        lengths = [sequence.scored_tokens for sequence in tree.sequences]
        if not all(map(math.isfinite, totals)):
            left_out.add(f"no finite log-prob by {label}", name)
        elif kind == "dialogue":
            teacher[name] = (totals[0], lengths[0])
        else:
            preferences[name] = (totals[0], totals[1], lengths[0], lengths[1])
    return HeldOut(teacher, preferences, left_out)


def _answered(prompt: Messages, text: str) -> Messages:
    return (*prompt, Message(role="assistant", content=text))


class _UnfitError(Exception):
    """A row cannot be scored."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


def _tree(form: ChatFormat, texts: Sequence[tuple[Messages, bool]], only_last: bool, max_length: int) -> Tree:
    try:
        encodings = [form.encode(messages, finished=finished, only_last=only_last) for messages, finished in texts]
    except ControlTokenError as error:
        raise _UnfitError("a control token of the model in its text", str(error)) from None
    if not all(any(encoded.scored) for encoded in encodings):
        raise _UnfitError("an answer without a token", "it was cut off before its first word")
    longest = max(len(encoded.ids) for encoded in encodings)
    if longest > max_length:
        raise _UnfitError(f"longer than {max_length} tokens", f"{longest} tokens")
    return Tree.of(*(TokenSequence.of(encoded.ids, encoded.scored) for encoded in encodings))
