"""Which of lm-eval's tasks there are here, and what the Open LLM Leaderboard (its first version) made of them.

Prompts, scoring and answer patterns are those of the task files that lm-eval brings along; only where rows come from,
how many examples stand before a question, and which of them are drawn, is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

from favonius.evals.benchmarks.config import Harness
from favonius.evals.benchmarks.task import Metric
from favonius.evals.harness import shapes

EXAMPLES_SEED = 42
"""The leaderboard's, though lm-eval no longer draws the same examples with it."""
CHANCE = "Each question has four options: who knows nothing gets 25 %."


@dataclass(frozen=True)
class Measure:
    """A number per item: what lm-eval calls it, and after which of its filters."""

    metric: Metric
    theirs: str
    filter: str = "none"


@dataclass(frozen=True)
class Board:
    title: str
    files: str
    """lm-eval's task files, a pattern below its folder of tasks; a file is a part."""
    repository: str
    """Of the data on the hub."""
    part: str | None
    """Name of the one part in the data; None where there are several, named by what `*` stands for in `files`."""
    row: type[shapes.Arc | shapes.HellaSwag | shapes.Mmlu | shapes.TruthfulQA | shapes.MedConceptsQA | shapes.Gsm8k]
    questions: str
    """Split that is asked."""
    examples: str | None
    """Split that examples are taken from; None where the prompt holds its own."""
    shots: int
    measures: tuple[Measure, ...]
    notes: tuple[str, ...] = ()


_ACCURACY = Measure(Metric(key="accuracy", title="accuracy"), "acc")
_NORMED = (
    Measure(Metric(key="acc_norm", title="accuracy, likelihoods per character"), "acc_norm"),
    Measure(Metric(key="accuracy", title="accuracy, plain likelihoods"), "acc"),
)
_MC2 = Measure(Metric(key="mc2", title="probability of the true answers (mc2)"), "acc")
_NUMBERS = (
    Measure(Metric(key="exact", title="right number after ####"), "exact_match", "strict-match"),
    Measure(Metric(key="last_number", title="right number, the last in the answer"), "exact_match", "flexible-extract"),
)


def board(config: Harness) -> Board:
    match config.task:
        case "arc":
            return Board(
                "ARC Challenge", "arc/arc_challenge.yaml", "allenai/ai2_arc", "ARC-Challenge", shapes.Arc,
                "test", "train", 25, _NORMED,
            )  # fmt: skip
        case "hellaswag":
            return Board(
                "HellaSwag", "hellaswag/hellaswag.yaml", "Rowan/hellaswag", "default", shapes.HellaSwag,
                "validation", "train", 10, _NORMED,
            )  # fmt: skip
        case "mmlu":
            return Board(
                "MMLU", "mmlu/default/mmlu_*.yaml", "cais/mmlu", None, shapes.Mmlu, "test", "dev", 5, (_ACCURACY,)
            )
        case "truthfulqa":
            return Board(
                "TruthfulQA", "truthfulqa/truthfulqa_mc2.yaml", "truthfulqa/truthful_qa", "multiple_choice",
                shapes.TruthfulQA, "validation", None, 0, (_MC2,),
            )  # fmt: skip
        case "gsm8k-harness":
            return Board(
                "GSM8K", "gsm8k/gsm8k.yaml", "openai/gsm8k", "main", shapes.Gsm8k, "test", "train", 5, _NUMBERS
            )
        case "medconceptsqa":
            return Board(
                "MedConceptsQA", "med_concepts_qa/med_concepts_qa_*.yaml", "ofir408/MedConceptsQA", None,
                shapes.MedConceptsQA, "test", "dev", 4, (_ACCURACY,), (CHANCE,),
            )  # fmt: skip
