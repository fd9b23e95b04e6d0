"""The command `favonius`: its table of commands, its exit codes, its errors as sentences.

This module is all that `favonius --help` imports.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from favonius import __doc__ as summary
from favonius import __version__
from favonius.cli.card_options import add_card, add_replay
from favonius.cli.eval_options import add_evaluations
from favonius.cli.export_options import add_export
from favonius.errors import FavoniusError, StoppedError

STOPPED = StoppedError.exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code.

    0, 2 (a mistake of the user), 1 (any other failure, and faults that a check of data found), 130 (stopped).
    """
    options = parser().parse_args(arguments)
    # OpenMP reads this when torch is imported: spin briefly, then sleep (docs/decisions/0006).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # So that a job scheduler's polite stop releases what Ctrl-C releases.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from favonius.cli import commands

        return commands.dispatch(options)
    except FavoniusError as error:
        if options.debug:
            traceback.print_exc()
        for line in str(error).splitlines():
            print(line if isinstance(error, StoppedError) else f"error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if options.debug:
            traceback.print_exc()
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # Whoever read our output has left; Python must not complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:
        traceback.print_exc()
        print(
            "error: this is a fault of favonius, not of yours; finished steps are safe, and the same command goes on "
            "after them",
            file=sys.stderr,
        )
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="favonius", description=summary, allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"favonius {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of errors")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)

    run = command("run", "Run a recipe, or go on with a run that was stopped.")
    _add_recipe(run)
    run.add_argument("--out", type=Path, metavar="DIR", help="the run folder (default: runs/<the recipe's name>)")
    run.add_argument("--until", metavar="STEP", help="the last step to run")
    check = command("check", "Check a recipe and print its plan; downloads nothing, runs nothing.")
    _add_recipe(check)
    _add_plan(check)
    command("schema", "Print the JSON Schema of recipes, for editors.")
    _add_run(command("status", "Tell where each step of a run stands, and why."))
    _add_run(command("report", "Write the page of a run again and print its path."))
    ledger = command("ledger", "Tell what a run asked and what it cost; export or prune it.")
    _add_run(ledger)
    _add_ledger(ledger)
    data = command("data", "Look into files of rows before anything is trained on them.")
    actions = data.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_data_check(
        actions.add_parser(
            "check",
            help="tell what is in a file and what is the matter with it",
            description="Tell what is in files of rows, how a model would see it, and every fault; exit 1 with faults.",
            parents=[common],
            allow_abbrev=False,
        )
    )
    feedback = command("feedback", "Look at what judges and rules make of answers.")
    looks = feedback.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_feedback_show(
        looks.add_parser(
            "show",
            help="walk through what two judges or two rules differ on",
            description="Show answers side by side on which two judges, a judge and reference labels, or two rules "
            "differ, and take down what you say of them.",
            parents=[common],
            allow_abbrev=False,
        )
    )
    _add_pairs(command("pairs", "Make preference pairs of rated answers by one rule, or of votes, or compare rules."))
    add_evaluations(command("eval", "Benchmark models, compare their results, or score stored answers."), common)
    add_export(command("export", "Take a step's model out of its run, checked: for transformers, llama.cpp or peft."))
    add_card(command("card", "Write a run's card: what it was made of and came to, fit to be shown and made again."))
    add_replay(command("replay", "Make a card's run again, and tell what came out otherwise; exit 1 where it differs."))
    chat = command("chat", "Talk to a model that a run has trained.")
    _add_run(chat)
    _add_sampling(chat)
    _add_serve(command("serve", "Answer OpenAI's API with the models of runs, or with other weights."))
    _add_demo(command("demo", "Open a web page to chat with a run's models and to vote on their answers."))
    return top


def _add_recipe(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe file, such as recipes/quickstart.yaml")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="PATH=VALUE",
        help="replace a value of the recipe, such as steps.dsft.epochs=2; may be given several times",
    )
    command.add_argument("--with-ablations", action="store_true", help="run the steps marked `ablation: true` too")


