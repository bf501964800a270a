"""Rules replayed on past challengers."""

from dataclasses import replace
from pathlib import Path

from ratchet.components.gate.replay import replay
from ratchet.components.recipe import build_recipe
from tests.gate.staged import Project


def with_rules(project: Project, **rules: object) -> Project:
    values = project.context.recipe.model_dump(mode="json")
    values["gate"]["rules"] |= rules
    project.context = replace(project.context, recipe=build_recipe(values, "test"))
    return project


def retire(project: Project) -> None:
    for digest in project.ledger.items_of_folds("m"):
        project.ledger.retire("m", digest, "promoted")


def test_the_same_rules_decide_the_same(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.judge("a", 155)
    project.judge("b", 200)
    retire(project)
    assert [(row.was, row.would) for row in replay(project.context, project.ledger)] == [
        ("REJECT", "REJECT"),
        ("PROMOTE", "PROMOTE"),
    ]


def test_laxer_rules_would_have_promoted(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.judge("a", 155)  # five wins: p = 1/32
    retire(project)
    (row,) = replay(with_rules(project, error_mode="per_run", alpha_run=0.05).context, project.ledger)
    assert (row.was, row.would) == ("REJECT", "PROMOTE")


def test_a_stricter_target_would_have_been_underpowered_and_a_shorter_epoch_over(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.judge("a", 155)
    project.judge("b", 200)
    retire(project)
    assert replay(with_rules(project, target_effect=0.02).context, project.ledger)[0].would == "UNDERPOWERED"
    shorter = replay(with_rules(project, target_effect=0.2, uses_per_epoch=1).context, project.ledger)
    assert [row.would for row in shorter] == ["PROMOTE", "INVALID"]  # p = 1/32 at a level of 0.05


def test_what_is_sealed_or_gone_is_said_and_not_judged(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.judge("a", 155)
    (sealed,) = replay(project.context, project.ledger)
    assert sealed.would is None
    assert "not retired" in sealed.reasons[0]
    retire(project)
    evidence = project.ledger.verdicts("m")[0]["record"]["evidence"]
    project.context.store.path("sealed", evidence).rename(tmp_path / "elsewhere")
    (gone,) = replay(project.context, project.ledger)
    assert gone.would is None
    assert "no longer in the store" in gone.reasons[0]


def test_rules_that_need_what_was_not_measured_are_not_replayed(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.judge("a", 155)
    retire(project)
    guarded = with_rules(project, guards=[{"measure": "accuracy", "on": "guard", "margin": 0.1}])
    (row,) = replay(guarded.context, project.ledger)
    assert row.would is None
    assert "not measured" in row.reasons[0]
