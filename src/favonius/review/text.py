"""A contest as lines of a terminal: side by side where it is wide enough, else one above the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from favonius.doctor.paint import Paint
from favonius.review.agreement import OF_DISAGREEMENTS, Verdicts
from favonius.review.choose import Deck
from favonius.review.columns import beside, columns, filled, halves, shortened, wrapped
from favonius.review.contest import Contest, Opinion
from favonius.review.labels import Verdict
from favonius.review.replies import Reply, replies
from favonius.review.wording import about_answer, about_row, prompt_text, said_of, scores_text
from favonius.types import RatedText

PROMPT_LINES = 10
TEXT_WIDTH = 100
"""Texts that stand alone are set no wider than can be read."""
INDENT = "  "


@dataclass(frozen=True)
class Sheet:
    """`width` columns; of a text at most `lines` lines are shown, all where it is None."""

    width: int
    lines: int | None
    paint: Paint

    @property
    def measure(self) -> int:
        return min(self.width, TEXT_WIDTH) - len(INDENT)

    def indented(self, text: str, most: int | None = None) -> Iterator[str]:
        yield from (f"{INDENT}{line}".rstrip() for line in shortened(wrapped(text, self.measure), most))


def head(contest: Contest, number: int, total: int, sheet: Sheet) -> Iterator[str]:
    """A rule with where we are, and the prompt."""
    for line in wrapped(f"{number:,} of {total:,} · {about_row(contest.row)}", sheet.width - 4):
        rest = "─" * max(0, sheet.width - 4 - columns(line))
        yield f"{sheet.paint.aside('──')} {sheet.paint.head(line)} {sheet.paint.aside(rest)}".rstrip()
    if contest.kind:
        yield sheet.paint.aside(f"{INDENT}{contest.kind}")
    yield from sheet.indented(prompt_text(contest.row.prompt), None if sheet.lines is None else PROMPT_LINES)
    yield ""


def answers(contest: Contest, sheet: Sheet, named: bool) -> Iterator[str]:
    """Both answers; who wrote them and how long they are only where `named`."""
    half = halves(sheet.width)
    blocks = [_answer(side, answer, half or sheet.measure, sheet, named) for side, answer in _sides(contest)]
    if half is not None:
        (top, body), (other_top, other_body) = blocks
        yield from beside(top, other_top, half, sheet.paint, sheet.paint.head)
        yield sheet.paint.aside("─" * (half + 1) + "┼" + "─" * (half + 1))
        yield from beside(body, other_body, half, sheet.paint)
        yield ""
        return
    for top, text in blocks:
        yield from (sheet.paint.head(line) for line in top)
        yield from (f"{INDENT}{line}".rstrip() for line in text)
        yield ""


def _sides(contest: Contest) -> Iterator[tuple[int, RatedText]]:
    return enumerate(contest.answers, start=1)


def _answer(side: int, answer: RatedText, width: int, sheet: Sheet, named: bool) -> tuple[list[str], list[str]]:
    top = wrapped(f"{side}  {answer.source}" if named else str(side), width)
    top += wrapped(about_answer(answer), width) if named else []
    body = answer.text.strip() or "(no text)"
    return top, shortened(wrapped(body, width), sheet.lines)


def authors(contest: Contest, sheet: Sheet) -> Iterator[str]:
    """Who wrote the two answers, for whom it was hidden."""
    yield from sheet.indented(", ".join(f"{side} is {answer.source}'s" for side, answer in _sides(contest)))


def opinions(found: Sequence[Opinion], sheet: Sheet) -> Iterator[str]:
    """What each voice says: a table, then critiques and raw replies."""
    yield from table(found, sheet)
    for opinion in found:
        yield from _critiques(opinion, sheet)
        for reply in replies(opinion):
            yield from _reply(opinion.voice, reply, sheet)
    yield ""


def table(found: Sequence[Opinion], sheet: Sheet) -> Iterator[str]:
    """Name, both scores and what is said, in columns."""
    names = [shortened(wrapped(opinion.voice, sheet.width // 3), 2) for opinion in found]
    scores = [scores_text(opinion.scores) for opinion in found]
    widest = max(columns(line) for name in names for line in name), max(map(columns, scores))
    for name, score, opinion in zip(names, scores, found, strict=True):
        before = sum(widest) + 3 * len(INDENT)
        said = wrapped(said_of(opinion), sheet.width - before)
        for part, figures, line in zip_longest(name, [score], said, fillvalue=""):
            label = sheet.paint.head(filled(part, widest[0]))
            yield f"{INDENT}{label}{INDENT}{filled(figures, widest[1])}{INDENT}{line}".rstrip()


def _critiques(opinion: Opinion, sheet: Sheet) -> Iterator[str]:
    """Side by side where there are two and room for them."""
    said = [(f"{opinion.voice} on {side}", text) for side, text in enumerate(opinion.critiques, start=1) if text]
    half = halves(sheet.width)
    if half is None or len(said) < 2:
        for title, text in said:
            yield from _quote(title, text, sheet)
        return
    titles, texts = ([wrapped(two[part].strip(), half) for two in said] for part in (0, 1))
    yield ""
    yield from beside(titles[0], titles[1], half, sheet.paint, sheet.paint.aside)
    yield from beside(shortened(texts[0], sheet.lines), shortened(texts[1], sheet.lines), half, sheet.paint)
    yield ""


def _quote(title: str, text: str, sheet: Sheet) -> Iterator[str]:
    for line in wrapped(title, sheet.measure):
        yield sheet.paint.aside(f"{INDENT}{line}")
    for line in shortened(wrapped(text.strip(), sheet.measure - 2), sheet.lines):
        yield f"{INDENT}{sheet.paint.aside('│')} {line}".rstrip()


def _reply(voice: str, reply: Reply, sheet: Sheet) -> Iterator[str]:
    title = f"{voice}, word for word ({reply.title}; request {reply.request[:12]})"
    yield from _quote(title, reply.trouble if reply.text is None else reply.text, sheet)


def verdict_line(verdict: Verdict, found: Sequence[Opinion], sheet: Sheet) -> Iterator[str]:
    """The person's own word, and who shares it."""
    said = {"first": "1 is better", "second": "2 is better", "tie": "a tie", "skip": "skipped"}[verdict]
    side = {"first": 1, "second": 2}.get(verdict)
    shared = [opinion.voice for opinion in found if side is not None and opinion.prefers == side]
    agrees = f" ({' and '.join(shared)} too)" if shared else ""
    yield from (sheet.paint.good(f"{INDENT}{line}") for line in wrapped(f"your verdict: {said}{agrees}", sheet.measure))


