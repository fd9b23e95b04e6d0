"""What the engine benchmark found, as JSON and as a page; and the dated files that are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine

RESULTS = Path(__file__).parent / "results"
Found = Mapping[str, Any]


def page(found: Sequence[Found]) -> str:
    """A section per part, in this order: path, llamacpp, student."""
    parts = {"path": _path, "llamacpp": _llamacpp, "student": _student}
    sections = [
        show([one for one in found if one["kind"] == kind])
        for kind, show in parts.items()
        if any(one["kind"] == kind for one in found)
    ]
    return "\n".join(["# Engines", "", *sections])


def keep(found: Sequence[Found]) -> Path:
    """Write today's files for this machine; parts that were measured earlier today stay. The page's path."""
    file = RESULTS / f"{machine.dated()}-engines.json"
    again = {_part(one) for one in found}
    earlier = [one for one in json.loads(file.read_text()) if _part(one) not in again] if file.exists() else []
    RESULTS.mkdir(exist_ok=True)
    file.write_text(json.dumps([*earlier, *found], indent=1) + "\n")
    file.with_suffix(".md").write_text(page([*earlier, *found]))
    return file.with_suffix(".md")


def _part(one: Found) -> tuple[Any, ...]:
    return tuple(one.get(name) for name in ("kind", "model", "slots", "requests", "concurrency", "latency_seconds"))


def _path(found: Sequence[Found]) -> str:
    lines = [
        "## Whole path against a loop-back stub",
        "",
        _where(found),
        "Policy, ledger and budget are on; client and stub share the machine. CPU seconds are the client's; a busy",
        "machine hardly changes them. “Bare” is a client without any HTTP library against the same stub. Growth",
        "is the median memory of the run's last third over its first.",
        "",
        "| requests | at once | latency | requests/s | per CPU second | bare, requests/s | peak | growth | ledger |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        peak, ledger = (one[name] / 2**20 for name in ("peak_rss_bytes", "ledger_bytes"))
        lines.append(
            f"| {one['requests']:,} | {one['concurrency']} | {1000 * one['latency_seconds']:.0f} ms | "
            f"{one['requests_per_s']:,.0f} | {one['requests_per_cpu_s']:,.0f} | {one['stub_requests_per_s']:,.0f} | "
            f"{peak:.0f} MiB | {one['rss_growth']:.2f} | {ledger:.0f} MiB |"
        )
    return "\n".join(lines) + "\n"


def _llamacpp(found: Sequence[Found]) -> str:
    head = ["## The llamacpp engine against a bare llama.cpp server", "", _where(found), ""]
    return "\n".join([*head, *_table(found, "favonius", "bare")]) + "\n"


def _student(found: Sequence[Found]) -> str:
    head = ["## A student in transformers and as GGUF in llama.cpp", "", _where(found), ""]
    return "\n".join([*head, *_table(found, "llamacpp", "transformers")]) + "\n"


def _table(found: Sequence[Found], over: str, under: str) -> list[str]:
    lines = [f"| model | slots | {over}, tokens/s | {under}, tokens/s | ratio | range |", "|---|---|---|---|---|---|"]
    for one in found:
        low, high = one["ratio_range"]
        speeds = one["tokens_per_s"]
        lines.append(
            f"| {one['model']} | {one['slots']} | {speeds[over]:.0f} | {speeds[under]:.0f} | {one['ratio']:.2f} | "
            f"{low:.2f} to {high:.2f} |"
        )
    return lines


def _where(found: Sequence[Found]) -> str:
    one = found[-1]
    packages = ", ".join(f"{name} {text}" for name, text in one["versions"].items())
    loads = f"load {one['machine_before']['load']} before and {one['machine_after']['load']} after"
    return f"{one['machine']}, {one['date']}; {packages}; {loads}."
