"""Hand-made and sampled rollouts for tests of everything between sampler and optimiser."""

from collections.abc import Sequence

from ratchet.components.graders.protocol import Grade
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.plain import sample
from ratchet.components.training.rollouts import PromptRollout, Rollouts
from tests.tiny_models import tiny_policy

PROMPTS = [[5, 6, 7], [8], [9, 10]]


def completion(*log_probs: float, finished: bool = True) -> Completion:
    """A completion of as many tokens as log-probs."""
    return Completion(list(range(20, 20 + len(log_probs))), list(log_probs), finished)


def scores(rewards: Sequence[float | None]) -> list[Grade]:
    return [Grade(r, {} if r is None else {"toy": r}) for r in rewards]


def hand_made(rewards: Sequence[float | None], completions: Sequence[Completion], k: int | None = None) -> Rollouts:
    """Groups of ``k`` completions; without it, one group of all of them."""
    k = k or len(completions)
    groups = []
    for number in range(0, len(completions), k):
        own, judged = list(completions[number : number + k]), scores(rewards[number : number + k])
        row = {"id": str(number // k), "prompt": f"prompt {number // k}"}
        groups.append(PromptRollout(row, PROMPTS[number // k], own, [f"text {number + i}" for i in range(k)], judged))
    return Rollouts(groups)


def sampled(rewards: Sequence[float | None], k: int, temperature: float = 1.0, top_p: float = 1.0) -> Rollouts:
    """Completions of the tiny policy, of 3 to 8 tokens, to as many prompts as the rewards are for, at most three."""
    prompts = PROMPTS[: len(rewards) // k]
    settings = SamplingSettings(k, 8, temperature, top_p)
    request = SamplingRequest(prompts, range(len(prompts)), settings, SamplingSeed(0, "test"), ends=[1])
    drawn = sample(tiny_policy().model, request)
    cut = [_cut(c, 3 + (i + j) % 6) for i, group in enumerate(drawn) for j, c in enumerate(group)]
    return hand_made(rewards, cut, k)


def _cut(completion: Completion, tokens: int) -> Completion:
    nucleus = None if completion.nucleus is None else completion.nucleus[:tokens]
    return Completion(completion.tokens[:tokens], completion.log_probs[:tokens], False, completion.entropies[:tokens], nucleus)