def opening(deck: Deck, shown: int, sheet: Sheet) -> Iterator[str]:
    """What is walked through."""
    yield from (
        sheet.paint.head(line) for line in wrapped(" against ".join(voice.name for voice in deck.voices), sheet.width)
    )
    yield from wrapped(told(deck, shown), min(sheet.width, TEXT_WIDTH))
    yield ""


def told(deck: Deck, shown: int) -> str:
    """How much there is, in a sentence."""
    total = len(deck.contests)
    if deck.drawn:
        what = f"Two answers to each of {total:,} prompts, drawn at random"
    else:
        what = f"They differ on {total:,} of {deck.prompts:,} prompts"
    some = "the first is" if shown == 1 else f"the first {shown:,} are"
    rest = f"; {some} shown" if shown < total else ""
    return f"{what}{rest}."


def closing(found: Verdicts, deck: Deck, sheet: Sheet) -> Iterator[str]:
    """How often each voice agreed with the person."""
    yield sheet.paint.head(found.in_words())
    widest = max(columns(agreement.voice) for agreement in found.agreements)
    for agreement in found.agreements:
        yield f"{INDENT}{filled(agreement.voice, widest)}  agrees with you: {agreement.in_words()}"
    if not deck.drawn:
        yield from (sheet.paint.aside(line) for line in wrapped(OF_DISAGREEMENTS, min(sheet.width, TEXT_WIDTH)))
