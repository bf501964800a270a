"""The rollouts of a step: a batch of prompts, each rank's own part drawn and scored, and zero-variance groups drawn again."""

from collections.abc import Sequence

from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import Policy
from ratchet.components.randomness import batch_indices
from ratchet.components.training.exchange import gathered
from ratchet.components.training.meters import Phases
from ratchet.components.training.rollouts import Rollouts, distinct_items, refill, refilled, roll_out
from ratchet.components.training.setting import Setting


def roll_out_batch(policy: Policy, setting: Setting, step: int, phases: Phases) -> tuple[Rollouts, dict[str, float]]:
    """A batch of prompts, with zero-variance groups replaced if the recipe says so; and the cost of that."""
    train, rows = setting.train, setting.task.rows
    numbers = batch_indices(setting.seed, "prompts", step, train.prompts, len(rows)).tolist()
    rollouts = _drawn(policy, setting, numbers, SamplingSeed(setting.seed, "rollout", step), phases)
    tokens, samples, rounds = int(rollouts.lengths.sum()), len(rollouts.completions), 0
    while rounds < train.sampling.refills:
        wanted = refill(rollouts.rewards, setting.seed, step, rounds, len(rows))
        if wanted is None:
            break
        new = _drawn(policy, setting, wanted.rows, SamplingSeed(setting.seed, f"refill-{rounds}", step), phases)
        rollouts, rounds = refilled(rollouts, wanted.places, new), rounds + 1
        tokens, samples = tokens + int(new.lengths.sum()), samples + len(new.completions)
    refills = {"sampling/refill_rounds": float(rounds)} if train.sampling.refills else {}
    return rollouts, {"num_tokens": float(tokens), "num_samples": float(samples), **refills}


def _drawn(policy: Policy, setting: Setting, numbers: Sequence[int], seed: SamplingSeed, phases: Phases) -> Rollouts:
    train, task = setting.train, setting.task
    sampling = SamplingSettings(train.group_size, task.max_new_tokens, train.sampling.temperature, train.sampling.top_p)
    rows, own = [task.rows[i] for i in numbers], setting.ranks.part(len(numbers))
    items = distinct_items(numbers, len(task.rows))[own]
    made = roll_out(policy, setting.engine, rows[own], items, sampling, seed, task.reward, phases)
    if setting.ranks.size == 1:
        return Rollouts(made)
    with phases("exchange"):
        return Rollouts(gathered(made, rows, setting.ranks))
