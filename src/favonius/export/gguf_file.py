"""A folder of safetensors becomes one GGUF file, tensor by tensor: a model of any size needs memory for one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig

from favonius.errors import FavoniusError, UserError, brief
from favonius.export.families import Architecture, Array, Value
from favonius.export.storage import Storage
from favonius.export.vocabulary import Vocabulary
from favonius.run import ModelSource

HEAD = "lm_head.weight"


class Named(NamedTuple):
    """A tensor that is to be written: llama.cpp's name, its shape, and where it is read."""

    name: str
    shape: tuple[int, ...]
    key: str
    file: Path


def architecture_of(source: ModelSource) -> Architecture:
    """UserError where llama.cpp has no such model."""
    try:
        return Architecture(AutoConfig.from_pretrained(source.folder, trust_remote_code=False))
    except (UserError, OSError, ValueError) as error:
        raise UserError(f"model {source.name}: {brief(error)}") from error


def write_gguf(
    source: ModelSource, vocabulary: Vocabulary, storage: Storage, about: Mapping[str, str], file: Path
) -> None:
    """Write the weights of `source` to `file`. `about` are `general.` texts such as name and license.

    UserError where llama.cpp has no place for something of it, FavoniusError where a weight file is damaged.
    """
    architecture = architecture_of(source)
    writer = gguf.GGUFWriter(str(file), architecture.name)
    writer.add_type("model")
    writer.add_file_type(storage.file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, text in about.items():
        writer.add_string(f"general.{key}", text)
    for key, value in architecture.metadata().items():
        _add(writer, f"{architecture.name}.{key}", value)
    _add_vocabulary(writer, vocabulary)
    try:
        _write_tensors(writer, source, architecture, storage)
    except SafetensorError as error:
        raise FavoniusError(f"a weight file in {source.folder} is damaged ({brief(error)}); make it again") from error
    finally:
        writer.close()


def tensors(source: ModelSource, architecture: Architecture) -> list[Named]:
    """What `source` holds, in the order of llama.cpp's names; a head that is tied is the embedding and is left out."""
    found = []
    for file in sorted(source.folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as weights:
            for key in weights.keys():  # noqa: SIM118 - it is no mapping
                if key != HEAD or not architecture.tied:
                    shape = tuple(weights.get_slice(key).get_shape())
                    found.append(Named(architecture.name_of(key), shape, key, file))
    return sorted(found)


def values(architecture: Architecture, one: Named) -> Array:
    """What a tensor holds, in fp32, as llama.cpp reads it."""
    with safe_open(one.file, "pt") as weights:
        return architecture.converted(one.key, weights.get_tensor(one.key).to(torch.float32).numpy())


def _write_tensors(writer: gguf.GGUFWriter, source: ModelSource, architecture: Architecture, storage: Storage) -> None:
    extra = dict(_extra(architecture))
    listed = tensors(source, architecture)
    for name, tensor in extra.items():
        writer.add_tensor_info(name, tensor.shape, tensor.dtype, tensor.nbytes)
    for one in listed:
        kind = storage.kept(one.name, one.shape)
        block, bytes_of_block = gguf.GGML_QUANT_SIZES[kind]
        size = int(np.prod(one.shape)) // block * bytes_of_block
        writer.add_tensor_info(one.name, one.shape, np.dtype(np.float32), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in extra.values():
        writer.write_tensor_data(tensor)
    for one in listed:
        writer.write_tensor_data(storage.written(one.name, values(architecture, one)))


def _extra(architecture: Architecture) -> Iterator[tuple[str, Array]]:
    factors = architecture.rope_factors()
    if factors is not None:
        yield "rope_freqs.weight", factors


def _add(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.splitter)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.scores is not None:
        writer.add_token_scores(list(vocabulary.scores))
    if vocabulary.merges is not None:
        writer.add_token_merges(list(vocabulary.merges))
    for kind, index in vocabulary.special.items():
        writer.add_uint32(f"tokenizer.ggml.{kind}_token_id", index)
    writer.add_add_bos_token(vocabulary.opens)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(vocabulary.space_first)
    writer.add_chat_template(vocabulary.template)
