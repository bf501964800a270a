"""Does the gate keep its promise over a whole schedule? Simulated challengers, judged by the product's own ``decide``.

Usage: ``python -m benchmarks.gate [--schedules 1000] [--json]``

- *Null schedules*: 52 challengers that are no better than the incumbent, on one sealed fold of 500 items with 20% discordance.
  Reported: the share of schedules with any promotion, beside three rules in common use.
- *Measures*: the same for each kind of measure, on 200 items: right or wrong, scores in [0, 1], such scores with a few items
  broken and a small gain on all others, four answers per item, wins, ties and losses, and macro-F1 and chrF, measures of the
  corpus.
- *Power*: the share of promotions of truly better challengers, beside the formula.
- *Samples*: the same with several samples per item, at equal numbers of items and of completions.
- *Attackers* adapt to what they see for 52 uses: the gate's bits alone, or the sealed scores as well. The second must break
  the gate, or the simulation would show nothing.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ratchet.components.evaluation.comparison import Comparison, Figures
from ratchet.components.gate.primary import choose_tests
from ratchet.components.gate.rules import decide
from ratchet.components.randomness import stream
from ratchet.components.recipe import Primary, Rules
from ratchet.components.statistics.chrf import LONGEST
from ratchet.components.statistics.classification import tallies
from ratchet.components.statistics.intervals import Floats, share_interval
from ratchet.components.statistics.paired import exact_mcnemar
from ratchet.components.statistics.power import power_to_detect
from ratchet.components.statistics.spending import bonferroni

USES, ITEMS, DISCORDANCE, LEVEL = 52, 500, 0.2, 0.05
RULES = Rules(alpha_epoch=LEVEL, uses_per_epoch=USES, floor=0.0)
MLFLOW_CHANGE = 0.01  # min_absolute_change of an mlflow MetricThreshold: a bare difference of two scores
UNUSED = stream(1, "unused by the exact test")
LENGTH = 10.0  # of every answer, so that no guard minds
ITEMS_PER_MEASURE, SAMPLES, CLASSES, BROKEN = 200, 4, 3, 0.02
Booleans = NDArray[np.bool_]
ALPHA = bonferroni(RULES.alpha_epoch, RULES.uses_per_epoch)


def figures(values: Floats, measure: str) -> Figures:
    """An arm that differs from others in nothing but one measure, [n, K]."""
    n = len(values)
    all_values = {measure: values, "length": np.full((n, 1), LENGTH), "kl": np.zeros((n, 1))}
    return Figures(all_values, dict.fromkeys(all_values, np.zeros(n, dtype=bool)))


def promotes(challenger: Booleans, incumbent: Booleans) -> bool:
    """The product's decision on two arms of right and wrong answers."""
    return decides("accuracy", challenger.astype(float)[:, None], incumbent.astype(float)[:, None], UNUSED)


def decides(measure: str, challenger: Floats, incumbent: Floats, draws: np.random.Generator) -> bool:
    """The product's decision on two arms of which a measure is known, [n, K]; of one of all items, their tallies [n, 3, k]."""
    rules, of_all = RULES.model_copy(update={"primary": Primary(measure=measure)}), challenger.ndim == 3
    ours, theirs = (figures(np.zeros((len(arm), 1)) if of_all else arm, measure) for arm in (challenger, incumbent))
    sealed = Comparison(ours, theirs, tallies=(challenger, incumbent) if of_all else None)
    tests = choose_tests(rules, 1 if of_all else challenger.shape[1])
    return decide({"sealed": sealed}, rules, tests=tests, alpha=ALPHA, first_champion=False, draws=draws).promote


def paired(draws: np.random.Generator, n: int, effect: float, discordance: float) -> tuple[Booleans, Booleans]:
    """Two arms: a share ``discordance`` of items differs, the challenger wins on ``effect`` more than it loses on."""
    u = draws.random(n)
    wins, losses = u < (discordance + effect) / 2, u >= 1 - (discordance - effect) / 2
    both = ~wins & ~losses & (draws.random(n) < 0.75)
    return both | wins, both | losses


def null_schedules(schedules: int) -> dict[str, float]:
    """Share of schedules with at least one promotion, by rule."""
    any_promotion = dict.fromkeys(("ratchet", "score >", "mlflow threshold", "p < .05"), 0)
    for schedule in range(schedules):
        draws, seen = stream(1, "null", schedule), dict.fromkeys(any_promotion, False)
        for _ in range(USES):
            ours, theirs = paired(draws, ITEMS, 0.0, DISCORDANCE)
            gain = float(ours.mean() - theirs.mean())
            seen["ratchet"] |= promotes(ours, theirs)
            seen["score >"] |= gain > 0
            seen["mlflow threshold"] |= gain >= MLFLOW_CHANGE
            seen["p < .05"] |= exact_mcnemar(ours, theirs).p_value < 0.05
        for rule in any_promotion:
            any_promotion[rule] += seen[rule]
    return {rule: count / schedules for rule, count in any_promotion.items()}


