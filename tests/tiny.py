"""Tiny random models of four families, and a tokenizer, made on the fly."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import favonius.trees.attention  # noqa: F401 - registers the attention that the models name
from favonius.chat.template import ZEPHYR

VOCABULARY = 320
SHAPE = dict(  # noqa: C408
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=512,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=2,
)
FAMILIES = ("llama", "mistral", "qwen3", "gemma3")


def tiny_model(family: str, dtype: torch.dtype = torch.float32, attention: str = "favonius", seed: int = 0,
               **changes: object) -> PreTrainedModel:  # fmt: skip
    """A random model; Mistral has a sliding window of 8, Gemma in its first layer only; `changes` go to its config."""
    torch.manual_seed(seed)
    gemma = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 8}
    model: PreTrainedModel
    match family:
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**{**SHAPE, "tie_word_embeddings": False, **changes}))
        case "mistral":
            model = MistralForCausalLM(MistralConfig(**{**SHAPE, "sliding_window": 8, **changes}))
        case "qwen3":
            model = Qwen3ForCausalLM(Qwen3Config(**{**SHAPE, **changes}))
        case "gemma2":
            model = Gemma2ForCausalLM(Gemma2Config(**{**SHAPE, **gemma, **changes}))
        case "gemma3":
            model = Gemma3ForCausalLM(Gemma3TextConfig(**{**SHAPE, **gemma, **changes}))
        case _:
            raise ValueError(family)
    for parameter in model.parameters():  # larger than the default, so that attention is not uniform
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    model.set_attn_implementation(attention)
    model.config.use_cache = False
    return model.to(dtype).eval()


def tiny_tokenizer(template: str | None = ZEPHYR, bos: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 320 entries with <s>, </s> and <pad>, which adds <s> once when `bos`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        ["the quick brown fox answers a question about the weather, and then another"] * 4, trainer
    )
    if bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = template
    return fast


def save_tiny(folder: Path, family: str = "llama", template: str | None = ZEPHYR, seed: int = 0) -> Path:
    """A model folder that `models.load` and `ChatFormat.load` read."""
    tiny_model(family, seed=seed).save_pretrained(folder)
    tiny_tokenizer(template).save_pretrained(folder)
    return folder
