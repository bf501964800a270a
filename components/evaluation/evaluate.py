"""Measure a policy on items: one row per item, with what was said and what it was worth."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from components.evaluation.intervals import Interval, mean_interval, wilson
from components.policy.adapters import Reference
from components.policy.loading import Policy
from components.policy.log_probs import completion_log_probs
from components.policy.packing import Group
from components.policy.sampling import Completion, SamplingSeed, SamplingSettings, generate
from components.records import ItemResult
from components.rewards.verifier import final_number, is_correct


def evaluate_items(
    policy: Policy,
    rows: Sequence[Mapping[str, Any]],
    *,
    seed: int,
    purpose: str,
    max_new_tokens: int,
    temperature: float,
    reference: Reference | None = None,
) -> list[ItemResult]:
    """Sample one completion an item and judge it by the verifier.

    The draws depend on (seed, purpose, item id), so that two policies meet the same items with the same randomness.

    Args:
        temperature: 0 is greedy.
        reference: policy to which the KL of each completion is estimated (k1).
    """
    prompts = [policy.encode_prompt(row["prompt"]) for row in rows]
    items = [int(row["id"], 16) for row in rows]
    settings = SamplingSettings(1, max_new_tokens, temperature)
    completions = [one for (one,) in generate(policy, prompts, items, settings, SamplingSeed(seed, purpose))]
    divergences: Sequence[float | None] = [None] * len(rows)
    if reference is not None:
        divergences = _divergences(policy, reference, prompts, completions)
    return [_judge(policy, row, completion, kl) for row, completion, kl in zip(rows, completions, divergences, strict=True)]


def _judge(policy: Policy, row: Mapping[str, Any], completion: Completion, kl: float | None) -> ItemResult:
    text = policy.decode(completion.tokens)
    return ItemResult(
        id=row["id"],
        prompt=row["prompt"],
        completion=text,
        correct=is_correct(text, row["answer"]),
        formatted=final_number(text) is not None,
        length=len(completion.tokens),
        finished=completion.finished,
        kl=kl,
    )


def _divergences(
    policy: Policy, reference: Reference, prompts: Sequence[Sequence[int]], completions: Sequence[Completion]
) -> list[float]:
    groups = [Group(p, [c.tokens]) for p, c in zip(prompts, completions, strict=True)]
    own, other = completion_log_probs(policy, groups), reference.completion_log_probs(groups)
    return [a - b for a, b in zip(own, other, strict=True)]


def summarise(results: Sequence[ItemResult]) -> dict[str, Interval]:
    """Accuracy and format rate with Wilson intervals, and mean length and KL with normal ones."""
    n = len(results)
    figures = {
        "accuracy": wilson(sum(r.correct for r in results), n),
        "format_rate": wilson(sum(r.formatted for r in results), n),
        "length": mean_interval(np.array([float(r.length) for r in results])),
    }
    divergences = [r.kl for r in results if r.kl is not None]
    return figures | ({"kl": mean_interval(np.array(divergences))} if divergences else {})


def as_rows(results: Sequence[ItemResult]) -> list[dict[str, Any]]:
    """Results as JSON rows."""
    return [asdict(result) for result in results]
