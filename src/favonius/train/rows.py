"""Rows of files become trees; rows that nothing can be learned from are left out, counted by cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from favonius.chat.format import ChatFormat, ControlTokenError
from favonius.data.checks import Drops
from favonius.errors import UserError
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Dialogue, Message, Pair, Split


@dataclass(frozen=True)
class Row:
    """What one dialogue or pair is to the training step. A pair's sequences are chosen, rejected."""

    id: str
    split: Split
    tree: Tree


def dialogue_rows(form: ChatFormat, dialogues: Sequence[Dialogue], max_length: int, drops: Drops) -> list[Row]:
    """One tree per dialogue, every assistant turn scored."""
    rows = []
    for dialogue in dialogues:
        if not any(message.role == "assistant" and message.content.strip() for message in dialogue.messages):
            drops.add("no assistant text", dialogue.id)
            continue
        try:
            sequence = _sequence(form, dialogue.messages, True, False, dialogue.id)
        except ControlTokenError as error:
            drops.add("holds a control token", f"{dialogue.id}: {error}")
            continue
        if len(sequence.ids) > max_length:
            drops.add(f"longer than max_length ({max_length} tokens)", dialogue.id)
        else:
            rows.append(Row(dialogue.id, dialogue.split, Tree.of(sequence)))
    return rows


def pair_rows(form: ChatFormat, pairs: Sequence[Pair], max_length: int, drops: Drops) -> list[Row]:
    """One tree per pair, the answers scored."""
    rows = []
    for pair in pairs:
        if not pair.chosen.strip() or not pair.rejected.strip():
            drops.add("empty answer", pair.id)
            continue
        try:
            chosen, rejected = (
                _sequence(form, (*pair.prompt, Message(role="assistant", content=text)), finished, True, pair.id)
                for text, finished in ((pair.chosen, pair.chosen_finished), (pair.rejected, pair.rejected_finished))
            )
        except ControlTokenError as error:
            drops.add("holds a control token", f"{pair.id}: {error}")
            continue
        if max(len(chosen.ids), len(rejected.ids)) > max_length:
            drops.add(f"longer than max_length ({max_length} tokens)", pair.id)
        elif chosen == rejected:
            drops.add("chosen and rejected are the same", pair.id)
        else:
            rows.append(Row(pair.id, pair.split, Tree.of(chosen, rejected)))
    return rows


def _sequence(
    form: ChatFormat, messages: tuple[Message, ...], finished: bool, only_last: bool, row: str
) -> TokenSequence:
    try:
        encoded = form.encode(messages, finished=finished, only_last=only_last)
    except ControlTokenError:
        raise
    except UserError as error:
        raise UserError(f"row {row}: {error}") from error
    return TokenSequence.of(encoded.ids, encoded.scored)
