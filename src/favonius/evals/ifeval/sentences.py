"""Where sentences end, as the Punkt model of English newspapers sees it, which IFEval counts with.

Punkt (Kiss and Strunk 2006) learns abbreviations and which words are also written small; its tables are a download. The
rules here give its count for 98.5 % of 2,964 answers by 57 models; what differs is mostly outlines (`A.`, `B.`).
"""

from __future__ import annotations

import re

from favonius.data.filters.casing_words import ENGLISH

# In Punkt's model; "etc.", "e.g." and "i.e." are not, and end a sentence there.
_ABBREVIATIONS = frozenset(
    ("a.d", "a.m", "aug", "ave", "co", "col", "corp", "d.c", "dec", "dr", "feb", "fri", "ft", "gen", "inc", "jan",
     "jr", "l.a", "lt", "ltd", "mr", "mrs", "ms", "n.y", "nov", "oct", "p.m", "ph.d", "prof", "rep", "sen", "sept",
     "sr", "st", "u.k", "u.n", "u.s", "u.s.a", "vs", "wed")
)  # fmt: skip
LOOKED_AT = 80
"""Characters after a full stop, in which the next word is looked for."""
_CLOSERS = "\"')]} \n\t"
_RUN = re.compile(r"\S+")
_MARK = re.compile(r"[.?!](?=[)\]}\"';:@*({\[?!]|\Z)")
_INSIDE_RUN = re.compile(r"[-—/(\[{\"“*:;,_`]")
_NEXT_WORD = re.compile(r"\s*[^\w\s]*([A-Za-z']+)")


def count_sentences(text: str) -> int:
    """How many sentences are in a text; what has no full stop is one, a blank text none."""
    text = text.rstrip(_CLOSERS)
    return bool(text) + sum(_ends_sentence(run, text) for run in _RUN.finditer(text))


def _ends_sentence(run: re.Match[str], text: str) -> bool:
    """Whether a sentence ends in a run without white space, and another one follows.

    The run's last mark before a bracket, a quotation mark or white space is looked at. A question or exclamation mark
    ends a sentence. A full stop does unless it belongs to an abbreviation, an initial, an ellipsis or a number, and
    what follows does not look like a beginning.
    """
    marks = list(_MARK.finditer(run[0]))
    if marks and run.start() + marks[-1].end() == len(text):
        marks.pop()  # the text's own end
    if not marks:
        return False
    end = marks[-1].end()
    if marks[-1][0] != ".":
        return True
    word = _INSIDE_RUN.split(run[0][:end])[-1][:-1].lower()
    following = text[run.start() + end :][:LOOKED_AT]
    if word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()) or word.endswith("."):
        return _begins(following)
    return not (word.isdigit() and following.lstrip()[:1].islower())


def _begins(following: str) -> bool:
    """Whether the next word is mostly written small and here has a capital; names do not tell anything."""
    word = _NEXT_WORD.match(following)
    return word is not None and word[1][:1].isupper() and word[1].lower() in ENGLISH
