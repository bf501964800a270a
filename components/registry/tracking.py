"""The door to MLflow (with ``served_model.py``, which MLflow itself loads): runs, metrics, artifacts, versions, aliases."""

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.errors import RegistryError
from components.faults import point
from components.files import MANIFEST, file_digest, read_json, tree_digests, write_json

SERVED_MODEL = Path(__file__).with_name("served_model.py")
PARAM_LIMIT = 6000
ABSENT = "RESOURCE_DOES_NOT_EXIST"
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|KEY", re.IGNORECASE)


class Tracker:
    """One experiment of one MLflow server or database."""

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        """
        Args:
            artifacts: where artifacts lie when MLflow is a local database; a server decides for itself.

        Raises:
            RegistryError: if MLflow cannot be reached.
        """
        self.uri = uri
        self.local = not uri.startswith(("http:", "https:", "databricks"))
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        self.client = MlflowClient(uri, uri)
        try:
            self.experiment = self._experiment(experiment, artifacts)
        except Exception as error:  # the database driver's and the HTTP client's errors have no common base
            raise RegistryError(f"cannot use MLflow at {redacted(uri)}: {error}. Check MLFLOW_TRACKING_URI.") from error

    def _experiment(self, name: str, artifacts: Path) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = artifacts.absolute().as_uri() if self.local else None
        try:
            return str(self.client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another process was first
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def open_run(self, name: str, tags: Mapping[str, str], run_id: str | None, parent: str | None = None) -> str:
        """A new run, or the one named ``run_id`` continued."""
        if run_id is not None:
            try:
                self.client.update_run(run_id, status="RUNNING")
                return run_id
            except MlflowException as error:
                if error.error_code != ABSENT:  # a run deleted since, or of another server, is begun again
                    raise
        every = {
            **tags,
            "mlflow.runName": name,
            "mlflow.source.name": "ratchet",
            "mlflow.user": os.environ.get("USER", "ratchet"),
        }
        if parent is not None:
            every["mlflow.parentRunId"] = parent
        run = self.client.create_run(self.experiment, tags=every, run_name=name)
        return str(run.info.run_id)

    def has_run(self, run_id: str) -> bool:
        """Whether a run is there; it may have been deleted, or be another server's."""
        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != ABSENT:
                raise
            return False

    def close_run(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run."""
        self.client.set_terminated(run_id, status)

    def close_children(self, run_id: str) -> None:
        """End the child runs that a process killed just after its stage's commit left running."""
        query = f"tags.`mlflow.parentRunId` = '{run_id}' and attributes.status = 'RUNNING'"
        for child in self.client.search_runs([self.experiment], query):
            self.close_run(child.info.run_id)

    def child(self, parent: str, stage: str) -> str:
        """The child run of a stage; a continued pipeline run finds the one it had."""
        query = f"tags.`mlflow.parentRunId` = '{parent}' and tags.stage = '{stage}'"
        known = self.client.search_runs([self.experiment], query, max_results=1)
        return self.open_run(stage, {"stage": stage}, known[0].info.run_id if known else None, parent)

    @contextmanager
    def system_metrics(self, run_id: str) -> Iterator[None]:
        """Log CPU, memory and GPU use to a run while the block lasts; the block decides how the run ends."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(run_id, sampling_interval=5, tracking_uri=self.uri)
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def params(self, run_id: str, values: Mapping[str, object]) -> None:
        """Log parameters; values that were logged before stay."""
        known = self.client.get_run(run_id).data.params
        fresh = [Param(k, str(v)[:PARAM_LIMIT]) for k, v in values.items() if k not in known]
        for start in range(0, len(fresh), 100):
            self.client.log_batch(run_id, params=fresh[start : start + 100])

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(run_id, tags=[RunTag(k, v) for k, v in values.items()])

    def metrics(self, run_id: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log (step, values) points in one batch; a metric's time is its step's order, not the clock."""
        now = mlflow.utils.time.get_current_time_millis()
        every = [Metric(k, v, now, step) for step, values in points for k, v in values.items()]
        for start in range(0, len(every), 1000):
            self.client.log_batch(run_id, metrics=every[start : start + 1000])

    def dataset(self, run_id: str, name: str, md5: str, source: str, profile: Mapping[str, Any]) -> None:
        """Log the dataset as an input whose digest is the DVC md5."""
        entity = Dataset(name=name, digest=md5, source_type="dvc", source=source, profile=json.dumps(profile))
        self.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Upload a file, or what a directory holds."""
        upload = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        upload(run_id, str(path), folder)

    def table(self, run_id: str, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Log rows, once, as a table that the MLflow UI shows."""
        folder = name.rpartition("/")[0]
        if rows and name not in {item.path for item in self.client.list_artifacts(run_id, folder)}:  # again would append
            names = dict.fromkeys(key for row in rows for key in row)
            columns = {key: [row.get(key) for row in rows] for key in names}
            self.client.log_table(run_id, columns, name)

    def version_of(self, name: str, weights: str) -> str | None:
        """The registered version with these weights; the lowest, if a lost reply ever made two."""
        found = self.client.search_model_versions(f"name = '{name}' and tags.weights_sha256 = '{weights}'")
        return min((str(v.version) for v in found), key=int, default=None)

    def register(self, name: str, run_id: str, model: Path, settings: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Register a candidate once, identified by ``tags['weights_sha256']``; returns its version.

        Args:
            model: directory that transformers loads.
            settings: what serving needs beside the files (``max_new_tokens``).
        """
        known = self.version_of(name, tags["weights_sha256"])
        if known is not None:
            return known
        uri = self._log_model(run_id, model, settings)
        point("registry:logged")
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        self.client.create_model_version(name, uri, run_id, tags=dict(tags))
        point("registry:version")
        version = self.version_of(name, tags["weights_sha256"])
        assert version is not None
        return version

    def _log_model(self, run_id: str, model: Path, settings: Mapping[str, Any]) -> str:
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, Schema

        manifest = model.with_name("served_manifest.json")
        write_json(manifest, {**settings, "files": tree_digests(model)})
        # An unnamed column takes both a plain list of prompts and a frame.
        one_string = Schema([ColSpec(DataType.string)])
        signature = ModelSignature(inputs=one_string, outputs=one_string)
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings(record=True):
            # Recorded, not shown: MLflow asks for type hints and an example, which the signature replaces, and it
            # overrides warning filters.
            logged = mlflow.pyfunc.log_model(
                name="policy",
                python_model=str(SERVED_MODEL),
                artifacts={"model": str(model), "manifest": str(manifest)},
                signature=signature,
                pip_requirements=["mlflow", "torch", "transformers", "safetensors"],
            )
        self.client.update_run(run_id, status="RUNNING")
        return str(logged.model_uri)

    def describe(self, name: str, version: str, description: str, tags: Mapping[str, str]) -> None:
        """Set a version's description and tags."""
        self.client.update_model_version(name, version, description)
        for key, value in tags.items():
            self.client.set_model_version_tag(name, version, key, value)

    def alias(self, name: str, alias: str) -> str | None:
        """The version that an alias names."""
        try:
            return str(self.client.get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            if error.error_code in (ABSENT, "INVALID_PARAMETER_VALUE"):  # no such model, or no such alias
                return None
            raise

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Move an alias, and read it back.

        Raises:
            RegistryError: if the registry does not say what was written.
        """
        try:
            self.client.set_registered_model_alias(name, alias, version)
        except MlflowException as error:
            if error.error_code != ABSENT:
                raise
            place = redacted(self.uri)
            raise RegistryError(
                f"version {version} of {name} is not in MLflow at {place}. Check MLFLOW_TRACKING_URI."
            ) from error
        point(f"registry:alias:{alias}")
        if self.alias(name, alias) != version:
            raise RegistryError(f"alias {alias} of {name} is not at version {version} after it was set. Run again.")

    def download(self, name: str, version: str, target: Path) -> Path:
        """The policy directory of a version, verified against its manifest.

        Raises:
            RegistryError: if a file is missing or changed.
        """
        from mlflow.artifacts import download_artifacts

        try:
            root = Path(download_artifacts(f"models:/{name}/{version}", dst_path=str(target)))
            model, manifest = root / "artifacts" / "model", root / "artifacts" / "served_manifest.json"
            recorded = read_json(manifest)["files"]
            damaged = [f for f, digest in recorded.items() if file_digest(model / f) != digest]
        except (MlflowException, OSError, ValueError) as error:
            raise RegistryError(f"version {version} of {name} cannot be fetched: {error}. Restore its artifact.") from error
        if damaged:
            raise RegistryError(f"{damaged[0]} of {name} version {version} is not what was registered. Restore its artifact.")
        (model / MANIFEST).unlink(missing_ok=True)
        return model


def redacted(uri: str) -> str:
    """A URI without its user information."""
    return re.sub(r"//[^/@]*@", "//***@", uri)
