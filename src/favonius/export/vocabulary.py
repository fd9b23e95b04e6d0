"""A tokenizer as GGUF keeps it, read from what the model was trained with and from nothing else.

The file that a base model came from is not asked, though it may have one: transformers may split words otherwise than
it says, and then the model has learnt from transformers' words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gguf

from favonius.chat.format import ChatFormat
from favonius.chat.token_bytes import SPACE, Spelling
from favonius.errors import UserError

LOWEST_SCORE = -1000.0
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITTERS = {
    ("bytes and words",): "gpt-2",
    ("digits", "bytes and words"): "smollm",
    (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST, "bytes"): "llama-bpe",
    (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST, "bytes"): "qwen2",
    (TEKKEN, "bytes"): "tekken",
}
"""llama.cpp's names of the ways in which a text is cut into words before pairs of bytes are merged."""


@dataclass(frozen=True)
class Vocabulary:
    """`tokens` by id, one for every row of the embedding."""

    model: str
    """`gpt2` (pairs of bytes) or `llama` (SentencePiece)."""
    splitter: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] | None
    """The higher, the earlier a token is put together; None where `merges` tell."""
    merges: tuple[str, ...] | None
    special: Mapping[str, int]
    """Kinds of special token, as GGUF calls them, and their ids."""
    opens: bool
    """Whether texts open with the begin token."""
    space_first: bool
    template: str

    @classmethod
    def of(cls, form: ChatFormat, rows: int) -> Vocabulary:
        """For an embedding of `rows` rows. UserError where llama.cpp has no such tokenizer."""
        tokenizer = form.tokenizer
        spelling = Spelling.of(tokenizer.backend_tokenizer)
        if spelling is None:
            raise UserError("its tokenizer is neither a byte-level nor a SentencePiece BPE, and GGUF takes only those")
        written = json.loads(tokenizer.backend_tokenizer.to_str())
        pieces = _pieces(written, rows)
        merges = [tuple(pair.split(" ", 1) if isinstance(pair, str) else pair) for pair in written["model"]["merges"]]
        tokens = tuple(_said(piece, spelling) for piece in pieces)
        return cls(
            model="gpt2" if spelling.byte_level else "llama",
            splitter=_splitter(written) if spelling.byte_level else "default",
            tokens=tokens,
            types=tuple(int(piece.kind) for piece in pieces),
            scores=None if spelling.byte_level else _scores(pieces, merges),
            merges=tuple(map(" ".join, merges)) if spelling.byte_level else None,
            special=_special(tokenizer, form.end_ids),
            opens=tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id],
            space_first=spelling.dummy != "none",
            template=str(tokenizer.chat_template),
        )


@dataclass(frozen=True)
class _Piece:
    text: str
    kind: gguf.TokenType


def _pieces(written: Mapping[str, Any], rows: int) -> list[_Piece]:
    """By id; rows of the embedding that stand for no token get a name that no text holds."""
    model, unknown = written["model"], written["model"].get("unk_token")
    found = {index: _Piece(text, _plain(text, model)) for text, index in model["vocab"].items()}
    for added in written["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        found[added["id"]] = _Piece(added["content"], kind)
    if max(found) >= rows:
        raise UserError(f"its tokenizer has a token {max(found)}, and its embedding {rows} rows only")
    if unknown is not None and not model.get("byte_fallback"):
        index = model["vocab"][unknown]
        found[index] = _Piece(unknown, gguf.TokenType.UNKNOWN)
    return [found.get(index, _Piece(f"[PAD{index}]", gguf.TokenType.UNUSED)) for index in range(rows)]


def _plain(text: str, model: Mapping[str, Any]) -> gguf.TokenType:
    is_byte = bool(model.get("byte_fallback")) and BYTE.fullmatch(text) is not None
    return gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL


def _said(piece: _Piece, spelling: Spelling) -> str:
    """llama.cpp looks for a user's tokens in the text before it writes spaces otherwise."""
    if piece.kind == gguf.TokenType.USER_DEFINED and not spelling.byte_level:
        return piece.text.replace(SPACE, " ")
    return piece.text


def _scores(pieces: Sequence[_Piece], merges: Sequence[tuple[str, ...]]) -> tuple[float, ...]:
    """SentencePiece puts the pair first whose token has the highest score: the one that was learnt first."""
    learnt: dict[str, int] = {}
    for pair in merges:
        learnt.setdefault("".join(pair), len(learnt))
    ordinary = gguf.TokenType.NORMAL
    return tuple(
        -float(learnt.get(piece.text, len(learnt))) if piece.kind == ordinary else LOWEST_SCORE for piece in pieces
    )


def _splitter(written: Mapping[str, Any]) -> str:
    step = written["pre_tokenizer"]
    steps = tuple(map(_named, step["pretokenizers"] if step["type"] == "Sequence" else [step]))
    if steps not in SPLITTERS:
        raise UserError(f"its tokenizer cuts words in a way that has no name here ({'; '.join(steps)})")
    return SPLITTERS[steps]


def _named(step: Mapping[str, Any]) -> str:
    match step["type"]:
        case "ByteLevel":
            return "bytes and words" if step.get("use_regex", True) else "bytes"
        case "Digits" if step["individual_digits"]:
            return "digits"
        case "Split" if "Regex" in step["pattern"] and step["behavior"] == "Isolated" and not step["invert"]:
            return str(step["pattern"]["Regex"])
    return str(step["type"])


def _special(tokenizer: Any, ends: frozenset[int]) -> dict[str, int]:
    """The end of a turn is named apart where it is not the end of text."""
    turn_ends = sorted(ends - {tokenizer.eos_token_id})
    found = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "eot": turn_ends[0] if turn_ends else None,
        "unknown": tokenizer.unk_token_id,
        "padding": tokenizer.pad_token_id,
    }
    return {name: int(index) for name, index in found.items() if index is not None}