def _add_plan(check: argparse.ArgumentParser) -> None:
    where = check.add_mutually_exclusive_group()
    where.add_argument(
        "--measure",
        action="store_true",
        help="add time, memory and disk on this machine, from dry steps of a few layers (on a CPU some minutes)",
    )
    where.add_argument(
        "--hardware",
        metavar="KIND:GIB",
        help="add memory and disk on another machine, such as cuda:80 (each GPU) or cpu:16 (seconds)",
    )
    check.add_argument("--out", type=Path, metavar="DIR", help="the run folder, whose rows are counted where they are")
    check.add_argument("--json", action="store_true", help="print JSON")


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="a run folder, such as runs/quickstart")


def _add_ledger(ledger: argparse.ArgumentParser) -> None:
    what = ledger.add_mutually_exclusive_group()
    what.add_argument("--export", type=Path, metavar="FILE", help="write requests and answers to a .jsonl or .jsonl.gz")
    what.add_argument("--failures", action="store_true", help="list the requests that have no answer, and why")
    what.add_argument("--prune", action="store_true", help="remove answers and failures; what they cost stays counted")
    ledger.add_argument("--step", help="only what this step asked")
    ledger.add_argument("--model", help="only what this model was asked: its name, or the beginning of its digest")
    ledger.add_argument("--older-than", type=float, metavar="DAYS", help="with --prune: only what is so old")
    ledger.add_argument("--failures-only", action="store_true", help="with --prune: keep the answers")
    ledger.add_argument("--yes", action="store_true", help="with --prune: really do it")
    ledger.add_argument("--json", action="store_true", help="print JSON")


def _add_data_check(check: argparse.ArgumentParser) -> None:
    check.add_argument("files", nargs="+", metavar="FILE", help="a file, a folder of files, or hf://owner/name")
    check.add_argument("--split", help="only the files of this split, told by their names")
    check.add_argument("--shape", help="what the rows look like (default: told by the first of them)")
    check.add_argument("--salvage", action="store_true", help="read the whole rows of broken files")
    check.add_argument("--limit", type=int, metavar="N", help="look at the first N rows only")
    check.add_argument("--model", metavar="M", help="whose tokenizer counts: as in a recipe, or a tokenizer's folder")
    check.add_argument("--template", metavar="T", help="own (default), zephyr, or a Jinja file")
    check.add_argument("--max-length", type=int, metavar="N", help="tokens of a row in training (default: 1024)")
    check.add_argument("--truncation", choices=("drop", "keep_start"), help="of longer rows (default: drop)")
    check.add_argument("--test", metavar="OTHER", help="held-out rows, whose prompts must not be in FILE")
    check.add_argument(
        "--benchmarks",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME[=FILE]",
        help="evaluation sets whose texts must not be in FILE, such as mt_bench=question.jsonl",
    )
    check.add_argument("--near", action="store_true", help="look for near duplicates among prompts too")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--no-color", action="store_true", help="brackets for colours, as where the output is no terminal"
    )


def _add_feedback_show(show: argparse.ArgumentParser) -> None:
    show.add_argument("what", metavar="WHAT", help="rated answers: a step such as runs/mine/ratings, or a file of them")
    show.add_argument(
        "other", nargs="?", metavar="OTHER", help="another judge's, or reference labels, of the same answers"
    )
    show.add_argument(
        "--rule",
        action="append",
        default=[],
        dest="rules",
        metavar="RULE",
        help="instead of OTHER: two rules of binarisation, such as best-vs-random and margin,least=2,by=aspects",
    )
    show.add_argument(
        "--only",
        choices=("disagreements", "all"),
        default="disagreements",
        help="all: two answers to each prompt and the prompts' order drawn at random (default: the clearest "
        "disagreement first)",
    )
    show.add_argument("--labels", type=Path, metavar="FILE", help="add your verdicts to this file (.jsonl)")
    show.add_argument("--page", type=Path, metavar="FILE", help="write a page to be looked at (.html) instead")
    show.add_argument("--limit", type=int, metavar="N", help="the first N of them (default: 200)")
    show.add_argument("--seed", type=int, default=0, help="of what is drawn, and of which answer is shown first")
    show.add_argument("--no-color", action="store_true", help="no colours")


