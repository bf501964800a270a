"""A version's files in MLflow: found, measured, deleted by retention, and registered again after that."""

import json
import logging
import platform
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED, UNAUTHENTICATED

from ratchet.components.errors import RegistryError
from ratchet.components.registry import versions as module
from ratchet.components.registry.experiment import NOTE, VIEW_TAG
from ratchet.components.registry.runs import Tracker
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import model_weights, policy_digest

POLICY = "p" * 64


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """A registry on disk with version 1 of ``m``."""
    root = tmp_path_factory.mktemp("mlflow")
    tracker = Tracker(f"sqlite:///{root / 'mlflow.db'}", "m", root / "artifacts")
    assert registered(tracker, root) == "1"
    return tracker


def registered(tracker: Tracker, root: Path) -> str:
    """Register the same policy, in a run of its own."""
    model = root / "model"
    model.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text(name, encoding="utf-8")
    run_id = tracker.open_run("m", {}, None)
    (root / "lineage.json").write_text("{}", encoding="utf-8")
    tracker.artifact(run_id, root / "lineage.json")
    return tracker.register("m", run_id, model, {"max_new_tokens": 1}, {"policy_sha256": POLICY, "verdict": "REJECT"})


def test_a_version_is_found_with_its_tags_and_its_runs_artifacts(tracker: Tracker, tmp_path: Path) -> None:
    found = tracker.version("m", "1")
    assert (found.number, found.tags["verdict"]) == ("1", "REJECT")
    record = tracker.fetch(found.run_id, "lineage.json", tmp_path)
    assert record is not None
    assert record.read_text(encoding="utf-8") == "{}"
    assert tracker.fetch(found.run_id, "other.json", tmp_path) is None
    assert tracker.fetch("no such run", "lineage.json", tmp_path) is None


def test_a_version_that_is_not_there_is_an_error(tracker: Tracker) -> None:
    with pytest.raises(RegistryError, match=r"no version 99 of m\. Give one from 1 to 1\."):
        tracker.version("m", "99")
    with pytest.raises(RegistryError, match=r"no version 1 of other\. It has none yet"):
        tracker.version("other", "1")


def denied(*_: str) -> None:
    raise MlflowException("Permission denied", error_code=PERMISSION_DENIED)


def refused(*_: str) -> None:
    raise MlflowException("mlflow.* is reserved", error_code=INVALID_PARAMETER_VALUE)


