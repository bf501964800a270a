"""The figures of a training and their comparison, with values calculated by hand."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from ratchet.components.compare.figures import (
    Arm,
    CurvePoint,
    Item,
    Measured,
    area,
    compared,
    curve_of,
    item_figures,
    largest_fall,
    spread,
    training_figures,
)

STEP = {"num_samples": 8.0, "step_time": 2.0, "grad_norm": 1.0, "frac_reward_zero_std": 0.5, "memory/peak_gib": 0.25}
POINTS: list[tuple[int, Mapping[str, float]]] = [
    (0, {"eval_sampled_accuracy": 0.5, "eval_kl": 0.0}),
    (1, {**STEP, "explained_variance": -1.0}),
    (2, {**STEP, "grad_norm": 3.0, "frac_reward_zero_std": 0.25, "memory/peak_gib": 0.5, "explained_variance": 0.5}),
    (2, {"eval_sampled_accuracy": 0.9, "eval_kl": 1.5, "eval_proxy": 0.8}),
]


def item(name: str, accuracy: float | None, cluster: str | None = None, reward: float | None = None) -> Item:
    return Item(name, cluster, accuracy, reward, 0.0, 4.0)


def run(seed: int, items: list[Item] | None = None, **figures: float) -> Measured:
    return Measured(seed, figures, items or [])


def test_a_curve_has_what_was_drawn_and_how_long_the_steps_took() -> None:
    assert curve_of(POINTS) == [CurvePoint(0, 0, 0, 0.5, None, 0.0), CurvePoint(2, 16, 4, 0.9, 0.8, 1.5)]


def test_the_figures_of_a_training() -> None:
    found = training_figures(POINTS, curve_of(POINTS), stopped=True)
    assert found == pytest.approx(
        {
            "area": 0.7,  # halfway between 0.5 and 0.9
            "drop": 0.0,
            "gradient": (1 + 0.95 * 2) / 2,  # the 95th percentile of 1 and 3 is 2.9, their median 2
            "silent": 0.375,
            "stopped": 1.0,
            "explained": 0.5,  # the last fifth of two steps is one
            "samples": 16.0,
            "step_seconds": 2.0,
            "seconds": 4.0,
            "memory": 0.5,
        }
    )


def test_area_weights_by_what_was_drawn() -> None:
    points = [
        CurvePoint(0, 0, 0, 0.0, None, None),
        CurvePoint(1, 10, 0, 1.0, None, None),
        CurvePoint(2, 40, 0, 1.0, None, None),
    ]
    assert area(points) == pytest.approx((10 * 0.5 + 30 * 1.0) / 40)
    assert area(points[:1]) is None


def test_the_largest_fall_is_from_a_running_best() -> None:
    assert largest_fall([0.5, 0.9, 0.7, 0.95]) == pytest.approx(0.2)
    assert largest_fall([0.5, 0.6]) == 0
    assert largest_fall([]) is None


def test_a_spread_without_gradients_is_none() -> None:
    assert spread([]) is None and spread([0.0, 0.0, 1.0]) is None


def test_items_that_were_not_judged_count_in_no_mean() -> None:
    assert item_figures([item("a", 1.0), item("b", None), item("c", 0.0)]) == {"accuracy": 0.5, "kl": 0.0, "length": 4.0}


def test_several_seeds_are_compared_seed_by_seed() -> None:
    first = Arm("a", "", [run(1, accuracy=0.5, seconds=10.0), run(2, accuracy=0.7, seconds=20.0)])
    second = Arm("b", "", [run(1, accuracy=0.6, seconds=20.0), run(2, accuracy=0.8, seconds=40.0)])
    accuracy, seconds = compared(first, second)
    assert accuracy.first is not None and accuracy.first.value == pytest.approx(0.6)
    assert accuracy.difference is not None and accuracy.difference[:3] == pytest.approx((0.1, 0.1, 0.1))
    assert accuracy.ratio is None
    assert seconds.ratio is not None and seconds.ratio[:3] == pytest.approx((2, 2, 2))
    assert seconds.difference is None


def test_one_seed_has_the_interval_over_the_items_that_both_arms_have() -> None:
    first = Arm("a", "", [run(1, [item("x", 0.0), item("y", 0.0), item("z", 1.0), item("w", None)], accuracy=1 / 3)])
    second = Arm("b", "", [run(1, [item("z", 1.0), item("y", 1.0), item("x", 0.0), item("w", 1.0)], accuracy=0.75)])
    found = compared(first, second)[0]
    assert found.difference is not None and found.first is not None and found.second is not None
    assert found.difference.value == pytest.approx(1 / 3) and found.difference.n == 3
    error = math.sqrt(((1 / 3) ** 2 * 2 + (2 / 3) ** 2) / 2 / 3)  # of 0, 1 and 0
    assert found.difference.high == pytest.approx(1 / 3 + 4.302653 * error)  # t(0.975, 2)
    assert (found.first.n, found.second.n) == (3, 4)


def test_items_of_one_group_are_one_cluster() -> None:
    first = Arm("a", "", [run(1, [item(n, 0.0, cluster="g" if n in "xy" else None) for n in "xyzw"])])
    right = [item("x", 1.0, "g"), item("y", 1.0, "g"), item("z", 0.0), item("w", 0.0)]
    together = compared(first, Arm("b", "", [run(1, right)]))[0].difference
    apart = compared(first, Arm("b", "", [run(1, [replace(one, cluster=None) for one in right])]))[0].difference
    alone = Arm("a", "", [run(1, [replace(one, cluster=None) for one in first.runs[0].items])])
    apart = compared(alone, Arm("b", "", [run(1, [replace(one, cluster=None) for one in right])]))[0].difference
    assert together is not None and apart is not None
    assert together.value == apart.value == 0.5
    assert together.error > apart.error


def test_different_rewards_are_shown_and_not_set_against_each_other() -> None:
    first, second = (Arm("", "", [run(1, reward=value), run(2, reward=value)]) for value in (1.0, 5.0))
    (row,) = compared(first, second, same_reward=False)
    assert row.first is not None and row.second is not None and row.difference is None
    (row,) = compared(first, second)
    assert row.difference is not None and row.difference.value == 4


def test_one_seed_with_different_rewards_too() -> None:
    arm = Arm("a", "", [run(1, [item("x", None, reward=1.0), item("y", None, reward=0.0)])])
    rows = {row.name: row for row in compared(arm, arm, same_reward=False)}
    assert rows["reward"].first is not None and rows["reward"].difference is None
    assert rows["length"].difference is not None


def test_a_figure_that_one_arm_lacks_is_shown_for_the_other() -> None:
    found = compared(Arm("grpo", "", [run(1), run(2)]), Arm("ppo", "", [run(1, explained=0.2), run(2, explained=0.4)]))
    (row,) = found
    assert row.name == "explained" and row.first is None and row.difference is None
    assert row.second is not None and row.second.value == pytest.approx(0.3)


def test_a_result_is_the_same_after_its_file() -> None:
    measured = Measured(3, {"accuracy": 0.5}, [item("a", 0.5)], curve_of(POINTS), True, "stopped")
    assert Measured.from_json(measured.as_json()) == measured
