"""`favonius card`: the run card, for machines or for people."""

from __future__ import annotations

import argparse
from pathlib import Path

from favonius.card.build import run_card
from favonius.card.nouns import RunCard, write_card
from favonius.card.words import run_in_words
from favonius.errors import UserError, machine_failures
from favonius.files import write_text

WORDS = ".md"


def run(options: argparse.Namespace) -> None:
    out: Path = options.out or options.run / "card.json"
    if out.suffix not in (".json", WORDS):
        raise UserError(f"--out {out}: name a .json file for the card, or a .md file for it in words")
    card = run_card(options.run, with_contents=not options.no_files)
    with machine_failures(out):
        if out.suffix == WORDS:
            write_text(out, run_in_words(card))
        else:
            write_card(out, card)
    print(f"card: {out}")
    for line in _left_out(card):
        print(line)


def _left_out(card: RunCard) -> list[str]:
    """What a replay will ask for."""
    files = [file.name for file in card.files if file.content is None]
    weights = [model.name for model in card.models if model.local]
    return [
        *([f"not in it: the text of {', '.join(files)}"] if files else []),
        *([f"not in it: the weights of {', '.join(weights)}, which are local"] if weights else []),
    ]