def _add_pairs(pairs: argparse.ArgumentParser) -> None:
    pairs.add_argument(
        "file", nargs="?", metavar="FILE", help="rows like UltraFeedback's: a file, a folder, or hf://owner/name"
    )
    pairs.add_argument(
        "--from-votes", type=Path, metavar="VOTES", help="instead of FILE: votes cast in `favonius demo`, no rule"
    )
    pairs.add_argument("--out", type=Path, metavar="FILE", help="where the pairs go (.jsonl)")
    pairs.add_argument("--compare", action="store_true", help="tell how all rules differ on FILE")
    pairs.add_argument(
        "--rule",
        default="best-vs-random",
        help="best-vs-random (Zephyr's, the default), best-vs-other, best-vs-worst, margin, length-matched, all-pairs",
    )
    pairs.add_argument(
        "--score",
        default="both",
        metavar="S",
        help="overall, aspects (their mean), both (default), or aspects with weights: honesty=2,helpfulness",
    )
    pairs.add_argument("--margin", type=float, metavar="M", help="of margin and all-pairs: least difference of scores")
    pairs.add_argument("--within", type=float, metavar="SHARE", help="of length-matched: largest difference of lengths")
    pairs.add_argument("--most", type=int, metavar="N", help="of all-pairs: so many of a prompt")
    pairs.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    pairs.add_argument("--repair", action="store_true", help="mend the 10s of UltraFeedback's first version")
    pairs.add_argument(
        "--keep-source", action="append", default=[], metavar="NAME", help="keep truthful_qa, which is a benchmark"
    )
    pairs.add_argument(
        "--benchmarks",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME[=FILE]",
        help="evaluation sets whose prompts are left out, found by their text",
    )
    pairs.add_argument("--test-share", type=float, metavar="P", help="hold out so many prompts, told by their text")
    pairs.add_argument(
        "--as", dest="form", default="favonius", metavar="FORM", help="favonius (default), trl, binarized, argilla"
    )
    pairs.add_argument("--reference", metavar="FILE", help="trusted scores of the same answers, for --compare")
    pairs.add_argument("--salvage", action="store_true", help="read the whole rows of broken files")
    pairs.add_argument("--json", action="store_true", help="print JSON")
    pairs.add_argument("--no-color", action="store_true", help="no colours, as where the output is no terminal")


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "models",
        nargs="+",
        metavar="RUN",
        help="a run folder (all its models), RUN/NAME (a train step or a model of its recipe), or a model as in a "
        "recipe: a .gguf file, a folder, a hub id",
    )
    serve.add_argument("--host", default="127.0.0.1", help="whom to listen to (default: this machine alone)")
    serve.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    serve.add_argument("--api-key-file", type=Path, metavar="FILE", help="holds the key that requests must bear")
    serve.add_argument("--template", default="own", metavar="T", help="of models that are of no run (default: own)")
    serve.add_argument("--slots", type=int, default=8, metavar="N", help="answers written at once by each model")
    serve.add_argument("--context-tokens", type=int, default=2048, metavar="N", help="prompt and answer together")
    serve.add_argument(
        "--at-once", type=int, default=64, metavar="N", help="requests answered or waiting; more get 429"
    )
    serve.add_argument("--seconds", type=float, default=600.0, metavar="S", help="longest time for one request")


def _add_demo(demo: argparse.ArgumentParser) -> None:
    _add_run(demo)
    demo.add_argument("--host", default="127.0.0.1", help="whom to listen to (default: this machine alone)")
    demo.add_argument("--port", type=int, default=7860, help="0 takes a free one (default: 7860)")
    demo.add_argument("--password-file", type=Path, metavar="FILE", help="holds what whoever opens the page must know")
    demo.add_argument(
        "--server", metavar="URL", help="ask the models of this server instead, such as http://127.0.0.1:8000/v1"
    )
    demo.add_argument("--api-key-file", type=Path, metavar="FILE", help="with --server: holds the key that it wants")
    demo.add_argument("--slots", type=int, default=8, metavar="N", help="answers written at once by each model")
    demo.add_argument("--context-tokens", type=int, default=2048, metavar="N", help="prompt and answer together")


def _add_sampling(chat: argparse.ArgumentParser) -> None:
    chat.add_argument("--step", help="the train step whose model speaks (default: the last that is no ablation)")
    chat.add_argument("--system", metavar="TEXT", help="what the model is told before the talk")
    chat.add_argument("--temperature", type=float, help="0 is greedy")
    chat.add_argument("--top-p", type=float, metavar="P", help="draw among the likeliest tokens of this total")
    chat.add_argument("--max-tokens", type=int, metavar="N", help="longest answer, in tokens")
    chat.add_argument("--seed", type=int, help="fixes the draws")
