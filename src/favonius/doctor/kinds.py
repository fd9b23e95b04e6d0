"""Everything that the doctor can find, by the name it has in JSON, in the order in which it is told.

A fault costs rows, or makes what is trained or measured other than it seems; with one the command exits with 1. A note
is worth knowing. `effect` says what becomes of such rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from favonius.data import convert, preferences, turns

Severity = Literal["fault", "note"]

REFUSED = "the file is refused until they are mended"
ON_READING = "dropped when the file is read"
BY_TRAINING = "dropped by training"
LEARNED = "training learns from them as they are"


def _by(filter: str) -> str:
    return f"the filter {filter} drops them"


@dataclass(frozen=True, slots=True)
class Kind:
    severity: Severity
    what: str
    effect: str


KINDS: Mapping[str, Kind] = {
    "broken_file": Kind("fault", "the file is damaged or cut off", "refused, or with --salvage read without these"),
    "unknown_role": Kind("fault", "turns of an unknown role", REFUSED),
    "malformed": Kind("fault", "a field is missing or of the wrong kind", REFUSED),
    "template": Kind(
        "fault", "the chat template rejects them or rewrites earlier turns", "training stops at the first"
    ),
    "role_order": Kind("fault", "user and assistant do not take turns", ON_READING),
    "no_answer": Kind("fault", "there is nothing to learn in them", ON_READING),
    "unlike_prompts": Kind("fault", "chosen and rejected answer different prompts", ON_READING),
    "unsupported": Kind("fault", "tools, pictures or other things than text", ON_READING),
    "empty_answer": Kind("fault", "an answer is empty", BY_TRAINING),
    "control_token": Kind("fault", "a text spells out one of the tokenizer's control tokens", BY_TRAINING),
    "nothing_scored": Kind("fault", "all tokens are masked", BY_TRAINING),
    "identical_pair": Kind("fault", "chosen and rejected are the same", BY_TRAINING),
    "prompt_over_long": Kind("fault", "the prompt alone fills max_length", BY_TRAINING),
    "over_long": Kind("fault", "longer than max_length", BY_TRAINING),
    "identical_after_truncation": Kind("fault", "chosen and rejected differ only behind the cut", BY_TRAINING),
    "no_order": Kind("fault", "no two answers have different scores", "no pair can be made of them"),
    "empty_message": Kind("fault", "a turn of the dialogue is empty", LEARNED),
    "score_order": Kind("fault", "the rejected answer has the higher score", LEARNED),
    "duplicate_row": Kind("fault", "the same as an earlier row", f"learned every time; {_by('exact_duplicates')}"),
    "duplicate_prompt": Kind(
        "fault", "the prompt of an earlier row, with another answer", f"learned; {_by('exact_duplicates')}"
    ),
    "near_duplicate_prompt": Kind("fault", "nearly the prompt of an earlier row", f"learned; {_by('near_duplicates')}"),
    "leakage": Kind(
        "fault",
        "the prompt also stands on the other side, train or test",
        "numbers on held-out rows flatter; stage data splits by prompt, and leaves out what a held_out source holds",
    ),
    "contamination": Kind(
        "fault", "they hold a benchmark's text", f"that benchmark's numbers flatter; {_by('decontaminate')}"
    ),
    "cut": Kind("note", "longer than max_length", "cut off there, and not taught to end"),
    "unanswered_end": Kind("note", "the last question has no answer", "the question is left out"),
    "unasked_start": Kind("note", "the assistant speaks first", "its first turn is left out"),
    "prompt_again": Kind("note", "the prompt of an earlier row, with other answers", LEARNED),
    "tied_scores": Kind("note", "chosen and rejected have the same score", LEARNED),
    "loop": Kind("note", "an answer that is taught repeats itself", f"learned; {_by('flaws')}"),
    "leak": Kind("note", "an answer that is taught goes on into markup or another turn", f"learned; {_by('flaws')}"),
    "refusal": Kind(
        "note", "an answer that is taught speaks of its writer instead of the matter", f"learned; {_by('refusals')}"
    ),
    "politeness": Kind(
        "note", "the dialogue ends in thanks and farewells", "learned; the filter politeness takes them off"
    ),
}

CHANGED_ON_READING: Mapping[str, str] = {
    convert.FIRST_ANSWER: "unasked_start",
    convert.LAST_QUESTION: "unanswered_end",
}
UNFIT_ON_READING: Mapping[str, str] = {
    turns.NO_MESSAGES: "no_answer",
    turns.NO_ANSWER: "no_answer",
    preferences.NO_COMPLETIONS: "no_answer",
    convert.EMPTY_PROMPT: "no_answer",
    turns.ASSISTANT_FIRST: "role_order",
    turns.SAME_TWICE: "role_order",
    turns.LATE_SYSTEM: "role_order",
    turns.NO_QUESTION: "role_order",
    convert.SEVERAL_TURNS: "role_order",
    turns.USES_TOOLS: "unsupported",
    turns.NOT_TEXT: "unsupported",
    preferences.DIFFER_EARLY: "unlike_prompts",
    preferences.NO_SHARED_PROMPT: "unlike_prompts",
}
"""Of the causes under which rows are dropped when a file is read, the kind."""
