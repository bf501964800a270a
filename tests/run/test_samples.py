"""What ``ratchet try`` draws and how it is graded, with a tiny random policy."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import ModelError, RegistryError, RewardError
from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.project.project import Project
from ratchet.components.recipe import load_recipe
from ratchet.components.registry.versions import RegisteredVersion
from ratchet.components.run import samples
from ratchet.components.run.samples import NOT_A_ROW, Wish, asked_rows, graded, judges_of, reward_of, try_policy
from ratchet.components.stages.results import DataStage, PolicyStage
from ratchet.components.stages.stage import SILENT, Context
from ratchet.components.storage.home import Home
from tests.places import MICRO
from tests.stages.by_hand import data_stage, problem, saved_policy

VERIFIER = ("reward.kind=verifier", "reward.verifier={type: exact}")


@pytest.fixture
def data(tmp_path: Path) -> DataStage:
    return data_stage(tmp_path / "version", train=5, dev=20, sealed_0=5, sealed_1=5)


@pytest.fixture
def project(tmp_path: Path, data: DataStage, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose data and starting policy are made by hand."""
    start: PolicyStage = saved_policy(tmp_path / "start")
    monkeypatch.setattr(samples, "prepare_data", lambda context: data)
    monkeypatch.setattr(samples, "starting_policy", lambda context, data: start)
    return project_of(tmp_path)


def project_of(place: Path, *overrides: str) -> Project:
    return Project(Home(place, place / ".ratchet"), load_recipe(MICRO, [*VERIFIER, "policy.max_new_tokens=8", *overrides]))


def test_samples_are_of_dev_with_their_references_and_the_same_each_time(project: Project, data: DataStage) -> None:
    first = try_policy(project, Wish(4), SILENT)
    assert first == try_policy(project, Wish(4), SILENT)
    dev = {row["id"]: row for row in data.table("dev")}
    assert len({one.row for one in first.samples} & dev.keys()) == 4
    assert all(one.reference == dev[str(one.row)]["answer"] for one in first.samples)
    assert all(list(one.grades) == ["gold", "reward"] for one in first.samples)
    assert first.decoding == "temperature 1, seed 3"


def test_nothing_is_written_but_the_store(project: Project) -> None:
    try_policy(project, Wish(1), SILENT)
    assert project.ledger.latest_runs() == []
    assert not project.home.mlflow_database.exists()


def test_more_samples_than_rows_are_all_rows_once(project: Project, data: DataStage) -> None:
    rows = asked_rows(project.recipe, data, Wish(1000))
    assert sorted(row["id"] for row in rows) == sorted(row["id"] for row in data.table("dev"))


def test_greedy_answers_to_one_prompt_are_equal_and_draws_differ(project: Project, data: DataStage) -> None:
    asked = data.table("dev")[3]["prompt"]
    greedy = try_policy(project, Wish(3, prompt=asked, greedy=True), SILENT)
    drawn = try_policy(project, Wish(3, prompt=asked), SILENT)
    assert (greedy.decoding, len({one.completion for one in greedy.samples})) == ("greedy", 1)
    assert len({one.completion for one in drawn.samples}) == 3
    assert {one.reference for one in drawn.samples} == {data.table("dev")[3]["answer"]}


def test_rows_at_which_a_run_would_end_are_told(tmp_path: Path, project: Project) -> None:
    project = project_of(tmp_path, "policy.max_new_tokens=122")
    (note,) = [note for note in try_policy(project, Wish(1, prompt="a"), SILENT).notes if note != NOT_A_ROW]
    assert note.startswith("a run would end in an error: a prompt of ")


def test_a_prompt_of_no_row_is_not_graded_and_that_of_a_sealed_one_neither(project: Project, data: DataStage) -> None:
    for prompt in ("What is it?", data.table("sealed_0")[0]["prompt"] + " "):
        found = try_policy(project, Wish(2, prompt=prompt), SILENT)
        assert [(one.row, one.reference, one.grades) for one in found.samples] == [(None, None, {})] * 2
        assert found.notes == [NOT_A_ROW]


