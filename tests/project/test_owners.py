"""Two recipes in one project: one's retention leaves the other's stages alone, and shared ones until neither keeps them."""

import os
from pathlib import Path

import pytest

from ratchet.components.project.owners import note_retention, noted_retentions
from ratchet.components.project.retention import DAY_SECONDS
from ratchet.components.recipe import Retention
from ratchet.components.storage.files import MANIFEST
from ratchet.components.upkeep.cleanup import clean_up_after_run
from tests.upkeep.test_cleanup import NOW, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def run_of(project: Project, model: str, run_id: str, *stages: str, dataset: str | None = None) -> None:
    names = [dict(zip(("name", "key"), stage.split("/"), strict=True)) for stage in stages]
    project.ledger.begin_run(f"i-{run_id}", model, run_id)
    project.ledger.finish_run(f"i-{run_id}", {"status": "refused", "stages": names, "dataset": dataset})


def left(project: Project) -> set[str]:
    return {f"{path.parent.name}/{path.name}" for path in project.home.store.glob("*/*")}


def cleaned(project: Project) -> set[str]:
    """What is left after a run of the recipe ``micro``, which keeps no runs."""
    clean_up_after_run(project.opened(), lambda text: None)
    return left(project)


def test_a_recipe_deletes_its_own_stages_and_those_of_nobody_alone(project: Project) -> None:
    mine, theirs, nobodys = (project.stage("train", letter) for letter in "abc")
    run_of(project, "micro", "r1", mine)
    run_of(project, "other", "r2", theirs)
    note_retention(project.home, "other", Retention(keep_days=0, keep_runs=0))
    assert left(project) == {mine, theirs, nobodys}
    assert cleaned(project) == {theirs}


@pytest.mark.parametrize(
    ("noted", "stays"),
    [
        (None, False),  # not known, since it runs on another machine
        (Retention(keep_runs=1, keep_days=0), True),
        (Retention(keep_runs=0, keep_days=100), True),  # the stage is 90 days old
        (Retention(keep_runs=0, keep_days=80), False),
    ],
)
def test_a_shared_stage_stays_until_neither_recipe_keeps_it(project: Project, noted: Retention | None, stays: bool) -> None:
    shared = project.stage("data", "a")
    run_of(project, "micro", "r1", shared)
    run_of(project, "other", "r2", shared)
    if noted is not None:
        note_retention(project.home, "other", noted)
    assert (cleaned(project) == {shared}) == stays


def test_what_another_recipe_released_stays_while_this_one_keeps_it(project: Project) -> None:
    shared = project.stage("data", "a")
    os.utime(project.home.store / shared / MANIFEST, (NOW - 5 * DAY_SECONDS,) * 2)
    run_of(project, "micro", "r1", shared)
    run_of(project, "other", "r2", shared)
    note_retention(project.home, "other", Retention(keep_runs=0, keep_days=0))
    assert cleaned(project) == {shared}  # keep_days is 14


def test_a_run_notes_its_retention_and_an_unreadable_note_counts_as_none(project: Project) -> None:
    assert noted_retentions(project.home) == {}
    clean_up_after_run(project.opened("retention.keep_days=3"), lambda text: None)
    expected = Retention(keep_days=3, keep_runs=0, keep_refused_versions=0)
    assert noted_retentions(project.home) == {"micro": expected}
    (project.home.retentions / "other.json").write_text('{"keep_days": "long"}', encoding="utf-8")
    (project.home.retentions / "broken.json").write_text("{", encoding="utf-8")
    assert noted_retentions(project.home) == {"micro": expected}
