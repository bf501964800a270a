"""What is known before a sealed item is touched: the level, the digest of the rules, and that a plan writes nothing."""

from pathlib import Path

import pytest

from ratchet.components.gate.plan import level, plan_use, rules_digest
from ratchet.components.recipe import Rules
from tests.gate.staged import Project, models

MODELS = models("challenger")


def test_a_dry_plan_counts_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path)
    plan = plan_use(project.context, project.ledger, project.data, project.dev, MODELS, False)
    assert plan.as_json()["use"] == 1
    assert plan.as_json()["power"]["items"] == 300
    assert project.ledger.own_uses("m", "challenger", "start", rules_digest(project.context.recipe)) == {}
    assert "no use was counted" in plan.said[-1]


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


def test_another_way_of_drawing_answers_is_another_use(tmp_path: Path) -> None:
    project = Project(tmp_path)
    hot = project.context.recipe.evaluation.model_copy(update={"temperature": 0.7})
    assert rules_digest(project.context.recipe) != rules_digest(project.context.recipe.model_copy(update={"evaluation": hot}))
    wait = project.context.recipe.gate.rules.model_copy(update={"approval": "required"})
    gate = project.context.recipe.gate.model_copy(update={"rules": wait})
    assert rules_digest(project.context.recipe) == rules_digest(project.context.recipe.model_copy(update={"gate": gate}))
