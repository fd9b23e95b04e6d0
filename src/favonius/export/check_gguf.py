"""A GGUF file is what its model is: tensors, template, tokens, log-probs and greedy answers.

The tensors tell that the file is written as meant, llama.cpp that it is read as meant: that rows of queries, norms,
windows and tokens are where its kernels look for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from favonius.chat.format import ChatFormat
from favonius.engines.token_texts import HALF
from favonius.export.families import Architecture, Array
from favonius.export.gguf_file import tensors, values
from favonius.export.llama import LoadedBack
from favonius.export.probes import ANSWER_TOKENS
from favonius.export.reference import (
    Drift,
    MismatchError,
    Tried,
    agreeing,
    drift,
    refuse_other_answer,
    refuse_other_ids,
    rounded_logps,
)
from favonius.export.storage import ERRORS, Bound, Storage
from favonius.run import ModelSource
from favonius.types import Messages

MOST_PLACES = 24


@dataclass(frozen=True)
class GGUFCheck:
    """What was found equal, and how close."""

    prompts: int
    reading: Drift
    """From torch with the weights that the file keeps."""
    loss: Drift
    """From torch with the weights as trained."""
    same_answers: int
    """Prompts whose greedy answers are the same, token for token."""


def check_gguf(
    file: Path,
    source: ModelSource,
    architecture: Architecture,
    storage: Storage,
    form: ChatFormat,
    trials: Sequence[Tried],
) -> GGUFCheck:
    """MismatchError that names the first tensor, text, token or log-prob that differs from the model of `source`."""
    check_tensors(file, source, architecture)
    longest = max(len(one.probe.ids) for one in trials)
    with LoadedBack(file, longest + ANSWER_TOKENS) as loaded:
        for one in trials:
            for messages in one.probe.prompts:
                _check_prompt(loaded, form, messages)
        _check_end(loaded, form, trials[0].probe.prompts[0])
        reading, loss = _close(loaded, source, architecture, storage, form, trials)
        same = [_same_answer(loaded, form, storage, one, place) for one in trials for place in range(len(one.answers))]
    return GGUFCheck(len(same), reading, loss, sum(same))


def _close(
    loaded: LoadedBack,
    source: ModelSource,
    architecture: Architecture,
    storage: Storage,
    form: ChatFormat,
    trials: Sequence[Tried],
) -> tuple[Drift, Drift]:
    """MismatchError where the log-probs of the probes are farther off than `storage` explains: from those of the
    weights that the file keeps, or from those of the weights as trained."""

    def as_kept(key: str, tensor: Array) -> Array:
        return storage.rounded(architecture.name_of(key), tensor)

    kept: list[float] = []
    trained: list[float] = []
    found: list[float] = []
    tokens: list[int] = []
    for one, rounded in zip(trials, rounded_logps(source, trials, as_kept), strict=True):
        looked_at = places(one.probe.ids, form)
        kept += [rounded[place - 1] for place in looked_at]
        trained += [one.logps[place - 1] for place in looked_at]
        found += loaded.logps(one.probe.ids, looked_at)
        tokens += [one.probe.ids[place] for place in looked_at]
    told = [form.decode([token]) for token in tokens]
    reading = refuse_far(kept, found, told, storage.reading, f"those of the weights that {storage.name} keeps")
    advice = "" if storage.exact or storage.name == "bf16" else "; take a type with more bits"
    loss = refuse_far(trained, found, told, storage.loss, f"the model's, as {storage.name} rounds its weights{advice}")
    return reading, loss


def places(ids: Sequence[int], form: ChatFormat) -> list[int]:
    """Of a dialogue's tokens those whose log-probs are compared, spread evenly; llama.cpp is asked for each, and says
    nothing of a token that ends within a character."""
    whole = [place for place in range(1, len(ids)) if HALF not in form.decode([ids[place]])]
    return sorted({whole[at * (len(whole) - 1) // (MOST_PLACES - 1)] for at in range(MOST_PLACES)})


def check_tensors(file: Path, source: ModelSource, architecture: Architecture) -> None:
    """Read the file again: MismatchError where a tensor is missing, or farther off than its type makes it."""
    kept = {tensor.name: tensor for tensor in gguf.GGUFReader(str(file)).tensors}
    for one in tensors(source, architecture):
        if one.name not in kept:
            raise MismatchError(f"tensor {one.name} is not in {file.name}")
        tensor, wanted = kept[one.name], values(architecture, one)
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(wanted.shape)
        error = float(np.square(found - wanted).sum(dtype=np.float64))
        size = float(np.square(wanted).sum(dtype=np.float64))
        if not error <= ERRORS[tensor.tensor_type] ** 2 * size:
            off = (error / size) ** 0.5 if size else float("inf")
            raise MismatchError(
                f"tensor {one.name} in {file.name} is off by {off:.2g} of its size, and {tensor.tensor_type.name} by "
                f"{ERRORS[tensor.tensor_type]:.2g} at most"
            )


def _check_prompt(loaded: LoadedBack, form: ChatFormat, prompt: Messages) -> None:
    text, wanted = form.text(prompt), form.prompt_ids(prompt)
    rendered = loaded.prompt_text(prompt)
    opening = form.tokenizer.bos_token or ""
    if rendered.removeprefix(opening) != text.removeprefix(opening):
        place = _parting(rendered, text)
        raise MismatchError(
            f"the template renders otherwise in llama.cpp: {rendered[place : place + 24]!r} where it should be "
            f"{text[place : place + 24]!r}"
        )
    refuse_other_ids(wanted, loaded.ids(rendered), form, "a prompt in llama.cpp")
    if (count := loaded.chat_tokens(prompt)) != len(wanted):
        raise MismatchError(f"a chat in llama.cpp begins with {count} tokens and not with {len(wanted)}")


def _check_end(loaded: LoadedBack, form: ChatFormat, prompt: Messages) -> None:
    """An answer must end where the model ends its turn: one that does not goes on with the other side's words."""
    for token in sorted(form.end_ids):
        if not loaded.ends(form.prompt_ids(prompt), token):
            raise MismatchError(f"llama.cpp goes on after token {token} ({form.decode([token])!r}), which ends a turn")


def _parting(one: str, other: str) -> int:
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def refuse_far(
    wanted: Sequence[float], found: Sequence[float], tokens: Sequence[str], bound: Bound, whose: str
) -> Drift:
    """How far llama.cpp's log-probs are from those `wanted`. MismatchError beyond `bound`, naming the first token."""
    close = drift(wanted, found)
    if close.mean <= bound.mean and close.worst <= bound.worst:
        return close
    limit = bound.worst if close.worst > bound.worst else bound.mean
    gaps = [abs(one - other) for one, other in zip(wanted, found, strict=True)]
    place = next(at for at, gap in enumerate(gaps) if not gap <= limit)
    raise MismatchError(
        f"log-probs in llama.cpp are {close.mean:.2g} nats off on average and {close.worst:.2g} at worst, where "
        f"{bound.mean:g} and {bound.worst:g} are allowed; the first is that of {tokens[place]!r}: {found[place]:.3f} "
        f"instead of {wanted[place]:.3f}, {whose}"
    )


def _same_answer(loaded: LoadedBack, form: ChatFormat, storage: Storage, one: Tried, place: int) -> bool:
    answer, wanted = loaded.answer(form.prompt_ids(one.probe.prompts[place]), form), one.answers[place]
    if storage.exact:
        return refuse_other_answer(wanted, answer, form, storage.loss.worst)
    return agreeing(wanted, answer) == max(len(wanted.ids), len(answer))
