"""All rows of the training benchmark on this machine: `make bench`. Writes benchmarks/results/<date>-<machine>.*"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks import machine, results

HERE = Path(__file__).parent
QUICKSTART = HERE.parent / "recipes" / "quickstart.yaml"
MODELS = {"SmolLM2-135M-Instruct": "teacher", "Gemma 3 270M": "base"}
"""Names of the quickstart's models, which any machine can fetch."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=__doc__)
    parser.add_argument("--rows", type=Path, help="preference pairs, JSONL; made up where they are left out")
    parser.add_argument("others", nargs="*", help="handed on to benchmarks.train, after --")
    arguments = parser.parse_args()
    models = yaml.safe_load(QUICKSTART.read_text())["models"]
    found = []
    for task in ("dpo", "sft"):
        for name, key in MODELS.items():
            source = models[key] if isinstance(models[key], str) else models[key]["source"]
            found.append({**_run(task, source, arguments.rows, arguments.others), "model": name})
    stem = machine.dated()
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{stem}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"{stem}.md").write_text("\n".join(results.page(one) for one in found))
    print(folder / f"{stem}.md")


def _run(task: str, source: str, rows: Path | None, others: list[str]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, "-m", "benchmarks.train", "--task", task, "--model", source, "--json", str(out)]
        subprocess.run([*command, *(["--rows", str(rows)] if rows else []), *others], check=True)
        return dict(json.loads(out.read_text()))


if __name__ == "__main__":
    main()
