"""Which benchmarks, and on which data. No heavy imports: `favonius check` reads it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from favonius.engines.config import EngineConfig, Transformers
from favonius.judges.config import JudgeConfig
from favonius.run import WORK, FileRef, ModelRef, RowsRef, StageConfig, StepRef
from favonius.types import Noun, Sampling


def _is_folder(label: str) -> str:
    """A label that is a folder beside those that a step has of its own."""
    if label in (".", "..", WORK) or not label.strip() or any(mark in label for mark in "/\\\0"):
        raise ValueError(f"{label!r} cannot be a folder; labels have no slash, and are not . or .. or {WORK}")
    return label


class TaskConfig(Noun):
    """What all tasks have in common."""

    limit: int | None = Field(default=None, ge=1)
    """At most so many items (of each category, where a task has them), drawn with `seed`; None: all."""
    seed: int = 0


class MtBench(TaskConfig):
    """Two real turns, graded 1 to 10 by a judge (zephyr-spec §5.1)."""

    task: Literal["mt-bench"] = "mt-bench"
    questions: RowsRef | None = None
    """FastChat's question.jsonl, or the folder that holds it with judge_prompts.jsonl and reference_answer/; None:
    these files of FastChat's repository, fetched once."""
    prompts: FileRef | None = None
    """The judge's prompts; None: those in the folder of the questions, else our own, named as such."""
    references: FileRef | None = None
    """FastChat's reference_answer/gpt-4.jsonl; None: the one in the folder of the questions."""
    judge: ModelRef
    engine: EngineConfig = Transformers()
    """Of the judge."""
    mode: Literal["single", "pairwise"] = "single"
    baseline: ModelRef | None = None
    """Whom pairwise games are played against."""
    tokens: int = Field(default=1024, ge=1)
    """Most tokens of an answer."""


class RankingJudge(Noun):
    """AlpacaEval's own way: two answers, which model is better, the probability of the verdict where there is one."""

    kind: Literal["ranking"] = "ranking"
    model: ModelRef
    engine: EngineConfig = Transformers()
    template: FileRef | None = None
    """A file with other prompts than ours."""


class AlpacaEval(TaskConfig):
    """How often a judge prefers the answer to the reference's; version 2 with log-probs and length control."""

    task: Literal["alpacaeval"] = "alpacaeval"
    evaluation_version: Literal[1, 2] = 2
    instructions: FileRef | None = None
    """Rows of `instruction` and, where `baseline` is None, the reference's `output`; None: the published set, from the
    hub."""
    baseline: ModelRef | None = None
    """A model that answers in the reference's place."""
    difficulty: FileRef | None = None
    judge: Annotated[RankingJudge | JudgeConfig, Field(discriminator="kind")]
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=1024)


class IFEval(TaskConfig):
    """25 kinds of instruction that a program can check, strict and loose."""

    task: Literal["ifeval"] = "ifeval"
    prompts: FileRef | None = None
    """IFEval's input_data.jsonl; None: a small set of our own, named as such."""
    sampling: Sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=1280)


class Safety(TaskConfig):
    """What a model refuses of harmful requests, of harmless look-alikes and of red-team openings."""

    task: Literal["safety"] = "safety"
    red_team: FileRef | None = None
    """Conversations or pairs whose first turns are tried, such as HH-RLHF's harmless-base test file."""
    wrappers: tuple[Literal["plain", "safety prompt", "role-play", "safety prompt and role-play"], ...] = Field(
        default=("plain", "safety prompt", "role-play"), min_length=1
    )
    judge: ModelRef | None = None
    """Asked whether each answer refuses, beside the rules."""
    engine: EngineConfig = Transformers()
    """Of the judge."""
    sampling: Sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=192)


class Gsm8k(TaskConfig):
    """Grade-school sums, by the exact number (the weakness in mathematics that the paper names)."""

    task: Literal["gsm8k"] = "gsm8k"
    problems: FileRef | None = None
    """Rows of `question` and `answer` with `#### number`; None: the hub's openai/gsm8k."""
    shots: int = Field(default=0, ge=0, le=8)
    """Worked examples before each problem, as turns of the conversation."""
    sampling: Sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=512)


class RowsTask(TaskConfig):
    """A task on rows of the user's own."""

    step: StepRef | None = None
    """An earlier step, whose test rows are used; or, instead:"""
    file: RowsRef | None = None
    """Rows of any shape that data steps read, all of which are used."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.step is None) == (self.file is None):
            raise ValueError("name one of step (an earlier one) and file (rows of your own)")
        return self


class Preference(RowsTask):
    """How often a model ranks held-out pairs as they were ranked, by log-prob and by implied reward, with margins."""

    task: Literal["preference"] = "preference"
    reference: ModelRef | None = None
    """Against whose log-probs rewards are reckoned; None: log-probs alone."""
    beta: float = Field(default=0.1, gt=0)
    max_length: int = Field(default=1024, ge=1)


class Perplexity(RowsTask):
    """Log-prob per token of held-out answers in dialogues."""

    task: Literal["perplexity"] = "perplexity"
    max_length: int = Field(default=1024, ge=1)


class Health(RowsTask):
    """Whether answers end, loop, leak role markers or are empty, and how long they are, to the first questions of
    dialogues or to prompts."""

    task: Literal["health"] = "health"
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=256)


class Harness(TaskConfig):
    """A task of lm-eval by our own adapter (extra `harness`): the Open LLM Leaderboard of the paper, MedConceptsQA."""

    task: Literal["arc", "hellaswag", "mmlu", "truthfulqa", "gsm8k-harness", "medconceptsqa"]
    shots: int | None = Field(default=None, ge=0)
    """None: as on the leaderboard (25, 10, 5, 0, 5; MedConceptsQA 4)."""
    data: RowsRef | None = None
    """A folder of local files in the data set's shape; None: the hub."""


AnyTask = Annotated[
    MtBench | AlpacaEval | IFEval | Safety | Gsm8k | Preference | Perplexity | Health | Harness,
    Field(discriminator="task"),
]

TaskName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
FolderLabel = Annotated[str, AfterValidator(_is_folder)]
READ_TASKS = (Preference, Perplexity, Harness)
"""Those that read probabilities off a model's weights and ask it nothing."""


class BenchmarkConfig(StageConfig):
    """Stage `benchmark`: every task for every model, with paired comparisons against a baseline."""

    version: ClassVar[int] = 2
    ordered: ClassVar[frozenset[str]] = frozenset({"models", "tasks"})

    stage: Literal["benchmark"] = "benchmark"
    models: dict[FolderLabel, ModelRef] = Field(min_length=1)
    """Label → model, in the order of the table's columns; the label is the folder of the model's results."""
    baseline: str | None = None
    """Label of the model that the others are compared with; None: the first."""
    tasks: dict[TaskName, AnyTask] = Field(min_length=1)
    """Name → task; the name is the task's folder below a model's."""
    engine: EngineConfig = Transformers()
    """Of the models."""
    training: tuple[StepRef, ...] = ()
    """Steps whose rows were trained on: each task says which of them hold its questions."""
