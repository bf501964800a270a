"""The level of a use follows from the rules and from the uses before it."""

from pathlib import Path

import pytest

from ratchet.components.gate.folds import Pair, choose_fold, count_use
from ratchet.components.gate.levels import is_spent, level
from ratchet.components.ledger.past_uses import Use
from ratchet.components.recipe import Rules
from tests.gate.staged import Project


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, 0.05 / 26),
        ({"error_mode": "per_run"}, 0.01),
        ({"error_mode": "fdr"}, 0.01093725),
    ],  # tests/statistics/test_spending.py
)
def test_the_level_follows_from_the_error_mode(rules: dict[str, str], expected: float) -> None:
    assert level(Rules(**rules), []) == pytest.approx(expected, rel=1e-4)


def test_what_a_use_took_counts_and_of_an_unjudged_one_of_an_earlier_release_todays_level() -> None:
    def uses(*levels: float | None) -> list[Use]:
        return [Use("f", "c", "i", "r", number, alpha) for number, alpha in enumerate(levels, 1)]

    rules = Rules(uses_per_epoch=5)  # 0.01 each
    assert not is_spent(uses(0.04), rules)
    assert is_spent(uses(0.041), rules)
    assert not is_spent(uses(0.02, None, 0.01), rules)
    assert is_spent(uses(0.02, None, None, 0.01), rules)
    assert is_spent(uses(0.0, 0.0, 0.0, 0.0, 0.0), rules)


def test_a_test_that_another_host_has_begun_counts_as_one_without_a_discovery(tmp_path: Path) -> None:
    project, other = Project(tmp_path, error_mode="fdr", target_effect=0.2), Pair("a", "start", "r")
    fold = choose_fold(project.context, project.ledger, project.data, other, project.trained).fold
    assert fold is not None
    assert fold.alpha == pytest.approx(0.5 * 0.05 * 0.43749)
    assert count_use(project.ledger, "m", fold, other, project.context.recipe.gate.rules) == fold
    later = project.judge("b", 150)
    assert (later.fold, later.alpha) == ("sealed_1", pytest.approx(0.5 * 0.05 * 0.43749 * 2**-1.6))
