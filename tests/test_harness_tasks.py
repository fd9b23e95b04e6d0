"""The leaderboard's tasks over local rows, by lm-eval and our adapter."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from favonius.engines.config import Transformers
from favonius.errors import FavoniusError, UserError
from favonius.evals.benchmarks.config import Harness
from favonius.evals.benchmarks.task import Desk, Scored
from favonius.progress import Progress
from favonius.run import Context, Inputs, ModelSource
from tests.tiny import save_tiny, tiny_model

pytest.importorskip("lm_eval")

from favonius.evals.harness.boards import board
from favonius.evals.harness.shapes import HellaSwag
from favonius.evals.harness.task import HarnessTask


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def quiet() -> Progress:
    return Progress(io.StringIO())


QUESTION = "How does the fox answer question {n}?"


def row(task: str, n: int) -> dict[str, Any]:
    question = QUESTION.format(n=n)
    match task:
        case "arc":
            choices = {"text": ["a fox", "the brown fox", "weather", f"another {n}"], "label": list("ABCD")}
            return {"id": f"q{n}", "question": question, "choices": choices, "answerKey": "ABCD"[n % 4]}
        case "hellaswag":
            endings = ["the quick fox.", "a question [step] about it.", "then another.", "weather."]
            return {
                "activity_label": "Foxes",
                "ctx_a": question,
                "ctx_b": "the fox",
                "endings": endings,
                "label": str(n % 4),
            }
        case "mmlu":
            return {"question": question, "choices": ["a", "b", "c", "d"], "answer": n % 4, "subject": "x"}
        case "truthfulqa":
            return {"question": question, "mc2_targets": {"choices": ["yes", "the fox", "no"], "labels": [1, 1, 0]}}
        case "medconceptsqa":
            return {"question": f"{question}\nA. a\nB. b\nC. c\nD. d", "answer_id": "ABCD"[n % 4], "level": "easy"}
        case _:
            return {"question": question, "answer": f"It is {n}.\n#### {n}"}


def write(folder: Path, task: str, split: str, count: int, **changes: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({**row(task, n), **changes}) for n in range(count)]
    (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


SPLITS = {
    "arc": ("test", "train"), "hellaswag": ("validation", "train"), "mmlu": ("test", "dev"),
    "truthfulqa": ("validation", "train"), "gsm8k-harness": ("test", "train"), "medconceptsqa": ("test", "dev"),
}  # fmt: skip


def data(folder: Path, task: str, asked: int = 6) -> Path:
    """Local rows in the data set's shape."""
    parts = {"mmlu": ("anatomy", "virology"), "medconceptsqa": ("atc_easy", "icd9cm_hard")}.get(task, (".",))
    for part in parts:
        write(folder / part, task, SPLITS[task][0], asked if part != "virology" else 2)
        write(folder / part, task, SPLITS[task][1], 8)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    folder = save_tiny(tmp_path_factory.mktemp("model"))
    return ModelSource("tiny", folder, "tiny")


def opened(folder: Path, task: Any, **options: Any) -> HarnessTask:
    config = Harness(task=task, data="rows", **options)  # type: ignore[arg-type]
    return HarnessTask.of(config, Inputs({}, {}, {"rows": folder}))


def measured(task: HarnessTask, model: ModelSource, out: Path) -> Scored:
    desk = Desk(Context(out, quiet()), Inputs({}, {}, {}), "tiny", out, Transformers())
    return task.measured(model, desk)


@pytest.mark.parametrize("task", list(SPLITS))
def test_a_task_over_local_rows(task: str, model: ModelSource, tmp_path: Path) -> None:
    shots = None if task == "truthfulqa" else 2
    opening = opened(data(tmp_path / "rows", task), task, shots=shots)
    found = measured(opening, model, tmp_path)
    whole = 6 if task not in ("mmlu", "medconceptsqa") else 8 if task == "mmlu" else 12
    assert len(found.rows) == whole == len(opening.texts)
    assert len({one.id for one in found.rows}) == whole
    keys = {metric.key for metric in opening.metrics}
    for one in found.rows:
        assert set(one.scores) == keys
        assert all(score is not None and 0 <= score <= 1 for score in one.scores.values())
        assert "How does the fox answer question" in one.prompt and len(one.answers) == 1
    assert not list(tmp_path.glob("*.sqlite*"))
    assert ("MedConceptsQA" in opening.title) == any("25 %" in note for note in found.notes)


def test_training_data_is_searched_for_the_words_of_a_question_alone(tmp_path: Path) -> None:
    """A label and marks that only the data set has would hide a short question."""
    rows = [{**row("hellaswag", n), "ctx_a": f"[header] How to run [title] Breathe {n}."} for n in range(6)]
    assert [HellaSwag.model_validate(one).sought for one in rows[:2]] == [
        "How to run Breathe 0. the fox", "How to run Breathe 1. the fox"
    ]  # fmt: skip
    assert HellaSwag.model_validate(rows[0]).shown == "Foxes: [header] How to run [title] Breathe 0. the fox"
    assert (
        opened(data(tmp_path / "rows", "hellaswag"), "hellaswag", shots=0).texts[0] == f"{QUESTION.format(n=0)} the fox"
    )


def test_a_model_that_reads_nothing_scores_nothing(tmp_path: Path) -> None:
    """Of NaNs the first would be the likeliest choice."""
    broken = tiny_model("llama")
    broken.get_input_embeddings().weight.data.fill_(math.nan)
    broken.save_pretrained(save_tiny(tmp_path / "model"))
    found = measured(
        opened(data(tmp_path / "rows", "arc"), "arc", shots=0), ModelSource("nan", tmp_path / "model", "nan"), tmp_path
    )
    assert all(score is None for one in found.rows for score in one.scores.values())
    assert "NaN" in str(found.rows[0].note)


