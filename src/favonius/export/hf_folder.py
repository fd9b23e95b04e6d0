"""A folder that transformers, vLLM and the hub read: weights, tokenizer with the training template, generation config.

Its template writes the begin token itself where texts open with one: `apply_chat_template` adds none.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from favonius.chat.format import ChatFormat
from favonius.export.probes import ANSWER_TOKENS
from favonius.export.reference import Tried, refuse_other_answer, refuse_other_ids
from favonius.export.storage import STORAGES
from favonius.files import read_json, write_json
from favonius.models.load import quietly, save_tokenizer
from favonius.run import ModelSource
from favonius.types import Messages, Sampling

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
SAME_WEIGHTS = 1e-3
"""Nats: what another order of sums may do to a log-prob."""


def write_hf(source: ModelSource, form: ChatFormat, kind: str | None, folder: Path) -> None:
    """Write the model of `source` to the existing `folder`, its weights as `kind` (default: as they are)."""
    for file in sorted(source.folder.glob("model*.safetensors*")):
        if kind is None or file.suffix == ".json":
            shutil.copyfile(file, folder / file.name)
        else:
            _cast(file, folder / file.name, DTYPES[kind])
    config = read_json(source.folder / "config.json")
    # Where the weights once lay is nobody else's business.
    config.pop("_name_or_path", None)
    write_json(folder / "config.json", config | ({"dtype": str(DTYPES[kind])[6:]} if kind else {}))
    write_tokenizer(source, form, folder)
    write_json(folder / "generation_config.json", generation_config(form))


def write_tokenizer(source: ModelSource, form: ChatFormat, folder: Path) -> None:
    """The tokenizer of `source` with the template that its model was trained with."""
    tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
    tokenizer.chat_template = opening_template(form)
    save_tokenizer(tokenizer, folder)


def opening_template(form: ChatFormat) -> str:
    """The training template; with the begin token before it where texts open with it and the template does not say."""
    tokenizer, template = form.tokenizer, str(form.tokenizer.chat_template)
    opens = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return template if not opens or "bos_token" in template else "{{ bos_token }}" + template


def generation_config(form: ChatFormat) -> dict[str, Any]:
    """Every token that ends a turn, and how `favonius chat` draws."""
    tokenizer, sampling = form.tokenizer, Sampling()
    ends = sorted(form.end_ids, key=lambda index: (index != tokenizer.eos_token_id, index))
    found = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": ends if len(ends) > 1 else ends[0],
        "pad_token_id": tokenizer.pad_token_id,
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
    }
    return {key: value for key, value in found.items() if value is not None}


@torch.no_grad()  # type: ignore[untyped-decorator]
def check_hf(folder: Path, form: ChatFormat, kind: str | None, trials: Sequence[Tried]) -> int:
    """How many greedy answers are the same. MismatchError that names the first token of a prompt, or of a greedy
    answer, that transformers alone makes otherwise."""
    check_ids(folder, form, trials)
    with quietly():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        ).eval()
    tolerance = SAME_WEIGHTS if kind is None else STORAGES[kind].loss.worst
    same = 0
    for one in trials:
        for messages, wanted in zip(one.probe.prompts, one.answers, strict=True):
            ids_BT = torch.tensor([form.prompt_ids(messages)])
            written = model.generate(
                ids_BT,
                attention_mask=torch.ones_like(ids_BT),
                max_new_tokens=ANSWER_TOKENS,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
            )
            found = [int(token) for token in written[0, ids_BT.shape[1] :] if int(token) not in form.end_ids]
            same += refuse_other_answer(wanted, found, form, tolerance)
    return same


def check_ids(folder: Path, form: ChatFormat, trials: Sequence[Tried]) -> None:
    """MismatchError where transformers' own `apply_chat_template` gives other ids than training had."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for one in trials:
        for messages in one.probe.prompts:
            found = tokenizer.apply_chat_template(_plain(messages), add_generation_prompt=True, return_dict=False)
            refuse_other_ids(form.prompt_ids(messages), found, form, "a prompt in transformers")


def _plain(messages: Messages) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _cast(file: Path, target: Path, dtype: torch.dtype) -> None:
    with safe_open(file, "pt") as weights:
        tensors = {key: weights.get_tensor(key) for key in weights.keys()}  # noqa: SIM118 - it is no mapping
    save_file({key: tensor.to(dtype) for key, tensor in tensors.items()}, target, {"format": "pt"})
