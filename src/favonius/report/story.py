"""Who became what, taught by whom, from the recipe alone; and a sentence for each step that made or took in data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from favonius.engines.ledger_books import Spend, in_dollars
from favonius.phrases import counted
from favonius.report.answers_made import AnswersStats
from favonius.report.gather import Run, Step
from favonius.report.made import DialoguesStats
from favonius.report.money import is_priced, summed
from favonius.report.pairs_made import PairsStats
from favonius.report.revised import ConstitutionStats
from favonius.report.wording import count, decimal, share, words


@dataclass(frozen=True)
class Story:
    chain: tuple[str, ...]
    """What the models are called, base first: `base`, `dSFT`, `dDPO`."""
    sentence: str
    """Empty where nothing is trained and `doings` tell what was done."""
    doings: tuple[str, ...]
    """What each finished step that made or took in data did, and what asking cost."""
    teacher: str
    """Empty where no step has a teacher."""


def tell(run: Run) -> Story:
    base, trainings = lineage(run)
    doings = tuple(_doings(run))
    names = _labels(run)
    teacher = _named(run, [step.config.get("teacher") for step in run.of_stage("dialogues")])
    judge = _named(run, [model for step in run.of_stage("ratings") for model in _models_of(step.config.get("judge"))])
    if base is None:
        return Story((), "" if doings else "This recipe trains nothing.", doings, teacher)
    done = [_doing(step, names.get(step.name, step.name), teacher, judge) for step in trainings]
    sentence = f"The base model {_described(run, base)}, trained {', then '.join(done)}."
    return Story(
        (names.get(base, base), *(names.get(step.name, step.name) for step in trainings)), sentence, doings, teacher
    )


def lineage(run: Run) -> tuple[str | None, list[Step]]:
    """The base's name and the trainings that lead from it to the last model of the recipe, ablations aside; one that
    gives rewards is the last only where none writes."""
    trainings = [step for step in run.of_stage("train") if not step.config.get("ablation")]
    if not trainings:
        return None, []
    path = [([step for step in trainings if not _gives_rewards(step)] or trainings)[-1]]
    while (parent := run.step(str(path[0].config.get("model")))) is not None and parent not in path:
        path.insert(0, parent)
    return str(path[0].config.get("model")), path


def _doings(run: Run) -> Iterator[str]:
    tellers = {
        "data": _taken_in,
        "openings": _opened,
        "dialogues": _talked,
        "answers": _answered,
        "ratings": _rated,
        "pairs": _binarised,
        "best": _picked,
        "constitution": _amended,
        "benchmark": _measured,
    }
    for step in run.steps:
        if step.stage in tellers and step.state == "done" and "kept" in step.stats:
            yield tellers[step.stage](run, step)
    total = summed(run.books.spend)
    if total.requests or total.total:
        yield _paid(total, is_priced(run))


def _taken_in(run: Run, step: Step) -> str:
    stats = step.stats
    sources = counted(len(stats.get("sources") or ()), "source")
    apart = {"held out": stats.get("held out"), "repeated": stats.get("repeated")}
    told = "".join(f", {count(number)} {what}" for what, number in apart.items() if number)
    made = f"{count(stats['kept'])} {stats.get('made') or 'rows'}"
    return f"From {count(stats.get('read'))} rows of {sources} came {made}{told}."


def _opened(run: Run, step: Step) -> str:
    sectors = list(step.stats.get("sectors") or ())
    named = f" in {counted(len(sectors), 'sector')} ({', '.join(sectors)})" if sectors else ""
    teacher = _named(run, [step.config.get("teacher")])
    made = f"{count(step.stats['kept'])} of {count(step.stats.get('wanted'))} openings wanted"
    return f"The teacher {teacher} wrote {made}{named}."


def _talked(run: Run, step: Step) -> str:
    stats = DialoguesStats.model_validate(step.stats)
    teacher = _named(run, [step.config.get("teacher")])
    user = _mapping(step.config.get("user")).get("model")
    other = f"a user whom {_named(run, [user])} played" if user else "a user whom it played itself"
    mean = f", {decimal(stats.mean_rounds, 2)} rounds long on average" if stats.mean_rounds is not None else ""
    begun = f" of {count(stats.seeds)} begun" if stats.seeds else ""
    return f"The teacher {teacher} talked with {other}: {count(stats.kept)} conversations{begun} were kept{mean}."


def _answered(run: Run, step: Step) -> str:
    stats = AnswersStats.model_validate(step.stats)
    pool = len(stats.members or _mapping(step.config.get("pool")))
    prompts = sum(stats.prompts.values())
    asked = f" to {counted(prompts, 'prompt')}" if prompts else ""
    return f"{counted(pool, 'model')} gave {counted(stats.kept, 'answer')}{asked}."


def _rated(run: Run, step: Step) -> str:
    judge = _mapping(step.config.get("judge"))
    kind = words(str(judge.get("kind", "")))
    return f"{_named(run, _models_of(judge))} rated them ({kind}): {count(step.stats['kept'])} kept."


def _models_of(judge: Any) -> list[Any]:
    """Of a judge's config and of those that it is made of."""
    config = _mapping(judge)
    parts = [config.get("judge"), *_mapping(config.get("judges")).values()]
    return [config.get("model"), *(model for part in parts if part is not None for model in _models_of(part))]


