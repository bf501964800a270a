"""Two registered versions on dev: the same draws for both, what is shown of their records, and what is not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ratchet.components.compare import versions
from ratchet.components.compare.said import verdict
from ratchet.components.compare.versions import FLATTERED, NO_START, compare_versions
from ratchet.components.errors import RegistryError
from ratchet.components.project.project import Project
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.results import DataStage, PolicyStage
from ratchet.components.stages.stage import SILENT, Context, NotFinished
from ratchet.components.stages.train import TrainStage
from ratchet.components.storage.home import Home
from tests.places import MICRO
from tests.stages.by_hand import data_stage, saved_policy

VERIFIER = ("reward.kind=verifier", "reward.verifier={type: exact}", "policy.max_new_tokens=4", "evaluation.dev_items=5")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with three versions, 1 and 2 the same policy, whose records are lost."""
    data, policies = data_stage(tmp_path / "version", train=5, dev=6), [saved_policy(tmp_path / f"{n}", n) for n in range(2)]
    made = Project(Home(tmp_path, tmp_path / ".ratchet"), load_recipe(MICRO, VERIFIER))
    made.__dict__["ledger"] = SimpleNamespace(verdicts=lambda model: ["one"])
    made.__dict__["tracker"] = None
    by_number = {"1": policies[0], "2": policies[0], "3": policies[1]}

    def lost(*_: Any) -> None:
        raise RegistryError("the record is lost. Restore it.")

    monkeypatch.setattr(versions, "prepare_data", lambda context: data)
    monkeypatch.setattr(versions, "starting_policy", lambda context, data: policies[0])
    monkeypatch.setattr(versions, "registered_policy", lambda project, context, number: by_number[number])
    monkeypatch.setattr(versions, "recorded_lineage", lost)
    return made


def test_equal_policies_give_equal_answers_and_no_difference(project: Project) -> None:
    found = compare_versions(project, ("1", "2"), SILENT)
    assert found.first.runs[0].items == found.second.runs[0].items
    assert (found.first.name, found.second.name) == ("version 1", "version 2")
    row = found.figure("accuracy")
    assert row is not None and row.difference is not None and row.difference.value == 0
    assert not found.decided and "seed" not in verdict(found)


def test_a_version_without_its_record_is_compared_by_its_answers_alone(project: Project) -> None:
    found = compare_versions(project, ("1", "3"), SILENT)
    assert found.second.described == "no record of its training: the record is lost. Restore it."
    assert {row.name for row in found.figures} == {"accuracy", "reward", "kl", "length"}
    assert found.task["dev_items"] == 5 and FLATTERED in found.notes
    kl = found.figure("kl")
    assert kl is not None and kl.first is not None and kl.first.value == pytest.approx(0, abs=1e-5)  # version 1 is the start


def test_a_start_that_is_not_there_is_not_warmed_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(context: Context, data: DataStage) -> PolicyStage:
        assert not context.compute
        raise NotFinished

    monkeypatch.setattr(versions, "starting_policy", look)
    found = compare_versions(project, ("1", "3"), SILENT)
    assert found.figure("kl") is None and NO_START in found.notes


def test_a_version_is_not_compared_with_itself(project: Project) -> None:
    with pytest.raises(RegistryError, match="both are version 3"):
        compare_versions(project, ("3", "3"), SILENT)


def test_nothing_is_opened_where_nothing_was_judged(project: Project) -> None:
    project.__dict__["ledger"] = SimpleNamespace(verdicts=lambda model: [])
    with pytest.raises(RegistryError, match="no registered version yet"):
        compare_versions(project, ("1", "2"), SILENT)


def test_seconds_and_memory_of_a_record_are_left_out(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {"num_samples": 4.0, "step_time": 2.0, "memory/peak_gib": 1.0, "frac_reward_zero_std": 0.5}
    stage = SimpleNamespace(points=[(1, steps), (1, {"eval_sampled_accuracy": 0.5})], stop=None)
    train = {"algorithm": "grpo", "steps": 1, "prompts": 2, "k": 2}
    lineage = SimpleNamespace(stage=lambda name: SimpleNamespace(key="k"), recipe={"train": train}, seed=7)
    monkeypatch.setattr(versions, "recorded_lineage", lambda *_: lineage)
    monkeypatch.setattr(TrainStage, "find", lambda store, key: stage)
    found = compare_versions(project, ("1", "3"), SILENT)
    assert found.second.described == "grpo, 1 steps of 2 prompts x 2, seed 7"
    assert found.figure("silent") is not None
    assert not {"seconds", "step_seconds", "memory"} & {row.name for row in found.figures}
