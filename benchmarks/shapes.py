"""The shapes that a training step is timed on: random weights, prompts of the stated length, a reward that costs nothing.

Random weights do not end a completion, so both sides decode and learn from the same number of tokens. A shape with
``mean_length`` ends them at random (about geometrically): its end-of-sequence row is set so that each token ends a completion
with chance ``1 / mean_length``. The model needs no download and no learning rate moves it far within a benchmark.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

PAD, END = "<pad>", "<eos>"
ROWS = 512  # prompts in the data
CONTEXT = 4096


@dataclass(frozen=True)
class Shape:
    """A policy and a step."""

    name: str
    layers: int
    width: int
    heads: int
    vocabulary: int
    prompts: int
    k: int
    prompt_tokens: int | None  # None: the quickstart's own word problems
    new_tokens: int
    trl_rows: int  # completions in a forward pass of TRL; it accumulates gradients over the rest
    steps: int = 20
    qwen: tuple[int, int] | None = None  # key-value heads and feed-forward width of a Qwen2 model; else the embedded Llama
    mean_length: float | None = None

    def to_json(self) -> dict[str, Any]:
        """What a reader must know to repeat it."""
        names = ("layers", "width", "vocabulary", "prompts", "k", "prompt_tokens", "new_tokens", "mean_length", "trl_rows")
        return {name: getattr(self, name) for name in names}


def _qwen(name: str, mean_length: float | None = None) -> Shape:
    """Qwen2.5-0.5B's shape."""
    return Shape(name, 24, 896, 14, 151_936, 64, 8, 128, 256, 32, steps=6, qwen=(2, 4864), mean_length=mean_length)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("quickstart", 2, 128, 4, 768, 32, 8, None, 32, 256),
        Shape("long_prompts", 4, 256, 4, 768, 8, 8, 150, 32, 64),
        Shape("large_vocabulary", 4, 256, 4, 151_936, 1, 8, 16, 256, 8, steps=5),
        _qwen("qwen2.5_0.5b"),
        _qwen("qwen2.5_0.5b_random_ends", mean_length=128.0),
        Shape("medium", 6, 512, 8, 8_000, 4, 8, 64, 64, 32, steps=2),
        Shape("large_vocabulary_short", 4, 256, 4, 151_936, 1, 8, 16, 32, 8, steps=2),
        Shape("smoke", 2, 64, 4, 300, 4, 4, 12, 12, 16, steps=2),
        Shape("smoke_random_ends", 2, 64, 4, 300, 4, 4, 12, 24, 16, steps=2, qwen=(2, 128), mean_length=8.0),
    )
}


def score(completion: str) -> float:
    """0 or 1 by the text's hash: every group has a signal, and nothing to compute."""
    return float(hashlib.md5(completion.encode(), usedforsecurity=False).digest()[0] % 2)


def configuration(shape: Shape) -> Any:
    """The model's configuration."""
    from transformers import Qwen2Config

    from ratchet.components.policy.tiny import tiny_config

    if shape.qwen is None:
        return tiny_config(shape.vocabulary, layers=shape.layers, width=shape.width, heads=shape.heads, context=CONTEXT)
    kv_heads, feed_forward = shape.qwen
    return Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
    )


def build(shape: Shape, folder: Path) -> None:
    """Write ``model/`` (weights and tokenizer) and ``prompts.json`` (texts, as the tokenizer is to see them)."""
    from transformers import AutoModelForCausalLM

    tokenizer, prompts = _word_problems(shape) if shape.prompt_tokens is None else _random_words(shape, shape.prompt_tokens)
    config = configuration(shape)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = None, tokenizer.eos_token_id, tokenizer.pad_token_id
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if shape.mean_length is not None:
        end_at_random(model, [tokenizer(prompt).input_ids for prompt in prompts[:4]], tokenizer.eos_token_id, shape.mean_length)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")


def _random_words(shape: Shape, length: int) -> tuple[Any, list[str]]:
    """A tokenizer of as many words as the vocabulary has, and prompts of so many of them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {PAD: 0, END: 1, **{f"w{i}": i for i in range(2, shape.vocabulary)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ids = torch.randint(2, shape.vocabulary, (ROWS, length), generator=torch.Generator().manual_seed(1))
    prompts = [" ".join(f"w{i}" for i in row) for row in ids.tolist()]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, padding_side="left"), prompts


def _word_problems(shape: Shape) -> tuple[Any, list[str]]:
    """The quickstart's tokenizer and its prompts, inside its template."""
    from ratchet.components.data.word_problems import generate
    from ratchet.components.policy.tiny import train_tokenizer
    from ratchet.components.pretrained.chat import encode_prompt

    problems = list(generate(4 * ROWS, max_operand=12, demo_noise=0.34, pair_noise=0.05, seed=1))
    tokenizer = train_tokenizer((f"{p['question']}\n{p['demonstration']}" for p in problems), shape.vocabulary)
    tokenizer.padding_side = "left"
    return tokenizer, [tokenizer.decode(encode_prompt(tokenizer, p["question"])) for p in problems[:ROWS]]


def end_at_random(model: Any, prompts: list[list[int]], end: int, mean_length: float) -> None:
    """Let each token of a Qwen2 model with random weights end the completion with chance ``1 / mean_length``.

    A constant bias of the last layer's values gives all last hidden states a common part, and the end-of-sequence row is laid
    along it, with the length at which its logit is ln(1 / mean_length) below the others' log-sum-exp on average.
    """
    with torch.no_grad():
        model.base_model.layers[-1].self_attn.v_proj.bias.fill_(10.0)  # outweighs what the layers before it add
        hidden = model.base_model(input_ids=torch.tensor(prompts)).last_hidden_state.flatten(0, 1)
        others = torch.cat([part.logsumexp(-1) for part in model.lm_head(hidden).split(64)]).mean()
        common = hidden.mean(0)
        model.lm_head.weight[end] = common * (others - torch.tensor(mean_length).log()) / common.square().sum()
