"""Templates as all our pages use them: nothing unknown is passed over, every text is escaped."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from favonius.engines.ledger_books import in_dollars
from favonius.report import wording


def environment(*packages: str) -> Environment:
    """Templates of the report, and before them those of `packages`."""
    places = [PackageLoader(package, "") for package in (*packages, "favonius.report")]
    found = Environment(
        loader=ChoiceLoader(places),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        count=wording.count,
        decimal=wording.decimal,
        duration=wording.duration,
        fold=wording.fold,
        words=wording.words,
        share=wording.share,
        dollars=in_dollars,
    )
    found.globals.update(short=wording.short)
    return found
