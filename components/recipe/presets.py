"""Algorithms by the names of their papers: what each sets in ``train``. A recipe's own values override these.

A preset contains its paper's choices and nothing that depends on the task: the learning rate, steps, prompts and samples stay
the recipe's. docs/algorithms.md has the formulas, and how these differ from other libraries' defaults.
"""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # Schulman et al. 2017, arXiv:1707.06347; the KL penalty in the reward is Ziegler et al.'s, arXiv:1909.08593.
    "ppo": {"advantage": "gae", "kl": "reward", "kl_coefficient": 0.05, "loss": {"normaliser": "token_mean"}},
    # Shao et al. 2024, DeepSeekMath, arXiv:2402.03300
    "grpo": {
        "advantage": "group_std",
        "kl": "loss",
        "kl_estimator": "k3",
        "kl_coefficient": 0.04,
        "loss": {"normaliser": "sequence_mean"},
    },
    # Liu et al. 2025, arXiv:2503.20783
    "dr_grpo": {"advantage": "group_mean", "kl": "none", "loss": {"normaliser": "constant"}},
    # Yu et al. 2025, arXiv:2503.14476
    "dapo": {
        "advantage": "group_std",
        "kl": "none",
        "loss": {"clip_high": 0.28, "normaliser": "token_mean"},
        "sampling": {"refills": 3, "overlong": "penalty", "overlong_buffer": 0.2},
    },
    # Zheng et al. 2025, arXiv:2507.18071; the clip range suits answers of hundreds of tokens
    "gspo": {
        "advantage": "group_std",
        "kl": "none",
        "loss": {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4, "normaliser": "sequence_mean"},
    },
    # Ahmadian et al. 2024, arXiv:2402.14740
    "rloo": {
        "advantage": "leave_one_out",
        "kl": "reward",
        "kl_coefficient": 0.05,
        "loss": {"ratio": "completion", "normaliser": "sequence_mean"},
    },
    # Hu 2025, arXiv:2501.03262; its baseline form is advantage: group_mean_batch_std with kl: loss
    "reinforce_pp": {"advantage": "batch", "kl": "reward", "kl_coefficient": 0.01, "loss": {"normaliser": "token_mean"}},
    # MiniMax-M1 2025, arXiv:2506.13585; no lower bound, and TRL's recommended upper one (a weight of at most 5)
    "cispo": {
        "advantage": "group_std",
        "kl": "none",
        "loss": {"surrogate": "cispo", "clip_low": 1.0, "clip_high": 4.0, "normaliser": "token_mean"},
    },
}


def with_preset(algorithm: str, given: dict[str, Any]) -> dict[str, Any]:
    """The given values merged over those of the preset, key by key."""
    return _merged(PRESETS[algorithm], given)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict):
            merged[key] = _merged(under[key], over[key])
    return merged