def binary(draws: np.random.Generator) -> bool:
    """A null challenger on right and wrong answers, a fifth of them discordant."""
    return promotes(*paired(draws, ITEMS_PER_MEASURE, 0.0, DISCORDANCE))


def bounded(draws: np.random.Generator) -> bool:
    """A null challenger on scores in [0, 1], mostly 0 or 1, of items of different difficulty."""
    ability = draws.beta(2, 1, ITEMS_PER_MEASURE)
    ours, theirs = (draws.beta(0.5 + 2 * ability, 2.5 - 2 * ability)[:, None] for _ in range(2))
    return decides("gold", ours, theirs, draws)


def skewed(draws: np.random.Generator) -> bool:
    """A null challenger that loses most of the score of 2% of the items, and gains as much in sum on all others."""
    theirs, broken = 0.98 * draws.beta(6, 3, (ITEMS_PER_MEASURE, 1)), draws.random((ITEMS_PER_MEASURE, 1)) < BROKEN
    gain = BROKEN / (1 - BROKEN) * 0.98 * (6 / 9) * 0.8  # the mean loss is 0.8 of the mean score
    ours = np.where(broken, theirs * draws.uniform(0, 0.4, theirs.shape), theirs + gain)
    return decides("gold", ours, theirs, draws)


def clustered(draws: np.random.Generator) -> bool:
    """A null challenger on several right or wrong answers per item, which are as alike as 0.5 on each side."""
    ours, theirs = (draws.beta(0.5, 0.5, (ITEMS_PER_MEASURE, 1)) > draws.random((ITEMS_PER_MEASURE, SAMPLES)) for _ in range(2))
    return decides("accuracy", ours.astype(float), theirs.astype(float), draws)


def pairwise(draws: np.random.Generator) -> bool:
    """A null challenger that wins, ties and loses against the incumbent: 1, 1/2 and 0."""
    wins = draws.choice([0.0, 0.5, 1.0], (ITEMS_PER_MEASURE, 1), p=[0.35, 0.3, 0.35])
    return decides("gold", wins, 1 - wins, draws)


def corpus(draws: np.random.Generator) -> bool:
    """A null challenger on macro-F1 of three labels, of which one is rare."""
    references = draws.choice(CLASSES, ITEMS_PER_MEASURE, p=[0.6, 0.3, 0.1])

    def arm() -> Floats:
        guess = draws.random(ITEMS_PER_MEASURE) < 0.3
        answers = np.where(guess, draws.integers(0, CLASSES + 1, ITEMS_PER_MEASURE), references)
        return tallies(references, answers, CLASSES)

    return decides("macro_f1", arm(), arm(), draws)


def chrf(draws: np.random.Generator) -> bool:
    """A null challenger on chrF of texts of 4 to 60 characters, of different difficulty, written a little short or long."""
    lengths, shares = draws.integers(4, 61, (ITEMS_PER_MEASURE, 1)), draws.beta(4, 1, (ITEMS_PER_MEASURE, 1))
    sizes = np.arange(1, LONGEST + 1)

    def arm() -> Floats:
        right = (draws.random((ITEMS_PER_MEASURE, 60)) < shares) & (np.arange(60) < lengths)
        written = np.maximum(lengths + draws.integers(-2, 3, lengths.shape), 1)
        right &= np.arange(60) < written
        # An n-gram is shared where n characters in a row are right.
        shared = [sliding_window_view(right, size, axis=1).all(axis=2).sum(axis=1) for size in sizes]
        references, texts = (np.maximum(side - sizes + 1, 0) for side in (lengths, written))
        return np.stack([np.stack(shared, axis=1), references, texts * (references > 0)], axis=1).astype(np.float64)

    return decides("chrf", arm(), arm(), draws)


KINDS: tuple[Callable[[np.random.Generator], bool], ...] = (binary, bounded, skewed, clustered, pairwise, corpus, chrf)


