"""What is known before a sealed item is touched: the level, the digest of the rules, and that a plan writes nothing."""

from pathlib import Path

import pytest

from ratchet.components.gate import forecast
from ratchet.components.gate.forecast import forecast_power
from ratchet.components.gate.items import Trained
from ratchet.components.gate.plan import plan_before_training, plan_use, rules_digest
from ratchet.components.records import Outcome
from ratchet.components.stages.scoring import Models
from tests.gate.staged import Project, ids, models, policy

MODELS = models("challenger")


def test_a_dry_plan_counts_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path)
    plan = plan_use(project.challenge(MODELS))
    assert plan.as_json()["use"] == 1
    assert plan.as_json()["power"]["items"] == 300
    assert project.ledger.past("m").uses == []
    assert "no use was counted" in plan.said[-1]


def refused(project: Project, challenger: str, incumbent: str) -> tuple[Outcome, str] | None:
    arms = models(challenger, incumbent)
    return plan_use(project.challenge(arms)).refusal


def test_faults_the_champion_itself_is_not_called_a_failed_training(tmp_path: Path) -> None:
    project = Project(tmp_path)
    kept, champion = refused(project, "start", "start"), refused(project, "champion", "champion")
    assert kept is not None and champion is not None
    assert kept[1] == "no checkpoint was better on dev than the incumbent itself"
    assert champion[1].startswith("the candidate is the champion itself")


def test_faults_a_kept_policy_with_another_date_in_its_template_takes_no_use(tmp_path: Path) -> None:
    project = Project(tmp_path)
    start, champion = policy("w", "monday"), policy("w", "another template")
    for incumbent, outcome in ((start, Outcome.REJECT), (champion, None)):
        arms = Models(policy("w", "tuesday"), incumbent, start)
        plan = plan_use(project.challenge(arms))
        assert (plan.refusal and plan.refusal[0]) is outcome


def test_faults_what_would_refuse_every_challenger_is_known_before_training(tmp_path: Path) -> None:
    project = Project(tmp_path, folds=1, uses_per_epoch=1)
    assert plan_before_training(project.context, project.ledger, project.data, project.trained) is None
    project.judge("a", 150)
    found = plan_before_training(project.context, project.ledger, project.data, project.trained)
    assert found is not None
    assert found.refusal == (Outcome.INVALID, project.judge("b", 300).reasons[0])
    assert len(project.ledger.past("m").uses) == 1


def test_another_way_of_drawing_answers_is_another_use(tmp_path: Path) -> None:
    project = Project(tmp_path)
    hot = project.context.recipe.evaluation.model_copy(update={"temperature": 0.7})
    assert rules_digest(project.context.recipe) != rules_digest(project.context.recipe.model_copy(update={"evaluation": hot}))
    wait = project.context.recipe.gate.rules.model_copy(update={"approval": "required"})
    gate = project.context.recipe.gate.model_copy(update={"rules": wait})
    assert rules_digest(project.context.recipe) == rules_digest(project.context.recipe.model_copy(update={"gate": gate}))


def test_items_that_training_saw_do_not_count_and_the_plan_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    seen = Trained(frozenset(ids(0, 100)), by="3")
    project.trained = seen
    plan = plan_use(project.challenge(MODELS))
    assert plan.fold is not None
    assert plan.fold.items == ids(100, 200)
    assert plan.said[-2] == "100 sealed items do not count: training saw their questions (data of version 3)"
    monkeypatch.setattr(forecast, "prepare_data", lambda _: project.data)
    assert forecast_power(project.context, project.ledger, None, None, lambda _: seen).as_json()["items"] == 200
    assert project.judge("a", 200, before=50).items == 200


def test_without_a_fold_that_training_did_not_see_only_rows_help(tmp_path: Path) -> None:
    project = Project(tmp_path)
    seen = Trained(frozenset([*ids(0, 200), *ids(1000, 300)]), by="3")
    found = plan_before_training(project.context, project.ledger, project.data, seen)
    assert found is not None and found.refusal is not None
    assert "500 sealed items do not count" in found.refusal[1]
    assert "about 1,667 give one fold enough. Another data.split gives none" in found.refusal[1]  # 100 of 0.12 in 2 folds


def test_where_it_is_not_known_what_training_saw_nothing_is_judged(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.trained = Trained(unknown="it is not known. Restore it")
    assert project.judge("a", 300).reasons == ["it is not known. Restore it"]
    assert (project.scorings, project.ledger.past("m").uses) == (0, [])
