"""Pairs as other people's rows. Each form is a pure function from a pair to the object of one line.

What comes back when such a row is read again (`preferences.preference_pair`), beside prompt, chosen and rejected:

favonius    everything
binarized   id, scores                                    columns of ultrafeedback_binarized
argilla     prompt source, scores, the chosen's model     columns of Argilla's ultrafeedback-binarized-preferences
trl         nothing more                                  TRL's conversational rows with an explicit prompt

No form but the first carries the split (the command writes held-out rows to a file of their own), whether an answer was
finished, or where the preference comes from. `argilla` holds a prompt of one user turn only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from favonius.data.convert import SEVERAL_TURNS
from favonius.data.turns import UnfitRowError
from favonius.types import Message, Pair

PairForm = Literal["favonius", "trl", "binarized", "argilla"]
PAIR_FORMS: tuple[PairForm, ...] = get_args(PairForm)


def exported(pair: Pair, form: PairForm) -> dict[str, Any]:
    """`pair` as a row of `form`. UnfitRowError where that form cannot hold it."""
    match form:
        case "favonius":
            return pair.model_dump(mode="json")
        case "trl":
            return trl(pair)
        case "binarized":
            return binarized(pair)
        case "argilla":
            return argilla(pair)


def trl(pair: Pair) -> dict[str, Any]:
    return {
        "prompt": _turns(pair.prompt),
        "chosen": [_answer(pair.chosen)],
        "rejected": [_answer(pair.rejected)],
    }


def binarized(pair: Pair) -> dict[str, Any]:
    chosen = [*_turns(pair.prompt), _answer(pair.chosen)]
    return {
        "prompt": next(message.content for message in pair.prompt if message.role == "user"),
        "prompt_id": pair.id,
        "chosen": chosen,
        "rejected": [*_turns(pair.prompt), _answer(pair.rejected)],
        "messages": chosen,
        "score_chosen": pair.chosen_score,
        "score_rejected": pair.rejected_score,
    }


def argilla(pair: Pair) -> dict[str, Any]:
    if [message.role for message in pair.prompt] != ["user"]:
        raise UnfitRowError(SEVERAL_TURNS)
    return {
        "source": pair.origin.prompt_source if pair.origin is not None else None,
        "instruction": pair.prompt[0].content,
        "chosen_response": pair.chosen,
        "rejected_response": pair.rejected,
        "chosen_avg_rating": pair.chosen_score,
        "rejected_avg_rating": pair.rejected_score,
        "chosen_model": pair.chosen_source,
    }


def _turns(messages: Sequence[Message]) -> list[Mapping[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _answer(text: str) -> Mapping[str, str]:
    return {"role": "assistant", "content": text}
