"""Measure a policy on items: one row per item and sample, with its text, the gold's grade of it and its measures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ratchet.components.graders.number import grade_numbers
from ratchet.components.graders.protocol import Grade, RewardFunction, score_rows
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.engines.default import generate
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import completion_log_probs
from ratchet.components.policy.packing import Group
from ratchet.components.policy.same_text import same_tokens, text_log_probs
from ratchet.components.recipe import Slice, slices_of
from ratchet.components.records import ItemResult


@dataclass(frozen=True)
class Measuring:
    """What is measured of each completion.

    Attributes:
        reference: policy to which the KL of each completion is estimated (k1); by its text if their tokenizers differ.
        incumbent: the same, for ``kl_incumbent``.
        gold: what says how good a completion is.
        graders: others, by name.
    """

    reference: Reference | None = None
    incumbent: Reference | None = None
    reward: RewardFunction | None = None
    slices: Sequence[Slice] = ()
    gold: RewardFunction = grade_numbers
    graders: Mapping[str, RewardFunction] = field(default_factory=dict)


def evaluate_items(
    policy: Policy,
    rows: Sequence[Mapping[str, Any]],
    *,
    seed: int,
    purpose: str,
    max_new_tokens: int,
    temperature: float,
    samples: int = 1,
    measuring: Measuring = Measuring(),
) -> list[ItemResult]:
    """Sample completions of each item and grade them; item by item, sample by sample.

    The draws depend on (seed, purpose, item id, sample), so two policies answer the same items with the same randomness.

    Args:
        temperature: 0 is greedy.
        samples: completions per item.
    """
    prompts = [policy.encode_row(row) for row in rows]
    items = [int(row["id"], 16) for row in rows]
    settings = SamplingSettings(samples, max_new_tokens, temperature)
    request = SamplingRequest(prompts, items, settings, SamplingSeed(seed, purpose), policy.ends)
    completions = [one for group in generate(policy, request) for one in group]
    each = [(row, number) for row in rows for number in range(samples)]
    sampled = [prompt for prompt in prompts for _ in range(samples)]
    texts = [policy.decode(completion.tokens) for completion in completions]
    repeated = [row for row, _ in each]
    kls = _divergences(policy, (measuring.reference, measuring.incumbent), repeated, sampled, completions, texts)
    gold = score_rows(measuring.gold, repeated, texts)
    graded = {name: score_rows(grader, repeated, texts) for name, grader in measuring.graders.items()}
    rewards: Sequence[Grade | None] = [None] * len(texts)
    if measuring.reward is not None:
        rewards = score_rows(measuring.reward, repeated, texts)
    members = {row["id"]: slices_of(row, measuring.slices) for row in rows}
    return [
        ItemResult(
            id=row["id"],
            prompt=row["prompt"],
            completion=texts[place],
            passed=gold[place].passed,
            score=gold[place].score,
            length=len(completion.tokens),
            finished=completion.finished,
            kl=kls[place][0],
            kl_incumbent=kls[place][1],
            sample=number,
            parts=dict(gold[place].parts),
            fault=gold[place].fault,
            answer=gold[place].answer,
            expected=gold[place].expected,
            tallies=gold[place].tallies,
            grades={name: grades[place].score for name, grades in graded.items()},
            rewards=_rewards(rewards[place]),
            slices=members[row["id"]],
            cluster=row.get("group"),
        )
        for place, ((row, number), completion) in enumerate(zip(each, completions, strict=True))
    ]


def _rewards(grade: Grade | None) -> dict[str, float | None]:
    """The reward's score and parts, as measures."""
    return {} if grade is None else {"reward": grade.score, **{f"reward/{k}": v for k, v in grade.parts.items()}}


def _divergences(
    policy: Policy,
    references: tuple[Reference | None, Reference | None],
    rows: Sequence[Mapping[str, Any]],
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Completion],
    texts: Sequence[str],
) -> list[tuple[float | None, float | None]]:
    """KL estimates to each of the two references, if given: by tokens, or by text where the two do not share their tokens."""
    if references == (None, None):
        return [(None, None)] * len(completions)
    groups = [Group(p, [c.tokens]) for p, c in zip(prompts, completions, strict=True)]
    own = completion_log_probs(policy, groups)
    columns: list[Sequence[float | None]] = []
    for reference in references:
        theirs: Sequence[float | None]
        if reference is None:
            theirs = [None] * len(own)
        elif same_tokens(policy, reference.policy):
            theirs = reference.completion_log_probs(groups)
        else:
            theirs = text_log_probs(reference, rows, texts, completions)
        columns.append([None if b is None else a - b for a, b in zip(own, theirs, strict=True)])
    return list(zip(*columns, strict=True))


def as_rows(results: Sequence[ItemResult]) -> list[dict[str, Any]]:
    """Results as JSON rows."""
    return [asdict(result) for result in results]
