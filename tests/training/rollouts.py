"""Hand-made rollouts for tests of experience and update."""

from collections.abc import Sequence

from components.policy.sampling import Completion, SamplingSeed, SamplingSettings, sample
from components.rewards.protocol import Score
from components.training.experience import Rollouts
from tests.tiny_models import tiny_policy

PROMPTS = [[5, 6, 7], [8], [9, 10]]


def completion(*log_probs: float, finished: bool = True) -> Completion:
    """A completion of as many tokens as log-probs."""
    return Completion(list(range(20, 20 + len(log_probs))), list(log_probs), finished)


def scores(rewards: Sequence[float | None]) -> list[Score]:
    return [Score(r, {} if r is None else {"toy": r}) for r in rewards]


def hand_made(rewards: Sequence[float | None], completions: Sequence[Completion]) -> Rollouts:
    """One prompt with the given completions."""
    return Rollouts([[5, 6]], [list(completions)], scores(rewards))


def sampled(rewards: Sequence[float | None], k: int) -> Rollouts:
    """Completions of the tiny policy to as many prompts as the rewards are for, at most three."""
    prompts = PROMPTS[: len(rewards) // k]
    numbers = range(len(prompts))
    drawn = sample(tiny_policy().model, prompts, numbers, SamplingSettings(k, 9), SamplingSeed(0, "test"), 1)
    cut = [[Completion(c.tokens[: 3 + (i + j) % 6], c.log_probs[: 3 + (i + j) % 6], False) for j, c in enumerate(group)]
           for i, group in enumerate(drawn)]  # fmt: skip
    return Rollouts(prompts, cut, scores(rewards))
