"""Which benchmarks, and on which data. No heavy imports: `favonius check` reads it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from favonius.engines.config import EngineConfig, Transformers
from favonius.judges.config import JudgeConfig
from favonius.run import FileRef, ModelRef, RowsRef, StageConfig, StepRef
from favonius.types import Noun, Sampling


class TaskConfig(Noun):
    """What all tasks have in common."""

    limit: int | None = Field(default=None, ge=1)
    """At most so many items (of each category, where a task has them), drawn with `seed`; None: all."""
    seed: int = 0


class MtBench(TaskConfig):
    """Two real turns, graded 1 to 10 by a judge (zephyr-spec §5.1)."""

    task: Literal["mt-bench"] = "mt-bench"
    questions: FileRef | None = None
    """FastChat's question.jsonl, or the folder that holds it with judge_prompts.jsonl and reference_answer/; None:
    FastChat's repository on the hub."""
    prompts: FileRef | None = None
    """The judge's prompts; None: those beside the questions, else our own, named as such."""
    references: FileRef | None = None
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
    """Rows of `instruction` and, where `baseline` is None, the reference's `output`; None: the published set on the hub."""
    baseline: ModelRef | None = None
    """A model that answers in the reference's place."""
    difficulty: FileRef | None = None
    judge: Annotated[RankingJudge | JudgeConfig, Field(union_mode="left_to_right")]
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
    wrappers: tuple[Literal["plain", "safety prompt", "role-play", "safety prompt and role-play"], ...] = (
        "plain",
        "safety prompt",
        "role-play",
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


class Preference(TaskConfig):
    """How often a model ranks held-out pairs as they were ranked, by log-prob and by implied reward, with margins."""

    task: Literal["preference"] = "preference"
    step: StepRef | None = None
    """A pairs step, whose test rows are used; or, instead:"""
    file: RowsRef | None = None
    """Pairs of any shape that data steps read."""
    reference: ModelRef | None = None
    """Against whose log-probs rewards are reckoned; None: log-probs alone."""
    beta: float = Field(default=0.1, gt=0)
    max_length: int = 1024


class Perplexity(TaskConfig):
    """Log-prob per token of held-out answers."""

    task: Literal["perplexity"] = "perplexity"
    step: StepRef | None = None
    """A step that makes dialogues, whose test rows are used; or, instead:"""
    file: RowsRef | None = None
    """Dialogues of any shape that data steps read."""
    max_length: int = 1024


class Health(TaskConfig):
    """Whether answers end, loop, leak role markers or are empty, and how long they are; asks its own prompts."""

    task: Literal["health"] = "health"
    step: StepRef | None = None
    """A step that makes dialogues, whose test rows' first questions are asked; or, instead:"""
    file: RowsRef | None = None
    """Prompts or dialogues of any shape that data steps read."""
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=256)


class Harness(TaskConfig):
    """A task of lm-eval by our own adapter (extra `harness`): the Open LLM Leaderboard of the paper, MedConceptsQA."""

    task: Literal["arc", "hellaswag", "mmlu", "truthfulqa", "gsm8k-harness", "medconceptsqa"]
    shots: int | None = Field(default=None, ge=0)
    """None: as on the leaderboard (25, 10, 5, 0, 5; MedConceptsQA 4)."""
    data: FileRef | None = None
    """A folder of local files in the data set's shape; None: the hub."""


AnyTask = Annotated[
    MtBench | AlpacaEval | IFEval | Safety | Gsm8k | Preference | Perplexity | Health | Harness,
    Field(discriminator="task"),
]


class BenchmarkConfig(StageConfig):
    """Stage `benchmark`: every task for every model, with paired comparisons against a baseline."""

    version: ClassVar[int] = 1

    stage: Literal["benchmark"] = "benchmark"
    models: dict[str, ModelRef] = Field(min_length=1)
    """Label → model, in the order of the table's columns."""
    baseline: str | None = None
    """Label of the model that the others are compared with; None: the first."""
    tasks: dict[str, AnyTask] = Field(min_length=1)
    """Name → task; the name is the task's folder."""
    engine: EngineConfig = Transformers()
    """Of the models."""
    training: tuple[StepRef, ...] = ()
    """Steps whose rows were trained on: each task says which of them hold its questions."""
