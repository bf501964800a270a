"""Parity checks before training: do the samplers, the packed scorer and the model's own forward pass agree on this model?

Models differ in windows, caps, scales and positions. Instead of a list of supported families, every model is tested on a few
tokens; if its figures differed, training would silently use wrong importance ratios.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from ratchet.components.errors import ModelError
from ratchet.components.policy.engines.engine import SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.execution import ON_CPU
from ratchet.components.policy.engines.grouped import GroupedEngine
from ratchet.components.policy.engines.plain import sample
from ratchet.components.policy.engines.slots import SlotEngine
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group, PackedRows, pack, pack_flat
from ratchet.components.policy.varlen_attention import flat_rows
from ratchet.components.pretrained import context_length
from ratchet.components.pretrained.chat import encode_row
from ratchet.components.pretrained.template_date import date_tokenizer

TOLERANCE = 2e-3  # nats, fp32
HALF_TOLERANCE = 0.05  # nats, mean: bf16 kernels differ by less than 0.02, stale or wrong keys by 0.2 and more
PROBE_TOKENS = 12
COPIES = 12  # of each completion, adjacent: rows of 300 tokens, wider than a model's window (GPT-Neo: 256)


def check_scoring(policy: Policy) -> None:
    """Compare three ways to the same log-probs on two prompts of different lengths, in fp32.

    Raises:
        ModelError: if they differ, or if the model cannot be run in one of these ways.
    """
    family = policy.model.config.model_type
    try:
        differences = _differences(policy)
    except ModelError:
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:  # of third-party model code
        raise ModelError(
            f"{family}: sampling and scoring fail on this model ({type(error).__name__}: {error}). "
            "This family is not supported; use another model."
        ) from error
    for name, difference in differences.items():
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{family}: the {name} differs from the model's own forward pass by "
                f"{difference:.3g} nats, so training would use wrong ratios. This family is not supported; use another model."
            )


def check_engine(policy: Policy, slots: bool) -> SlotEngine | GroupedEngine:
    """An engine for this model, tried against the model's own forward pass in fp32 and in the policy's precision.

    Args:
        slots: whether it is the engine with slots, for CUDA, or that with groups, for CPUs.

    Raises:
        ModelError: if it cannot serve the model, with the reason.
    """
    try:
        exact = replace(policy, precision="fp32")
        in_fp32, engine = _engines(policy, exact, slots)
        worst = float(_engine_differences(exact, in_fp32).max())
        mean = float(_engine_differences(policy, engine).mean()) if engine.half else None
    except ModelError:
        raise
    except (AttributeError, IndexError, KeyError, LookupError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ModelError(f"{type(error).__name__}: {error}. The plain engine serves it.") from error
    if not (worst <= TOLERANCE and (mean is None or mean <= HALF_TOLERANCE)):
        in_half = "" if mean is None else f" and by {mean:.3g} on average in bf16"
        raise ModelError(
            f"its log-probs differ from the model's own forward pass by {worst:.3g} nats at most in fp32{in_half}. "
            "The plain engine serves it."
        )
    return engine


def _engines(policy: Policy, exact: Policy, slots: bool) -> tuple[SlotEngine | GroupedEngine, SlotEngine | GroupedEngine]:
    """The engine in fp32, for comparison, and the one that will draw."""
    if slots:
        return SlotEngine(exact, ON_CPU, compiled=False), SlotEngine(policy)
    engine = GroupedEngine(policy)
    return GroupedEngine(exact) if engine.half else engine, engine


def _engine_differences(policy: Policy, engine: SlotEngine | GroupedEngine) -> torch.Tensor:
    """One log-prob per token, in nats."""
    prompts = _prompts(policy)
    drawn = engine(policy, _unending(prompts))
    engine.release()
    own = [_plain(policy, prompt, c.tokens) for prompt, group in zip(prompts, drawn, strict=True) for c in group]
    return (torch.tensor([c.log_probs for group in drawn for c in group]) - torch.stack(own)).abs()


def _prompts(policy: Policy) -> list[list[int]]:
    ids = torch.arange(1, 10).mul(policy.model.config.get_text_config().vocab_size // 11).tolist()
    return [ids[:3], ids]


def _unending(prompts: Sequence[Sequence[int]]) -> SamplingRequest:
    """No token ends these completions, so that all tokens are compared."""
    return SamplingRequest(prompts, range(len(prompts)), SamplingSettings(2, PROBE_TOKENS), SamplingSeed(0, "probe"), ends=())


def _differences(policy: Policy) -> dict[str, float]:
    """Greatest difference of each of our ways from the model's own forward pass, in nats."""
    prompts = _prompts(policy)
    request = _unending(prompts)
    drawn = sample(policy.model, request)
    groups = [Group(prompt, [c.tokens for c in group] * COPIES) for prompt, group in zip(prompts, drawn, strict=True)]
    layouts = {"packed scorer": pack(groups), **({"flat scorer": pack_flat(groups)} if flat_rows(policy) else {})}
    shape = (len(prompts), 1, request.settings.samples, PROBE_TOKENS)
    sampled = torch.tensor([c.log_probs for group in drawn for c in group]).view(shape)
    own = [_plain(policy, prompt, c.tokens) for prompt, group in zip(prompts, drawn, strict=True) for c in group]
    plain = torch.stack(own).view(shape)
    scored = {name: _scored(policy, rows).view(len(prompts), COPIES, *shape[2:]) for name, rows in layouts.items()}
    return {name: float((found - plain).abs().max()) for name, found in {"sampler": sampled, **scored}.items()}


def _scored(policy: Policy, rows: PackedRows) -> torch.Tensor:
    """Log-probs by completion and token."""
    found = torch.zeros(int(rows.sequence.max()) + 1, PROBE_TOKENS)
    with torch.no_grad():
        found[rows.sequence, rows.index] = score_tokens(policy.model, rows.to(policy.model.device)).cpu()
    return found


def _plain(policy: Policy, prompt: list[int], completion: list[int]) -> torch.Tensor:
    tokens = torch.tensor([prompt + completion], device=policy.model.device)
    with torch.no_grad():
        log_softmax: torch.Tensor = policy.model(input_ids=tokens, use_cache=False).logits.float().log_softmax(-1)[0]
    predictors = log_softmax[len(prompt) - 1 : -1]  # logits at a token predict the next one
    return predictors.gather(-1, tokens[0, len(prompt) :, None])[:, 0].cpu()


def longest_prompt(policy: Policy, rows: Sequence[Mapping[str, Any]]) -> int:
    """Tokens of the longest prompt, among those of most characters; the sampler checks every one."""
    return context_length.longest_prompt(policy.encode_row, rows)


def check_context(policy: Policy, rows: Sequence[Mapping[str, Any]], max_new_tokens: int) -> None:
    """Refuse prompts whose completions could run past the model's context.

    Raises:
        ModelError: naming the longest prompt and the remedy.
    """
    limit = context_length.context_limit(policy.model.config.get_text_config())
    if limit is not None:
        limit.require(longest_prompt(policy, rows), max_new_tokens)


def check_saved_context(model: Path, rows: Sequence[Mapping[str, Any]], max_new_tokens: int, date: str) -> None:
    """:func:`check_context` of a saved policy, without its weights.

    Args:
        date: shown by a chat template that calls ``strftime_now``.
    """
    limit = context_length.limit_of_folder(model)
    if limit is not None:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        date_tokenizer(tokenizer, date)
        limit.require(context_length.longest_prompt(partial(encode_row, tokenizer), rows), max_new_tokens)