def _binarised(run: Run, step: Step) -> str:
    stats = PairsStats.model_validate(step.stats)
    rule = words(str(_mapping(step.config.get("rule")).get("kind") or "best_vs_random"))
    longer = stats.longer_chosen_share
    by_length = f"; the longer answer was chosen in {share(longer)}" if longer is not None else ""
    return f"The rule {rule} made {counted(stats.kept, 'pair')} of them{by_length}."


def _picked(run: Run, step: Step) -> str:
    stats = PairsStats.model_validate(step.stats)
    gain = stats.gain_over_average
    above = f", whose scores are {decimal(gain.value, 2)} above their prompts' average" if gain is not None else ""
    return f"The best {counted(stats.kept, 'answer')} became dialogues{above}."


def _amended(run: Run, step: Step) -> str:
    stats = ConstitutionStats.model_validate(step.stats)
    reviser = _named(run, [step.config.get("reviser") or step.config.get("model")])
    prompts = sum(stats.prompts.values())
    of = f" of {count(prompts)}" if prompts else ""
    return f"By the principles of a constitution {reviser} revised {count(stats.kept)}{of} answers."


def _measured(run: Run, step: Step) -> str:
    models, tasks = (len(_mapping(step.config.get(name))) for name in ("models", "tasks"))
    return f"{counted(models, 'model')} {'was' if models == 1 else 'were'} measured on {counted(tasks, 'benchmark')}."


def _paid(total: Spend, priced: bool) -> str:
    """Of the whole run."""
    lost = f", {in_dollars(total.lost)} of it for no usable answer" if total.lost else ""
    money = f" for {in_dollars(total.total)}{lost}" if priced else ""
    failed = f"; {count(total.failures)} have no answer" if total.failures else ""
    return f"{counted(total.requests, 'request')} brought {count(total.completion_tokens)} tokens{money}{failed}."


def _labels(run: Run) -> dict[str, str]:
    """Model or step name → what the evaluation calls it."""
    evaluations = [_mapping(step.config.get("models")) for step in run.of_stage("evaluate")]
    return {str(model): str(label) for models in evaluations for label, model in models.items()}


def _gives_rewards(step: Step) -> bool:
    return _mapping(step.config.get("objective")).get("kind") == "reward"


def _doing(step: Step, label: str, teacher: str, judge: str) -> str:
    objective = _mapping(step.config.get("objective"))
    if _gives_rewards(step):
        return f"to rate answers as {judge or 'a judge'} did ({label})"
    if objective.get("kind", "sft") != "sft":
        beta = f", β = {decimal(objective['beta'])}" if isinstance(objective.get("beta"), (int, float)) else ""
        judged = "by the teacher" if judge and judge == teacher else f"by {judge}" if judge else "beforehand"
        return f"to prefer the answers that were judged better {judged} ({label}{beta})"
    return f"on dialogues of the teacher {teacher} ({label})" if teacher else f"on given dialogues ({label})"


def _named(run: Run, models: list[Any]) -> str:
    """The models described, each once, in order."""
    return " and ".join(_described(run, str(name)) for name in dict.fromkeys(name for name in models if name))


def _described(run: Run, name: str) -> str:
    entry = _mapping(run.recipe.get("models")).get(name)
    source = entry.get("source") if isinstance(entry, Mapping) else entry
    record = run.model(name)
    source = record.source if record is not None else source
    return brief(source) if isinstance(source, str) else name


def brief(source: str) -> str:
    """A model's source in a few words: package and version, hub id, file or folder name, or what servers call it."""
    wheel = re.match(r"pypi://(?P<package>[^=\[]+?)(?:-?part)?(?:\[[^]]*\])?==(?P<version>[^/#]+)", source)
    if wheel:
        return f"{wheel['package']} {wheel['version']}"
    path = PureWindowsPath(source)
    if source.startswith("api://"):
        return source.removeprefix("api://")
    local = path.is_absolute() or PurePosixPath(source).is_absolute() or source.startswith((".", "~", "…"))
    return path.name if local else source


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
