"""Normal forms: what makes two texts "the same" for duplicates, splits and contamination. Nothing here is shown.

All of them take NFKC (ﬁ → fi, full width → plain) and fold case. Then

    plain   joins by single spaces                     "What is  2+2?" → "what is 2+2?"
    words   leaves runs of letters, marks and digits   "What is  2+2?" → what · is · 2 · 2
    terms   leaves the signs of maths and code, too    "What is  2+2?" → what · is · 2+2

In scripts written without spaces (Chinese, Japanese, Thai …) every character is a word.
"""

from __future__ import annotations

import re
import unicodedata

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Characters of scripts written without spaces, as a pattern's brackets hold them."""
# `\w` has no combining marks, so that a Hindi word would fall apart at its vowel signs.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
    "\u0900-\u0963\u0966-\u0dff\u0e00-\u0eff\u0f71-\u0f84\u1000-\u109f\u1780-\u17d3"
)
_SIGNS = "#$%&*+/<=>@\\^|~"
_WIDE_SIGNS = "¬±×÷\u2190-\u22ff"

_UNSPACED_CHARACTER = re.compile(f"([{UNSPACED}])")
# ASCII is left to the tables below: bytes.translate is many times faster than a pattern.
_WIDE_GAP = re.compile(rf"[^\x00-\x7f\w{_MARKS}]+")
_WIDE_GAP_OF_TERMS = re.compile(rf"[^\x00-\x7f\w{_MARKS}{_WIDE_SIGNS}]+")


def _table(kept: str) -> bytes:
    """For bytes.translate: ASCII that is neither letter, digit nor in `kept` becomes a space."""
    return bytes(code if code > 127 or chr(code).isalnum() or chr(code) in kept else 32 for code in range(256))


_ASCII_WORDS = _table("")
_ASCII_TERMS = _table(_SIGNS)


def plain(text: str) -> str:
    """The text without what case, white space and width of letters make of it; punctuation stays."""
    return " ".join(_folded(text).split())


def words(text: str) -> list[str]:
    """Letters and digits only; punctuation, signs and `_` part words."""
    return _split(text, _ASCII_WORDS, _WIDE_GAP)


def terms(text: str) -> list[str]:
    """As `words`, but `2+2`, `c++` and `x=5` stay apart from `2/2`, `c` and `x<5`."""
    return _split(text, _ASCII_TERMS, _WIDE_GAP_OF_TERMS)


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Once more, as folding parts some letters from their accents.
    return unicodedata.normalize("NFKC", folded)


def _split(text: str, ascii_table: bytes, wide_gap: re.Pattern[str]) -> list[str]:
    folded = _folded(text)
    if not folded.isascii():
        folded = _UNSPACED_CHARACTER.sub(r" \1 ", wide_gap.sub(" ", folded))
    # Half a surrogate pair is text that JSON may bring, and no reason to stop.
    encoded = folded.encode("utf-8", "surrogatepass").translate(ascii_table)
    return encoded.decode("utf-8", "surrogatepass").split()
