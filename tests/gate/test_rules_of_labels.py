"""The gate's rules on measures of all items together."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ratchet.components.evaluation.comparison import Arms, compare
from ratchet.components.gate.power import power_from, shortfall
from ratchet.components.gate.rules import SealedDecision, check_integrity, decide, judge_guard
from ratchet.components.recipe import Guard, Primary, Rules
from ratchet.components.records import ItemResult
from ratchet.components.statistics.paired import clustered_t
from tests.evaluation.labels import answered

MEASURES = ("macro_f1", "mcc", "balanced_accuracy")
DIGESTS = {"challenger": "c" * 64, "incumbent": "i" * 64}
ALPHA = 0.05 / 26


def of_labels(
    rng: np.random.Generator, ours: float, theirs: float, items: int = 240, groups: int = 0, samples: int = 1
) -> Arms:
    """Arms that are right so often; of three labels one is rare. Items of one group are answered alike."""
    labels = rng.choice(["a", "b", "c"], groups or items, p=[0.6, 0.3, 0.1])
    chances = rng.random((2, groups or items, samples))
    arms: tuple[dict[str, list[ItemResult]], ...] = ({}, {})
    for n in range(items):
        group = n % groups if groups else n
        right = str(labels[group])
        for arm, share, chance in zip(arms, (ours, theirs), chances, strict=True):
            answers = [right if c < share else "abc"[("abc".index(right) + 1) % 3] for c in chance[group]]
            arm[str(n)] = answered(right, answers, str(n), str(group) if groups else None)
    return Arms([str(n) for n in range(items)], *arms, *DIGESTS.values(), samples)


def judged(arms: Arms, measure: str = "macro_f1", alpha: float = ALPHA, first: bool = False, **rules: object) -> SealedDecision:
    rules_ = Rules.model_validate({"primary": {"measure": measure}, "guards": [], **rules})
    places, draws = {"sealed": compare(arms, rules_.measures)}, np.random.default_rng(0)
    tests = {measure: "randomization"}
    return decide(places, rules_, tests=tests, alpha=alpha, first_champion=first, draws=draws)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_better_challenger_is_promoted_and_the_worse_one_is_not(measure: str) -> None:
    arms = of_labels(np.random.default_rng(0), 0.9, 0.7)
    decision = judged(arms, measure)
    assert decision.promote
    assert (
        decision.figures[f"challenger_{measure}"] - decision.figures[f"incumbent_{measure}"] == decision.figures["gain"] > 0.1
    )
    assert decision.figures["gain_low"] < decision.figures["gain"] < decision.figures["gain_high"]
    assert decision.reasons[0].startswith("primary: approximate randomization, p = ")
    swapped = Arms(arms.items, arms.incumbent, arms.challenger, *DIGESTS.values())
    assert not judged(swapped, measure).promote


def test_more_right_answers_do_not_pay_for_a_rare_label() -> None:
    """20 of 300 common items gained against 8 of 12 rare ones lost: accuracy rises, macro-F1 falls."""
    right = ["a"] * 300 + ["b"] * 12
    named = (["a"] * 300 + ["b"] * 4 + ["a"] * 8, ["b"] * 20 + ["a"] * 280 + ["b"] * 12)
    both = ({str(n): answered(r, [a], str(n)) for n, (r, a) in enumerate(zip(right, one, strict=True))} for one in named)
    arms = Arms([str(n) for n in range(312)], *both, *DIGESTS.values())
    figures = judged(arms, "balanced_accuracy").figures
    assert figures["gain"] < 0
    assert figures["p_value"] > 0.5
    accuracy = compare(arms, ["accuracy"]).figures("accuracy")
    assert accuracy[0] > accuracy[1]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"groups": 40}, {"samples": 3}])
def test_a_challenger_that_is_no_better_is_promoted_at_the_level(options: dict[str, int]) -> None:
    rng, level, runs = np.random.default_rng(1), 0.1, 200
    promoted = sum(judged(of_labels(rng, 0.7, 0.7, 120, **options), alpha=level).promote for _ in range(runs))
    assert promoted / runs <= level + 3 * math.sqrt(level * (1 - level) / runs)


def test_items_of_one_group_count_once() -> None:
    arms = of_labels(np.random.default_rng(0), 1.0, 0.4, groups=6)
    # At most six coins: p is at least 2^-6.
    assert judged(arms).figures["p_value"] >= 0.9 * 2**-6


def test_the_floor_is_a_bound_of_the_measure_itself() -> None:
    arms = of_labels(np.random.default_rng(0), 0.9, 0.6)
    assert judged(arms, first=True, floor=0.7).promote
    decision = judged(arms, first=True, floor=0.9)
    assert not decision.promote
    assert not decision.others_held
    assert any(reason.startswith("floor: macro_f1 above 0.9") for reason in decision.reasons)


def test_a_guard_bounds_the_loss_of_a_measure_of_all_items() -> None:
    guard = Guard(measure="macro_f1", margin=0.15)
    for theirs, held in ((0.8, True), (1.0, False)):
        place = compare(of_labels(np.random.default_rng(0), 0.8, theirs), ["macro_f1"])
        assert judge_guard(guard, {"sealed": place}, 0.05).held is held


@pytest.mark.slow
def test_a_challenger_at_the_guards_margin_seldom_passes() -> None:
    """Macro-F1 of arms that are right with chance r is about r here: 0.7 against 0.8 is at the margin 0.1."""
    rng, runs, guard = np.random.default_rng(2), 300, Guard(measure="balanced_accuracy", margin=0.1)
    places = (compare(of_labels(rng, 0.7, 0.8, 300), ["balanced_accuracy"]) for _ in range(runs))
    held = sum(judge_guard(guard, {"sealed": place}, 0.05).held for place in places)
    assert held / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_results_without_labels_cannot_be_judged() -> None:
    bare = {str(n): answered(None, ["a"], str(n)) for n in range(3)}
    arms = Arms(["0", "1", "2"], bare, bare, *DIGESTS.values())
    faults = check_integrity(arms, Rules(), DIGESTS, ["macro_f1"])
    assert "macro_f1 could not be measured on 3 of 3 items of the challenger" in faults


def test_power_is_simulated_from_dev_rows() -> None:
    rules = Rules(primary=Primary(measure="macro_f1"), target_effect=0.15)
    dev = compare(of_labels(np.random.default_rng(0), 0.75, 0.7), ["macro_f1"])
    found = power_from(dev, rules, 400, ALPHA)
    assert (found.binary, found.source) == (False, "dev results")
    assert 0.05 < found.detectable <= 0.15
    assert found.power >= 0.8
    assert found.needed is not None and found.needed <= 400
    assert shortfall(power_from(dev, rules, 40, ALPHA)) is not None


def test_power_counts_groups_and_not_items() -> None:
    rules = Rules(primary=Primary(measure="macro_f1"))
    dev = compare(of_labels(np.random.default_rng(0), 0.75, 0.7, groups=60), ["macro_f1"])
    alone = compare(of_labels(np.random.default_rng(0), 0.75, 0.7), ["macro_f1"])
    assert power_from(dev, rules, 240, 0.05).power < power_from(alone, rules, 240, 0.05).power


def test_a_group_of_most_items_hides_no_gain_of_the_others() -> None:
    """Student's t has one degree of freedom there, so that the gate could promote nothing that its power says it detects."""
    arms = of_labels(np.random.default_rng(0), 0.95, 0.5)
    group_of = lambda item: str(max(int(item) - 150, 0))  # noqa: E731
    ours = {item: [replace(one, cluster=group_of(item)) for one in samples] for item, samples in arms.challenger.items()}
    grouped = replace(arms, challenger=ours)
    assert clustered_t(*compare(grouped, ["macro_f1"]).differences("macro_f1")) > ALPHA
    assert judged(grouped).promote


