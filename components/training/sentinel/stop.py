"""Why training was stopped, for machines and for people."""

from typing import NamedTuple

NONFINITE = "nonfinite"

ADVICE = {
    NONFINITE: "Lower train.lr, check the reward's range, and train in fp32.",
    "proxy_gold_gap": "The reward no longer pays for what is wanted: fix it, mix in a verifier, or hold the policy back with "
    "train.kl=loss.",
    "kl": "The policy has left the region in which the reward was validated: set train.kl=loss, lower train.lr, or raise "
    "train.sentinel.kl.",
    "length": "Look at the samples: where long answers are not better, the reward pays for length; otherwise raise "
    "policy.max_new_tokens and train.sentinel.length.",
    "entropy": "Lower train.lr or raise train.loss.clip_high where it collapses; set train.kl=loss where it explodes.",
    "repetition": "Look at the samples: the reward pays for a text that repeats itself. Fix the reward, or set train.kl=loss.",
    "silent_groups": "Equal rewards teach nothing: the prompts are too hard, or the reward is constant. Change the prompts, "
    "raise train.k, or set train.sampling.refills.",
    "missing_rewards": "The reward cannot judge many completions: look at the samples, and fix the verifier.",
    "gradient": "Lower train.lr or train.max_grad_norm.",
    "mismatch": "The engine that samples does not have the trainer's weights, or computes them too differently: look at what "
    "refreshes its weights, at its precision and temperature, and set train.precision=fp32 to tell these apart.",
    "ratio": "An update moves too far from the policy that sampled: lower train.lr, train.epochs or train.minibatches.",
}


class Stop(NamedTuple):
    """A rule that has ended training: ``reason`` is a key of ``ADVICE``."""

    reason: str
    signal: str  # name of the figure
    value: float
    limit: float
    step: int

    def text(self) -> str:
        """One sentence with the figures, and what to do."""
        return (
            f"the sentinel stopped training at step {self.step}: {self.reason} ({self.signal} {self.value:.3g}, limit "
            f"{self.limit:.3g}). {ADVICE[self.reason]}"
        )


def may_be_judged(reason: str) -> bool:
    """Whether a checkpoint from before a stop may go to the gate where the recipe lets it: never after non-finite updates."""
    return reason != NONFINITE
