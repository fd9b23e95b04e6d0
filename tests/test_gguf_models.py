"""GGUF files become folders of safetensors: the same model, really dequantised, or one sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from favonius.chat.format import ChatFormat
from favonius.chat.template import ZEPHYR
from favonius.errors import FavoniusError, UserError
from favonius.files import read_json, sha256_file, write_json
from favonius.models import gguf as models_gguf
from favonius.models.config import ModelConfig
from favonius.models.dequantise import dequantise, main
from favonius.models.gguf import convert
from favonius.models.resolve import resolve
from favonius.run import ModelSource
from favonius.trees import attention as _registered  # noqa: F401
from favonius.types import Message
from tests.tiny import tiny_tokenizer
from tests.weights import gguf_tensors, quiet, said, sentence_of, wide_llama, write_gguf


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    return wide_llama(monkeypatch)


def test_a_gguf_becomes_the_same_model(llama: PreTrainedModel, tmp_path: Path, cache: Path) -> None:
    """In a process of its own; exact, because the file is fp32."""
    path = write_gguf(tmp_path / "toy.gguf", gguf_tensors(llama))
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})  # another model's
    digest = sha256_file(path)
    progress = quiet()
    folder = convert(path, digest, progress)
    assert folder == cache / "converted" / f"{digest}-v1"
    assert "converting toy.gguf" in said(progress)

    converted = AutoModelForCausalLM.from_pretrained(folder)
    assert converted.dtype == torch.float32 and converted.generation_config.eos_token_id == 1
    state = converted.state_dict()
    assert state.keys() == llama.state_dict().keys()
    for name, weight in llama.state_dict().items():
        torch.testing.assert_close(state[name], weight, rtol=0, atol=0)
    ids_BT = torch.arange(3, 40)[None]
    torch.testing.assert_close(converted(ids_BT).logits, llama(ids_BT).logits)
    assert "quantization_config" not in read_json(folder / "config.json")

    tokenizer, toy = AutoTokenizer.from_pretrained(folder), tiny_tokenizer()
    text = "the quick <s>\nbrown fox, ünïcode 日本"
    assert tokenizer(text)["input_ids"] == toy(text)["input_ids"]
    assert tokenizer.special_tokens_map == toy.special_tokens_map
    assert tokenizer.chat_template.strip() == ZEPHYR.strip()

    path.unlink()  # converting again would fail now
    assert convert(path, digest, progress) == folder


def test_llama_cpp_wants_the_tokenizer_alone(
    llama: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that llama.cpp runs is not dequantised to be talked to, and is the same model to the ledger."""
    path = write_gguf(tmp_path / "toy.gguf", gguf_tensors(llama))
    monkeypatch.setattr(models_gguf, "convert", lambda path, digest, progress: tmp_path / "whole")
    whole = resolve("toy", ModelConfig(source="toy.gguf"), tmp_path, quiet())
    progress = quiet()
    words = resolve("toy", ModelConfig(source="toy.gguf"), tmp_path, progress, for_llama=True)
    assert isinstance(words, ModelSource) and isinstance(whole, ModelSource)
    assert (words.digest, words.gguf) == (whole.digest, path)
    assert "reading the tokenizer of toy.gguf" in said(progress)
    assert {"config.json", "tokenizer.json"} <= {file.name for file in words.folder.iterdir()}
    assert not list(words.folder.glob("*.safetensors"))
    messages = (Message(role="user", content="the quick brown fox, 日本"),)
    assert ChatFormat.load(words).prompt_ids(messages) == ChatFormat(tiny_tokenizer()).prompt_ids(messages)
    path.unlink()  # reading it again would fail now
    assert models_gguf.tokenizer_of(path, words.folder.name[:64], progress) == words.folder
    (converted := words.folder.with_name(words.folder.name.removesuffix("-tokenizer"))).mkdir()
    assert models_gguf.tokenizer_of(path, words.folder.name[:64], progress) == converted


@pytest.mark.parametrize("quantization", [gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_1])
def test_quantised_tensors_are_really_dequantised(
    llama: PreTrainedModel, tmp_path: Path, quantization: gguf.GGMLQuantizationType
) -> None:
    path = write_gguf(tmp_path / "toy.gguf", gguf_tensors(llama), quantization=quantization)
    dequantise(path, tmp_path / "out")
    raw = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    for ours, theirs in {"token_embd": "model.embed_tokens", "blk.1.ffn_down": "model.layers.1.mlp.down_proj"}.items():
        expected = torch.from_numpy(np.array(raw[f"{ours}.weight"])).bfloat16()
        torch.testing.assert_close(weights[f"{theirs}.weight"], expected, rtol=0, atol=0)
    assert not torch.equal(weights["lm_head.weight"], llama.state_dict()["lm_head.weight"].bfloat16())


def test_an_unsupported_architecture_is_named(
    llama: PreTrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_gguf(tmp_path / "toy.gguf", gguf_tensors(llama), architecture="rwkv7")
    assert main(["model", str(path), str(tmp_path / "out")]) == UserError.exit_code
    sentence = capsys.readouterr().out.strip()
    assert sentence.startswith("toy.gguf: ") and "rwkv7" in sentence and "\n" not in sentence


@pytest.mark.parametrize(
    ("code", "out", "err", "kind", "part"),
    [
        (2, "toy.gguf: no.\n", "Traceback", UserError, "model student: toy.gguf: no."),
        (1, "", "Traceback\nOSError: full\n", FavoniusError, "toy.gguf could not be converted (OSError: full)"),
        (1, "the disk is full\n", "", FavoniusError, "toy.gguf could not be converted (the disk is full)"),
        (-9, "", "", FavoniusError, "killed by signal 9"),
    ],
)
def test_how_conversion_ends_badly(
    code: int, out: str, err: str, kind: type, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy.gguf").write_bytes(b"toy")
    ended = subprocess.CompletedProcess[str]([], code, out, err)
    monkeypatch.setattr(subprocess, "run", lambda *command, **settings: ended)
    with pytest.raises(FavoniusError) as caught:
        resolve("student", ModelConfig(source="toy.gguf"), tmp_path, quiet())
    assert type(caught.value) is kind and part in sentence_of(caught)


def test_a_damaged_gguf_is_refused(llama: PreTrainedModel, tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "toy.gguf", gguf_tensors(llama)).read_bytes()
    for name, content in {"cut": whole[:-5000], "head": whole[:300], "empty": b"", "other": b"PK" + whole[2:]}.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}.gguf is not a whole GGUF file"):
            dequantise(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_transformers_would_not_read_is_refused(llama: PreTrainedModel, tmp_path: Path) -> None:
    """Each of these loads with a warning at most, and is another model than the file's."""
    tensors = gguf_tensors(llama)
    lacking = {name: tensor for name, tensor in tensors.items() if name != "blk.1.ffn_up.weight"}
    broken = {**tensors, "output.weight": tensors["output.weight"].clone()}
    broken["output.weight"][3, 3] = float("nan")
    factors = {**tensors, "rope_freqs.weight": torch.ones(4)}
    for name, (content, scaling, part) in {
        "lacking": (lacking, None, "1 tensors of llama are missing"),
        "broken": (broken, None, "lm_head.weight holds values that are not numbers"),
        "factors": (factors, None, "by factors"),
        "yarn": (tensors, "yarn", "yarn"),
    }.items():
        path = write_gguf(tmp_path / f"{name}.gguf", content, rope_scaling=scaling)
        with pytest.raises(UserError) as caught:
            dequantise(path, tmp_path / "out")
        assert part in sentence_of(caught) and f"{name}.gguf" in sentence_of(caught)
