"""`report.html`: what a run did and what came of it, as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment

from favonius import __version__
from favonius.files import write_text
from favonius.report import tables, wording
from favonius.report.ablations.chapter import ablations
from favonius.report.answers_made import answers_made
from favonius.report.benchmarks.section import benchmarks
from favonius.report.data_in import data_in
from favonius.report.drops import drops
from favonius.report.environment import environment
from favonius.report.gather import Run, Step, read_run, seeds
from favonius.report.judge_card import SOURCES_SHOWN, judged
from favonius.report.made import SPEAKERS, conversations, openings
from favonius.report.money import bill
from favonius.report.pairs_made import best_made, pairs_made
from favonius.report.plots import Chart, charts
from favonius.report.public import Public, printable
from favonius.report.revised import revised
from favonius.report.story import tell

EXAMPLES = 6
ROUNDS_SHOWN = 2
"""Of a sample conversation; the others are folded."""
COUNTED = frozenset({"kept", "dropped", "samples", "tokens", "seconds"})
SHOWN_ELSEWHERE = frozenset(
    {"train", "data", "openings", "dialogues", "answers", "ratings", "pairs", "best", "constitution", "benchmark"}
)
"""Stages whose numbers have a section of their own."""
SECTIONS = {
    "results": "Results",
    "benchmarks": "Benchmarks",
    "ablations": "Ablations",
    "training": "Training",
    "answers": "Answers",
    "judge": "The judge",
    "pairs": "Pairs",
    "best": "Best of n",
    "pool": "Answers to be judged",
    "constitution": "Revisions",
    "conversations": "Conversations",
    "openings": "Openings",
    "data-in": "Data in",
    "published": "Published numbers",
    "rows": "Rows",
    "time": "Time and tokens",
    "cost": "Cost",
    "reproducibility": "Reproducibility",
}
"""Id → what the page's list of contents calls it."""
FEEDBACK = {
    "judged": "judge",
    "pairs_made": "pairs",
    "best_made": "best",
    "answers_made": "pool",
    "revised": "constitution",
}
"""Parts of a page on feedback, and the ids of their sections."""
TRAINING_FACTS = ("epochs", "batch_size", "learning_rate", "schedule", "optimizer")


@dataclass(frozen=True)
class Training:
    step: Step
    facts: tuple[tuple[str, str], ...]
    charts: tuple[Chart, ...]


def write(run: Path, title: str | None = None) -> Path:
    """Write `run/report.html` from what the run folder holds, finished or not, and return its path.

    The page needs no network and runs no script; it depends on the folder's content only, so writing it twice gives
    the same bytes. `title` replaces the folder's name. Raises UserError where `run` is no run folder.
    """
    page = run / "report.html"
    write_text(page, render(read_run(run), title or run.resolve().name))
    return page


def render(run: Run, title: str) -> str:
    """The page's HTML."""
    public = Public(run.path)
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            story=tell(run),
            run=run,
            public=public,
            **_chapters(run, public),
            drops={step.name: drops(step, public) for step in run.steps},
            extras={step.name: _extras(step, public) for step in run.steps if step.stage not in SHOWN_ELSEWHERE},
            versions=tables.versions(run),
            seeds=seeds(run.steps),
            paces=tables.paces(run),
            recipe=yaml.safe_dump(public(run.recipe), sort_keys=False, allow_unicode=True, width=100),
            seconds=sum(step.seconds or 0.0 for step in run.steps),
            tokens=sum(step.tokens or 0 for step in run.steps),
            favonius=__version__,
        )
    )
    return printable(html)


def _chapters(run: Run, public: Public) -> dict[str, Any]:
    """What stands in sections of its own, and `sections`: id → title of those that the page has, in its order."""
    trainings = [_training(step, f"c{number}", public) for number, step in enumerate(run.of_stage("train"))]
    talks = [step for step in run.of_stage("dialogues") if step.state != "left out"]
    made = [conversations(run, step, f"d{number}", public) for number, step in enumerate(talks)]
    opened = [openings(step, public) for step in run.of_stage("openings") if step.state != "left out"]
    feedback = _feedback(run, public)
    sieved = [data_in(step, public) for step in run.steps if step.stage == "data" or step.stats.get("filters")]
    cost = bill(run, public)
    measured = benchmarks(run, public)
    ablated = ablations(run, public)
    found = {
        "conversations": made,
        "openings": opened,
        "data_in": sieved,
        "bill": cost,
        "trainings": trainings,
        "benchmarks": measured,
        "ablations": ablated,
    }
    makes_data = bool(made or opened or sieved or any(feedback.values()))
    present = {
        "results": bool(run.of_stage("evaluate")) or not (makes_data or measured.steps),
        "benchmarks": bool(measured.steps),
        "ablations": ablated is not None,
        "published": bool(measured.published),
        "training": bool(trainings) or not (makes_data or measured.steps),
        "answers": bool(run.of_stage("evaluate")),
        **{FEEDBACK[name]: bool(found) for name, found in feedback.items()},
        "conversations": bool(made),
        "openings": bool(opened),
        "data-in": bool(sieved),
        "cost": bool(cost),
    }
    return {
        **found,
        **feedback,
        "sections": {name: title for name, title in SECTIONS.items() if present.get(name, True)},
    }


def _feedback(run: Run, public: Public) -> dict[str, list[Any]]:
    """What was made on the way from answers to preferences, step by step."""

    def steps(stage: str) -> list[Step]:
        return [step for step in run.of_stage(stage) if step.state != "left out"]

    return {
        "judged": [judged(run, step, f"j{number}", public) for number, step in enumerate(steps("ratings"))],
        "pairs_made": [pairs_made(run, step, f"p{number}", public) for number, step in enumerate(steps("pairs"))],
        "best_made": [best_made(step, public) for step in steps("best")],
        "answers_made": [answers_made(run, step, public) for step in steps("answers")],
        "revised": [revised(run, step, public) for step in steps("constitution")],
    }


def _environment() -> Environment:
    found = environment()
    found.filters.update(metric_rows=tables.metric_rows, win_rows=tables.win_rows)
    found.globals.update(
        rule=tables.RULE, examples=EXAMPLES, speakers=SPEAKERS, rounds_shown=ROUNDS_SHOWN, sources_shown=SOURCES_SHOWN
    )
    return found


def _training(step: Step, prefix: str, public: Public) -> Training:
    config: Mapping[str, Any] = step.config
    objective = config.get("objective") or {}
    kind = [("objective", objective["kind"])] if "kind" in objective else []
    rest = [(name, value) for name, value in objective.items() if name != "kind"]
    given = [*kind, *rest, *((name, config[name]) for name in TRAINING_FACTS if name in config)]
    facts = tuple((wording.words(name), wording.fact(name, public(value))) for name, value in given)
    return Training(step, facts + _extras(step, public), tuple(charts(step, prefix)))


def _extras(step: Step, public: Public) -> tuple[tuple[str, str], ...]:
    """What a stage counted beyond what every stage counts."""
    found = ((name, value) for name, value in public(step.stats).items() if name not in COUNTED)
    return tuple((wording.words(name), wording.fact(name, value)) for name, value in found)