def test_both_tests_must_be_passed() -> None:
    """One arm names a rare label often, the other seldom: answers are not exchangeable, though the measure is equal."""
    rng, habits = np.random.default_rng(54), {True: (0.3, 0.95), False: (0.002, 0.10)}
    arms: tuple[dict[str, list[ItemResult]], ...] = ({}, {})
    for n in range(300):
        rare = n < 15
        for arm, chance in zip(arms, habits[rare], strict=True):
            arm[str(n)] = answered("b" if rare else "a", ["b" if rng.random() < chance else "a"], str(n))
    both = Arms([str(n) for n in range(300)], *arms, *DIGESTS.values())
    studentized = clustered_t(*compare(both, ["macro_f1"]).differences("macro_f1"))
    assert judged(both, alpha=0.03).figures["p_value"] == studentized > 0.03  # by the randomization alone it is 0.02


def test_four_right_answers_are_not_above_a_floor() -> None:
    arms = of_labels(np.random.default_rng(0), 1.0, 1.0, items=4)
    decision = judged(arms, first=True, floor=0.5, alpha=0.05)
    # No spread is seen: the bound is that of a share of 4 of 4, 0.05^(1/4) = 0.473.
    assert not decision.promote
    assert any("bound 0.473" in reason for reason in decision.reasons)
