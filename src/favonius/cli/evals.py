"""`favonius eval`: each of its commands has a module of its own, imported when it is asked for."""

from __future__ import annotations

import argparse


def run(options: argparse.Namespace) -> int:
    """Do what was asked. Returns the exit code."""
    match options.protocol:
        case "run":
            from favonius.cli import eval_run

            return eval_run.run(options)
        case "compare":
            from favonius.cli import eval_compare

            return eval_compare.run(options)
        case "alpacaeval":
            from favonius.cli import eval_alpacaeval

            return eval_alpacaeval.run(options)
        case "mt-bench":
            from favonius.cli import eval_mt_bench

            return eval_mt_bench.run(options)
        case "ifeval":
            from favonius.cli import eval_ifeval

            return eval_ifeval.run(options)
    raise AssertionError(options.protocol)
