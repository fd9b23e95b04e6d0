"""`favonius ledger`: what a run asked, what it got and what it cost; export and pruning."""

from __future__ import annotations

import argparse
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from favonius.cli import ledger_tables as tables
from favonius.engines.ledger import Ledger
from favonius.engines.ledger_books import DOLLAR, FailedRequest, Row, Selection
from favonius.engines.ledger_view import LedgerView, is_of_now, looked_into
from favonius.errors import UserError, machine_failures
from favonius.files import json_text, read_json, replacing
from favonius.phrases import counted
from favonius.recipe.problems import choice
from favonius.run import StepFolder, locked
from favonius.types import Noun


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks. UserError where RUN has no ledger, or options name nothing or do not fit."""
    _refuse_misplaced(options)
    path = options.run / "ledger.sqlite"
    if not path.is_file():
        raise UserError(f"{options.run}: there is no ledger here; give the folder of a run that has asked a model")
    names = Names(options.run)
    if options.prune:
        with Ledger(path) as ledger:
            prune(ledger, _selection(options, ledger, names), options)
        return
    if not is_of_now(path):
        Ledger(path).close()  # brings it up to date
    with looked_into(path) as view:
        look(view, _selection(options, view, names), options, names)


def look(ledger: LedgerView, selection: Selection, options: argparse.Namespace, names: Names) -> None:
    """Export or tell what is selected."""
    if options.export is not None:
        count = export(ledger, selection, options.export, names)
        told = {"rows": count, "file": str(options.export)}
        _tell(told, f"{counted(count, 'row')}: {options.export}", options.json)
    elif options.failures:
        rows = [row_record(row, names) for row in ledger.failures(selection)]
        _tell(rows, tables.failures(rows), options.json)
    else:
        found = summary(ledger, selection, names)
        _tell(found, tables.summary(found), options.json)


class Names:
    """What people call the models whose digests a ledger holds: their names in the recipe, or of the training step."""

    def __init__(self, run: Path) -> None:
        file = run / "models.json"
        self._by_digest = {entry["digest"]: entry["name"] for entry in read_json(file)} if file.is_file() else {}
        for done in sorted(run.glob("*/done.json")):
            manifest = StepFolder(done.parent).manifest()
            if manifest is not None:
                self._by_digest[manifest.output_digest()] = done.parent.name

    def __call__(self, digest: str) -> str:
        """The beginning of the digest where the model is no longer part of the run."""
        return str(self._by_digest.get(digest, digest[:12]))


def summary(ledger: LedgerView, selection: Selection, names: Names) -> dict[str, Any]:
    """What is told of a ledger: the selected steps and models, money in dollars."""

    def records(rows: list[Any]) -> list[dict[str, Any]]:
        chosen = (row for row in rows if selection.step in (None, row.step) and selection.model in (None, row.model))
        return [_record(row._asdict(), names) for row in chosen]

    spend = records(ledger.spend())
    batches = records(ledger.batches())
    for batch in batches:
        batch["waiting"] = len(ledger.batch_requests(batch["token"]))
    return {
        "ledger": str(ledger.path),
        "bytes": ledger.path.stat().st_size,
        "dollars": sum(row["cost"] + row["lost"] + row["reserved"] for row in spend),
        "spend": spend,
        "failures": records(ledger.failure_causes()),
        "charges": records(ledger.charges()),
        "batches": batches,
    }


def export(ledger: LedgerView, selection: Selection, target: Path, names: Names) -> int:
    """Write requests with their answers, one a line, and return how many. The file is whole or stays as it was."""
    if not target.name.endswith((".jsonl", ".jsonl.gz")):
        raise UserError(f"--export {target}: the file's name must end in .jsonl or .jsonl.gz")
    count = 0
    with (
        machine_failures(target),
        replacing(target) as temporary,
        _opened(temporary, target.suffix == ".gz") as file,
    ):
        for row in ledger.rows(selection):
            file.write(json.dumps(row_record(row, names), ensure_ascii=False) + "\n")
            count += 1
    return count


def row_record(row: Row | FailedRequest, names: Names) -> dict[str, Any]:
    """A line of the export, or of the failures: request and completion as they are, dollars, seconds, when."""
    told = {name: value.model_dump(mode="json") for name, value in row._asdict().items() if isinstance(value, Noun)}
    return _record(row._asdict() | told, names)


def prune(ledger: Ledger, selection: Selection, options: argparse.Namespace) -> None:
    """Remove what is selected. UserError where --yes is missing, with what would go, and while a run is at work."""
    with locked(options.run):
        if not options.yes:
            going = tables.pruning(ledger.prunable(selection, options.failures_only))
            raise UserError(f"{options.run}: --prune removes {going}; add --yes to do it")
        gone = ledger.prune(selection, options.failures_only)
    record = {"answers": gone.answers, "failures": gone.failures, "cost": gone.cost / DOLLAR}
    _tell(record, f"removed {tables.pruning(gone)}", options.json)


def _record(row: dict[str, Any], names: Names) -> dict[str, Any]:
    """A row for people: models by name, money in dollars, times in ISO 8601."""
    for field in ("cost", "lost", "reserved"):
        if field in row:
            row[field] /= DOLLAR
    if "created" in row:
        row["created"] = datetime.fromtimestamp(row["created"], UTC).isoformat(timespec="seconds")
    return row | {"model": names(row["model"])}


def _selection(options: argparse.Namespace, ledger: LedgerView, names: Names) -> Selection:
    """The rows that options name; UserError where nothing in the ledger is called so."""
    spend = ledger.spend()
    steps = {row.step for row in spend}
    if options.step is not None and options.step not in steps:
        raise UserError(f"--step {options.step}: the ledger has no such step{choice(options.step, sorted(steps))}")
    return Selection(options.step, _model(options.model, {row.model for row in spend}, names), options.older_than)


def _model(asked: str | None, digests: set[str], names: Names) -> str | None:
    """The digest of the model called `asked`, or whose digest begins so."""
    if asked is None:
        return None
    found = [digest for digest in sorted(digests) if asked == names(digest) or (asked and digest.startswith(asked))]
    if len(found) != 1:
        why = "more than one model is called so" if found else "the ledger has no such model"
        raise UserError(f"--model {asked}: {why}{choice(asked, sorted(map(names, digests)))}")
    return found[0]


def _refuse_misplaced(options: argparse.Namespace) -> None:
    for name in ("older_than", "failures_only", "yes"):
        if getattr(options, name) and not options.prune:
            raise UserError(f"--{name.replace('_', '-')} goes with --prune only")
    if options.older_than is not None and not options.older_than >= 0:
        raise UserError(f"--older-than {options.older_than:g}: must be a number of days, 0 or more")


def _tell(record: Any, text: str, as_json: bool) -> None:
    print(json_text(record) if as_json else text)


def _opened(path: Path, packed: bool) -> IO[str]:
    return gzip.open(path, "wt", encoding="utf-8") if packed else open(path, "w", encoding="utf-8")
