"""Texts on which one tokenizer is compared with another that is said to be the same, but faster."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence

PROSE = (
    "don't I'M we'll they'RE it’s o'clock 'tis naïve café cafe\u0301 Ångström A\u030angstro\u0308m straße ﬁne x² Ⅷ ½ "
    "12 345 6789 1,234.56 3.14e-10 0x7f user@mail.org https://a.b/c?d=%20&e=f#g C++ a_b __init__ -- ... !? $x^2$ "
    "def f(x): return [1, 2] | a | b | {} <b>bold</b> <|im <0x0A> ▁ ▁▁ Ġ Ċ 日本語テスト 你好，世界。 한국어 가 हिन्दी "
    "ภาษาไทย العربية עברית Ελληνικά кириллица 👍 👍🏽 👩\u200d👩\u200d👧 ❤️ 🇩🇪 "
    "\u200b \u2060 \ufeff \u202e \u00ad aaaaaaa antidisestablishmentarianism Donaudampfschifffahrt hellohello"
)
WORDS = PROSE.split()
GAPS = ("", " ", " ", " ", "  ", "   ", "\n", "\r\n", "\n\n", " \n", "\n ", "\t", "\t\t", "\u00a0", "\u3000", "\u2028")
RUNS = ("a", "ab", " ", "\n", "\r\n", "\t", "=", "-", ".", "0", "▁", "é", "哈", "😀", " a", "a ", "'s")
RUN_LENGTHS = (2, 3, 4, 5, 8, 16, 17, 31, 64, 257, 1000)
MIXED = 1500
HOMOGENEOUS = ("CJK UNIFIED", "HANGUL SYLLABLE", "CJK COMPATIBILITY", "TANGUT", "EGYPTIAN", "CUNEIFORM", "ANATOLIAN")
"""Beginnings of the names of characters of which every 16th stands for the others."""


def texts(added: Sequence[str]) -> list[str]:
    """Words, gaps, long repetitions and the tokenizer's own `added` tokens, mixed; the same for the same tokens."""
    draw = random.Random(0)
    tokens = draw.sample(list(added), min(len(added), 200))
    mixed = []
    for _ in range(MIXED):
        parts = []
        for _ in range(draw.choice((1, 2, 4, 12))):
            parts += [draw.choice(tokens if tokens and draw.random() < 0.15 else WORDS), draw.choice(GAPS)]
        mixed.append("".join(parts))
    runs = [unit * length for unit in RUNS for length in RUN_LENGTHS]
    around = [f"{before}{token}{after}" for token in tokens for before, after in ((" ", " "), ("a", "b"), ("\n", "\n"))]
    return [*mixed, *runs, *around, "", *GAPS]


def characters() -> list[int]:
    """Code points that the running Python's Unicode tables know, all but those that many others stand for."""
    return [code for code in (*range(0x80, 0x40000), *range(0xE0000, 0xE0200)) if _is_probed(code)]


def around(code: int) -> str:
    """A character beside letters, digits, punctuation, spaces and itself."""
    character = chr(code)
    return f"a{character}b1{character}2 {character}{character}.{character} 's{character}"


def _is_probed(code: int) -> bool:
    category = unicodedata.category(chr(code))
    if category in ("Cn", "Co", "Cs"):
        return False
    return category != "Lo" or code % 16 == 0 or not unicodedata.name(chr(code), "").startswith(HOMOGENEOUS)
