"""What people and models write, as Markdown in which HTML means nothing: a tag would be obeyed, or vanish."""

from __future__ import annotations

import re

_FENCED = r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*\n(?s:.*?)(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)"
_SPAN = r"(?<!`)(?P<ticks>`+)(?!`)[^\n]*?(?<!`)(?P=ticks)(?!`)"
_FORMULA = r"\$\$[^$]+\$\$"
_MARKUP = re.compile(rf"{_FENCED}|{_SPAN}|{_FORMULA}|<|&(?=#?\w+;)", re.MULTILINE)
_ENTITIES = {"<": "&lt;", "&": "&amp;"}


def without_html(text: str) -> str:
    """`text` with its tags and entities shown as they were written. Code and formulas are left alone, where they
    mean nothing anyway.

    It may be the beginning of a text that is still being written.
    """
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], found[0]), text)
