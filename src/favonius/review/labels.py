"""What a person says of two answers, kept as it is said: a file of feedback whose judge is the person.

A verdict is a row of two answers: the better has the score 1, the other 0; a tie gives both a half, and what was
skipped has none. So whatever reads feedback reads verdicts: `favonius feedback show`, `favonius pairs`, a data step,
and the card of a judge that is held against them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from favonius.data.rows import line_of, read_rows
from favonius.errors import UserError
from favonius.files import replacing
from favonius.review.contest import Contest, contest_key, known_by
from favonius.types import Feedback, JudgedBy, RatedText

PERSON = JudgedBy(name="person", kind="person")
Verdict = Literal["first", "second", "tie", "skip"]
SCORES: dict[Verdict, tuple[float | None, float | None]] = {
    "first": (1.0, 0.0),
    "second": (0.0, 1.0),
    "tie": (0.5, 0.5),
    "skip": (None, None),
}


class Labels:
    """The verdicts in `path`; the last word on two answers counts.

    UserError where the file is there and holds something else. A last line that a kill tore off is taken away: it is
    asked for again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, dict[str, float | None]] = {}
        if path.exists():
            _mend(path)
            for row in read_rows(path, Feedback):
                self._remember(row)
        elif not path.parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent}; make it first")

    def verdict(self, contest: Contest) -> Verdict | None:
        """What was said, told for the sides as they are shown now; None where nothing was."""
        known = self._known.get(contest.key)
        if known is None:
            return None
        scores = tuple(known[text] for text in contest.texts)
        return next(verdict for verdict, given in SCORES.items() if given == scores)

    def say(self, contest: Contest, verdict: Verdict) -> None:
        """Append a verdict; it is on the disk when this returns."""
        row = self._row(contest, verdict)
        with open(self.path, "a", encoding="utf-8", newline="\n") as file:
            file.write(line_of(row))
            file.flush()
            os.fsync(file.fileno())
        self._remember(row)

    def _row(self, contest: Contest, verdict: Verdict) -> Feedback:
        answers = tuple(
            RatedText(
                source=answer.source, text=answer.text, finished=answer.finished, flaws=answer.flaws,
                principle=answer.principle, origin=answer.origin, overall=score,
            )
            for answer, score in zip(contest.answers, SCORES[verdict], strict=True)
        )  # fmt: skip
        row = contest.row
        return Feedback(
            id=row.id, split=row.split, prompt=row.prompt, completions=answers, source=row.source,
            knowledge=row.knowledge, judge=PERSON,
        )  # fmt: skip

    def _remember(self, row: Feedback) -> None:
        given = {known_by(answer.text): answer.overall for answer in row.completions}
        if len(given) != 2 or tuple(given.values()) not in SCORES.values():
            raise UserError(f"{self.path}: row {row.id} is no verdict on two answers; give a file for verdicts alone")
        self._known[contest_key(row.prompt, list(given))] = given


def _mend(path: Path) -> None:
    """Have the file end with a line feed: what is behind the last one stays where it is a whole row."""
    text = path.read_bytes()
    whole, _, rest = text.rpartition(b"\n")
    if not rest:
        return
    try:
        Feedback.model_validate_json(rest)
        mended = text + b"\n"
    except ValidationError:
        if not rest.startswith(b"{"):
            raise UserError(f"{path}: this is no file of verdicts; give another with --labels") from None
        mended = whole + b"\n" if whole else b""
    with replacing(path) as temporary:
        temporary.write_bytes(mended)
