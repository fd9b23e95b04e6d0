"""The same side by side on a page: one file, no script, no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from favonius import __version__
from favonius.files import write_text
from favonius.report.environment import environment
from favonius.report.public import printable
from favonius.review import wording
from favonius.review.agreement import OF_DISAGREEMENTS, verdicts
from favonius.review.choose import Deck
from favonius.review.contest import Contest, Opinion
from favonius.review.labels import Labels, Verdict
from favonius.review.replies import Reply, replies
from favonius.review.text import told


@dataclass(frozen=True)
class Heard:
    """A voice's opinion and what it said word for word."""

    opinion: Opinion
    replies: tuple[Reply, ...]

    @property
    def has_more(self) -> bool:
        return bool(self.replies or any(self.opinion.critiques))


@dataclass(frozen=True)
class Shown:
    """`verdict` is the person's."""

    contest: Contest
    heard: tuple[Heard, ...]
    verdict: Verdict | None

    @property
    def has_more(self) -> bool:
        return any(heard.has_more for heard in self.heard)


def write(path: Path, deck: Deck, limit: int, labels: Labels | None) -> Path:
    """Write the first `limit` contests of `deck`, with the verdicts of `labels`, and return `path`."""
    write_text(path, render(deck, limit, labels))
    return path


def render(deck: Deck, limit: int, labels: Labels | None) -> str:
    """The page's HTML; it depends on nothing but what is given."""
    shown = tuple(_shown(contest, deck, labels) for contest in deck.contests[:limit])
    found = verdicts(deck, labels) if labels is not None else None
    template = environment("favonius.review").get_template("show.html.j2")
    return printable(
        template.render(
            names=[voice.name for voice in deck.voices],
            told=told(deck, len(shown)),
            shown=shown,
            verdicts=found if found is not None and found.said else None,
            caveat="" if deck.drawn else OF_DISAGREEMENTS,
            wording=wording,
            favonius=__version__,
        )
    )


def _shown(contest: Contest, deck: Deck, labels: Labels | None) -> Shown:
    opinions = [voice.opinion(contest) for voice in deck.voices]
    heard = tuple(Heard(opinion, replies(opinion)) for opinion in opinions)
    return Shown(contest, heard, labels.verdict(contest) if labels is not None else None)
