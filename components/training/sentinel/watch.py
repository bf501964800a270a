"""The sentinel's state, which resumes with the checkpoint, and its two occasions: a training step, a dev evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ratchet.components.recipe import Sentinel as Limits
from ratchet.components.training.sentinel.falls import Falls
from ratchet.components.training.sentinel.gap import Gap
from ratchet.components.training.sentinel.rules import BASELINES, crossings
from ratchet.components.training.sentinel.spikes import Spikes, spike_limit
from ratchet.components.training.sentinel.stop import NONFINITE, Stop


class DevResult(NamedTuple):
    """A dev evaluation: its figures, and each item's gold (1.0 where the verifier agrees) and proxy (the training reward)."""

    figures: Mapping[str, float]
    gold: Sequence[float] = ()
    proxy: Sequence[float | None] = ()


def dev_result(figures: Mapping[str, float], gold: Sequence[float], proxy: Sequence[float | None]) -> DevResult:
    """With ``eval_proxy``, the mean of the proxy where it is not missing."""
    present = [value for value in proxy if value is not None]
    mean = {"eval_proxy": sum(present) / len(present)} if present else {}
    return DevResult({**figures, **mean}, gold, proxy)


@dataclass
class Sentinel:
    """All of it is JSON, so that a resumed run stops where an uninterrupted one does."""

    skipped_in_a_row: int = 0
    over: dict[str, int] = field(default_factory=dict)  # rule -> steps in a row over its limit
    start: dict[str, list[float]] = field(default_factory=dict)  # signal -> its values in the first steps
    spikes: Spikes = field(default_factory=Spikes)
    gap: Gap = field(default_factory=Gap)
    falls: Falls = field(default_factory=Falls)
    suspicious: bool = False  # the last step asks for a dev evaluation

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> "Sentinel":
        """From ``asdict``."""
        parts = {"spikes": Spikes(**state["spikes"]), "gap": Gap(**state["gap"]), "falls": Falls(**state["falls"])}
        return cls(**{**state, **parts})

    def observe(self, step: int, figures: Mapping[str, float], stepped: int, skipped: int, limits: Limits) -> Stop | None:
        """Note a training step: its figures, the optimiser steps taken and skipped. The reason to stop, if there is one."""
        if skipped:
            self.skipped_in_a_row += 1
        elif stepped:
            self.skipped_in_a_row = 0
        if self.skipped_in_a_row >= limits.nonfinite:
            return Stop(NONFINITE, "skipped_in_a_row", self.skipped_in_a_row, limits.nonfinite - 1, step)
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        accuracy = figures.get("accuracy")
        self.suspicious = limits.gap is not None and accuracy is not None and self.falls.observe(accuracy)
        return self._crossed(step, figures, limits) or self._spiked(step, figures, limits)

    def wants_look(self, step: int, limits: Limits) -> bool:
        """Whether dev is to be evaluated after this step, whatever the recipe's schedule says."""
        return step in limits.looks or self.suspicious

    def warnings(self) -> dict[str, float]:
        """For each rule that is crossed, the steps in a row it has been."""
        return {f"sentinel/{name}": float(steps) for name, steps in self.over.items()}

    def observe_dev(self, step: int, result: DevResult, limits: Limits) -> Stop | None:
        """Note a dev evaluation of the same items as always; the reason to stop, if there is one."""
        divergence = result.figures.get("eval_kl", 0.0)
        if limits.kl is not None and divergence > limits.kl:
            return Stop("kl", "eval_kl", divergence, limits.kl, step)
        if limits.gap is None or not result.proxy:
            return None
        gap = self.gap.observe(result.proxy, result.gold, limits.gap_slack)
        return Stop("proxy_gold_gap", "sentinel/gap", gap, limits.gap, step) if gap > limits.gap else None

    def _crossed(self, step: int, figures: Mapping[str, float], limits: Limits) -> Stop | None:
        whole = {name: values for name, values in self.start.items() if len(values) >= limits.baseline_steps}
        baseline = {name: sum(values) / len(values) for name, values in whole.items()}
        found = {crossing.rule.name: crossing for crossing in crossings(figures, baseline, limits)}
        self.over = {name: self.over.get(name, 0) + 1 for name in found}
        for name in BASELINES:
            if name in figures and len(self.start.get(name, ())) < limits.baseline_steps:
                self.start.setdefault(name, []).append(figures[name])
        for name, steps in self.over.items():
            if steps >= limits.patience:
                rule, value, limit = found[name]
                return Stop(rule.reason, rule.signal, value, limit, step)
        return None

    def _spiked(self, step: int, figures: Mapping[str, float], limits: Limits) -> Stop | None:
        norm = figures.get("grad_norm")
        if norm is None or limits.gradient is None or not self.spikes.observe(step, norm, limits.gradient):
            return None
        return Stop("gradient", "grad_norm", norm, spike_limit(self.spikes.norms, limits.gradient), step)
