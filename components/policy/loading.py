"""Load and save a policy: safetensors only, no remote code, its own prompt template."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from ratchet.components.errors import ModelError
from ratchet.components.pretrained.chat import encode_answer, encode_messages, encode_prompt, encode_row, end_of_turn
from ratchet.components.pretrained.loading import Source
from ratchet.components.pretrained.template_date import date_tokenizer
from ratchet.components.storage.digests import digest_of

STATE = ("truncation", "padding")  # in a tokenizer's file, but of its last call


@dataclass(frozen=True)
class Policy:
    """A causal language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    precision: str = "auto"  # of the forward pass: auto, fp32 or bf16; the weights are fp32

    def autocast(self) -> AbstractContextManager[object]:
        """The context of this policy's forward passes."""
        return autocast(self.model.device, self.precision)

    @property
    def low_precision(self) -> bool:
        """Whether its forward passes are in bf16."""
        return is_half(self.model.device, self.precision)

    @property
    def end_of_sequence(self) -> int:
        """The tokenizer's own end, which also stands before a text that has no prompt."""
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Tokens at which a completion ends: the tokenizer's, and those that the model declares for generation."""
        return declared_ends(self.model, self.tokenizer)

    @cached_property
    def end_of_turn(self) -> int:
        """The one of :attr:`ends` with which the template ends an assistant's turn."""
        return end_of_turn(self.tokenizer, self.ends)

    @cached_property
    def encoding(self) -> str:
        """Digest of what turns texts into token ids: vocabulary, merges, normaliser, special tokens, chat template."""
        return encoding_of(self.tokenizer)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Token ids of a raw prompt inside the policy's own template."""
        return encode_prompt(self.tokenizer, prompt)

    def encode_messages(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a conversation {role, content} inside the policy's own template."""
        return encode_messages(self.tokenizer, messages)

    def encode_row(self, row: Mapping[str, Any]) -> list[int]:
        """Token ids of what a dataset's row asks: its ``messages``, if it has such, else its ``prompt``."""
        return encode_row(self.tokenizer, row)

    def encode_completion(self, completion: str) -> list[int]:
        """Token ids of a completion after its prompt, the end of its turn included; special tokens' names in it are text."""
        return [*encode_answer(self.tokenizer, completion), self.end_of_turn]

    def decode(self, tokens: Sequence[int]) -> str:
        """A completion's text, without the token that ended it."""
        kept = tokens[:-1] if tokens and tokens[-1] in self.ends else tokens
        return str(self.tokenizer.decode(kept, skip_special_tokens=True))


def encoding_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """See :attr:`Policy.encoding`."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a tokenizer in Python
        encoder: Any = [type(tokenizer).__name__, tokenizer.get_vocab()]
    else:
        encoder = {name: part for name, part in json.loads(backend.to_str()).items() if name not in STATE}
    return digest_of([encoder, json.dumps(tokenizer.special_tokens_map, default=str), tokenizer.chat_template])


def declared_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that end a completion: the tokenizer's end, then those in generation_config.json and config.json.

    Ids outside the vocabulary, such as a config class's default, are left out.
    """
    configs = (getattr(model, "generation_config", None), model.config, model.config.get_text_config())
    declared = [getattr(config, "eos_token_id", None) for config in configs]
    found = [
        i
        for ids in (tokenizer.eos_token_id, *declared)
        if ids is not None
        for i in (ids if isinstance(ids, (list, tuple)) else [ids])
    ]
    return tuple(i for i in dict.fromkeys(found) if 0 <= i < model.config.get_text_config().vocab_size)


def pick_device(wanted: str, deterministic: bool = True) -> torch.device:
    """``auto`` takes CUDA where there is one. Switches this process to torch's deterministic algorithms.

    Args:
        deterministic: false leaves CUDA its faster kernels, which add up in any order; a CPU is deterministic in any case.

    Raises:
        ModelError: if ``cuda`` is wanted and there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ModelError("device: cuda, but torch sees no CUDA device. Set device: auto or cpu.")
    device = torch.device("cuda" if available and wanted != "cpu" else "cpu")
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        from torch._inductor import config as inductor

        inductor.deterministic = deterministic  # kernels are not chosen by their time
    # The gradient of x[index] is otherwise added up atomically by several threads, in another order each time.
    torch.use_deterministic_algorithms(deterministic or device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads it
    return device


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[object]:
    """bf16 autocast over fp32 weights. ``auto`` is bf16 on CUDA, and fp32 on CPUs, of which only some have units for bf16."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if is_half(device, precision) else nullcontext()


def is_half(device: torch.device, precision: str) -> bool:
    """Whether :func:`autocast` computes products in bf16."""
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


def frozen(policy: Policy) -> Policy:
    """The policy for scoring only: in low precision its linear layers contain what autocast would cast at every call.

    The same bits come out, with half the memory for these layers. A matrix that embeddings share stays as it is.
    """
    policy.model.requires_grad_(False)
    embeddings = policy.model.get_input_embeddings().weight
    for module in policy.model.modules():
        if policy.low_precision and isinstance(module, nn.Linear) and module.weight is not embeddings:
            module.to(torch.bfloat16)
    return policy


def load_policy(
    source: str | Path,
    device: torch.device,
    revision: str | None = None,
    precision: str = "auto",
    template_date: str | None = None,
) -> Policy:
    """Load a policy from a directory or a hub id, in fp32 (autocast does the rest).

    Args:
        template_date: shown by a chat template that calls ``strftime_now``; by default the one that it was saved with.

    Raises:
        ModelError: if it cannot be loaded safely, or its weights are not whole and finite.
    """
    if not Path(source).is_dir() and (isinstance(source, Path) or source.startswith((".", "/", "~"))):
        raise ModelError(f"there is no model directory {source}. Check policy.model.")
    origin = Source(source, revision, "the model", "Check policy.model and policy.revision.")
    model, tokenizer = origin.load(AutoModelForCausalLM)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer of {source} has no end-of-sequence token. Set one and save it again.")
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer of {source} has {len(tokenizer)} tokens, its model embeds {rows}. "
            "Save the tokenizer that belongs to the model, or resize the embeddings."
        )
    if template_date is not None:
        date_tokenizer(tokenizer, template_date)
    policy = Policy(model.to(device).eval(), tokenizer, precision)
    try:
        policy.end_of_turn  # noqa: B018 - checked before anything is sampled
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    return policy


def save_policy(policy: Policy, path: Path) -> None:
    """Save weights as safetensors, with the tokenizer and its template.

    Of the generation settings the ends and the padding alone are kept: a base model's others (a repetition penalty) would make
    a server decode otherwise than the gate judged.
    """
    tokenizer, ends = policy.tokenizer, policy.ends
    policy.model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(ends) if len(ends) > 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id,
    )
    policy.model.save_pretrained(path)
    policy.tokenizer.save_pretrained(path)
