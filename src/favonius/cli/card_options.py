"""The options of `favonius card` and `favonius replay`. Like the table of commands, it imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_card(card: argparse.ArgumentParser) -> None:
    card.add_argument("run", type=Path, metavar="RUN", help="a run folder, such as runs/quickstart")
    card.add_argument(
        "--out", type=Path, metavar="FILE", help="a .json file, or a .md file for people (default: RUN/card.json)"
    )
    card.add_argument("--no-files", action="store_true", help="leave out the text of small files that the run read")


def add_replay(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("card", type=Path, metavar="CARD", help="a card.json that `favonius card` wrote")
    replay.add_argument(
        "--out", type=Path, metavar="DIR", help="the run folder (default: runs/<the run's name>-replay)"
    )
    replay.add_argument(
        "--files", type=Path, metavar="DIR", help="holds the files and local weights that are not in the card"
    )
    replay.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="PATH=VALUE",
        help="replace a value of the card's recipe, such as steps.dialogues.engine.endpoints=[http://127.0.0.1:8000/v1]",
    )
    replay.add_argument("--dry-run", action="store_true", help="tell what it takes, and run nothing")
