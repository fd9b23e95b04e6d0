"""The low-rank adapter of a step alone, as peft reads it."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.export.hf_folder import check_ids, write_tokenizer
from favonius.export.reference import Drift, MismatchError, Tried, drift, logps
from favonius.export.steps import Origin
from favonius.export.storage import STORAGES
from favonius.files import read_json, write_json
from favonius.models.load import load

ADAPTER = "adapter"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def write_adapter(origin: Origin, form: ChatFormat, base: str, folder: Path) -> None:
    """Write the adapter of the exported step to the existing `folder`; `base` is where its reader finds the base.

    UserError where the step trained none.
    """
    own = origin.step.folder / ADAPTER
    if not (own / WEIGHTS).is_file():
        raise UserError(
            f"step {origin.step.name} trained all of its model and no adapter; export it with --to hf, or train with "
            "`adapter:`"
        )
    shutil.copyfile(own / WEIGHTS, folder / WEIGHTS)
    name, _, revision = base.partition("@") if "://" not in base else (base, "", "")
    where = {"base_model_name_or_path": name, "revision": revision or None}  # peft takes no name@revision
    write_json(folder / CONFIG, read_json(own / CONFIG) | where)
    write_tokenizer(origin.source, form, folder)


def check_adapter(origin: Origin, form: ChatFormat, trials: Sequence[Tried], folder: Path) -> Drift:
    """How far base and adapter are from the step's merged model. MismatchError where it is more than rounding."""
    check_ids(folder, form, trials)
    try:
        peft = importlib.import_module("peft")
    except ImportError as error:
        raise UserError("an adapter is checked with the package peft; pip install 'favonius[lora]'") from error
    base = load(origin.trained_from(), "fp32")
    model = peft.PeftModel.from_pretrained(base, folder).merge_and_unload()
    found = [value for one in trials for value in logps(model, one.probe.ids)]
    close = drift([value for one in trials for value in one.logps], found)
    # The step's model may have been merged in bf16; with fp32 weights the two are nearly equal.
    bound = STORAGES["bf16"].loss
    if close.mean > bound.mean or close.worst > bound.worst:
        raise MismatchError(
            f"base and adapter are {close.mean:.2g} nats off the merged model on average and {close.worst:.2g} at "
            f"worst; rounding to bf16 explains {bound.mean:g} and {bound.worst:g}"
        )
    return close