def test_arc_scores_are_reckoned_from_the_log_likelihoods(model: ModelSource, tmp_path: Path) -> None:
    """By hand, with transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(model.folder, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    found = measured(opened(data(tmp_path / "rows", "arc"), "arc", shots=0), model, tmp_path)
    for n, one in enumerate(found.rows):
        example = row("arc", n)
        values = []
        for choice in example["choices"]["text"]:
            context = f"Question: {example['question']}\nAnswer:"
            ids, start = tokenizer.encode(f"{context} {choice}"), len(tokenizer.encode(context))
            with torch.no_grad():
                logps = theirs(torch.tensor([ids])).logits[0].log_softmax(-1)
            values.append(sum(float(logps[place - 1, ids[place]]) for place in range(start, len(ids))))
        normed = [value / len(choice) for value, choice in zip(values, example["choices"]["text"], strict=True)]
        assert one.scores["accuracy"] == float(values.index(max(values)) == n % 4)
        assert one.scores["acc_norm"] == float(normed.index(max(normed)) == n % 4)
        assert one.answers == (example["choices"]["text"][normed.index(max(normed))],)


def test_subjects_count_alike(model: ModelSource, tmp_path: Path) -> None:
    found = measured(opened(data(tmp_path / "rows", "mmlu"), "mmlu", shots=1), model, tmp_path)
    weight = {one.category: 0.0 for one in found.rows}
    for one in found.rows:
        weight[one.category] += one.weights["accuracy"]
    assert set(weight) == {"anatomy", "virology"}
    assert weight["anatomy"] == pytest.approx(weight["virology"])
    assert any("2 of the 57 parts" in note for note in found.notes)
    assert found.protocol["mean"] == "over parts, each counting alike"


def test_a_limit_draws_the_same_of_each_part(tmp_path: Path) -> None:
    folder = data(tmp_path, "medconceptsqa")
    first, again, other = (opened(folder, "medconceptsqa", limit=3, seed=seed).parts for seed in (0, 0, 1))
    places = [[[place for place, _ in part.questions] for part in parts] for parts in (first, again, other)]
    assert [len(own) for own in places[0]] == [3, 3]
    assert places[0] == places[1] != places[2]


def test_a_run_that_was_killed_asks_only_the_rest(
    model: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from favonius.trees import continuations

    task = opened(data(tmp_path / "rows", "arc"), "arc", shots=1)
    monkeypatch.setattr("favonius.evals.harness.adapter.PACK_TOKENS", 64)
    real, packs = continuations._read_pack, []

    def dies(*args: Any) -> Any:
        packs.append(1)
        if len(packs) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(continuations, "_read_pack", dies)
    with pytest.raises(KeyboardInterrupt):
        measured(task, model, tmp_path)
    resumed = measured(task, model, tmp_path)
    (tmp_path / "new").mkdir()
    whole = measured(task, model, tmp_path / "new")
    assert [one.scores for one in resumed.rows] == [one.scores for one in whole.rows]
    assert resumed.protocol["tokens_run"] < whole.protocol["tokens_run"]


def test_parquet_and_the_hubs_folders(model: ModelSource, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    folder = tmp_path / "rows" / "ARC-Challenge"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        rows = [row("arc", n) for n in range(4)]
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")
    assert len(measured(opened(tmp_path / "rows", "arc", shots=2), model, tmp_path).rows) == 4


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ("arc", {"answerKey": "E"}, "line 1: .*answerKey one of them"),
        ("hellaswag", {"label": ""}, "line 1: label"),
        ("mmlu", {"answer": 4}, "line 1: answer"),
        ("truthfulqa", {"mc2_targets": {"choices": ["a"], "labels": [0]}}, "line 1: mc2_targets"),
        ("medconceptsqa", {"answer_id": "a"}, "line 1: answer_id"),
        ("gsm8k-harness", {"answer": "72"}, "line 1: answer"),
    ],
)
def test_rows_of_another_shape_are_named(task: str, changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = data(tmp_path, task)
    part = {"mmlu": "anatomy", "medconceptsqa": "atc_easy"}.get(task, ".")
    write(folder / part, task, SPLITS[task][0], 2, **changes)
    with pytest.raises(UserError, match=said):
        opened(folder, task, shots=0)


def test_what_cannot_be_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="25 examples are to stand before each question"):
        opened(data(tmp_path / "arc", "arc"), "arc")
    with pytest.raises(UserError, match="brings its own examples"):
        opened(data(tmp_path / "true", "truthfulqa"), "truthfulqa", shots=3)
    with pytest.raises(UserError, match="folders named abstract_algebra"):
        opened(data(tmp_path / "flat", "arc"), "mmlu")
    monkeypatch.setattr("favonius.evals.harness.parts.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'favonius\[harness\]'"):
        opened(data(tmp_path / "arc", "arc"), "arc")


def test_a_hub_out_of_reach_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub's client raises where there is no network is its HTTP library's own error."""

    def unreachable(*args: Any, **options: Any) -> None:
        raise HfHubHTTPError.__bases__[0]("Name or service not known")

    monkeypatch.setattr(HfApi, "dataset_info", unreachable)
    with pytest.raises(FavoniusError, match=r"Name or service not known.*give a local folder"):
        HarnessTask.of(Harness(task="arc"), Inputs({}, {}, {}))


def test_shots_are_the_leaderboards() -> None:
    shots = {task: board(Harness(task=task)).shots for task in SPLITS}  # type: ignore[arg-type]
    assert shots == {
        "arc": 25, "hellaswag": 10, "mmlu": 5, "truthfulqa": 0, "gsm8k-harness": 5, "medconceptsqa": 4,
    }  # fmt: skip
