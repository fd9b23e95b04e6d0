"""Transformers models from folders of safetensors and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig, PreTrainedModel
from transformers.utils import logging

from favonius.errors import FavoniusError, UserError, brief
from favonius.files import read_json, replacing_folder, write_json
from favonius.models.folder import check_folder, folder_digest
from favonius.run import ModelSource

__all__ = ["Precision", "device", "folder_digest", "load", "resolve_dtype", "save", "save_tokenizer"]

Precision = Literal["auto", "fp32", "bf16"]


def device() -> torch.device:
    """Where models run unless told otherwise: a CUDA GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """`auto`: bf16 where `device` multiplies it natively; elsewhere it is emulated and slower than fp32."""
    if precision == "fp32":
        return torch.float32
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def load(
    source: ModelSource,
    dtype: Precision = "auto",
    device: torch.device | None = None,
    attention: str = "favonius",
    nf4: bool = False,
) -> PreTrainedModel:
    """The model of `source` in eval mode, without a cache between calls, on `device` (default: `device()`).

    nf4: linear layers other than the head hold 4 bits per weight, and compute in `dtype` (`models.adapters`).
    `attention` is a name in transformers' attention interface; the caller has registered it. Reads safetensors only
    and runs no code from the folder. UserError where a file is missing, damaged or of an unsupported architecture.
    """
    check_folder(source.name, source.folder)
    place = _place(device)
    try:
        with quietly():
            model, info = AutoModelForCausalLM.from_pretrained(
                source.folder,
                dtype=resolve_dtype(dtype, place),
                quantization_config=_nf4(resolve_dtype(dtype, place)) if nf4 else None,
                device_map={"": place} if nf4 else None,
                attn_implementation=attention,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are then reported like missing ones, and refused below
                output_loading_info=True,
            )
    except SafetensorError as error:
        raise UserError(
            f"model {source.name}: a weight file in {source.folder} is damaged or cut off ({brief(error)}); "
            "fetch it again"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"model {source.name}: transformers cannot load {source.folder} ({brief(error)}); check that the "
            "folder is whole and of a supported architecture"
        ) from error
    _refuse_gaps(source, info)
    model.config.use_cache = False
    loaded: PreTrainedModel = model.to(place).eval()
    return loaded


def _nf4(compute: torch.dtype) -> BitsAndBytesConfig:
    """As in the QLoRA paper (arXiv 2305.14314): NormalFloat 4, its scales quantised as well."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def _place(wanted: torch.device | None) -> torch.device:
    return device() if wanted is None else wanted


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers' bars and warnings off the terminal, which is `Progress`'s; what matters is raised."""
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _refuse_gaps(source: ModelSource, info: Mapping[str, Any]) -> None:
    """Transformers fills what is missing with random numbers and only warns."""
    absent = sorted(str(key) for key in (*info["missing_keys"], *info["mismatched_keys"]))
    if absent:
        raise UserError(
            f"model {source.name}: {len(absent)} tensors are missing in {source.folder} or have another shape "
            f"than its config.json says ({absent[0]}, for one); fetch it again"
        )


def save(model: PreTrainedModel, tokenizer: Any, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write safetensors, config, generation config and tokenizer with its chat template, as transformers reads them.

    Floating-point weights are written in `dtype` (default: each in its own); tied ones once. Generation ends at the
    tokenizer's end token. `folder` appears whole, and takes the place of one that was there. FavoniusError where the
    disk will not take it.
    """
    with replacing_folder(folder) as temporary, quietly():
        try:
            with _without_generation_config(model):
                model.save_pretrained(temporary, state_dict=_weights(model, dtype))
            save_tokenizer(tokenizer, temporary)
        except SafetensorError as error:  # so safetensors reports a full disk
            raise FavoniusError(
                f"the weights could not be written to {folder} ({brief(error)}); make room and run again"
            ) from error
        _mend_config(temporary / "config.json", dtype)
        _write_generation_config(temporary / "generation_config.json", model, tokenizer.eos_token_id)


def _weights(model: PreTrainedModel, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """The state dict on the CPU in `dtype`. Tied tensors stay one tensor, or they would be saved twice."""
    cast: dict[tuple[Any, ...], Tensor] = {}
    weights = {}
    for name, tensor in model.state_dict().items():
        same = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        if same not in cast:
            cast[same] = tensor.to("cpu", dtype if tensor.is_floating_point() else None)
        weights[name] = cast[same]
    return weights


def _mend_config(file: Path, dtype: torch.dtype | None) -> None:
    """Undo what holds for this process only."""
    config = read_json(file)
    config.pop("quantization_config", None)
    config["use_cache"] = True
    if dtype is not None:
        config["dtype"] = str(dtype).removeprefix("torch.")
    write_json(file, config)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer to the existing `folder`, without what only says how it was read here."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    config = read_json(file)
    write_json(file, {key: value for key, value in config.items() if key not in ("is_local", "local_files_only")})


@contextmanager
def _without_generation_config(model: PreTrainedModel) -> Iterator[None]:
    """Published ones often fail the check that transformers makes on saving (a temperature without do_sample)."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _write_generation_config(file: Path, model: PreTrainedModel, end: int | None) -> None:
    """The model's own, ending at the tokenizer's end token."""
    settings = json.loads(model.generation_config.to_json_string(use_diff=True))
    known = settings.get("eos_token_id")
    if end is not None:
        # A list is a chat model's: its end of turn and its end of text. Both must go on ending.
        settings["eos_token_id"] = (
            [end, *(other for other in known if other != end)] if isinstance(known, list) else end
        )
    write_json(file, settings)
