"""The options of `favonius eval`. Like the table of commands that it belongs to, it imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_evaluations(command: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """`run`, `compare`, and one sub-command per protocol; `common` holds the options of every command."""
    protocols = command.add_subparsers(dest="protocol", metavar="WHAT", required=True)

    def of_models(name: str, about: str, description: str) -> argparse.ArgumentParser:
        return protocols.add_parser(
            name, help=about, description=description, parents=[common, _json()], allow_abbrev=False
        )

    _add_run(
        of_models(
            "run",
            "Benchmark models: they answer, judges judge, every number has its interval.",
            "Benchmark models without a recipe. The same command again goes on where it was stopped, and asks nothing "
            "twice; another task joins the results that are there.",
        )
    )
    _add_compare(
        of_models(
            "compare",
            "Hold two models' benchmarks against each other, item by item.",
            "Paired differences with bootstrap intervals and sign tests, per task, metric and category, of two "
            "folders that `favonius eval run` or a benchmark step wrote.",
        )
    )

    def score(protocol: str, about: str, description: str) -> argparse.ArgumentParser:
        parser = protocols.add_parser(protocol, help=about, description=about, allow_abbrev=False)
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        return actions.add_parser(
            "score",
            help="score what is already generated and judged; asks nobody",
            description=description,
            parents=[common, _json()],
            allow_abbrev=False,
        )

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


def _json() -> argparse.ArgumentParser:
    option = argparse.ArgumentParser(add_help=False)
    option.add_argument("--json", metavar="FILE", help="write the result as JSON; - prints it, and nothing else")
    return option


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "tasks",
        nargs="+",
        metavar="TASK",
        help="mt-bench, alpacaeval, ifeval, safety, gsm8k, preference, perplexity, health, arc, hellaswag, mmlu, "
        "truthfulqa, gsm8k-harness, medconceptsqa, or a YAML file of tasks as in a recipe",
    )
    run.add_argument(
        "--model",
        action="append",
        required=True,
        dest="models",
        metavar="M",
        help="a model as in a recipe, RUN/STEP of a trained step, RUN/NAME of a run's model, or a YAML file that says "
        "model and engine; may be given several times",
    )
    run.add_argument(
        "--label", action="append", default=[], dest="labels", metavar="L", help="what to call each --model"
    )
    run.add_argument(
        "--judge", metavar="J", help="the judge: a model as above, or a YAML file of a judge as in recipes"
    )
    run.add_argument("--baseline", metavar="B", help="the model that the others are compared with, and played against")
    run.add_argument("--limit", type=int, metavar="N", help="at most N items of each task, drawn with its seed")
    run.add_argument("--out", type=Path, metavar="DIR", help="where the results go (default: evals/<the model's name>)")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="TASK.FIELD=VALUE",
        help="set a field of a task, such as mt-bench.questions=DIR; may be given several times",
    )
    run.add_argument(
        "--training",
        action="append",
        default=[],
        metavar="RUN/STEP",
        help="a step whose rows were trained on: each task says which of them hold its questions",
    )
    run.add_argument(
        "--template", default="own", metavar="T", help="of the models: own (default), zephyr or a Jinja file"
    )
    run.add_argument("--slots", type=int, metavar="N", help="requests that a model answers at once")
    run.add_argument(
        "--context-tokens", type=int, metavar="N", help="longest prompt and answer (default: by the tasks)"
    )


def _add_compare(compare: argparse.ArgumentParser) -> None:
    compare.add_argument("first", type=Path, metavar="DIR_A", help="DIR of eval run, or RUN/STEP; /LABEL of several")
    compare.add_argument("second", type=Path, metavar="DIR_B", help="with whom it is compared")
    compare.add_argument(
        "--texts", type=int, default=0, metavar="N", help="print the N worst regressions of each task, both answers"
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
