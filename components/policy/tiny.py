"""The embedded default: a tiny Llama-type policy and a byte-level BPE tokenizer trained on the data."""

from collections.abc import Iterable

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ratchet.components.policy.tiny_tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS, train_byte_bpe
from ratchet.components.randomness import torch_seed


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text round-trips; ``<pad>`` is 0 and ``<eos>`` is 1."""
    return PreTrainedTokenizerFast(
        tokenizer_object=train_byte_bpe(texts, vocabulary),
        **SPECIAL_TOKENS,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def new_policy(
    tokenizer: PreTrainedTokenizerFast, *, layers: int, width: int, heads: int, context: int, seed: int
) -> LlamaForCausalLM:
    """A randomly initialised Llama-type policy with tied embeddings; the seed fixes its weights."""
    config = tiny_config(len(tokenizer), layers=layers, width=width, heads=heads, context=context)
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "policy_init"))
        return LlamaForCausalLM(config).float()


def tiny_config(vocabulary: int, *, layers: int, width: int, heads: int, context: int) -> LlamaConfig:
    """The shape of the tiny policy."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
