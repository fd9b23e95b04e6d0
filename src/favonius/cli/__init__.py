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
from favonius.cli.data_options import add_data_check, add_feedback_show, add_pairs
from favonius.cli.eval_options import add_evaluations
from favonius.cli.export_options import add_export
from favonius.cli.serve_options import add_chat, add_demo, add_serve
from favonius.errors import FavoniusError, StoppedError, UserError

STOPPED = StoppedError.exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code.

    0, 2 (a mistake of the user), 1 (any other failure, and faults that a check of data found), 130 (stopped).
    """
    options = parser().parse_args(arguments)
    # OpenMP reads this when torch is imported: spin briefly, then sleep (docs/decisions/0006).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # oneDNN keeps a bf16 kernel for each shape that it met, 0.44 MB apiece, and by itself 1,024 of them. Packs come in
    # ever new shapes and one needs about fifty: most would never be used again.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
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
    except Exception as error:
        return _told(error, options.debug)


def _told(error: Exception, debug: bool) -> int:
    """Say what nobody foresaw. A place that the system refuses is a mistake of who named it; all else is ours."""
    from favonius.files import refusal

    sentence = refusal(error) if isinstance(error, OSError) else None
    if sentence is None or debug:
        traceback.print_exc()
    ours = "this is a fault of favonius, not of yours; finished steps are safe, and the same command goes on after them"
    print(f"error: {sentence or ours}", file=sys.stderr)
    return 1 if sentence is None else UserError.exit_code


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
    add_data_check(
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
    add_feedback_show(
        looks.add_parser(
            "show",
            help="walk through what two judges or two rules differ on",
            description="Show answers side by side on which two judges, a judge and reference labels, or two rules "
            "differ, and take down what you say of them.",
            parents=[common],
            allow_abbrev=False,
        )
    )
    add_pairs(command("pairs", "Make preference pairs of rated answers by one rule, or of votes, or compare rules."))
    add_evaluations(command("eval", "Benchmark models, compare their results, or score stored answers."), common)
    add_export(command("export", "Take a step's model out of its run, checked: for transformers, llama.cpp or peft."))
    add_card(command("card", "Write a run's card: what it was made of and came to, fit to be shown and made again."))
    add_replay(command("replay", "Make a card's run again, and tell what came out otherwise; exit 1 where it differs."))
    chat = command("chat", "Talk to a model that a run has trained.")
    _add_run(chat)
    add_chat(chat)
    add_serve(command("serve", "Answer OpenAI's API with the models of runs, or with other weights."))
    demo = command("demo", "Open a web page to chat with a run's models and to vote on their answers.")
    _add_run(demo)
    add_demo(demo)
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