def false_promotions(schedules: int) -> dict[str, float]:
    """Share of schedules of 52 null challengers with any promotion, by kind of measure; on all cores."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = {
            kind.__name__: pool.map(any_promoted, repeat(kind, schedules), range(schedules), chunksize=5) for kind in KINDS
        }
        return {name: sum(promoted) / schedules for name, promoted in found.items()}


def any_promoted(kind: Callable[[np.random.Generator], bool], schedule: int) -> bool:
    """Whether a schedule, which has draws of its own, promotes any of its null challengers."""
    draws = stream(1, kind.__name__, schedule)
    return any(kind(draws) for _ in range(USES))


def power_curve(repeats: int) -> Iterator[dict[str, float]]:
    """Simulated power of one use beside the formula's, on 1,000 items."""
    n, alpha = 1000, RULES.alpha_epoch / RULES.uses_per_epoch
    for effect in (0.03, 0.04, 0.05, 0.06, 0.08):
        draws = stream(1, "power", round(effect * 1000))
        found = sum(promotes(*paired(draws, n, effect, DISCORDANCE)) for _ in range(repeats)) / repeats
        formula = power_to_detect(effect, DISCORDANCE, n, alpha)
        yield {"effect": effect, "items": n, "simulated": found, "formula": formula}


def samples_curve(repeats: int) -> Iterator[dict[str, float]]:
    """Power of one use at a gain of about 0.05 with K samples per item; items differ in difficulty."""
    for items, samples in ((300, 1), (300, 4), (300, 8), (1200, 1), (150, 8)):
        draws, found, gains = stream(1, "samples", items, samples), 0, []
        for _ in range(repeats):
            before = draws.beta(1.0, 0.6, (items, 1))
            after = before + 0.2 * np.sqrt(before) * (1 - before)
            theirs, ours = (draws.random((items, samples)) < chance for chance in (before, after))
            gains.append(float((after - before).mean()))
            found += decides("accuracy", ours.astype(float), theirs.astype(float), draws)
        yield {
            "items": items,
            "samples": samples,
            "completions": items * samples,
            "gain": float(np.mean(gains)),
            "power": found / repeats,
        }


def attacker(draws: np.random.Generator, leaked: bool) -> bool:
    """Whether an attacker who can only guess is promoted within an epoch.

    Every challenger answers each item right with chance 1/2, as the incumbent does. Where scores leak, the last submission is
    the vote of the guesses so far, weighted by how far their scores were from 1/2 (after Blum & Hardt, arXiv:1502.04585).
    """
    incumbent = draws.random(ITEMS) < 0.5
    vote = np.zeros(ITEMS)
    for use in range(USES):
        guess = draws.random(ITEMS) < 0.5
        if promotes(vote > 0 if leaked and use == USES - 1 else guess, incumbent):
            return True
        vote += (guess.mean() - 0.5) * (guess - 0.5)  # what leaks is the mean
    return False


def measure(schedules: int) -> dict[str, Any]:
    """Every figure, as ``--json`` prints it."""
    rates = null_schedules(schedules)
    attacks = {
        name: sum(attacker(stream(1, name, i), name == "leaked") for i in range(schedules)) / schedules
        for name in ("bits", "leaked")
    }
    interval = share_interval(round(rates["ratchet"] * schedules), schedules)
    return {
        "false_promotion_rate": rates["ratchet"],
        "interval": [interval.low, interval.high],
        "bound": LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / schedules),
        "schedules": schedules,
        "uses": USES,
        "items": ITEMS,
        "measures": false_promotions(schedules),
        "other_rules": {rule: rate for rule, rate in rates.items() if rule != "ratchet"},
        "attacker_promoted": attacks,
        "power": list(power_curve(2 * schedules)),
        "samples": list(samples_curve(schedules // 2)),
    }


def show(figures: dict[str, Any], console: Console) -> None:
    """The same as tables."""
    rates = Table("rule", "schedules of 52 nulls with a promotion", title=f"{figures['schedules']} null schedules")
    low, high = figures["interval"]
    rates.add_row("ratchet", f"{figures['false_promotion_rate']:.3f} ({low:.3f} to {high:.3f}), bound {figures['bound']:.3f}")
    for rule, rate in figures["other_rules"].items():
        rates.add_row(rule, f"{rate:.3f}")
    for kind, rate in figures["measures"].items():
        rates.add_row(f"ratchet, {kind} measure", f"{rate:.3f}")
    for name, rate in figures["attacker_promoted"].items():
        rates.add_row(f"ratchet, adaptive attacker with {name}", f"{rate:.3f}")
    console.print(rates)
    power = Table("gain", "items", "simulated power", "formula")
    for row in figures["power"]:
        power.add_row(*(f"{row[k]:g}" for k in ("effect", "items", "simulated")), f"{row['formula']:.3f}")
    console.print(power)
    samples = Table("items", "samples per item", "completions per model", "gain", "simulated power")
    for row in figures["samples"]:
        samples.add_row(
            *(f"{row[k]:.3g}" for k in ("items", "samples")),
            f"{row['completions']}",
            f"{row['gain']:.3f}",
            f"{row['power']:.3f}",
        )
    console.print(samples)


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.schedules)
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures, Console())


if __name__ == "__main__":
    main()
