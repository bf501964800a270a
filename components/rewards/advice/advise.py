"""Advice from a validation's pilot: the group size, zero-variance groups, GRPO or PPO, a KL budget; each with its reasons."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from ratchet.components.rewards.advice import group_size as sizes
from ratchet.components.rewards.advice.pilot import Pilot

LARGEST = 32  # k beyond which other remedies are cheaper
BYTES_PER_PARAMETER = 16  # fp32 weight, gradient and two moments
LONG = 2_000  # tokens, beyond which one return per completion says little about each token
SHARE_OF_PEAK = 0.6  # share of the KL at which the gold curve is expected to peak


class SizeFigures(NamedTuple):
    """What to expect from one group size."""

    k: int
    silent_share: float
    advantage_fidelity: float
    signal: float  # rho (k - 1), of one prompt
    spread_error: float


@dataclass(frozen=True)
class Advice:
    """The pilot's advice for ``train``, and the assumptions behind it."""

    k: int
    capped: bool  # a larger k was wanted
    rho: float
    silent_alpha: float  # of the Beta distribution of pass rates
    silent_beta: float
    sizes: list[SizeFigures]
    fixed_budget_k: float | None  # 1 + sigma / tau; None if prompts do not differ
    algorithm: str
    kl_budget: float | None  # nats per completion
    reasons: list[str]
    assumptions: list[str]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "sizes": [figures._asdict() for figures in self.sizes]}


ASSUMPTIONS = [
    "the reward is signal plus independent noise, and the samples of a prompt are independent",
    "pass rates over prompts are Beta-distributed, and stay what they are now; they rise as the policy learns",
    f"a prompt's signal-to-noise rho (k - 1) of {sizes.SIGNAL:g} is enough, and so is reward variance in "
    f"{1 - sizes.MAX_ZERO_VARIANCE:.0%} of the groups",
    "the policy's first samples represent those of the whole training",
]


def advise(pilot: Pilot, curve: Sequence[Mapping[str, float]], parameters: int) -> Advice:
    """Advice from a pilot.

    Args:
        curve: best-of-n points of :func:`ratchet.components.rewards.checks.on_samples.best_of_n_curve`.
        parameters: of the policy, for the price of a critic.
    """
    rho, (alpha, beta) = pilot.signal_share, sizes.fit_beta(pilot.passes, pilot.k)
    signal, silence = sizes.size_for_signal(rho), sizes.size_against_zero_variance(alpha, beta)
    wanted = sizes.recommended_size(rho, silence)
    k, capped = int(min(wanted, LARGEST)), wanted > LARGEST
    figures = [_figures(size, rho, alpha, beta) for size in sizes.SIZES]
    optimum = sizes.fixed_budget_size(pilot.within + pilot.noise, pilot.between)
    equal = sizes.expected_zero_variance_share(alpha, beta, k)
    algorithm, why = better_algorithm(equal, pilot.tokens, parameters)
    budget, how = kl_budget(curve)
    reasons = [
        f"rho = {rho:.2f} (retest {_share(pilot.within, pilot.noise):.2f}, gold explains {pilot.fidelity:.2f}): "
        f"k >= 1 + {sizes.SIGNAL:g} / rho = {signal:.1f}",
        f"pass rates Beta({alpha:.2f}, {beta:.2f}): k >= {silence:g} keeps the share of zero-variance groups at "
        f"{sizes.MAX_ZERO_VARIANCE:g} or below",
        *([CAPPED] if capped else []),
        *([f"at a fixed number of samples the gradient's variance is least near k = {optimum:.1f}"] if optimum < 1e6 else []),
        *why,
        how,
    ]
    least = optimum if math.isfinite(optimum) else None
    return Advice(k, capped, rho, alpha, beta, figures, least, algorithm, budget, reasons, ASSUMPTIONS)


CAPPED = (
    f"more than k = {LARGEST} is wanted: fix the reward, use dynamic sampling (train.sampling.refills), "
    "or keep prompts with pass rates of 0.05 to 0.95, rather than a larger k"
)


def _share(signal: float, noise: float) -> float:
    return signal / (signal + noise) if signal + noise > 0 else 0.0


def _figures(k: int, rho: float, alpha: float, beta: float) -> SizeFigures:
    return SizeFigures(
        k=k,
        silent_share=sizes.expected_zero_variance_share(alpha, beta, k),
        advantage_fidelity=sizes.advantage_fidelity(rho, k),
        signal=rho * (k - 1),
        spread_error=sizes.spread_error(k),
    )


def better_algorithm(equal: float, tokens: float, parameters: int) -> tuple[str, list[str]]:
    """``ppo`` if most groups have zero variance or completions are very long, else ``grpo``; and the reasons.

    Args:
        equal: expected share of zero-variance groups at the advised k.
        tokens: mean length of a completion, over which its single reward is spread.
    """
    price = parameters * BYTES_PER_PARAMETER / 2**30
    cost = f"a critic of the policy's size would take {price:.2f} GiB more (16 bytes per parameter) and must learn values first"
    if equal > 0.5:
        return "ppo", [f"{equal:.0%} of groups would have zero variance, and PPO learns from single samples", cost]
    if tokens > LONG:
        return "ppo", [
            f"completions have {tokens:.0f} tokens, and a critic can credit single tokens where one reward cannot",
            cost,
        ]
    return "grpo", [
        f"{1 - equal:.0%} of groups have differing rewards over {tokens:.0f} tokens, so the group's mean serves as baseline",
        cost,
    ]


def kl_budget(curve: Sequence[Mapping[str, float]]) -> tuple[float | None, str]:
    """Nats per completion within which gold should not fall, from the best-of-n curve, and how it was found.

    Gold gained at d = sqrt(KL) is fitted by d (alpha - beta d) (Gao et al. 2022, arXiv:2210.10760); its peak lies at
    d* = alpha / (2 beta). The budget is a share of d*^2; if the curve does not bend down, the largest KL observed.
    """
    points = [point for point in curve if point["n"] > 1]
    if len(points) < 2:
        return None, "no KL budget: the pilot has too few samples per prompt; raise reward.validation.group"
    start = curve[0]["gold"]
    distance = np.sqrt([point["kl"] for point in points])
    # The lower end of each interval, so that the budget errs on the small side.
    gained = np.array([point["gold_low"] - start for point in points])
    (alpha, minus_beta), *_ = np.linalg.lstsq(np.stack([distance, distance**2], axis=1), gained, rcond=None)
    seen = float(points[-1]["kl"])
    if alpha <= 0:
        return 0.0, "KL budget 0: selecting by this reward does not raise gold"
    if minus_beta >= 0:
        return (
            seen,
            f"KL budget {seen:.2f} nats: gold still rises at best-of-{points[-1]['n']:.0f}; nothing is known beyond that",
        )
    peak = float(alpha / (-2 * minus_beta)) ** 2
    if peak > seen / SHARE_OF_PEAK:
        return (
            seen,
            f"KL budget {seen:.2f} nats: gold's peak is put near {peak:.2f}, beyond what best-of-{points[-1]['n']:.0f} shows",
        )
    budget = SHARE_OF_PEAK * peak
    return budget, f"KL budget {budget:.2f} nats: {SHARE_OF_PEAK:g} of the peak at {peak:.2f} that fits the best-of-n curve"
