"""The README of an export: what the model is, made from the records of its run and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from favonius import __version__
from favonius.export.steps import Done, Origin
from favonius.files import read_json

KNOWN_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "gemma", "llama3.2")
DIGEST = 12


def card(origin: Origin, title: str, how: str, checks: Sequence[str]) -> str:
    """`how` tells what lies in the folder, `checks` what was found equal before it was written."""
    text = (files("favonius.export") / "card.md.j2").read_text(encoding="utf-8")
    page = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    lineage = origin.lineage()
    return page.from_string(text).render(
        front=yaml.safe_dump(_front(origin), sort_keys=False, allow_unicode=True).strip(),
        title=title,
        how=how,
        checks=checks,
        models=[_model(record) for record in origin.begins_with()],
        steps=[_step(step) for step in lineage],
        settings=json.dumps(origin.step.config, indent=2, ensure_ascii=False),
        evaluations=list(_evaluations(origin)),
        version=__version__,
        versions=", ".join(f"{name} {number}" for name, number in origin.step.versions.items()),
        digest=origin.step.digest,
    )


def shown_source(source: str) -> str:
    """A model's source without its sha256, and without the folders of this machine."""
    if "://" in source:
        return source.partition("#")[0]
    local = source.startswith((".", "/", "~", "…")) or source.endswith(".gguf") or "\\" in source
    return source.replace("\\", "/").rstrip("/").rpartition("/")[2] if local else source


def _front(origin: Origin) -> dict[str, Any]:
    trained = [str(step.config.get("model")) for step in origin.lineage() if step.stage == "train"]
    bases = [origin.models[name] for name in dict.fromkeys(trained) if name in origin.models]
    terms = [str(base["terms"]) for base in bases if base.get("terms")]
    known = terms[0].lower() if terms and terms[0].lower() in KNOWN_LICENCES else None
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if terms:
        front |= {"license": known} if known else {"license": "other", "license_name": terms[0]}
    hub = [shown_source(str(base["source"])).partition("@")[0] for base in bases if "://" not in str(base["source"])]
    owned = [source for source in hub if source.count("/") == 1]
    return front | ({"base_model": owned[0]} if owned else {}) | {"tags": ["favonius", "alignment"]}


def _model(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": str(record["name"]),
        "source": shown_source(str(record["source"])),
        "terms": str(record.get("terms") or "not stated in the recipe"),
        "digest": str(record["digest"])[:DIGEST],
    }


def _step(step: Done) -> dict[str, str]:
    dropped = step.stats.get("dropped") or {}
    gone = ", ".join(f"{count:,} {cause}" for cause, count in dropped.items()) if isinstance(dropped, dict) else ""
    kept = step.stats.get("kept")
    return {
        "name": step.name,
        "stage": step.stage,
        "kept": "—" if kept is None else f"{kept:,}",
        "dropped": gone or "none",
        "minutes": f"{step.seconds / 60:.1f}",
        "digest": step.digest[:DIGEST],
    }


def _evaluations(origin: Origin) -> Iterator[dict[str, Any]]:
    """Tables of every evaluation in the run that this very model was part of."""
    for file in sorted(origin.run.glob("*/results.json")):
        config = read_json(file.parent / "config.json")["identity"]
        if config["inputs"].get(origin.step.name) != origin.step.digest:
            continue
        results = read_json(file)
        models = config["config"].get("models") or {}
        own = next((label for label, model in models.items() if model == origin.step.name), origin.step.name)
        for task in results["tasks"] if "tasks" in results else [results | {"title": "", "values": None}]:
            table = _table(task, list(results["labels"]))
            if table["rows"]:
                title = " · ".join(part for part in (file.parent.name, str(task["title"])) if part)
                yield table | {"title": title, "own": own, "judge": _judge(task)}


def _table(task: Mapping[str, Any], labels: list[str]) -> dict[str, Any]:
    rows = []
    for metric in task["metrics"]:
        by_label = metric.get("values") or {label: own.get(metric["key"]) for label, own in task["values"].items()}
        cells = [_figure(by_label.get(label), str(metric.get("unit") or "")) for label in labels]
        if any(cell != "—" for cell in cells):
            unit = metric.get("unit")
            rows.append([f"{metric['title']} ({unit})" if unit else metric["title"], *cells])
    return {"labels": labels, "rows": rows}


def _figure(figure: Mapping[str, Any] | None, unit: str) -> str:
    """`52.3 [36.4, 68.2]`; shares are told in hundredths."""
    if figure is None or figure.get("value") is None:
        return "—"
    scale, digits = (100.0, 1) if unit == "%" else (1.0, 3)
    value = f"{figure['value'] * scale:.{digits}f}"
    if figure.get("low") is None or figure.get("high") is None:
        return value
    return f"{value} [{figure['low'] * scale:.{digits}f}, {figure['high'] * scale:.{digits}f}]"


def _judge(task: Mapping[str, Any]) -> str:
    judge = task.get("judge")
    return str(judge.get("name") or judge.get("kind")) if isinstance(judge, dict) else str(judge or "")
