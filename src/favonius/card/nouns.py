"""What card.json says. Nothing in it names a folder, a server or a user of the machine that wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from favonius.errors import UserError
from favonius.files import require_file, write_json
from favonius.machine import Machine
from favonius.report.gather import Estimate, Metric
from favonius.types import Noun, digest

KIND: Literal["favonius run card"] = "favonius run card"
SCHEMA: Literal[1] = 1
MOST_PROBLEMS = 3


class InputFile(Noun):
    """A file that steps read, or a folder of files."""

    name: str
    """As the card's recipe calls it: relative, and never upwards."""
    sha256: str
    """Of a file its content's; of a folder that of the names and contents in it (`files.sha256_path`)."""
    size: int | None
    """Bytes; None where it was gone, or another, when the card was written."""
    read_by: tuple[str, ...]
    """Steps; or models, of which it is the chat template."""
    content: str | None = None
    """The text itself, of small files of the recipe's folder."""


class CardModel(Noun):
    """Weights that the run began with, or a model that it only talked to."""

    name: str
    source: str
    template: str
    terms: str | None
    digest: str
    local: bool
    """Whether `source` was a file or a folder of the machine; the card's recipe then has a relative name for it."""
    roles: tuple[str, ...]
    """Such as `base of dsft` and `teacher of dialogues`."""


class FilterCount(Noun):
    """What one filter did, in rows."""

    name: str
    seen: int
    changed: int
    dropped: int


class CardStep(Noun):
    """One step. `config`, `inputs` and `identity` are None, {} and None where it was never begun."""

    name: str
    stage: str
    state: Literal["done", "unfinished", "not started", "left out"]
    version: int | None = None
    config: dict[str, Any] | None = None
    """All that its result depends on, defaults included."""
    inputs: dict[str, str] = Field(default={})
    """Digest of each model, step and file that it names."""
    identity: str | None = None
    """Digest of stage, version, config and inputs, its files named as the card's recipe names them."""
    outputs: dict[str, str] = Field(default={})
    """sha256 of each file that it made."""
    output_digest: str | None = None
    read: int | None = None
    """Rows that came in, where its stage counts them."""
    kept: int | None = None
    dropped: dict[str, int] = Field(default={})
    """By cause."""
    filters: tuple[FilterCount, ...] = ()
    tokens: int | None = None
    seconds: float | None = None
    attempts: int = 0
    finished_at: str | None = None
    versions: dict[str, str] = Field(default={})
    machine: Machine | None = None
    left_open: tuple[str, ...] = ()
    """Why a step that is done has more to do."""


class Asked(Noun):
    """What one step asked of one model, by the run's ledger. Dollars include what was paid and lost."""

    step: str
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    unanswered: int
    dollars: float


class Finding(Noun):
    """A sentence on a judge; `flag` says in a word what is the matter, where something is."""

    topic: str
    sentence: str
    flag: str = ""


class JudgeFigure(Noun):
    title: str
    value: float
    low: float
    high: float
    n: int


class Judge(Noun):
    """The judge card of a ratings step."""

    step: str
    judge: str
    kind: str
    template: str | None
    """Digest of the prompts that it was asked with."""
    answers: int
    findings: tuple[Finding, ...]
    figures: tuple[JudgeFigure, ...]


class CardMetric(Metric):
    """A line of a table, as the page has it; a card may hold nothing else, though."""

    model_config = ConfigDict(extra="forbid")


class Against(Noun):
    """A model less the baseline on one metric, paired by question."""

    label: str
    metric: str
    difference: Estimate
    told_apart: bool


class Contamination(Noun):
    """How many of a task's questions stand in the training rows of the steps `checked`."""

    checked: tuple[str, ...]
    questions: int
    overlapping: int


class MeasuredModel(Noun):
    name: str
    """Of a step or a model of the recipe."""
    digest: str | None
    """Of the weights that were measured; None where its records do not tell."""


class Evaluation(Noun):
    """A table of one evaluate step, or of one task of a benchmark step."""

    step: str
    task: str
    """Empty of an evaluate step."""
    kind: str
    title: str
    judge: str
    judge_is_teacher: bool
    baseline: str | None
    models: dict[str, MeasuredModel]
    """By label, in the table's order."""
    metrics: tuple[CardMetric, ...]
    against: tuple[Against, ...] = ()
    left_out: dict[str, dict[str, int]] = Field(default={})
    """By label and cause."""
    contamination: Contamination | None = None
    notes: tuple[str, ...] = ()


class PublishedRow(Noun):
    model: str
    values: dict[str, tuple[float, ...]]
    """By column: the number, and its standard error where the paper gives one."""


class PublishedTable(Noun):
    """Rows copied from the paper for reference: nothing in them was measured by this run."""

    title: str
    note: str
    columns: dict[str, str]
    rows: tuple[PublishedRow, ...]


def _one_folder(name: str) -> str:
    """A replay makes a folder of this name."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise ValueError("must be the name of one folder")
    return name


class RunCard(Noun):
    """A whole run. Two cards can be held against each other (`favonius replay`)."""

    kind: Literal["favonius run card"] = KIND
    schema_version: Literal[1] = SCHEMA
    favonius: str
    name: Annotated[str, AfterValidator(_one_folder)]
    finished_at: str | None
    """When the last step did."""
    with_ablations: bool
    recipe: str
    """YAML, overrides applied; private paths replaced by relative names, addresses and secrets by `(hidden)`."""
    files: tuple[InputFile, ...]
    models: tuple[CardModel, ...]
    steps: tuple[CardStep, ...]
    seeds: dict[str, int]
    """By their places in the steps' configs."""
    asked: tuple[Asked, ...]
    dollars: float
    judges: tuple[Judge, ...]
    evaluations: tuple[Evaluation, ...]
    published: tuple[PublishedTable, ...]
    limits: tuple[str, ...]
    """What is known to be weak in this run, in sentences."""

    def step(self, name: str) -> CardStep | None:
        return next((step for step in self.steps if step.name == name), None)

    def model(self, name: str) -> CardModel | None:
        return next((model for model in self.models if model.name == name), None)

    def done(self) -> tuple[CardStep, ...]:
        return tuple(step for step in self.steps if step.state == "done")

    def digest(self) -> str:
        return digest(self.model_dump(mode="json"))


def write_card(file: Path, card: RunCard) -> None:
    write_json(file, card.model_dump(mode="json"))


def read_card(file: Path) -> RunCard:
    """UserError where `file` is no run card of this schema."""
    require_file(file)
    try:
        return RunCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{file}: this is no run card of schema {SCHEMA} ({_amiss(error)}); give a card.json that `favonius card` "
            "wrote, or use the version of favonius that wrote this one"
        ) from None


def _amiss(error: ValidationError) -> str:
    """What keeps a file from being a card, in a few words."""
    places = [".".join(map(str, one["loc"])) for one in error.errors()]
    if not places[0]:
        return "it is not one JSON object"
    more = ", …" if len(places) > MOST_PROBLEMS else ""
    return f"wrong or missing: {', '.join(places[:MOST_PROBLEMS])}{more}"
