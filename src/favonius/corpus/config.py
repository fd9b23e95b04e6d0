"""Config of stage `data`. No heavy imports: `favonius check` reads it."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from favonius.data.filters.config import AnyFilter, ExactDuplicates, NearDuplicates, Politeness, Truecase
from favonius.data.shapes import Shape
from favonius.run import RowsRef, StageConfig, StepRef
from favonius.types import Noun

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
CHANGING = (Truecase, Politeness)
"""Filters that write another text; only dialogues go through them."""
COMPARING = (ExactDuplicates, NearDuplicates)
"""Filters that look at rows beside the one in question."""
MADE_OF: dict[Shape, str] = {
    "messages": "dialogues",
    "sharegpt": "dialogues",
    "alpaca": "dialogues",
    "ultrachat": "dialogues",
    "preference": "pairs",
    "hh": "pairs",
    "kto": "labelled answers",
    "ultrafeedback": "rows of feedback",
    "prompts": "prompts",
}
"""What rows of each shape become; all sources of a step must become the same."""
StepFile = Literal["pairs.jsonl", "dialogues.jsonl", "labelled_answers.jsonl", "feedback.jsonl", "openings.jsonl"]
SHAPE_OF: dict[StepFile, Shape] = {
    "pairs.jsonl": "preference",
    "dialogues.jsonl": "messages",
    "labelled_answers.jsonl": "kto",
    "feedback.jsonl": "ultrafeedback",
    "openings.jsonl": "prompts",
}
"""The shape that comes nearest to the rows of each file that a step writes."""
FILES_OF: dict[str, tuple[StepFile, ...]] = {
    "openings": ("openings.jsonl",),
    "dialogues": ("dialogues.jsonl",),
    "ratings": ("feedback.jsonl",),
    "pairs": ("pairs.jsonl",),
    "best": ("dialogues.jsonl",),
    "constitution": ("pairs.jsonl", "dialogues.jsonl"),
    "data": tuple(SHAPE_OF),
}
"""Stage → files with rows that its steps may write; the first that is there is taken where none is named."""

_HUB = re.compile(r"hf://(?:datasets/)?[^/@\s]+/[^/@\s]+(?:@[^/@\s]+)?(?:/[^/\s]+)?")


class Source(Noun):
    """Rows from one place."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"rows"})

    path: RowsRef | None = None
    """A file of rows or a folder of such files (JSON, JSON lines, CSV, Parquet, Arrow), or ..."""
    hub: str | None = None
    """... a dataset on the hub, `hf://owner/name[@revision][/config]`. Without a revision a run that begins later may
    read other rows, and this step would not know; or ..."""
    step: StepRef | None = None
    """... an earlier step of this run, whose rows stay on the side of the split that it put them on."""
    file: StepFile | None = None
    """Which of its files, where the step writes several."""
    split: str | None = None
    """Only the files of this split, told from their names or the dataset's card."""
    shape: Shape | None = None
    """What the rows look like; without it the first of them tell."""
    fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    """Of this source, by a hash of the prompt: the rows of a smaller fraction are among those of a larger one."""
    weight: float | None = Field(default=None, gt=0.0)
    """Its share of the mixture beside the other weights. Give every source one, or none: then all rows are taken."""
    max_repeats: int = Field(default=1, ge=1)
    """In a weighted mixture, how often it may be gone through."""
    salvage: bool = False
    """Read the whole rows of broken files and count what is lost; without it such a file is refused."""
    rows: int | None = Field(default=None, ge=1)
    """Of a hub dataset, how many it has: for `favonius check`, which fetches nothing to count them."""
    held_out: bool = False
    """All its rows are held out, and rows of other sources that have the prompt of one of them are dropped."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(place is not None for place in (self.path, self.hub, self.step)) != 1:
            raise ValueError("name one of path (a file or folder), hub (hf://owner/name) and step (an earlier one)")
        if self.step is None and self.file is not None:
            raise ValueError("file is for the rows of a step; a file of your own is a path")
        if self.step is not None and (self.split is not None or self.shape is not None or self.salvage):
            raise ValueError("split, shape and salvage are for files; rows of a step are known")
        if self.hub is not None and not _HUB.fullmatch(self.hub):
            raise ValueError(f"{self.hub}: write a hub dataset as hf://owner/name[@revision][/config]")
        if self.rows is not None and self.hub is None:
            raise ValueError("rows of a source says how many a hub dataset has; those of files and steps are counted")
        if self.held_out and (self.weight is not None or self.max_repeats > 1):
            raise ValueError("a held-out source is taken whole and once; leave weight and max_repeats out")
        return self

    @property
    def name(self) -> str:
        """As the recipe has it."""
        return str(self.path or self.hub or self.step)

    @property
    def places_its_rows(self) -> bool:
        """Whether it says itself which of its rows are held out, and not a hash of their prompts."""
        return self.held_out or self.step is not None


class DataConfig(StageConfig):
    """Sources → filters → one mixture, split by prompt: rows of the user's own, or published ones.

    A row is held out or not by a hash of its prompt, whatever its own data set says: what opens alike stays together,
    and rows that are added later move no other to the other side. Only rows of an earlier step stay where that step has
    them, and rows of other sources with one of their prompts are left out where they would be on the other side.
    """

    version: ClassVar[int] = 2
    not_identity: ClassVar[frozenset[str]] = StageConfig.not_identity | {"processes"}
    ordered: ClassVar[frozenset[str]] = frozenset({"sources"})

    stage: Literal["data"] = "data"
    sources: dict[SourceName, Source] = Field(min_length=1)
    """Name → where rows come from. Among duplicates the earlier source keeps its row; held-out sources come first."""
    filters: tuple[AnyFilter, ...] = ()
    """Gone through in this order by every row; but those that look for duplicates come last, whatever their place, so
    that nothing is dropped for being like what was itself dropped."""
    rows: int | None = Field(default=None, ge=1)
    """How many rows to take in all, a `test_share` of them held out; held-out sources are not counted. Without it,
    all rows, or in a weighted mixture as many as there are until a source `end`s it."""
    end: Literal["first", "last"] = "first"
    """A weighted mixture ends with the `first` source that has nothing left, so that the weights hold throughout, or
    goes on without it until the `last`."""
    test_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Of prompts that are held out; raising it later moves some to the held-out side and none back."""
    seed: int = 0
    """Of the order of rows and of the fractions."""
    processes: int | None = Field(default=None, ge=1)
    """That filter at the same time; without it one for a small file, else one for each core."""

    @property
    def weighted(self) -> bool:
        return any(source.weight is not None for source in self.sources.values())

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        mixed = {name: source for name, source in self.sources.items() if not source.held_out}
        without = [name for name, source in mixed.items() if source.weight is None]
        if self.weighted and without:
            raise ValueError(f"the source {without[0]} has no weight and others have; give all of them one, or none")
        repeated = [name for name, source in mixed.items() if source.max_repeats > 1]
        if not self.weighted and (repeated or "end" in self.model_fields_set):
            raise ValueError("max_repeats and end are for mixtures by weights; give the sources weights")
        return self

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        stated = {name: source.shape for name, source in self.sources.items() if source.shape is not None}
        if problem := unlike(stated) or unchangeable(stated, self.filters):
            raise ValueError(problem)
        return self


def unlike(shapes: dict[str, Shape]) -> str | None:
    """A sentence that names two sources (name → shape) whose rows become different things, where there are two."""
    if not shapes:
        return None
    first, *others = shapes
    other = next((name for name in others if MADE_OF[shapes[name]] != MADE_OF[shapes[first]]), None)
    if other is None:
        return None
    return (
        f"rows of {first} ({shapes[first]}) become {MADE_OF[shapes[first]]} and rows of {other} ({shapes[other]}) "
        f"become {MADE_OF[shapes[other]]}; put them into two data steps"
    )


def unchangeable(shapes: dict[str, Shape], filters: tuple[AnyFilter, ...]) -> str | None:
    """A sentence where a filter would write another text into rows that are no dialogues."""
    changing = next((entry for entry in filters if isinstance(entry, CHANGING)), None)
    name = next((name for name, shape in shapes.items() if MADE_OF[shape] != "dialogues"), None)
    if changing is None or name is None:
        return None
    return (
        f"the filter {changing.kind} changes texts, and {MADE_OF[shapes[name]]} of {name} must stay as they were "
        "judged or asked; leave the filter out"
    )
