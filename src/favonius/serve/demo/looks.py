"""What the page looks like: its styles, and its table of wins. Nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from favonius.phrases import counted
from favonius.serve.demo.standings import Standing

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO_FONTS = ("ui-monospace", "Menlo", "Consolas", "monospace")
CSS = """
.gradio-container { width: 100% !important; max-width: 1180px !important; margin: 0 auto !important; }
#title h1 { margin: 0; font-size: 1.25rem; }
#title p { margin: 2px 0 0; overflow-wrap: anywhere; }
#title p, .note p, #wins .count { opacity: .7; }
.note p { margin: 0; }
.side { gap: 6px !important; }
.side h3 { margin: 0; font-size: 1rem; overflow-wrap: anywhere; }
.side > .answer { flex-grow: 1; border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 12px 16px;
  min-height: 150px; max-height: 62vh; overflow-y: auto; background: var(--block-background-fill); }
.answer { overflow-wrap: anywhere; }
.answer, #talk .message-content { contain: paint; } /* nothing in an answer is drawn outside of it */
.answer pre, .answer table { overflow-x: auto; max-width: 100%; }
.standing { margin: 0 0 16px; }
.standing .two { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 16px; }
.standing .rate { font-variant-numeric: tabular-nums; }
.standing .line { position: relative; height: 12px; margin: 6px 0; border-radius: 6px;
  background: var(--border-color-primary); }
.standing .line i { position: absolute; top: 0; height: 100%; border-radius: 6px; opacity: .45;
  background: var(--color-accent); }
.standing .line b { position: absolute; top: -3px; width: 4px; height: 18px; margin-left: -2px; border-radius: 2px;
  background: var(--color-accent); }
.standing .line u { position: absolute; left: 50%; top: -3px; width: 2px; height: 18px; margin-left: -1px;
  background: var(--body-text-color); opacity: .5; }
@media (max-width: 640px) {
  .gradio-container > main { padding: 8px !important; }
  .side > .answer { min-height: 90px; max-height: 38vh; }
}
"""


def table_of_wins(standings: Sequence[Standing], torn: int) -> str:
    """HTML: for each two models a bar from 0 to 100 %, the interval shaded, the middle marked."""
    lines = [_standing(one) for one in standings]
    if torn:
        lines.append(f"<p class='count'>{counted(torn, 'line')} of the file are torn and not counted.</p>")
    if standings:
        lines.append(
            "<p class='count'>A tie and “both bad” count half for each. In brackets the 95&nbsp;% interval over "
            "prompts; where it holds 50&nbsp;%, neither is known to be better.</p>"
        )
    return "".join(lines)


def _standing(one: Standing) -> str:
    low, value, high = (100 * share for share in (one.rate.low, one.rate.value, one.rate.high))
    counts = [f"{one.wins} won", f"{one.losses} lost", f"{one.ties} tied", f"{one.both_bad} both bad"]
    return (
        "<div class='standing'><div class='two'>"
        f"<span><strong>{escape(one.first)}</strong> against {escape(one.second)}</span>"
        f"<span class='rate'><strong>{value:.0f}&nbsp;%</strong> ({low:.0f}–{high:.0f}&nbsp;%)</span></div>"
        f"<div class='line'><i style='left:{low:.1f}%;width:{high - low:.1f}%'></i><u></u>"
        f"<b style='left:{value:.1f}%'></b></div>"
        f"<div class='count'>{counted(one.votes, 'vote')}: {', '.join(counts)}</div></div>"
    )
