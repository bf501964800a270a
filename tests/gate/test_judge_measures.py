"""The gate's whole step for measures of all items, for several primaries, and for guards by a grader that is not gold."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.components.gate.forecast import forecast_power
from ratchet.components.gate.plan import plan_use
from ratchet.components.gate.replay import replay
from ratchet.components.records import Outcome
from tests.gate.staged import Project, models

RECIPE = {
    "graders": {"right": {"type": "label", "labels": ["1", "2"]}, "tone": {"type": "length", "longest": 99}},
    "gold": {"grader": "right"},
}


def project(path: Path, **rules: Any) -> Project:
    return Project(path, recipe=RECIPE, target_effect=0.3, **rules)


MCNEMAR, RANDOMIZED = "accuracy: exact McNemar, one sample per item", "macro_f1: approximate randomization"


@pytest.mark.parametrize(
    ("primary", "method"),
    [({"measure": "macro_f1"}, RANDOMIZED), ({"all_of": ["right", "macro_f1"]}, f"all of {MCNEMAR}; {RANDOMIZED}")],
)
def test_the_plan_and_the_verdict_name_the_tests(tmp_path: Path, primary: dict[str, Any], method: str) -> None:
    made = project(tmp_path, primary=primary)
    plan = plan_use(made.challenge(models("a"), first=True))
    assert plan.said[0].startswith(f"sealed_0, use 1: {method}, level")
    assert made.judge("a", 150).method == method


def test_a_measure_of_all_items_promotes_spends_and_retires_as_any_other(tmp_path: Path) -> None:
    made = project(tmp_path, primary={"measure": "macro_f1"}, uses_per_epoch=2)
    refused = made.judge("a", 152)
    assert (refused.outcome, refused.use, refused.alpha) == (Outcome.REJECT, 1, 0.025)
    assert "p_value" not in str(refused.public())
    promoted = made.judge("b", 220)
    assert (promoted.outcome, promoted.use) == (Outcome.PROMOTE, 2)
    # All items are of one label: F1 is 2 r / (1 + r), r the share of right answers.
    assert promoted.figures["challenger_macro_f1"] == pytest.approx(2 * (220 / 300) / (1 + 220 / 300))
    assert promoted.figures["p_value"] < 0.025


def test_several_primaries_promote_only_together(tmp_path: Path) -> None:
    made = project(tmp_path, primary={"all_of": ["right", "tone"]})
    assert made.judge("a", 220, tone=0.5).outcome is Outcome.REJECT
    assert made.judge("b", 150, tone=0.9).outcome is Outcome.REJECT
    verdict = made.judge("c", 220, tone=0.9)
    assert verdict.outcome is Outcome.PROMOTE
    assert [reason.split(":")[0] for reason in verdict.sealed_reasons] == ["primary accuracy", "primary grader/tone"]


@pytest.mark.parametrize(("tone", "outcome"), [(0.5, Outcome.PROMOTE), (0.46, Outcome.PROMOTE), (0.4, Outcome.REJECT)])
def test_a_grader_that_is_not_gold_guards_with_a_margin(tmp_path: Path, tone: float, outcome: Outcome) -> None:
    made = project(tmp_path, guards=[{"grader": "tone", "margin": 0.05}])
    verdict = made.judge("a", 220, tone=tone)
    assert verdict.outcome is outcome
    assert verdict.figures["challenger_grader/tone on sealed"] == pytest.approx(tone + 0.005)


@pytest.mark.slow
def test_power_is_foretold_for_every_primary(tmp_path: Path) -> None:
    made = project(tmp_path, primary={"all_of": ["right", "macro_f1"]})
    assumed = forecast_power(made.context, made.ledger, 0.1, 500, lambda _: made.trained).as_json()
    assert assumed["source"].startswith("assumption: a standard deviation of 0.5")
    assert assumed["source"].endswith("at least this power for all_of, of which macro_f1 is the hardest")
    made.judge("a", 150)
    found = forecast_power(made.context, made.ledger, 0.1, 500, lambda _: made.trained).as_json()
    assert found["source"].startswith("dev rows of evaluation ")
    assert found["method"].startswith("all of accuracy: exact McNemar")
    powers = [row["power"] for row in found["table"]]
    assert powers == sorted(powers)


def test_a_verdict_can_be_replayed_by_another_measure(tmp_path: Path) -> None:
    made = project(tmp_path, primary={"measure": "macro_f1"})
    made.judge("a", 220)
    made.ledger.retire("m", made.data.fold_digest("sealed_0"), "promoted")
    (row,) = replay(made.context, made.ledger)
    assert (row.was, row.would) == ("PROMOTE", "PROMOTE")
    assert row.reasons[0].startswith("primary: approximate randomization")
