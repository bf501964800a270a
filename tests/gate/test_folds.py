"""Folds: one epoch each, never again once published, whatever the dataset's version."""

from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.components.gate.folds import Pair, choose_fold, retire_published, states_of_folds
from ratchet.components.records import Outcome
from tests.gate.staged import Project, ids
from tests.ledger.fakes import count_use

PAIR = Pair("x", "start", "r")


def fold_of(project: Project) -> str | None:
    fold = choose_fold(project.context, project.ledger, project.data, PAIR, project.trained).fold
    return fold.name if fold else None


def digest(project: Project, fold: int = 0) -> str:
    return project.data.fold_digest(f"sealed_{fold}")


def test_a_spent_fold_gives_way_to_the_next_and_then_there_is_none(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=2)
    folds = [project.judge(name, 150).fold for name in "abcd"]
    assert folds == ["sealed_0", "sealed_0", "sealed_1", "sealed_1"]
    last = project.judge("e", 300)
    assert last.outcome is Outcome.INVALID
    assert "data.split.sealed_folds" in last.reasons[0]
    assert set(project.ledger.retired("m").values()) == {"spent"}


def test_a_spent_fold_can_close_the_gate(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=1, when_spent="refuse")
    project.judge("a", 150)
    closed = project.judge("b", 300)
    assert closed.outcome is Outcome.INVALID
    assert "when_spent" in closed.reasons[0]
    assert project.scorings == 1


def test_looking_for_a_fold_writes_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=1)
    count_use(project.ledger, "m", digest(project), "a", "start", "r")  # and killed before its verdict
    assert choose_fold(project.context, project.ledger, project.data, PAIR, project.trained).spent == [digest(project)]
    assert project.ledger.retired("m") == {}


def test_a_retired_fold_is_passed_over(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.ledger.retire("m", digest(project), "promoted")
    assert fold_of(project) == "sealed_1"


def test_a_killed_pair_stays_on_its_fold(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=1)
    count_use(project.ledger, "m", digest(project), *PAIR)
    assert fold_of(project) == "sealed_0"
    project.ledger.retire("m", digest(project), "spent")
    assert fold_of(project) == "sealed_0"


def test_a_version_with_more_rows_continues_the_epoch(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=3)
    project.judge("a", 150)
    project.data = project.dataset([[*ids(0, 300), *ids(500, 10)], ids(1000, 300)])
    assert project.judge("b", 150).use == 2
    project.judge("c", 150)
    assert fold_of(project) == "sealed_1"


def test_published_items_are_left_out_of_later_versions(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.judge("a", 150)
    project.ledger.retire("m", digest(project), "promoted")
    project.data = project.dataset([[*ids(0, 300), *ids(500, 10)], ids(1000, 300)])
    assert fold_of(project) == "sealed_1"  # ten fresh items are no fold
    project.data = project.dataset([[*ids(0, 300), *ids(500, 400)], ids(1000, 300)])
    fold = choose_fold(project.context, project.ledger, project.data, PAIR, project.trained).fold
    assert fold is not None
    assert fold.items == ids(500, 400)


@pytest.mark.parametrize(("shared", "retired"), [(100, False), (200, True)])
def test_an_older_version_of_a_published_fold_is_retired_with_it(tmp_path: Path, shared: int, retired: bool) -> None:
    project = Project(tmp_path)
    project.judge("a", 150)
    old = digest(project)
    project.data = project.dataset([[*ids(0, shared), *ids(500, 300)], ids(1000, 300)])
    project.judge("b", 150)
    project.ledger.retire("m", digest(project), "promoted")
    retire_published(project.ledger, "m")
    assert (old in project.ledger.retired("m")) is retired


def test_a_fold_that_said_yes_is_not_asked_again_though_nobody_was_promoted(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.judge("a", 290).outcome is Outcome.PROMOTE  # and no promotion follows
    assert project.judge("a", 290, incumbent="another").fold == "sealed_0"  # who became champion meanwhile
    assert project.judge("b", 150).fold == "sealed_1"
    assert project.judge("a", 290).fold == "sealed_0"  # the one it said yes to


def test_rules_that_change_within_an_epoch_do_not_spend_its_level_twice(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=2)
    project.judge("a", 150)  # half of alpha_epoch
    rules = project.context.recipe.gate.rules.model_copy(update={"uses_per_epoch": 4})
    gate = project.context.recipe.gate.model_copy(update={"rules": rules})
    project.context = replace(project.context, recipe=project.context.recipe.model_copy(update={"gate": gate}))
    folds = [project.judge(name, 150).fold for name in "bcd"]
    assert folds == ["sealed_0", "sealed_0", "sealed_1"]  # 1/2 + 1/4 + 1/4


def left(project: Project) -> list[int]:
    return [state.left for state in states_of_folds(project.context, project.ledger, project.data, project.trained)]


def test_what_is_left_is_what_the_gate_would_use(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=2)
    seen = [left(project)]
    while fold_of(project) is not None:
        project.judge(f"c{len(seen)}", 150)
        seen.append(left(project))
    assert seen == [[2, 2], [1, 2], [0, 2], [0, 1], [0, 0]]


def test_nothing_is_left_of_a_fold_that_said_yes(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=2)
    assert project.judge("a", 300).outcome is Outcome.PROMOTE
    assert left(project) == [0, 2]


def test_where_a_spent_fold_closes_the_gate_nothing_is_left_of_any(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=1, when_spent="refuse")
    assert left(project) == [1, 1]
    project.judge("a", 150)
    assert left(project) == [0, 0]
