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
    settings: SamplingSettings,
    seed: SamplingSeed,
    measuring: Measuring = Measuring(),
) -> list[ItemResult]:
    """Sample completions of each item and grade them; item by item, sample by sample.

    The draws depend on (seed, item id, sample), so two policies answer the same items with the same randomness.
    """
    prompts = [policy.encode_row(row) for row in rows]
    request = SamplingRequest(prompts, [int(row["id"], 16) for row in rows], settings, seed, policy.ends)
    completions = [one for group in generate(policy, request) for one in group]
    texts = [policy.decode(completion.tokens) for completion in completions]
    asked = [row for row in rows for _ in range(settings.samples)]
    sampled = [prompt for prompt in prompts for _ in range(settings.samples)]
    kls = _divergences(policy, (measuring.reference, measuring.incumbent), asked, sampled, completions, texts)
    gold = score_rows(measuring.gold, asked, texts)
    graded = {name: score_rows(grader, asked, texts) for name, grader in measuring.graders.items()}
    rewarded = None if measuring.reward is None else score_rows(measuring.reward, asked, texts)
    members = {row["id"]: slices_of(row, measuring.slices) for row in rows}
    return [
        ItemResult(
            id=row["id"],
            prompt=row["prompt"],
            completion=texts[place],
            length=len(completion.tokens),
            finished=completion.finished,
            kl=kls[place][0],
            kl_incumbent=kls[place][1],
            sample=place % settings.samples,
            grades={name: grades[place].score for name, grades in graded.items()},
            rewards={} if rewarded is None else _rewards(rewarded[place]),
            slices=members[row["id"]],
            cluster=row.get("group"),
            **_judgement(gold[place]),
        )
        for place, (row, completion) in enumerate(zip(asked, completions, strict=True))
    ]


def _judgement(grade: Grade) -> dict[str, Any]:
    """The gold's grade, as fields of an item's result."""
    return {
        "passed": grade.passed,
        "score": grade.score,
        "parts": dict(grade.parts),
        "fault": grade.fault,
        "answer": grade.answer,
        "expected": grade.expected,
        "tallies": grade.tallies,
    }


def _rewards(grade: Grade) -> dict[str, float | None]:
    """The reward's score and parts, as measures."""
    return {"reward": grade.score, **{f"reward/{k}": v for k, v in grade.parts.items()}}


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
