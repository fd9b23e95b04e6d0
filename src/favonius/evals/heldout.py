"""Log-probs on rows that no training saw: the teacher's answers, and preference pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from favonius.chat.format import ChatFormat
from favonius.models.load import load
from favonius.run import Context, ModelSource
from favonius.trees.store import stored_sums
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Dialogue, Message, Messages, Pair

PACK_TOKENS = 4096


@dataclass(frozen=True)
class HeldOut:
    """One model's log-probs. Rows longer than the limit under its tokenizer are left out and counted."""

    teacher: dict[str, tuple[float, int]]
    """Dialogue id → summed log-prob of the assistant's turns, and their tokens."""
    pairs: dict[str, tuple[float, float, int, int]]
    """Pair id → summed log-probs of chosen and rejected, and their tokens."""
    too_long: int


def held_out_logps(
    source: ModelSource,
    label: str,
    dialogues: Sequence[Dialogue],
    pairs: Sequence[Pair],
    max_length: int,
    context: Context,
) -> HeldOut:
    form = ChatFormat.load(source)
    trees: dict[tuple[str, str], Tree] = {}
    for dialogue in dialogues:
        trees["dialogue", dialogue.id] = Tree.of(_sequence(form, dialogue.messages, True, False))
    for pair in pairs:
        trees["pair", pair.id] = Tree.of(
            _sequence(form, _answered(pair.prompt, pair.chosen), pair.chosen_finished, True),
            _sequence(form, _answered(pair.prompt, pair.rejected), pair.rejected_finished, True),
        )
    fitting = {key: tree for key, tree in trees.items() if max(len(s.ids) for s in tree.sequences) <= max_length}
    with context.progress.bar(f"  {label}, held-out log-probs", len(fitting), "rows") as bar:
        sums = stored_sums(load(source), source.digest, list(fitting.values()), PACK_TOKENS, bar.advance)
    teacher = {}
    preferences = {}
    for ((kind, name), tree), totals in zip(fitting.items(), sums.by_tree, strict=True):
        lengths = [sequence.scored_tokens for sequence in tree.sequences]
        if kind == "dialogue":
            teacher[name] = (totals[0], lengths[0])
        else:
            preferences[name] = (totals[0], totals[1], lengths[0], lengths[1])
    return HeldOut(teacher, preferences, len(trees) - len(fitting))


def _answered(prompt: Messages, text: str) -> Messages:
    return (*prompt, Message(role="assistant", content=text))


def _sequence(form: ChatFormat, messages: Messages, finished: bool, only_last: bool) -> TokenSequence:
    encoded = form.encode(messages, finished=finished, only_last=only_last)
    return TokenSequence.of(encoded.ids, encoded.scored)
