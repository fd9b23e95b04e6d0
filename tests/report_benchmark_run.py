"""A run with a benchmark step: made-up rows of five tasks and three models, written as the stage writes them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from favonius.data.checks import Drops
from favonius.evals.benchmarks.asking import Heard
from favonius.evals.benchmarks.config import AnyTask
from favonius.evals.benchmarks.record import Measured, Result, result, write
from favonius.evals.benchmarks.summary import summary
from favonius.evals.benchmarks.task import Item, ItemRow, Metric, Said, Scored, Turn
from favonius.files import write_json, write_text
from favonius.run import Identity, ServedModel, StepFolder
from favonius.types import JudgedBy, Message, Sampling, digest
from tests.report_run import HOSTILE

LABELS = ("base", "dSFT", "dDPO")
BASELINE = "dSFT"
JUDGE = JudgedBy(name="judge-70b", kind="mt-bench single", template=digest("rubric"))
CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
WRAPPERS = ("plain", "safety prompt", "role-play")
QUESTIONS = 5
"""Of MT-Bench, in each category."""
TASKS: dict[str, dict[str, Any]] = {
    "mt-bench": {"task": "mt-bench", "judge": "judge"},
    "alpaca": {"task": "alpacaeval", "judge": {"kind": "ranking", "model": "judge"}, "evaluation_version": 1},
    "ifeval": {"task": "ifeval"},
    "safety": {"task": "safety"},
    "preference": {"task": "preference", "step": "pairs"},
}
CONFIG: dict[str, Any] = {
    "stage": "benchmark",
    "models": {"base": "student", "dSFT": "dsft", "dDPO": "ddpo"},
    "baseline": BASELINE,
    "tasks": TASKS,
    "training": ["dialogues"],
}
CONTAMINATION = {
    "checked": ["dialogues"],
    "questions": 30,
    "overlapping": 2,
    "rows": [{"step": "dialogues", "row": "everyday/3", "question": HOSTILE, "share": 0.75}],
}
CLEAN = {"checked": ["dialogues"], "questions": 40, "overlapping": 0, "rows": []}


@dataclass(frozen=True)
class Told:
    """As much of a task as its record needs."""

    name: str
    title: str
    metrics: Sequence[Metric]
    questions: str
    texts: Sequence[str] = ()


TOLD = {
    "mt-bench": Told("mt-bench", "MT-Bench", (Metric(key="score", title="score", unit="", span=9),), "question.jsonl"),
    "alpaca": Told("alpacaeval", "AlpacaEval", (Metric(key="preference", title="win rate"),), "alpaca_eval.json"),
    "ifeval": Told(
        "ifeval",
        "IFEval",
        (
            Metric(key="prompt_strict", title="prompts followed, strict"),
            Metric(key="instruction_strict", title="instructions followed, strict"),
        ),
        "favonius",
    ),
    "safety": Told(
        "safety",
        "Safety",
        (
            Metric(key="refused", title="harmful requests refused"),
            Metric(key="over_refused", title="harmless requests refused", better="lower"),
            Metric(key="unusable", title="answers that are blank or loop", better="lower"),
        ),
        "favonius",
    ),
    "preference": Told(
        "preference", "Held-out preferences", (Metric(key="right", title="pairs ranked right"),), "step pairs"
    ),
}
SKILL = {"base": 0.15, "dSFT": 0.5, "dDPO": 0.62}
WORDS = {"base": 160, "dSFT": 60, "dDPO": 95}


def rows(task: str, label: str) -> list[ItemRow]:
    """The same for the same task and model."""
    draw = random.Random(f"{task} {label}")
    made = {"mt-bench": mt_bench, "alpaca": alpaca, "ifeval": ifeval, "safety": safety, "preference": preference}
    return made[task](label, draw)


def text(draw: random.Random, label: str) -> str:
    words = ("the", "sky", "is", "blue", "because", "air", "scatters", "short", "waves", "more", "than", "long")
    return " ".join(draw.choices(words, k=max(3, round(draw.lognormvariate(0, 0.5) * WORDS[label])))) + "."


def mt_bench(label: str, draw: random.Random) -> list[ItemRow]:
    """One reply of the judge is unreadable for dDPO; one question and its answer are hostile, and the
    worst that dDPO does."""
    made = []
    for number in range(QUESTIONS * len(CATEGORIES)):
        for turn in (1, 2):
            answer = text(draw, label)
            grade: float | None = min(10.0, max(1.0, round(8 * SKILL[label] + len(answer) / 300 + draw.gauss(0, 1.4))))
            is_lost = label == "dDPO" and number == 7 and turn == 2
            is_hostile = number == 3
            prompt = HOSTILE if is_hostile else f"Question {number}: why is the sky blue at noon?"
            if is_hostile and label == "dDPO":
                answer, grade = HOSTILE, 1.0
            elif is_hostile:
                grade = 10.0
            made.append(
                ItemRow(
                    id=f"question {81 + number}, turn {turn}",
                    unit=str(81 + number),
                    category=CATEGORIES[number // QUESTIONS],
                    scores={"score": None if is_lost else grade},
                    prompt=prompt if turn == 1 else f"{prompt}\n\nAnd at dusk?",
                    answers=(answer,),
                    note="the judge's reply holds no grade" if is_lost else None,
                )
            )
    return made


def alpaca(label: str, draw: random.Random) -> list[ItemRow]:
    return [
        ItemRow(
            id=str(number),
            unit=str(number),
            scores={"preference": min(1.0, max(0.0, draw.gauss(SKILL[label], 0.3)))},
            prompt=f"Explain thing {number}.",
            answers=(text(draw, label),),
            finished=label != "base",
        )
        for number in range(40)
    ]


def ifeval(label: str, draw: random.Random) -> list[ItemRow]:
    made = []
    for number in range(30):
        kept = sum(draw.random() < SKILL[label] + 0.1 for _ in range(2))
        made.append(
            ItemRow(
                id=f"prompt {number}",
                unit=f"prompt {number}",
                scores={"prompt_strict": float(kept == 2), "instruction_strict": kept / 2},
                weights={"instruction_strict": 2.0},
                prompt=f"Write {number} lines without a comma.",
                answers=(text(draw, label),),
                note=None if kept == 2 else "not followed: punctuation:no_comma",
            )
        )
    return made


def safety(label: str, draw: random.Random) -> list[ItemRow]:
    """dDPO falls for the role-play that dSFT withstands; the base loops."""
    odds = {
        "base": {"plain": 0.1, "safety prompt": 0.1, "role-play": 0.05},
        "dSFT": {"plain": 0.9, "safety prompt": 0.95, "role-play": 0.9},
        "dDPO": {"plain": 0.85, "safety prompt": 0.95, "role-play": 0.1},
    }[label]
    made = []
    for kind, key, factor in (("harmful", "refused", 1.0), ("harmless", "over_refused", 0.15)):
        for number in range(20):
            for wrapper in WRAPPERS:
                loops = label == "base" and draw.random() < 0.5
                refused = not loops and draw.random() < odds[wrapper] * factor
                made.append(
                    ItemRow(
                        id=f"{kind}/{number} ({wrapper})",
                        unit=f"{kind}/{number}",
                        category=f"{kind}, {wrapper}",
                        scores={key: float(refused), "unusable": float(loops)},
                        prompt=f"How does one do {kind} thing {number}?",
                        answers=("I can't help with that." if refused else text(draw, label),),
                    )
                )
    return made


def preference(label: str, draw: random.Random) -> list[ItemRow]:
    """Read off the weights: nothing is said."""
    return [
        ItemRow(
            id=f"pair {number}", unit=f"prompt {number // 2}", scores={"right": float(draw.random() < SKILL[label])}
        )
        for number in range(60)
    ]


def measured(task: str, label: str, changed: Sequence[ItemRow] | None = None) -> Result:
    """What the stage would record of these rows."""
    own = rows(task, label) if changed is None else changed
    protocol: dict[str, Any] = {"rows": [1, 2, 3], "temperature": "by category"} if task == "mt-bench" else {}
    if task == "alpaca":
        protocol = {
            "win_rate": 100 * SKILL[label],
            "length_controlled_winrate": 40.0,
            "length_controlled_standard_error": 1.5,
        }
    scored = Scored(
        rows=own,
        judge=JUDGE if task in ("mt-bench", "alpaca") else None,
        protocol=protocol,
        notes=("The prompts are our own, not the published ones.",) if task == "ifeval" else (),
    )
    contamination = {"ifeval": CONTAMINATION, "mt-bench": CLEAN}.get(task)
    config: AnyTask = TypeAdapter(AnyTask).validate_python(TASKS[task])
    model = ServedModel(name=label, served_as=label, digest=digest(label))
    heard = None if task == "preference" else _heard(own)
    return result(Measured(task, config, TOLD[task], label, model, scored, heard, contamination))


def _heard(own: Sequence[ItemRow]) -> Heard:
    left_out = Drops()
    left_out.add("the prompt is too long for the model", "Why?")
    return Heard([_said(row) for row in own], left_out, len(own), 100 * len(own))


def _said(row: ItemRow) -> Said:
    turns = tuple(
        Turn(text=answer, finished=row.finished, tokens=len(answer) // 4, request="") for answer in row.answers
    )
    return Said(Item(id=row.id, messages=(Message(role="user", content=row.prompt),), sampling=Sampling()), turns)


def write_benchmark(folder: Path, until: tuple[str, str] | None = None) -> None:
    """A benchmark step's folder, up to and with a (label, task), model by model; results.json where all is there."""
    results: dict[str, dict[str, Result]] = {task: {} for task in TASKS}
    for label in LABELS:
        for task in TASKS:
            results[task][label] = measured(task, label)
            write(folder / label / task, results[task][label])
            if (label, task) == until:
                return
    write_json(folder / "results.json", summary(results, LABELS, BASELINE))


def make_benchmark_run(folder: Path, until: tuple[str, str] | None = None) -> Path:
    """A run whose only step is a benchmark, finished unless `until` is given."""
    models = {name: {"source": f"api://{name}"} for name in ("student", "dsft", "ddpo", "judge")}
    write_text(
        folder / "recipe.yaml", yaml.safe_dump({"models": models, "steps": {"benchmark": CONFIG}}, sort_keys=False)
    )
    step = StepFolder(folder / "benchmark")
    identity = Identity(stage="benchmark", version=1, config=CONFIG, inputs={})
    attempt = step.begin(identity)
    write_benchmark(folder / "benchmark", until)
    if until is None:
        write_json(folder / "benchmark" / "stats.json", {"kept": 870, "dropped": {}, "samples": {}, "tokens": 87_000})
        step.finish(identity, attempt, 61.0)
    return folder
