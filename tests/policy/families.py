"""Tiny random models of the families that are supported: 2 layers, width 32, the tests' tokenizer."""

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

ENDS: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
PLAIN: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
    **ENDS,
}
SHARED_KEYS = {**PLAIN, "num_key_value_heads": 1}
HEADS = {**SHARED_KEYS, "head_dim": 16}
GEMMA = {**HEADS, "query_pre_attn_scalar": 16, "sliding_window": 4}
# Qwen2's own tokenizer class, which transformers takes whatever was saved, adds a token to ours; as in the real models, the
# embedding has more rows than the tokenizer has tokens.
QWEN2 = {**SHARED_KEYS, "vocab_size": 320}

FAMILIES: dict[str, Any] = {
    "llama, tied head": LlamaConfig(**SHARED_KEYS, tie_word_embeddings=True),
    "llama, own head": LlamaConfig(**SHARED_KEYS, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**QWEN2),
    "qwen2, last layer with a window": Qwen2Config(**QWEN2, use_sliding_window=True, sliding_window=4, max_window_layers=1),
    "qwen3": Qwen3Config(**HEADS),
    "gemma": GemmaConfig(**HEADS),
    "gemma2": Gemma2Config(**GEMMA, final_logit_softcapping=3.0, attn_logit_softcapping=2.0),  # so low that they show
    "gemma3": Gemma3TextConfig(**GEMMA, layer_types=["sliding_attention", "full_attention"]),
    "mistral, window of 4": MistralConfig(**HEADS, sliding_window=4),
    "gpt2": GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=128, **ENDS),  # with dropout, as it comes
    "gpt-neox": GPTNeoXConfig(**PLAIN),
}


# Two heads of width 16 have 8 frequencies each.
LONG_ROPE = Phi3Config(
    **SHARED_KEYS,
    original_max_position_embeddings=24,
    rope_parameters={"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "rope_theta": 10_000.0},
)


def random_model(config: Any) -> PreTrainedModel:
    """A model of this configuration, its matrices scaled up so that contexts show and its vectors no longer 0 or 1."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