def test_faults_a_prompt_longer_than_the_context_is_refused(project: Project) -> None:
    with pytest.raises(ModelError, match="exceed the model's context of 128"):
        try_policy(project, Wish(1, prompt="word " * 20_000), SILENT)


@pytest.mark.parametrize("version", ["1", "champion"])
def test_faults_before_the_first_version_none_can_be_tried_and_mlflow_is_not_opened(project: Project, version: str) -> None:
    with pytest.raises(RegistryError, match="micro has no registered version yet"):
        try_policy(project, Wish(1, version=version), SILENT)
    assert not project.home.mlflow_database.exists()


class Registry:
    """MLflow with version 3, whose policy is a directory."""

    def __init__(self, model: Path, digest: str) -> None:
        self.model, self.tags = model, {"policy_sha256": digest}

    def require_files(self, name: str, version: str) -> None:
        assert (name, version) == ("micro", "3")

    def version(self, name: str, version: str) -> RegisteredVersion:
        return RegisteredVersion(version, "run", self.tags)

    def download(self, name: str, version: str, target: Path) -> Path:
        return Path(shutil.copytree(self.model, target / "model"))


def test_a_registered_version_is_fetched_and_must_be_the_policy_that_was_registered(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = saved_policy(tmp_path / "other", seed=5)
    project.__dict__["tracker"] = registry = Registry(other.model, other.policy_digest)
    monkeypatch.setattr(project.ledger, "verdicts", lambda model: [{}])
    found = try_policy(project, Wish(2, version="3"), SILENT)
    assert (found.policy, found.digest) == ("version 3 of micro", other.policy_digest)
    assert [one.completion for one in found.samples] != [one.completion for one in try_policy(project, Wish(2), SILENT).samples]
    registry.tags = {"policy_sha256": "0" * 64}
    with pytest.raises(RegistryError, match="the ledger says 0000"):
        try_policy(project, Wish(2, version="3"), SILENT)
    registry.tags = {}
    with pytest.raises(RegistryError, match="has no digest of its policy"):
        try_policy(project, Wish(2, version="3"), SILENT)


def all_right(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
    return [Grade(1.0) for _ in completions]


class Broken:
    """A grader that fails on everything."""

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        raise RewardError("it failed on 2 of 2 completions. Fix it.")


def test_a_grader_that_fails_on_everything_is_a_note_and_hides_no_other() -> None:
    rows = [problem(1), problem(2)]
    judges: dict[str, RewardFunction] = {"gold": Broken(), "reward": all_right}
    grades, notes = graded(judges, rows, ["a", "b"])
    assert [grade.fault for grade in grades["gold"]] == ["failed", "failed"]
    assert [grade.score for grade in grades["reward"]] == [1.0, 1.0]
    assert notes == ["gold: it failed on 2 of 2 completions. Fix it."]


def context(project: Project) -> Context:
    return Context(project.recipe, project.home)


def test_every_grader_of_the_recipe_is_asked_once(project: Project, tmp_path: Path, data: DataStage) -> None:
    other = project_of(tmp_path, "graders.short={type: length, shortest: 1, longest: 9}")
    judges, notes = judges_of(context(other), data)
    assert (list(judges), notes) == (["gold", "reward", "grader/short"], [])
    paid = project_of(tmp_path, "reward.verifier={type: number, form: strict}")
    judges, notes = judges_of(context(paid), data)
    assert (list(judges), notes) == (["gold"], ["the reward is the gold itself"])


@pytest.mark.parametrize(("kind", "shown"), [("mix", True), ("model", False)])
def test_before_there_is_a_reward_model_what_is_missing_is_said(
    project: Project, tmp_path: Path, data: DataStage, kind: str, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "finished_reward", lambda context, data: None)
    found = project_of(tmp_path, f"reward.kind={kind}", "gold.grader=right")
    reward, notes = reward_of(context(found), data, found.recipe.reward)
    assert (reward is not None) is shown
    assert notes[0].startswith("the reward model is not trained yet (`ratchet reward validate` trains it)")
