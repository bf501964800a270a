"""Several primary measures, each of which must be better: an intersection-union test."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from ratchet.components.evaluation.comparison import Arms, compare
from ratchet.components.evaluation.measures import Samples
from ratchet.components.gate.power import power_from
from ratchet.components.gate.primary import choose_tests
from ratchet.components.gate.rules import SealedDecision, decide
from ratchet.components.recipe import Rules
from ratchet.components.records import ItemResult
from tests.gate.test_rules import BETTER, arms, results, share

BOTH = Rules.model_validate({"primary": {"all_of": ["accuracy", "grader/tone"]}, "guards": []})
ALPHA = 0.05 / 26


def toned(arms: Arms, ours: float, theirs: float) -> Arms:
    """Mean tones; of every other item a tenth above and below, in turn for each arm."""

    def scored(arm: Mapping[str, Samples], mean: float, every: int) -> dict[str, list[ItemResult]]:
        return {k: [replace(r[0], grades={"tone": mean + 0.1 * (-1) ** (int(k) // every)})] for k, r in arm.items()}

    return replace(arms, challenger=scored(arms.challenger, ours, 1), incumbent=scored(arms.incumbent, theirs, 2))


def judged(arms: Arms, rules: Rules = BOTH, alpha: float = ALPHA, first: bool = False) -> SealedDecision:
    tests, draws = choose_tests(rules, 1), np.random.default_rng(0)
    return decide({"sealed": compare(arms, rules.measures)}, rules, tests=tests, alpha=alpha, first_champion=first, draws=draws)


@pytest.mark.parametrize(
    ("right", "tone", "failed"),
    [
        (270, 0.6, []),
        (248, 0.6, ["primary accuracy: exact McNemar"]),  # 8 wins: p = 1/256
        (270, 0.5, ["primary grader/tone: Gaffke's test"]),  # no better
        (240, 0.5, ["primary accuracy: exact McNemar", "primary grader/tone: Gaffke's test"]),
    ],
)
def test_each_must_be_better_and_each_is_named(right: int, tone: float, failed: list[str]) -> None:
    decision = judged(toned(replace(BETTER, challenger=results(share(right))), tone, 0.5))
    assert decision.promote is (not failed)
    assert decision.others_held
    assert [r for r in decision.reasons if r.endswith("failed")] == [r for r in decision.reasons if r.startswith(tuple(failed))]


def test_the_figures_have_the_name_of_their_measure_and_p_is_the_largest() -> None:
    figures = judged(toned(replace(BETTER, challenger=results(share(248))), 0.6, 0.5)).figures
    assert figures["p_value"] == figures["p_value_accuracy"] == pytest.approx(2**-8)
    assert figures["p_value_grader/tone"] < 1e-3
    assert (figures["wins_accuracy"], figures["losses_accuracy"]) == (8, 0)
    assert figures["gain_grader/tone"] == pytest.approx(0.1)
    assert figures["challenger_grader/tone"] == pytest.approx(0.6)
    assert figures["items"] == 300
    assert "gain" not in figures


def test_the_floor_is_for_each() -> None:
    low = toned(BETTER, 0.6, 0.5)
    rules = BOTH.model_copy(update={"floor": 0.7})
    decision = judged(low, rules, first=True)
    (failed,) = [reason for reason in decision.reasons if reason.endswith("failed")]
    assert failed.startswith("floor: grader/tone above 0.7")
    assert judged(low, rules).promote


def test_a_challenger_that_is_better_by_one_and_no_better_by_the_other_is_promoted_at_the_level() -> None:
    """The least favourable null: one measure surely better. Each is tested at the whole level, and so is the union."""
    rng, level, runs = np.random.default_rng(0), 0.1, 400
    rules, promoted = Rules.model_validate({"primary": {"all_of": ["accuracy", "gold/f1"]}, "guards": []}), 0
    for _ in range(runs):
        made = arms([True] * 60, [False] * 60)
        scores = rng.random((2, 60))
        ours, theirs = (
            {k: [replace(r[0], parts={"f1": float(scores[n, int(k)])})] for k, r in arm.items()}
            for n, arm in enumerate((made.challenger, made.incumbent))
        )
        promoted += judged(replace(made, challenger=ours, incumbent=theirs), rules, level).promote
    assert level - 3 * math.sqrt(level * (1 - level) / runs) <= promoted / runs
    assert promoted / runs <= level + 3 * math.sqrt(level * (1 - level) / runs)


def test_power_is_that_of_all_together() -> None:
    accuracy = Rules.model_validate({"primary": {"measure": "accuracy"}, "guards": []})
    dev = toned(BETTER, 0.6, 0.5)
    one, both = (power_from(compare(dev, rules.measures), rules, 150, ALPHA) for rules in (accuracy, BOTH))
    assert both.power <= one.power
    assert both.detectable > one.detectable  # asked for a power of 0.9
    assert both.needed is not None and one.needed is not None and both.needed > one.needed
    assert both.source == "dev results; at least this power for all_of, of which accuracy is the hardest"
