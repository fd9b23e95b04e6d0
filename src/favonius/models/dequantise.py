"""`python -m favonius.models.dequantise model|tokenizer file.gguf folder`: the process that `models.gguf` starts.

Exit code 2 and a sentence on stdout: the file is at fault. 1 and a sentence, or a traceback on stderr: anything else.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import torch
import transformers
from packaging.version import Version
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel

from favonius.errors import FavoniusError, UserError, brief
from favonius.files import replacing_folder
from favonius.models.load import save, save_tokenizer

MALFORMED = (ValueError, IndexError, KeyError, OverflowError, MemoryError)
"""What readers of binary files raise on bytes that are not what they should be."""
READS_TOKENIZERS = Version("5.18")
"""Transformers 5.17 splits words of SentencePiece GGUFs otherwise than their models learnt, and mixes up end tokens."""


class _Opened(NamedTuple):
    """A GGUF file alone in a folder, and what is read of it before its weights."""

    folder: Path
    link: str
    reader: gguf.GGUFReader
    config: Any
    tokenizer: Any


def dequantise(file: Path, folder: Path) -> None:
    """Write GGUF `file` as safetensors, config and tokenizer to `folder`, which appears whole. Raises FavoniusError."""
    with _opened(file) as found:
        architecture = _field(found.reader, "general.architecture")
        _refuse_unread_rope(found.reader, found.config, file.name, architecture)
        with _spoken(file.name, architecture):
            loaded, info = AutoModelForCausalLM.from_pretrained(
                found.folder,
                gguf_file=found.link,
                config=found.config,
                dtype=_dtype(found.reader),
                quantization_config=GgufConfig(dequantize=True),
                ignore_mismatched_sizes=True,  # they are then reported like missing ones, and refused below
                output_loading_info=True,
                trust_remote_code=False,
            )
        _refuse_gaps(loaded, info, file.name, architecture)
        save(_plain(loaded), found.tokenizer, folder)


def copy_tokenizer(file: Path, folder: Path) -> None:
    """Write config and tokenizer of GGUF `file` to `folder`, which appears whole: what llama.cpp, which reads the
    weights in the file itself, is spoken to with. Raises FavoniusError."""
    with _opened(file) as found, replacing_folder(folder) as temporary:
        found.config.save_pretrained(temporary)
        save_tokenizer(found.tokenizer, temporary)


@contextmanager
def _opened(file: Path) -> Iterator[_Opened]:
    if Version(transformers.__version__) < READS_TOKENIZERS:
        raise FavoniusError(
            f"transformers {transformers.__version__} misreads tokenizers in GGUF; install {READS_TOKENIZERS} or later"
        )
    with tempfile.TemporaryDirectory() as alone:
        # Files that lie beside the GGUF (a tokenizer_config.json, say) must have no part in what is made of it.
        link = Path(alone) / "model.gguf"
        link.symlink_to(file)
        reader = _read(link, file.name)
        with _spoken(file.name, _field(reader, "general.architecture")):
            config = AutoConfig.from_pretrained(alone, gguf_file=link.name, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(alone, gguf_file=link.name, trust_remote_code=False)
            _mend_opening(tokenizer, reader)
        yield _Opened(Path(alone), link.name, reader, config, tokenizer)


@contextmanager
def _spoken(name: str, architecture: str) -> Iterator[None]:
    try:
        yield
    except (*MALFORMED, NotImplementedError) as error:
        raise UserError(
            f"{name}: transformers cannot load this GGUF of architecture {architecture} ({brief(error)}); "
            "use a supported one, or the model's safetensors"
        ) from error


def _read(file: Path, name: str) -> gguf.GGUFReader:
    try:
        reader = gguf.GGUFReader(str(file))
    except MALFORMED as error:
        raise UserError(
            f"{name} is not a whole GGUF file ({brief(error)}); it may be cut off: fetch it again"
        ) from error
    if "general.architecture" not in reader.fields:
        raise UserError(f"{name} names no architecture, so it is not a language model in GGUF")
    return reader


def _field(reader: gguf.GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()


def _dtype(reader: gguf.GGUFReader) -> torch.dtype:
    exact = all(tensor.tensor_type == gguf.GGMLQuantizationType.F32 for tensor in reader.tensors)
    return torch.float32 if exact else torch.bfloat16


def _mend_opening(tokenizer: Any, reader: gguf.GGUFReader) -> None:
    """Texts open with the begin token where the file says so; transformers before 5.23 forgets it for Gemma."""
    opens = _field(reader, "tokenizer.ggml.add_bos_token")
    if opens is None and _field(reader, "tokenizer.ggml.model") == "llama":
        opens = True  # llama.cpp's default for SentencePiece
    if opens is not None and opens != (tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]):
        tokenizer.add_bos_token = bool(opens)


def _refuse_unread_rope(reader: gguf.GGUFReader, config: Any, name: str, architecture: str) -> None:
    """Transformers ignores the rotary scaling of most GGUF files; such a model would load and be subtly wrong."""
    scaling = _field(reader, f"{architecture}.rope.scaling.type")
    factors = any("rope_freqs" in tensor.name or "rope_factors" in tensor.name for tensor in reader.tensors)
    if (factors or scaling not in (None, "none")) and _rope_types(config) <= {"default"}:
        raise UserError(
            f"{name}: this {architecture} stretches its rotary positions ({scaling or 'by factors'}), which "
            "transformers does not read from GGUF; use the model's safetensors"
        )


def _rope_types(config: Any) -> set[str]:
    parameters = getattr(config, "rope_parameters", None) or {}
    tables = [parameters, *(table for table in parameters.values() if isinstance(table, Mapping))]
    return {str(table["rope_type"]) for table in tables if "rope_type" in table}


def _refuse_gaps(model: PreTrainedModel, info: Mapping[str, Any], name: str, architecture: str) -> None:
    """Transformers fills what is missing with random numbers and only warns."""
    absent = sorted(str(key) for key in (*info["missing_keys"], *info["mismatched_keys"]))
    if absent:
        raise UserError(
            f"{name}: {len(absent)} tensors of {architecture} are missing or misshapen ({absent[0]}, for one); "
            "fetch the file again"
        )
    for key, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{name}: tensor {key} holds values that are not numbers; fetch the file again")


def _plain(loaded: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model that does not believe itself quantised; such a one cannot be saved."""
    settings = {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(type(loaded.config).from_dict(settings), trust_remote_code=False)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = loaded.generation_config
    return model


def main(arguments: list[str]) -> int:
    # Reading the header of a large vocabulary takes seconds, and transformers does it three times more.
    gguf.GGUFReader = functools.cache(gguf.GGUFReader)
    what, file, folder = arguments
    try:
        {"model": dequantise, "tokenizer": copy_tokenizer}[what](Path(file), Path(folder))
    except FavoniusError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
