"""Synthetic training runs: healthy ones, with the noise that the quickstart's runs have, and healthy ones with a fault."""

import math
import random
from collections.abc import Callable, Iterator

from ratchet.components.recipe import Sentinel
from ratchet.components.training.sentinel import DevResult, SentinelState, Stop, dev_result

STEPS, EVERY, ITEMS = 140, 10, 200
Fault = Callable[[int, dict[str, float]], dict[str, float]]


def healthy_step(noise: random.Random, step: int) -> dict[str, float]:
    """Accuracy rises, entropy falls, length wanders; gradient norms have a long tail."""
    done = 1 - math.exp(-step / 50)
    accuracy = 0.6 + 0.35 * done
    spread = 1.3 * math.sqrt(accuracy * (1 - accuracy) / 32)  # samples of one prompt are alike
    return {
        "accuracy": min(1.0, max(0.0, noise.gauss(accuracy, spread))),
        "completions/mean_length": noise.gauss(10.7 + 2 * done, 0.5),
        "completions/clipped_ratio": abs(noise.gauss(0, 0.01)),
        "completions/length_correlation": max(-1.0, min(1.0, noise.gauss(0, 0.2))),
        "completions/distinct_2": noise.gauss(0.99, 0.004),
        "completions/identical_wrong": max(0.0, noise.gauss(0.25 - 0.2 * done, 0.03)),
        "entropy": (0.14 - 0.11 * done) * math.exp(noise.gauss(0, 0.1)),
        "frac_unsolved_zero_std": max(0.0, noise.gauss(0.1 + 0.3 * done, 0.1)),
        "frac_reward_missing": 0.0,
        "objective/kl": abs(noise.gauss(3 * done, 0.5)),
        "clip_ratio/region_mean": abs(noise.gauss(0.02, 0.02)),
        "grad_norm": 0.35 * math.exp(noise.gauss(0, 0.35)),
    }


class Dev:
    """Items of differing difficulty, of which each evaluation draws some again; the proxy is a reward model's score."""

    def __init__(self, noise: random.Random) -> None:
        self.noise = noise
        self.ease = [noise.gauss(0, 1) for _ in range(ITEMS)]
        self.draws = [noise.random() for _ in range(ITEMS)]

    def again(self, gold_level: float, proxy_level: float) -> list[DevResult]:
        """Three evaluations with other draws."""
        kept, found = self.draws, []
        for _ in range(3):
            self.draws = [self.noise.random() for _ in range(ITEMS)]
            found.append(self.evaluate(gold_level, proxy_level))
        self.draws = kept
        return found

    def evaluate(self, gold_level: float, proxy_level: float) -> DevResult:
        """Levels are logits: of being right, and added to every score."""
        gold, proxy = [], []
        for item, ease in enumerate(self.ease):
            if self.noise.random() < 0.3:
                self.draws[item] = self.noise.random()
            right = self.draws[item] < 1 / (1 + math.exp(-ease - gold_level))
            gold.append(float(right))
            proxy.append(0.5 * ease + right + proxy_level + self.noise.gauss(0, 0.3))
        return dev_result({"eval_kl": 2.0}, gold, proxy)


def healthy_levels(step: int) -> tuple[float, float]:
    """Gold and proxy of dev: both rise and level off."""
    done = 1 - math.exp(-step / 50)
    return 0.5 + 2.5 * done, done


def run(
    seed: int,
    fault: Fault = lambda _, figures: figures,
    levels: Callable[[int], tuple[float, float]] = healthy_levels,
    limits: Sentinel | None = None,
) -> Stop | None:
    """What ends a run: its steps' figures changed by a fault, its dev levels as given."""
    limits = limits or Sentinel()
    sentinel, noise = SentinelState(), random.Random(seed)  # noqa: S311 - noise, not secrets
    dev = Dev(noise)
    best: dict[int, float] = {}
    stops = (stop for step in range(STEPS + 1) for stop in _events(sentinel, dev, noise, step, fault, levels, limits, best))
    return next((stop for stop in stops if stop), None)


def _events(
    sentinel: SentinelState,
    dev: Dev,
    noise: random.Random,
    step: int,
    fault: Fault,
    levels: Callable[[int], tuple[float, float]],
    limits: Sentinel,
    accuracies: dict[int, float],
) -> Iterator[Stop | None]:
    if step:
        yield sentinel.observe(step, fault(step, healthy_step(noise, step)), 1, 0, limits)
    if step % EVERY == 0 or sentinel.wants_evaluation(step, limits):
        result = dev.evaluate(*levels(step))
        accuracies[step] = sum(value or 0.0 for value in result.gold)
        yield sentinel.observe_dev(step, result, limits)
        if sentinel.wants_second_opinion(step, limits):
            best = max(accuracies, key=lambda at: accuracies[at])
            yield sentinel.observe_second_opinion(step, dev.again(*levels(best)), dev.again(*levels(step)), limits)
