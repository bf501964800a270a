"""Watches training and decides when it must end, and why. Rules and limits are the recipe's section ``train.sentinel``.

Its state resumes with the checkpoint. It observes training steps and dev evaluations.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ratchet.components.recipe import Sentinel
from ratchet.components.training.detectors import (
    BASELINES,
    AccuracyDrop,
    GradientSpikes,
    ProxyGoldGap,
    crossings,
    doubtful,
    fall_on_other_draws,
    spike_limit,
)

NONFINITE = "nonfinite"
WATCHED_EVERY = 5  # steps between dev evaluations while gold is suspected to be below its best
EARLY = 20  # steps in which a policy moves far by the size of its updates sooner than by what the reward pays for
TOO_LARGE = "After so few steps the updates are the first suspect: lower train.lr to a tenth, or raise train.lr_warmup."

ADVICE = {
    NONFINITE: "Lower train.lr, check the reward's range, and train in fp32.",
    "proxy_gold_gap": "The reward no longer measures the goal: fix it, mix in a verifier, or constrain the policy with "
    "train.kl=loss.",
    "kl": "The policy has left the region in which the reward was validated: constrain it with train.kl=loss, or with a larger "
    "train.kl_coefficient where there is a KL term, lower train.lr, or raise train.sentinel.kl where completions are long.",
    "length": "Inspect the samples: if long answers are not better, the reward pays for length; otherwise raise "
    "policy.max_new_tokens and train.sentinel.length.",
    "entropy_low": "The policy has become certain of its answers: raise train.loss.clip_high, which leaves rare tokens room to "
    "grow, or lower train.lr. If it starts uncertain and rightly ends certain, lower train.sentinel.entropy_low.",
    "entropy_high": "The policy has become noise: lower train.lr, constrain it with train.kl=loss, or with a larger "
    "train.kl_coefficient where there is a KL term, or lower train.loss.clip_high.",
    "repetition": "Inspect the samples: the reward pays for repetitive text. Fix the reward, or set train.kl=loss.",
    "silent_groups": "Equal rewards carry no signal: the prompts are too hard, or the reward is constant. Change the prompts, "
    "raise train.k, or set train.sampling.refills.",
    "missing_rewards": "The reward cannot judge many completions: inspect the samples, and fix the verifier.",
    "gradient": "Lower train.lr or train.max_grad_norm.",
    "mismatch": "The engine that samples does not have the trainer's weights, or computes them too differently: check how its "
    "weights are refreshed, its precision and its temperature; set train.precision=fp32 to tell these causes apart.",
    "ratio": "Updates move too far from the policy that sampled: lower train.lr, train.epochs or train.minibatches.",
}
BY_UPDATES = ("kl", "length", "entropy_low", "entropy_high", "repetition", "silent_groups")  # what too large updates look like


class Stop(NamedTuple):
    """Why training ended: ``reason`` is a key of ``ADVICE``, or ``entropy``, whose advice depends on the side of the limit."""

    reason: str
    signal: str  # name of the figure
    value: float
    limit: float
    step: int

    def text(self) -> str:
        """One sentence with the figures and the remedy."""
        return (
            f"the sentinel stopped training at step {self.step}: {self.reason} ({self.signal} {self.value:.3g}, limit "
            f"{self.limit:.3g}). {self._advice()}"
        )

    def _advice(self) -> str:
        side = "high" if self.value > self.limit else "low"
        key = f"entropy_{side}" if self.reason == "entropy" else self.reason
        if key not in BY_UPDATES or self.step > EARLY:
            return ADVICE[key]
        return f"{TOO_LARGE} If that does not help: {ADVICE[key]}"


def may_be_judged(reason: str) -> bool:
    """Whether a checkpoint from before a stop may go to the gate if the recipe allows it: never after non-finite updates."""
    return reason != NONFINITE


class DevResult(NamedTuple):
    """A dev evaluation: its figures, and each item's gold (1.0 if the verifier agrees) and proxy (the training reward).

    An item that gold could not judge keeps its place, with None for both.
    """

    figures: Mapping[str, float]
    gold: Sequence[float | None] = ()
    proxy: Sequence[float | None] = ()


def dev_result(figures: Mapping[str, float], gold: Sequence[float | None], proxy: Sequence[float | None]) -> DevResult:
    """With ``eval_proxy``, the mean of the proxy over items that have one."""
    present = [value for value in proxy if value is not None]
    mean = {"eval_proxy": sum(present) / len(present)} if present else {}
    return DevResult({**figures, **mean}, gold, proxy)


@dataclass
class SentinelState:
    """All of it is JSON, so that a resumed run stops at the same step as an uninterrupted one."""

    skipped_in_a_row: int = 0
    over: dict[str, int] = field(default_factory=dict)  # rule -> consecutive steps over its limit
    start: dict[str, list[float]] = field(default_factory=dict)  # signal -> its values in the first steps
    gradient_spikes: GradientSpikes = field(default_factory=GradientSpikes)
    proxy_gold_gap: ProxyGoldGap = field(default_factory=ProxyGoldGap)
    accuracy_drop: AccuracyDrop = field(default_factory=AccuracyDrop)
    suspicious: bool = False  # the last step asks for a dev evaluation
    suspected_at: int | None = None  # the step of the last dev evaluation, if gold was suspected to be below its best

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> "SentinelState":
        """From the JSON of ``asdict``."""
        parts = {
            "gradient_spikes": GradientSpikes(**state["gradient_spikes"]),
            "proxy_gold_gap": ProxyGoldGap(**state["proxy_gold_gap"]),
            "accuracy_drop": AccuracyDrop(**state["accuracy_drop"]),
        }
        return cls(**{**state, **parts})

    def observe(self, step: int, figures: Mapping[str, float], stepped: int, skipped: int, limits: Sentinel) -> Stop | None:
        """Add a training step: its figures, the optimiser steps taken and skipped. Returns the reason to stop, or None."""
        if skipped:
            self.skipped_in_a_row += 1
        elif stepped:
            self.skipped_in_a_row = 0
        if self.skipped_in_a_row >= limits.nonfinite:
            return Stop(NONFINITE, "skipped_in_a_row", self.skipped_in_a_row, limits.nonfinite - 1, step)
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        accuracy = figures.get("accuracy")
        self.suspicious = limits.gap is not None and accuracy is not None and self.accuracy_drop.observe(accuracy)
        return self._stop_by_rule(step, figures, limits) or self._stop_by_spikes(step, figures, limits)

    def wants_evaluation(self, step: int, limits: Sentinel) -> bool:
        """Whether dev is to be evaluated after this step, whatever the recipe's schedule says."""
        watched = self.suspected_at is not None and step >= self.suspected_at + WATCHED_EVERY
        return step in limits.looks or self.suspicious or (watched and limits.second_opinion is not None)

    def wants_second_opinion(self, step: int, limits: Sentinel) -> bool:
        """Whether the best checkpoint and this policy are to be evaluated with other draws."""
        return self.suspected_at == step and limits.second_opinion is not None

    def warnings(self) -> dict[str, float]:
        """For each violated rule or doubt, the number of consecutive steps."""
        return {f"sentinel/{name}": float(steps) for name, steps in self.over.items()}

    def observe_dev(self, step: int, result: DevResult, limits: Sentinel) -> Stop | None:
        """Add a dev evaluation, always of the same items in the same order. Returns the reason to stop, or None."""
        divergence = result.figures.get("eval_kl", 0.0)
        if limits.kl is not None and divergence > limits.kl:
            return Stop("kl", "eval_kl", divergence, limits.kl, step)
        if limits.gap is None or not result.proxy:
            return None
        gap = self.proxy_gold_gap.observe(result.proxy, result.gold, limits.gap_slack)
        self.suspected_at = step if self.proxy_gold_gap.suspected else None
        return Stop("proxy_gold_gap", "sentinel/gap", gap, limits.gap, step) if gap > limits.gap else None

    def observe_second_opinion(
        self, step: int, best: Sequence[DevResult], now: Sequence[DevResult], limits: Sentinel
    ) -> Stop | None:
        """Add evaluations of the best checkpoint and of this policy, with the same other draws. Returns the reason to stop."""
        before, after = ([(result.proxy, result.gold) for result in results] for results in (best, now))
        fall, limit = fall_on_other_draws(before, after), limits.second_opinion
        if limit is None or fall <= limit:
            return None
        return Stop("proxy_gold_gap", "sentinel/second_opinion", fall, limit, step)

    def _stop_by_rule(self, step: int, figures: Mapping[str, float], limits: Sentinel) -> Stop | None:
        whole = {name: values for name, values in self.start.items() if len(values) >= limits.baseline_steps}
        baseline = {name: sum(values) / len(values) for name, values in whole.items()}
        found = {crossing.rule.name: crossing for crossing in crossings(figures, baseline, limits)}
        self.over = {name: self.over.get(name, 0) + 1 for name in [*found, *doubtful(figures, limits)]}
        for name in BASELINES:
            if name in figures and len(self.start.get(name, ())) < limits.baseline_steps:
                self.start.setdefault(name, []).append(figures[name])
        for name, steps in self.over.items():
            if steps >= limits.patience and name in found:
                rule, value, limit = found[name]
                return Stop(rule.reason, rule.signal, value, limit, step)
        return None

    def _stop_by_spikes(self, step: int, figures: Mapping[str, float], limits: Sentinel) -> Stop | None:
        norm = figures.get("grad_norm")
        if norm is None or limits.gradient is None or not self.gradient_spikes.observe(step, norm, limits.gradient):
            return None
        return Stop("gradient", "grad_norm", norm, spike_limit(self.gradient_spikes.norms, limits.gradient), step)
