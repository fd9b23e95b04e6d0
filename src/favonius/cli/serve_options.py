"""The options of `favonius chat`, `favonius serve` and `favonius demo`. No heavy imports."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

HIGHEST_PORT = 65535
LEAST_CONTEXT = 16
"""Tokens, as of every engine."""


def add_chat(chat: argparse.ArgumentParser) -> None:
    chat.add_argument("--step", help="the train step whose model speaks (default: the last that is no ablation)")
    chat.add_argument("--system", metavar="TEXT", help="what the model is told before the talk")
    chat.add_argument("--temperature", type=float, help="0 is greedy (default: 0.7)")
    chat.add_argument(
        "--top-p", type=float, metavar="P", help="draw among the likeliest tokens of this total (default: 0.95)"
    )
    chat.add_argument("--max-tokens", type=int, metavar="N", help="longest answer, in tokens (default: 256)")
    chat.add_argument("--seed", type=int, help="fixes the draws (default: 0)")


def add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "models",
        nargs="+",
        metavar="RUN",
        help="a run folder (all its models), RUN/NAME (a train step or a model of its recipe), or a model as in a "
        "recipe: a .gguf file, a folder, a hub id",
    )
    serve.add_argument("--host", default="127.0.0.1", help="whom to listen to (default: this machine alone)")
    serve.add_argument("--port", type=whole(0, HIGHEST_PORT), default=8000, help="0 takes a free one (default: 8000)")
    serve.add_argument("--api-key-file", type=Path, metavar="FILE", help="holds the key that requests must bear")
    serve.add_argument("--template", default="own", metavar="T", help="of models that are of no run (default: own)")
    _add_room(serve)
    serve.add_argument(
        "--at-once",
        type=whole(1),
        default=64,
        metavar="N",
        help="requests answered or waiting; more get 429 (default: %(default)s)",
    )
    serve.add_argument(
        "--seconds",
        type=_seconds,
        default=600.0,
        metavar="S",
        help="longest time for one request (default: %(default)g)",
    )


def add_demo(demo: argparse.ArgumentParser) -> None:
    demo.add_argument("--host", default="127.0.0.1", help="whom to listen to (default: this machine alone)")
    demo.add_argument("--port", type=whole(0, HIGHEST_PORT), default=7860, help="0 takes a free one (default: 7860)")
    demo.add_argument("--password-file", type=Path, metavar="FILE", help="holds what whoever opens the page must know")
    demo.add_argument(
        "--server", metavar="URL", help="ask the models of this server instead, such as http://127.0.0.1:8000/v1"
    )
    demo.add_argument("--api-key-file", type=Path, metavar="FILE", help="with --server: holds the key that it wants")
    _add_room(demo)


def _add_room(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--slots",
        type=whole(1),
        default=8,
        metavar="N",
        help="answers written at once by each model (default: %(default)s)",
    )
    command.add_argument(
        "--context-tokens",
        type=whole(LEAST_CONTEXT),
        default=2048,
        metavar="N",
        help="tokens of prompt and answer together (default: %(default)s)",
    )


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """What reads an option's whole number and refuses one that is out of bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or number < least or (most is not None and number > most):
            bounds = f"from {least} to {most}" if most is not None else f"of {least} or more"
            raise argparse.ArgumentTypeError(f"{text} is no whole number {bounds}")
        return number

    return read


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return number
