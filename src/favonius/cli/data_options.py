"""The options of `favonius data check`, `favonius feedback show` and `favonius pairs`. No heavy imports."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_data_check(check: argparse.ArgumentParser) -> None:
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


def add_feedback_show(show: argparse.ArgumentParser) -> None:
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


def add_pairs(pairs: argparse.ArgumentParser) -> None:
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
