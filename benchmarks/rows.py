"""The benchmark's rows: the same token arrays for both sides."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from favonius.chat.format import ChatFormat
from favonius.data.checks import Drops
from favonius.train.rows import Encoder, Row, dialogue_rows, pair_rows
from favonius.types import Dialogue, Message, Pair

Task = Literal["dpo", "sft"]
WORDS = (
    "wind",
    "west",
    "spring",
    "answer",
    "question",
    "because",
    "usually",
    "people",
    "of",
    "the",
    "and",
    "in a",
    "for",
)


def read(task: Task, path: Path | None, form: ChatFormat, max_length: int, count: int) -> list[Row]:
    """`count` rows drawn from the file by a fixed seed, cut at `max_length` as TRL cuts; made up without a file."""
    texts = made_up(count) if path is None else _lines(path)
    random.Random(0).shuffle(texts)
    encoder, drops = Encoder(form, max_length, "keep_start"), Drops()
    if task == "dpo":
        rows = pair_rows(encoder, [_pair(number, text) for number, text in enumerate(texts)], drops)
    else:
        rows = dialogue_rows(encoder, [_dialogue(number, text) for number, text in enumerate(texts)], drops)
    if len(rows) < count:
        raise SystemExit(f"{path}: {count} rows are needed and {len(rows)} can be learned from; ask for fewer rounds")
    return rows[:count]


def made_up(count: int) -> list[dict[str, str]]:
    """Random words with the lengths of UltraFeedback's pairs (performance: prompts 180, answers 320 and 280 tokens)."""
    draw = random.Random(1)

    def text(mean: float) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(max(4, int(draw.lognormvariate(0, 0.6) * mean))))

    return [{"prompt": text(130), "chosen": text(230), "rejected": text(200)} for _ in range(2 * count)]


def prompt_and_answers(row: Row) -> dict[str, list[int]]:
    """What TRL's DPO calls prompt_ids, chosen_ids and rejected_ids."""
    chosen, rejected = row.tree.sequences
    start = chosen.scored.index(True)
    return {
        "prompt_ids": list(chosen.ids[:start]),
        "chosen_ids": list(chosen.ids[start:]),
        "rejected_ids": list(rejected.ids[start:]),
    }


def masked_dialogue(row: Row) -> dict[str, list[int]]:
    """What TRL's SFT calls input_ids and assistant_masks."""
    (sequence,) = row.tree.sequences
    return {"input_ids": list(sequence.ids), "assistant_masks": [int(mark) for mark in sequence.scored]}


def logical_tokens(rows: Sequence[Row]) -> int:
    """Tokens of all sequences, without padding and as if nothing were shared: the same for both sides."""
    return sum(row.tree.logical_tokens for row in rows)


def _lines(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.splitlines() if line.strip()]


def _pair(number: int, row: dict[str, Any]) -> Pair:
    return Pair(
        id=str(number), prompt=(Message(role="user", content=row["prompt"]),), chosen=row["chosen"],
        rejected=row["rejected"], split="train",
    )  # fmt: skip


def _dialogue(number: int, row: dict[str, Any]) -> Dialogue:
    said = row.get("messages") or [
        {"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]},
    ]  # fmt: skip
    return Dialogue(id=str(number), messages=tuple(Message.model_validate(one) for one in said), split="train")
