"""What a comparison says of itself, in the cases that there are."""

from ratchet.components.compare.compare import Comparison
from ratchet.components.compare.figures import Arm, Item, Measured, compared
from ratchet.components.compare.said import shown, verdict
from ratchet.components.statistics.intervals import Interval

TASK = {"measure": "accuracy", "seeds": [1, 2]}


def comparison(first: list[Measured], second: list[Measured], trained: bool = True) -> Comparison:
    arms = Arm("grpo", "", first), Arm("ppo", "", second)
    return Comparison("id", *arms, compared(*arms), TASK if trained else {"measure": "accuracy"}, [])


def run(seed: int, accuracy: float, seconds: float = 10.0) -> Measured:
    return Measured(seed, {"accuracy": accuracy, "seconds": seconds, "memory": seconds}, [])


def items(right: int, of: int) -> Measured:
    every = [Item(f"{n}", None, float(n < right), None, None, None) for n in range(of)]
    return Measured(1, {"accuracy": right / of}, every)


def test_a_difference_names_the_better_side_with_its_interval_and_the_price_of_the_second() -> None:
    found = comparison([run(1, 0.5), run(2, 0.5)], [run(1, 0.7, 15.0), run(2, 0.7, 15.0)])
    assert found.decided
    assert verdict(found) == (
        "ppo is better than grpo by 0.200 (0.200 to 0.200) in accuracy on dev. ppo takes 1.50 times the time and 1.50 times "
        "the memory of grpo."
    )


def test_the_first_may_be_the_better_one() -> None:
    found = comparison([run(1, 0.7), run(2, 0.7)], [run(1, 0.5), run(2, 0.5)])
    assert verdict(found).startswith("grpo is better than ppo by 0.200 (0.200 to 0.200)")


def test_no_difference_says_what_the_seeds_could_not_see() -> None:
    found = comparison([run(1, 0.5), run(2, 0.5)], [run(1, 0.6), run(2, 0.4)])
    assert not found.decided
    # The difference of means has standard error 0.1; t_{0.975} and t_{0.8} on one degree of freedom are 12.706 and 1.376.
    assert verdict(found) == (
        "No difference seen between grpo and ppo: accuracy on dev differs by +0.000 (-1.271 to +1.271). 2 seeds cannot be "
        "relied on to see less than 1.408 (power 0.8)."
    )


def test_one_seed_says_that_it_says_nothing_of_others() -> None:
    said = verdict(comparison([items(10, 100)], [items(60, 100)]))
    assert said.startswith("ppo is better than grpo by 0.500 (0.40")
    assert said.endswith(
        "This is one seed: the interval is over the items of dev, and says nothing about other seeds (--seeds 3)."
    )
    assert "100 items cannot be relied on to see less than 0.0" in verdict(comparison([items(50, 100)], [items(51, 100)]))


def test_items_of_one_group_count_once_in_what_could_not_be_seen() -> None:
    def grouped(*right: float) -> Measured:
        return Measured(1, {"accuracy": sum(right) / 4}, [of(*pair) for pair in zip("xyzw", right, strict=True)])

    def of(name: str, right: float) -> Item:
        return Item(name, "g" if name in "xy" else "h", right, None, None, None)

    # Differences 1, 0 and 0, -1: sums of the groups 1 and -1, so that the squared error is 2/1 * (1 + 1) / 4^2, the error 1/2.
    said = verdict(comparison([grouped(0, 1, 1, 1)], [grouped(1, 1, 1, 0)]))
    assert "4 items in 2 groups cannot be relied on to see less than 7.041" in said  # (12.706 + 1.376) / 2


def test_versions_are_what_they_are_and_need_no_further_seed() -> None:
    assert "seed" not in verdict(comparison([items(10, 100)], [items(60, 100)], trained=False))


def test_without_a_judged_item_nothing_is_said() -> None:
    assert verdict(comparison([Measured(1, {}, [])], [Measured(1, {}, [])])).startswith("The gold could judge no item")


def test_figures_are_shown_with_what_is_known() -> None:
    assert shown(None) == shown(Interval(float("nan"), 0, 1, 0)) == ""
    assert shown(Interval(0.9123, 0.89, 0.9341, 3)) == "0.912 (0.890 to 0.934)"
    assert shown(Interval(16384.0, 16384.0, 16384.0, 3)) == "16,384"
    assert shown(Interval(0.0, 0.0, 0.0, 3), sign=True) == "0.000"
    assert shown(Interval(20480.0, float("-inf"), float("inf"), 1)) == "20,480"
    assert shown(Interval(10234.4, -2000.2, 20480.0, 3), sign=True) == "+10,234 (-2,000 to +20,480)"
    assert [shown(Interval(one, one, one, 3)) for one in (999.4, 999.6)] == ["999", "1,000"]
    assert shown(Interval(0.0123, -0.01, 0.03, 3), sign=True) == "+0.0123 (-0.01 to +0.03)"
