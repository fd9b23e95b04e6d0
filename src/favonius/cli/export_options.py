"""The options of `favonius export`. Like the table of commands that it belongs to, it imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument(
        "step", type=Path, metavar="RUN/STEP", help="a finished train step, such as runs/quickstart/ddpo"
    )
    export.add_argument(
        "--to", choices=("hf", "gguf", "adapter"), required=True, help="for transformers, for llama.cpp, or LoRA alone"
    )
    export.add_argument(
        "--type",
        dest="kind",
        metavar="T",
        help="how numbers are kept: f32, f16, bf16; of gguf also q8_0, q4_1, q4_0 (default: f16 for gguf, else as is)",
    )
    export.add_argument("--out", type=Path, metavar="DIR", help="where it goes (default: RUN/exports/STEP-…)")
    export.add_argument("--push", metavar="REPO", help="upload it to owner/name on the hub; the token is $HF_TOKEN")
    seen = export.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_true", help="for --push: only you see it (the default)")
    seen.add_argument("--public", action="store_true", help="for --push: everybody sees it")
    export.add_argument("--dry-run", action="store_true", help="for --push: list the files and send nothing")
