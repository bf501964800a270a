"""The primary tests are chosen from the rules, before any data are seen."""

import numpy as np
import pytest

from ratchet.components.evaluation.comparison import Comparison, Figures
from ratchet.components.gate.primary import choose_test, choose_tests, method, primary_test
from ratchet.components.recipe import Primary, Rules


@pytest.mark.parametrize(
    ("primary", "samples", "test"),
    [
        ({}, 1, "mcnemar"),
        ({}, 4, "gaffke"),
        ({"measure": "reward"}, 1, "sign_flip"),
        ({"measure": "maj@4"}, 4, "mcnemar"),  # one right or wrong an item
        ({"measure": "pass@2"}, 4, "gaffke"),
        ({"min_effect": 0.01}, 1, "gaffke"),
        ({"measure": "reward", "min_effect": 0.01}, 1, "sign_flip"),
        ({"test": "clustered_t"}, 1, "clustered_t"),
        ({"measure": "macro_f1"}, 4, "randomization"),
    ],
)
def test_the_test_follows_from_the_recipe(primary: dict[str, object], samples: int, test: str) -> None:
    assert choose_test(Primary(**primary), samples) == test


def test_mcnemars_test_is_not_for_groups_of_the_data() -> None:
    assert choose_test(Primary(), 1) == "mcnemar"
    assert choose_test(Primary(), 1, clustered=True) == "gaffke"


def test_a_gold_between_0_and_1_is_judged_by_a_test_that_knows_its_limits() -> None:
    assert choose_test(Primary(measure="gold"), 1) == "gaffke"


def test_a_gain_above_the_least_that_is_wanted_is_tested_against_the_lowest_there_can_be() -> None:
    # 0.5 on 20 items, 0.25 beyond what is wanted; the item not seen has -1 - 0.25: p = (1 - 0.25 / 1.5)^20.
    ours, theirs = (Figures({"gold": np.full((20, 1), value)}, {"gold": np.zeros(20, dtype=bool)}) for value in (0.75, 0.25))
    wanted = Primary(measure="gold", min_effect=0.25)
    found = primary_test(Comparison(ours, theirs), wanted, "gaffke", 0.05, np.random.default_rng(0))
    assert found["p_value"] == pytest.approx((5 / 6) ** 20, rel=1e-3)


def test_the_method_names_every_test() -> None:
    rules = Rules.model_validate({"primary": {"all_of": ["accuracy", "mcc"]}})
    assert method(choose_tests(Rules(), 1)) == "accuracy: exact McNemar, one sample per item"
    assert method(choose_tests(rules, 1)) == (
        "all of accuracy: exact McNemar, one sample per item; mcc: approximate randomization"
    )