def test_a_server_with_logins_denies_a_run_that_does_not_exist(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    known = tracker.open_run("m", {}, None)
    monkeypatch.setattr(tracker.client, "get_run", denied)
    assert (tracker.has_run(known), tracker.has_run("0" * 32)) == (True, False)


def test_a_server_with_logins_denies_a_model_that_does_not_exist(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker.client, "get_model_version_by_alias", denied)
    assert tracker.alias("absent", "champion") is None
    with pytest.raises(MlflowException, match="denied"):
        tracker.alias("m", "champion")


def test_digests_are_those_of_the_files_and_of_the_manifest(tracker: Tracker, tmp_path: Path) -> None:
    actual, recorded, _ = tracker.model_digests("m", "1", tmp_path)
    (tmp_path / "x").write_text("config.json", encoding="utf-8")
    assert actual == recorded
    assert actual["config.json"] == file_digest(tmp_path / "x")


def test_files_outside_of_our_artifacts_are_not_deleted(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "mine").write_text("precious", encoding="utf-8")
    tracker.client.create_registered_model("foreign")
    tracker.client.create_model_version("foreign", tmp_path.as_uri())
    with pytest.raises(RegistryError, match="outside our artifact store"):
        tracker.delete_files("foreign", "1")
    assert (tmp_path / "artifacts" / "mine").exists()
    assert not tracker.lacks_files(tracker.version("foreign", "1"))


def test_deleted_files_are_gone_and_an_equal_policy_is_registered_again(tracker: Tracker, tmp_path: Path) -> None:
    (only,) = tracker.versions("m")
    assert (tracker.lacks_files(only), only.created > 1e9) == (False, True)
    assert tracker.files_size("m", "1") > len("config.json") + len("model.safetensors")
    tracker.require_files("m", "1")
    tracker.delete_files("m", "1")
    assert tracker.files_size("m", "1") == 0
    with pytest.raises(RegistryError, match="deleted by retention"):
        tracker.require_files("m", "1")
    assert tracker.version_of("m", POLICY) is None
    assert registered(tracker, tmp_path) == "2"
    assert tracker.version_of("m", POLICY) == "2"


def test_a_run_that_was_deleted_is_begun_again(tracker: Tracker) -> None:
    first = tracker.open_run("deleted", {}, None)
    assert tracker.open_run("deleted", {}, first) == first
    tracker.client.delete_run(first)
    again = tracker.open_run("deleted", {}, first)
    assert (again != first, tracker.has_run(again)) == (True, True)


def test_a_run_is_renamed_at_its_end_and_again_when_it_is_resumed(tracker: Tracker) -> None:
    run_id = tracker.open_run("m 2026-11-27", {}, None)
    tracker.tags(run_id, {"mlflow.runName": "m 2026-11-27 stopped", "status": "stopped"})
    assert tracker.client.get_run(run_id).info.run_name == "m 2026-11-27 stopped"
    assert tracker.open_run("m 2026-11-27", {}, run_id) == run_id
    assert tracker.client.get_run(run_id).info.run_name == "m 2026-11-27"


def test_a_stage_has_one_child_run_however_often_its_record_is_sent(tracker: Tracker) -> None:
    parent = tracker.open_run("parent", {}, None)
    made = tracker.child(parent, "train", 5)
    assert tracker.child(parent, "train") == made
    assert tracker.cached_child(parent, "train", {}) is None  # this run made it
    cached = tracker.cached_child(parent, "gold", {"made_by": "r"}, 7)
    assert cached is not None
    assert tracker.cached_child(parent, "gold", {"made_by": "r"}, 7) == cached
    for _ in range(2):
        tracker.facts(cached, {"made_by": "r"}, {"gold.grader": "right"}, {"seconds": 2.0}, 9)
        tracker.close_run(cached, "FINISHED", 9)
    run = tracker.client.get_run(cached)
    assert (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time) == ("gold", "FINISHED", 7, 9)
    assert run.data.tags.items() >= {"cached": "true", "made_by": "r", "mlflow.parentRunId": parent, "stage": "gold"}.items()
    assert (run.data.params, run.data.metrics) == ({"gold.grader": "right"}, {"seconds": 2.0})
    assert len(tracker.client.get_metric_history(cached, "seconds")) == 1


def test_an_experiment_says_what_is_where_and_what_a_person_wrote_stays(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Tracker(tracker.uri, "other", tmp_path)
    other.client.set_experiment_tag(other.experiment, NOTE, "mine")
    for refusal in (denied, refused):
        with monkeypatch.context() as patch:
            patch.setattr(other.client, "set_experiment_tag", refusal)
            other.describe_experiment()
    other.describe_experiment()
    tags = other.client.get_experiment(other.experiment).tags
    assert (tags[NOTE], tags["mlflow.experimentKind"]) == ("mine", "custom_model_development")
    view = json.loads(tags[VIEW_TAG])
    assert "metrics.`dev/after`" in json.loads(view["state"])["selectedColumns"]


def test_a_run_lacks_the_steps_of_a_figure_that_nobody_logged(tracker: Tracker) -> None:
    run = tracker.open_run("figures", {}, None)
    tracker.timed(run, [(1000, 1, {"loss": 1.0, "kl": 0.1}), (2000, 2, {"loss": 0.5})])
    asked = [(9000, 2, {"loss": 0.5, "kl": 0.2}), (9000, 3, {"loss": 0.25})]
    assert tracker.lacking(run, asked) == [(9000, 2, {"kl": 0.2}), (9000, 3, {"loss": 0.25})]
    for _ in range(2):
        tracker.timed(run, tracker.lacking(run, asked))
    history = [(one.step, one.value, one.timestamp) for one in tracker.client.get_metric_history(run, "loss")]
    assert history == [(1, 1.0, 1000), (2, 0.5, 2000), (3, 0.25, 9000)]


# Faults of MLflow


def test_faults_of_a_damaged_database_are_one_line_without_the_statement(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database, but it is long enough to be read as one" * 20)
    with pytest.raises(RegistryError, match=r"mlflow\.db: .*file is not a database.*backup") as raised:
        Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "m", tmp_path)
    assert len(str(raised.value).splitlines()) == 1


def test_faults_of_a_deleted_experiment_say_how_to_restore_it(tracker: Tracker, tmp_path: Path) -> None:
    tracker.client.delete_experiment(tracker.experiment)
    try:
        with pytest.raises(RegistryError, match=r"experiment 'm' of MLflow at .* was deleted") as raised:
            Tracker(tracker.uri, "m", tmp_path)
    finally:
        tracker.client.restore_experiment(tracker.experiment)
    assert f"mlflow experiments restore --experiment-id {tracker.experiment}." in str(raised.value)
    assert Tracker(tracker.uri, "m", tmp_path).experiment == tracker.experiment


def test_faults_a_version_of_an_earlier_release_gets_its_policys_digest(tracker: Tracker, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text("{}", encoding="utf-8")
    tags = {"weights_sha256": model_weights(model), "policy_sha256": policy_digest(model)}
    version = tracker.register("old", tracker.open_run("old", {}, None), model, {"max_new_tokens": 1}, tags)
    tracker.client.delete_model_version_tag("old", version, "policy_sha256")
    assert tracker.registered("old", version).policy == tags["policy_sha256"]
    assert tracker.version("old", version).tags == tags
    tracker.check_artifact("old", version)
    tracker.identify("old", version, "other")
    with pytest.raises(RegistryError, match="policy of old version 1 differs"):
        tracker.check_artifact("old", version)
    tracker.client.set_model_version_tag("old", version, "weights_sha256", "other")
    tracker.client.delete_model_version_tag("old", version, "policy_sha256")
    with pytest.raises(RegistryError, match="weights of old version 1 differ"):
        tracker.registered("old", version)


@pytest.mark.parametrize("installed", [True, False])
def test_what_serving_needs_is_recorded_without_a_warning(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, installed: bool
) -> None:
    def found(name: str) -> str:
        if name == "pip" and not installed:
            raise metadata.PackageNotFoundError(name)
        return "23.2.1" if name == "pip" else known(name)

    known = metadata.version
    monkeypatch.setattr(metadata, "version", found)
    monkeypatch.setattr(module, "version", found)
    monkeypatch.setattr(logging.getLogger("mlflow"), "propagate", True)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_text("weights", encoding="utf-8")
    policy = ("a" if installed else "b") * 64
    number = tracker.register("served", tracker.open_run("m", {}, None), model, {}, {"policy_sha256": policy})
    assert not [record for record in caplog.records if "pip" in record.getMessage()]
    folder = Path(str(tracker.place("served", number)))
    recorded = yaml.safe_load((tracker.artifacts / folder / "conda.yaml").read_text(encoding="utf-8"))
    python, pip, requirements = recorded["dependencies"]
    assert (python, pip) == (f"python={platform.python_version()}", "pip<=23.2.1" if installed else "pip")
    assert requirements["pip"] == ["mlflow", "torch", "transformers", "safetensors"]
    assert (tracker.artifacts / folder / "requirements.txt").read_text(encoding="utf-8").split() == requirements["pip"]


def test_a_user_who_may_not_move_an_alias_is_named_with_the_grant(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker.require_movable("m")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bobby")
    monkeypatch.setattr(tracker.client, "set_registered_model_tag", denied)
    monkeypatch.setattr(tracker.client, "set_registered_model_alias", denied)
    for act in (lambda: tracker.require_movable("m"), lambda: tracker.set_alias("m", "champion", "1")):
        with pytest.raises(RegistryError, match=r"denies bobby this request.*grant bobby EDIT on the registered model"):
            act()


def test_mlflow_that_refuses_the_login_names_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise MlflowException("error code 401", error_code=UNAUTHENTICATED)

    monkeypatch.setattr(Tracker, "_experiment", unknown)
    with pytest.raises(RegistryError, match="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "m", tmp_path / "artifacts")
