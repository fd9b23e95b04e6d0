"""The options of `favonius eval`. Like the table of commands that it belongs to, it imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_evaluations(command: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """One sub-command per protocol, each with its own actions; `common` holds the options of every command."""
    protocols = command.add_subparsers(dest="protocol", metavar="PROTOCOL", required=True)

    def score(protocol: str, about: str, description: str) -> argparse.ArgumentParser:
        parser = protocols.add_parser(protocol, help=about, description=about, allow_abbrev=False)
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        scoring = actions.add_parser(
            "score",
            help="score what is already generated and judged; asks nobody",
            description=description,
            parents=[common],
            allow_abbrev=False,
        )
        scoring.add_argument("--json", metavar="FILE", help="write the result as JSON; - prints it, and nothing else")
        return scoring

    _add_alpacaeval(
        score(
            "alpacaeval",
            "AlpacaEval 1 and 2: how often a model's answer is preferred to the reference's.",
            "Win rates with standard errors of the models of a file of preferences; of version 2 also with the "
            "length of the answers controlled for.",
        )
    )
    _add_mt_bench(
        score(
            "mt-bench",
            "MT-Bench: a judge's scores of two-turn answers.",
            "Mean scores, per turn and per category, of the models of a file of judgments.",
        )
    )
    _add_ifeval(
        score(
            "ifeval",
            "IFEval: instructions whose following can be checked by a program.",
            "Shares of prompts and of instructions that a file of answers follows, strictly and loosely read.",
        )
    )


def _add_alpacaeval(score: argparse.ArgumentParser) -> None:
    score.add_argument(
        "preferences",
        type=Path,
        metavar="PREFS",
        help="rows of model, instruction, preference, length_reference and length_model (.jsonl or .jsonl.gz)",
    )
    score.add_argument(
        "--version", type=int, choices=(1, 2), default=2, help="2 (default) controls for the answers' lengths"
    )
    score.add_argument(
        "--difficulty",
        type=Path,
        metavar="FILE",
        help="difficulty of the instructions: the published .csv, or the preferences of many models to fit it from "
        "(default: fitted from the models of PREFS)",
    )


def _add_mt_bench(score: argparse.ArgumentParser) -> None:
    score.add_argument("judgments", type=Path, metavar="JUDGMENTS", help="FastChat's rows (.jsonl or .jsonl.gz)")
    score.add_argument(
        "--questions", type=Path, metavar="FILE", help="the questions asked (default: the published ids 81 to 160)"
    )
    score.add_argument("--judge", metavar="NAME", help="whose grades, of several (default: who gave the most)")
    score.add_argument(
        "--model",
        action="append",
        default=[],
        dest="models",
        metavar="NAME",
        help="a model that the file should hold; rows of others are left out; may be given several times",
    )


def _add_ifeval(score: argparse.ArgumentParser) -> None:
    score.add_argument(
        "--prompts", type=Path, required=True, metavar="FILE", help="IFEval's prompts and their instructions (.jsonl)"
    )
    score.add_argument(
        "--responses", type=Path, required=True, metavar="FILE", help="rows of prompt and response (.jsonl)"
    )
