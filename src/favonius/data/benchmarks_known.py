"""Evaluation sets as lists of texts that no training row may hold: six by name, any other from a file.

A set is named in one string: `gsm8k` (fetched from the hub), `gsm8k=evals/test.jsonl` or `ours=evals/questions.csv`
(any source of `sources.open_rows`). What a row holds is seen by its fields:

    turns, prompt, instruction, question, Question, messages    the prompt: a text, a list of turns, or chat messages
    canonical_solution (beside prompt)                          HumanEval, see `handbook_texts`
    question_id, prompt_id, task_id, key, id                    the item's name; else its line in the file
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from favonius.data.raw import RawRow
from favonius.data.sources import open_rows
from favonius.errors import FavoniusError, UserError, brief

Rule = Literal["prompt", "substring"]
PROMPT_FIELDS = ("turns", "prompt", "instruction", "question", "Question", "messages")
NAME_FIELDS = ("question_id", "prompt_id", "task_id", "key", "id")
SOLUTION_FIELD = "canonical_solution"
TRIVIAL_SOLUTIONS = frozenset(
    {"returnx+y", "returnlen(string)", "returnn**2", "return''.join(strings)", 'return"".join(strings)'}
)
"""HumanEval solutions that anybody may write, without their white space: the handbook's list, whose last one never
matched there for a slip of quotes."""


@dataclass(frozen=True, slots=True)
class EvaluationText:
    """A text of an evaluation set, and the rule by which training rows are searched for it (see `decontaminate`)."""

    benchmark: str
    item: str
    text: str
    rule: Rule = "prompt"


@dataclass(frozen=True, slots=True)
class HubPlace:
    """Where a benchmark lies on the hub."""

    spec: str
    split: str


KNOWN = {
    "mt_bench": HubPlace("hf://HuggingFaceH4/mt_bench_prompts", "train"),
    "alpaca_eval": HubPlace("hf://tatsu-lab/alpaca_eval/alpaca_eval", "eval"),
    "ifeval": HubPlace("hf://google/IFEval", "train"),
    "truthful_qa": HubPlace("hf://truthfulqa/truthful_qa/generation", "validation"),
    "gsm8k": HubPlace("hf://openai/gsm8k/main", "test"),
    "humaneval": HubPlace("hf://openai/openai_humaneval", "test"),
}


def read_benchmark(spec: str) -> list[EvaluationText]:
    """The texts of `name` or `name=source`, each once. UserError, with the way to give a file, where there are none."""
    name, _, source = spec.partition("=")
    rows = open_rows(source) if source else _hub_rows(name)
    texts = {(text.rule, text.text): text for row in rows for text in texts_of(row, name)}
    if not texts:
        raise UserError(f"{source or name}: there is not one row to keep training data clear of")
    return list(texts.values())


def texts_of(row: RawRow, benchmark: str) -> Iterator[EvaluationText]:
    """The evaluation texts of one row. UserError where its prompt is not found."""
    value = row.value
    named = next((str(value[field]) for field in NAME_FIELDS if value.get(field) is not None), _line(row.place))
    turns = _turns(row)
    if SOLUTION_FIELD in value:
        yield from handbook_texts(row, benchmark, named, turns)
        return
    for number, turn in enumerate(turns, start=1):
        if turn.strip():
            yield EvaluationText(benchmark, named if len(turns) == 1 else f"{named}, turn {number}", turn)


def handbook_texts(row: RawRow, benchmark: str, named: str, turns: list[str]) -> Iterator[EvaluationText]:
    """What the alignment handbook kept out of its data for HumanEval: the docstring, and the solution if not trivial.

    The docstring is searched for as a prompt too, which finds it with other punctuation.
    """
    docstring = _docstring(turns[0], row.place)
    yield EvaluationText(benchmark, named, docstring)
    yield EvaluationText(benchmark, named, docstring, "substring")
    solution = str(row.value[SOLUTION_FIELD])
    if solution.strip() and "".join(solution.split()) not in TRIVIAL_SOLUTIONS:
        yield EvaluationText(benchmark, named, solution, "substring")


def _docstring(code: str, place: str) -> str:
    """The docstring of the function to be completed, which is the second one where a helper stands before it."""
    for quotes in ('"""', "'''"):
        pieces = code.split(quotes)
        if len(pieces) in (3, 5):
            return pieces[-2].strip()
    raise UserError(f"{place}: one docstring, or two, was expected in prompt; mend the row or leave this benchmark out")


def _turns(row: RawRow) -> list[str]:
    field = next((field for field in PROMPT_FIELDS if row.value.get(field)), None)
    found = row.value[field] if field else None
    match found:
        case str():
            return [found]
        case [str(), *_]:
            return [str(turn) for turn in found]
        case [{"role": _, "content": _}, *_]:
            return [str(message["content"]) for message in found if message["role"] == "user"]
        case _:
            raise UserError(
                f"{row.place}: no prompt to be kept out of training was found; the keys are {_keys(row.value)}, "
                f"known are {', '.join(PROMPT_FIELDS)}"
            )


def _line(place: str) -> str:
    """`evals/test.jsonl, line 3` → `line 3`"""
    return place.rpartition(", ")[2]


def _keys(value: dict[str, Any]) -> str:
    return ", ".join(value) or "none"


def _hub_rows(name: str) -> Iterator[RawRow]:
    if name not in KNOWN:
        raise UserError(f"{name} is no known benchmark ({', '.join(KNOWN)}); give {_file_hint(name)}")
    place = KNOWN[name]
    try:
        yield from open_rows(place.spec, split=place.split)
    except FavoniusError as error:
        raise UserError(f"the benchmark {name} is not at hand; give {_file_hint(name)} ({brief(error)})") from error


def _file_hint(name: str) -> str:
    return f"a file with its prompts as {name}=PATH, in a recipe as files: {{{name}: PATH}}"
