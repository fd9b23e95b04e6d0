"""A report read back as a browser would."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from favonius.report import page


class Page(HTMLParser):
    """Elements, attributes and text of a page; refuses tags that do not nest."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += " " + data

    def names(self) -> list[str]:
        return [tag for tag, _ in self.tags]

    def plain(self) -> str:
        """The text with white space made one space."""
        return re.sub(r"\s+", " ", self.text)


def written(run: Path) -> str:
    return page.write(run).read_text(encoding="utf-8")
