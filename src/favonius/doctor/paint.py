"""Colours on a terminal; elsewhere brackets say the same."""

from __future__ import annotations

from dataclasses import dataclass

from favonius.doctor.diagnosis import Mark
from favonius.doctor.kinds import Severity

RESET = "\x1b[0m"
BOLD, FAINT, RED, GREEN, YELLOW, CYAN = (f"\x1b[{code}m" for code in ("1", "2", "31", "32", "33", "36"))
COLOURS: dict[Mark, str] = {"context": FAINT, "trained": GREEN, "masked": YELLOW}
BRACKETS: dict[Mark, tuple[str, str]] = {"context": ("", ""), "trained": ("⟦", "⟧"), "masked": ("⟪", "⟫")}


@dataclass(frozen=True)
class Paint:
    colours: bool

    def head(self, text: str) -> str:
        return self._with(BOLD, text)

    def aside(self, text: str) -> str:
        return self._with(FAINT, text)

    def finding(self, text: str, severity: Severity) -> str:
        return self._with(RED if severity == "fault" else CYAN, text)

    def good(self, text: str) -> str:
        return self._with(GREEN, text)

    def marked(self, text: str, mark: Mark, special: bool) -> str:
        """A stretch of a row, without the brackets: those go around all neighbours of one mark."""
        return self._with(COLOURS[mark] + (BOLD if special else ""), text)

    def brackets(self, mark: Mark) -> tuple[str, str]:
        return ("", "") if self.colours else BRACKETS[mark]

    def legend(self) -> str:
        """What the marks mean."""
        names: dict[Mark, str] = {"trained": "trained", "masked": "an assistant's, masked", "context": "context"}
        return ", ".join(self.marked(words, mark, False).join(self.brackets(mark)) for mark, words in names.items())

    def _with(self, code: str, text: str) -> str:
        """Line by line, so that a pager that cuts lines leaves none uncoloured."""
        if not self.colours:
            return text
        return "\n".join(f"{code}{line}{RESET}" if line else "" for line in text.split("\n"))
