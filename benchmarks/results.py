"""What a run of the training benchmark found, as JSON and as a page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.running import Running
from benchmarks.sides import Work


def summary(
    work: Work, running: Sequence[Running], tokens: int, difference: float, before: Mapping[str, object],
    after: Mapping[str, object],
) -> dict[str, Any]:  # fmt: skip
    """Speeds are logical tokens per second with the side's reference pass shared out over its tokens, one epoch."""
    ours, best, default, *others = running
    ablated = [one for one in others if one.side.without]
    roles = {"favonius": ours, "trl_best": best, "trl_default": default, **{one.side.name: one for one in others}}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.name(),
        "versions": machine.versions(),
        "task": work.task,
        "model": work.model.name,
        "rows_per_step": work.batch,
        "rounds": len(ours.steps) - 1,
        "sides": {role: one.side.name for role, one in roles.items()},
        "ratio_vs_trl_best": _middle(ratios(ours, best, tokens)),
        "ratio_vs_trl_best_range": _range(ratios(ours, best, tokens)),
        "ratio_vs_trl_default": _middle(ratios(ours, default, tokens)),
        "ratio_vs_trl_default_range": _range(ratios(ours, default, tokens)),
        "ratio_vs_trl_best_without_reference": _middle(ratios(ours, best, 0)),
        "logical_tokens_per_s": {role: round(_middle(speeds(one, tokens)), 1) for role, one in roles.items()},
        "peak_memory_bytes": {role: one.end.peak_memory_bytes for role, one in roles.items() if one.end},
        "reference_seconds": {role: round(one.ready.reference_seconds, 2) for role, one in roles.items()},
        "start_seconds": {role: round(one.ready.warm_up_seconds, 2) for role, one in roles.items()},
        "losses": {role: [round(loss, 5) for loss in one.end.losses] for role, one in roles.items() if one.end},
        "max_abs_logp_diff": difference,
        "ablation": {one.side.without: round(_middle(ratios(ours, one, tokens)), 3) for one in ablated},
        "machine_before": dict(before),
        "machine_after": dict(after),
    }


def speeds(one: Running, tokens: int) -> list[float]:
    """Logical tokens per second of each counted step; `tokens`: of all rows, 0 to leave the reference pass out."""
    each = one.ready.reference_seconds / tokens if tokens else 0.0
    return [step.tokens / (step.seconds + each * step.tokens) for step in one.steps[1:]]


def ratios(ours: Running, other: Running, tokens: int) -> list[float]:
    """Round by round, how many times as fast as `other`."""
    return [mine / its for mine, its in zip(speeds(ours, tokens), speeds(other, tokens), strict=True)]


def page(found: Mapping[str, Any]) -> str:
    """One table of sides, and one of techniques where they were turned off."""
    low, high = found["ratio_vs_trl_best_range"]
    best = found["sides"]["trl_best"]
    lines = [
        f"## {found['task'].upper()}, {found['model']} ({found['date']})",
        "",
        f"{found['machine']}; {', '.join(f'{name} {text}' for name, text in found['versions'].items())}; "
        f"{found['rounds']} rounds of {found['rows_per_step']} rows.",
        "",
        f"**{found['ratio_vs_trl_best']:.2f} times TRL at its best** ({low:.2f} to {high:.2f}; {best}), "
        f"**{found['ratio_vs_trl_default']:.2f} times TRL as it comes**; one epoch, reference pass included. Largest "
        f"difference of a token's log-prob, fp32: {found['max_abs_logp_diff']:.1e}.",
        "",
        "| | logical tokens/s | peak memory, GB | reference pass, s | start, s | first loss |",
        "|---|---|---|---|---|---|",
    ]
    for role, speed in found["logical_tokens_per_s"].items():
        lines.append(
            f"| {found['sides'][role]} | {speed:.0f} | {found['peak_memory_bytes'][role] / 1e9:.2f} | "
            f"{found['reference_seconds'][role]:.1f} | {found['start_seconds'][role]:.1f} | "
            f"{found['losses'][role][0]} |"
        )
    if found["ablation"]:
        lines += ["", "| without | times slower |", "|---|---|"]
        lines += [f"| {name} | {ratio:.2f} |" for name, ratio in found["ablation"].items()]
    now, then = (
        f"load {state['load']}, {state['gflops']} GFLOP/s in bf16"
        for state in (found["machine_before"], found["machine_after"])
    )
    lines += ["", f"The machine before: {now}; after: {then}."]
    return "\n".join(lines) + "\n"


def _middle(values: Sequence[float]) -> float:
    return median(values)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)
