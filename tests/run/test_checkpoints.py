"""A trained policy that no run promoted: kept, recorded, named, and registered once by its digest."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.overrides import override
from ratchet.components.project.project import Project
from ratchet.components.provenance.lineage import read_lineage
from ratchet.components.records import Registered
from ratchet.components.registry.versions import RegisteredVersion
from ratchet.components.run.checkpoints import (
    Checkpoint,
    chosen,
    described,
    kept_checkpoints,
    offers_any,
    record_checkpoints,
    register_checkpoint,
    start_gold,
    unregistered,
)
from ratchet.components.run.outcome import Status
from ratchet.components.run.record import Ending, Run
from ratchet.components.stages.train import Kept, TrainStage
from ratchet.components.storage.files import policy_digest
from ratchet.components.storage.store import ENVIRONMENT
from tests.run.runs import FakeDisplay, FakeTracker, claim_of, make_stages, new_project, stage
from tests.stages.environments import environment

POINTS = [{"step": step, "values": {"eval_sampled_accuracy": step / 10}} for step in (0, 2, 4)]
LAST = "checkpoints/step_000004/model"


class Tracker(FakeTracker):
    """Keeps the files of artifacts and models too."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root, self.models = root, dict[str, dict[str, str]]()

    def artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        shutil.copytree(path, self.root / run_id / (folder or ""), dirs_exist_ok=True)

    def fetch(self, run_id: str, name: str, target: Path) -> Path | None:
        return self.root / run_id / name if (self.root / run_id / name).exists() else None

    def register(self, name: str, run_id: str, model: Path, settings: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        version = super().register(name, run_id, model, settings, tags)
        self.models[version] = {path.name: path.read_text(encoding="utf-8") for path in model.iterdir()}
        return version

    def version(self, name: str, version: str) -> RegisteredVersion:
        return next(found for found in self.versions(name) if found.number == version)

    def registered_version(self, version: str) -> Registered:
        policy = next(digest for digest, number in self.registered.items() if number == version)
        return Registered(version, policy, "its run")


class Registry:
    """What an override asks of the registry."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def registered(self, name: str, version: str) -> Registered:
        return self.tracker.registered_version(version)

    def check_artifact(self, name: str, version: str) -> None:
        pass

    def require_files(self, name: str, version: str) -> None:
        pass

    def require_movable(self, name: str) -> None:
        pass

    def alias(self, name: str, alias: str) -> str | None:
        return self.tracker.alias(name, alias)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self.tracker.set_alias(name, alias, version)


def trained(project: Project, best_step: int = 0, key: str = "e" * 32, last: str = "last") -> Run:
    """A run whose training kept its last policy, and the candidate if that was trained."""
    run = Run(project, FakeDisplay(), claim_of(project))
    make_stages(run)
    facts = {"algorithm": "grpo", "k": 8, "best_step": best_step, "steps": 4, "stopped": None, "stop": None, "exact": True}
    models = {"model/model.safetensors": "candidate", f"{LAST}/model.safetensors": last, f"{LAST}/config.json": "{}"}
    where = {ENVIRONMENT: environment().model_dump(mode="json")}
    files = {**models, **where, "facts.json": {**facts, "memory": {}}, "metrics.jsonl": POINTS}
    run.made.candidate = stage(run, TrainStage, files, key=key)
    run.made.stages = [run.made.candidate if isinstance(one, TrainStage) else one for one in run.made.stages]
    return run


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = new_project(tmp_path)
    found.__dict__["tracker"] = Tracker(tmp_path / "artifacts")
    return found


def tracker_of(project: Project) -> Tracker:
    assert isinstance(project.tracker, Tracker)
    return project.tracker


def end(run: Run) -> str:
    run_id = run.open()
    record_checkpoints(run, run_id)
    run.ending = Ending(Status.REFUSED)
    run.close(run.result())
    return run_id


def test_faults_a_candidate_that_dev_did_not_prefer_is_kept_and_can_be_promoted(project: Project) -> None:
    run_id = end(trained(project))
    (found,) = kept_checkpoints(project)
    digest = policy_digest(project.home.store / "train" / ("e" * 32) / LAST)
    assert (found.run_id, found.kept.step, found.kept.policy) == (run_id, 4, digest)
    assert found.kept.figures == {"eval_sampled_accuracy": 0.4}
    tracker = tracker_of(project)
    version = register_checkpoint(project, digest[:8], "better on our own set", "ann")
    assert tracker.models[version] == {"model.safetensors": "last", "config.json": "{}"}
    promotion = override(project.ledger, Registry(tracker), project.name, version, "better on our own set", "ann")
    assert (promotion.by, promotion.weights, promotion.reason) == ("override", digest, "better on our own set")
    assert [row.version for row in project.ledger.history(project.name)] == [version]


def test_its_record_is_whole_and_says_which_run_step_and_gold(project: Project) -> None:
    run_id = end(trained(project))
    version = register_checkpoint(project, kept_checkpoints(project)[0].kept.policy, "a <reason>", "ann")
    tracker = tracker_of(project)
    tags = tracker.tagged[f"version {version}"]
    lineage = read_lineage(tracker.root / run_id / "checkpoint step 4" / "lineage.json", tags["lineage_sha256"])
    assert (lineage.weights_sha256, lineage.policy_sha256) == (tags["weights_sha256"], tags["policy_sha256"])
    assert lineage.checkpoint == "checkpoints/step_000004"
    assert lineage.metrics == {"eval_sampled_accuracy": 0.4}
    assert [one.name for one in lineage.stages] == ["data", "gold", "warmup", "reward", "train", "evaluate"]
    assert (tags["training_run"], tags["verdict"], tags["commit"]) == (run_id, "none", lineage.code.commit)
    assert f"step 4 of run {run_id}" in tracker.cards[version]
    assert "Promoted by ann, without a verdict of the gate: a &lt;reason>" in tracker.cards[version]


def test_it_is_registered_once(project: Project) -> None:
    end(trained(project))
    digest = kept_checkpoints(project)[0].kept.policy
    assert register_checkpoint(project, digest, "one", "ann") == register_checkpoint(project, digest[:6], "two", "ann") == "1"
    assert "one" in tracker_of(project).cards["1"]


def test_it_keeps_the_task_for_serving(project: Project, tmp_path: Path) -> None:
    prompt, rows = tmp_path / "prompt.txt", tmp_path / "rows.jsonl"
    prompt.write_text("As JSON: {{item.text}}\n", encoding="utf-8")
    rows.touch()
    asking = new_project(tmp_path, f"task.prompt=file:{prompt}", f"data.source={rows}")
    asking.__dict__["tracker"] = tracker_of(project)
    end(trained(asking))
    register_checkpoint(asking, kept_checkpoints(asking)[0].kept.policy, "a reason", "ann")
    (served,) = tracker_of(project).served.values()
    turns = [{"role": "user", "literals": ["As JSON: ", ""], "paths": [["text"]]}]
    assert served == {"max_new_tokens": asking.recipe.policy.max_new_tokens, "turns": turns}


def test_a_registration_that_was_killed_before_its_description_is_completed(project: Project) -> None:
    end(trained(project))
    digest = kept_checkpoints(project)[0].kept.policy
    register_checkpoint(project, digest, "one", "ann")
    del tracker_of(project).cards["1"]
    assert register_checkpoint(project, digest, "two", "ann") == "1"
    assert "two" in tracker_of(project).cards["1"]


@pytest.mark.parametrize("digest", ["ffffffff", "", "abc", "*", "../../x", "E" * 64])
def test_an_unknown_digest_lists_those_that_are_kept(project: Project, digest: str) -> None:
    end(trained(project))
    kept = kept_checkpoints(project)[0].kept.policy
    with pytest.raises(
        RegistryError,
        match=rf"no kept checkpoint is .*\n  {kept[:12]} \(step 4, gold 0\.400 on dev, sampled, in training, run ",
    ):
        register_checkpoint(project, digest, "why", "ann")


def test_where_nothing_is_kept_that_is_said(project: Project) -> None:
    with pytest.raises(RegistryError, match="one of these: none"):
        register_checkpoint(project, "ffffffff", "why", "ann")


def test_a_prefix_of_two_is_not_a_choice() -> None:
    found = [Checkpoint("r", "k", Kept(step, "", f"abcdef{step}", "w", {})) for step in (2, 4)]
    with pytest.raises(RegistryError, match=r"2 kept checkpoints begin with abcdef\..*\n  abcdef2 .*\n  abcdef4 "):
        chosen(found, "abcdef")
    assert chosen(found, "abcdef4").kept.step == 4


def test_another_models_checkpoints_and_those_that_retention_let_go_are_not_kept(project: Project, tmp_path: Path) -> None:
    end(trained(project))
    assert kept_checkpoints(new_project(tmp_path, "name=other")) == []
    shutil.rmtree(project.home.store / "train")
    assert kept_checkpoints(project) == []


def test_a_damaged_checkpoint_is_not_registered(project: Project) -> None:
    end(trained(project))
    digest = kept_checkpoints(project)[0].kept.policy
    (project.home.store / "train" / ("e" * 32) / LAST / "model.safetensors").write_text("edited", encoding="utf-8")
    with pytest.raises(RegistryError, match="damaged"):
        register_checkpoint(project, digest, "why", "ann")
    assert tracker_of(project).registered == {}


def test_a_run_names_what_is_no_version(project: Project) -> None:
    run = trained(project, best_step=2)
    assert [kept.step for kept in unregistered(run.made)] == [2, 4]  # a stopped run registers no candidate
    run.made.version = "1"
    assert [kept.step for kept in unregistered(run.made)] == [4]
    run.made.candidate = None
    assert unregistered(run.made) == []


@pytest.mark.parametrize(("gold", "offered", "said"), [(0.0, False, ", worse than the start's 0.600"), (0.6, True, "")])
def test_a_checkpoint_that_is_worse_than_the_start_is_not_offered(
    project: Project, monkeypatch: pytest.MonkeyPatch, gold: float, offered: bool, said: str
) -> None:
    points = [{"step": step, "values": {"eval_sampled_accuracy": value}} for step, value in ((0, 0.6), (4, gold))]
    monkeypatch.setattr("tests.run.test_checkpoints.POINTS", points)
    made = trained(project).made
    (kept,) = unregistered(made)
    assert described(kept, start_gold(made)) == f"step 4, gold {gold:.3f} on dev, sampled, in training{said}"
    assert offers_any(made) is offered
    monkeypatch.setattr("tests.run.test_checkpoints.POINTS", points[1:])  # nobody evaluated the start
    assert offers_any(trained(project, key="f" * 32).made)
