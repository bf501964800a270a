"""The dev evaluation of a training run: the gold, and as proxy the training reward, on the same samples."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from ratchet.components.errors import RewardError
from ratchet.components.evaluation.evaluate import Measuring, as_rows, evaluate_items
from ratchet.components.evaluation.measures import summarise
from ratchet.components.graders.number import grade_numbers
from ratchet.components.graders.protocol import RewardFunction, score_rows
from ratchet.components.launch.ranks import ONE, Ranks
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import headline
from ratchet.components.records import ItemResult
from ratchet.components.statistics.intervals import Interval
from ratchet.components.training.sentinel import DevResult, dev_result

OTHER_DRAWS = ("dev, second opinion 1", "dev, second opinion 2", "dev, second opinion 3")


def dev_evaluation(
    rows: Sequence[Mapping[str, Any]],
    reward: RewardFunction,
    reference: Reference | None,
    settings: SamplingSettings,
    seed: SamplingSeed,
    *,
    gold: RewardFunction = grade_numbers,
    ranks: Ranks = ONE,
    rewarding: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Callable[[Policy], DevResult]:
    """A function that evaluates a policy on these rows, with the same draws each time.

    Args:
        reference: policy to which the KL is measured, nats per completion.
        ranks: each evaluates a part of the rows.
        rewarding: around rewards; all ranks enter it at once.

    Raises (the function):
        RewardError: if the reward breaks its protocol, or the gold can judge no completion.
    """

    def measured(policy: Policy, own: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, Any], float | None]]:
        results = evaluate_items(policy, own, settings, seed, Measuring(reference, gold=gold))
        proxies = [result.score for result in results]
        if reward is not gold:
            proxies = [grade.score for grade in score_rows(reward, own, [result.completion for result in results])]
        return list(zip(as_rows(results), proxies, strict=True))

    def evaluate(policy: Policy) -> DevResult:
        referring = nullcontext() if reference is None else reference.together()
        with referring, rewarding():  # also a rank that has no row
            found = ranks.dealt(rows, partial(measured, policy))
        results = [ItemResult(**row) for row, _ in found]
        figures = summarise(results)
        gold_scores = [result.score for result in results]
        if all(score is None for score in gold_scores):
            raise RewardError("the gold could judge no completion on dev. Give the rows references that it can read.")
        proxies = [None if score is None else proxy for score, (_, proxy) in zip(gold_scores, found, strict=True)]
        return dev_result(_shown(figures), gold_scores, proxies)

    return evaluate


def _shown(figures: Mapping[str, Interval]) -> dict[str, float]:
    """The figures that training logs and shows."""
    names = {headline(figures): "sampled_accuracy", "format_rate": "format_rate", "length": "mean_length", "kl": "kl"}
    return {f"eval_{shown}": figures[name].value for name, shown in names.items() if name in figures}
