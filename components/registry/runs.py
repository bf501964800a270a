"""MLflow runs, metrics and artifacts. Only this package imports mlflow."""

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from ratchet.components.errors import RegistryError
from ratchet.components.registry.creation import created_once
from ratchet.components.registry.experiment import tags_of
from ratchet.components.registry.outage import DENIED, is_rejection, refusal
from ratchet.components.registry.versions import ABSENT, Versions
from ratchet.components.storage.sqlite_files import sqlite_file
from ratchet.components.text import redacted, redacted_values

Point = tuple[int, int, Mapping[str, float]]  # milliseconds since 1970, step, figures

PARAM_LIMIT = 6000
CACHED = "cached"  # tag of a stage's child run: whether the stage was taken from the store
REQUEST_TAG = "ratchet.request"  # what a run was asked for by, so that it is created once


class Tracker(Versions):
    """One experiment of one MLflow server or database."""

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        """
        Args:
            artifacts: where artifacts are if MLflow is a local database; a server decides for itself.

        Raises:
            RegistryError: if MLflow cannot be reached or refuses the login, its database is damaged, or the experiment deleted.
        """
        try:
            if uri.startswith("sqlite") and (file := sqlite_file(uri)) is not None:
                create_database(uri, file, artifacts)
            super().__init__(uri, artifacts)  # reads a local database
            self.experiment = self._experiment(experiment, artifacts)
        except RegistryError:
            raise
        except Exception as error:  # the database driver's and the HTTP client's errors have no common base
            if (refused := refusal(error, uri)) is not None:
                raise RegistryError(refused) from error
            said = redacted(f"cannot use MLflow at {uri}: {str(error).partition('[SQL: ')[0].strip()}")
            remedy = "Check MLFLOW_TRACKING_URI; restore a damaged database from a backup."
            raise RegistryError(f"{said}. {remedy}") from error

    def _experiment(self, name: str, artifacts: Path) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return self._active(found)
        location = artifacts.absolute().as_uri() if self.local else None
        try:
            return str(self.client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another process was first
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return self._active(found)

    def _active(self, found: Experiment) -> str:
        if found.lifecycle_stage != "active":
            restore = f"mlflow experiments restore --experiment-id {found.experiment_id}"
            remedy = f"Restore it, with MLFLOW_TRACKING_URI set: {restore}. Or give the recipe another name."
            raise RegistryError(redacted(f"the experiment {found.name!r} of MLflow at {self.uri} was deleted. {remedy}"))
        return str(found.experiment_id)

    def describe_experiment(self) -> None:
        """Say in MLflow what is where, and offer a view of it; what is there already, a person may have written.

        A user who may not change the experiment, or whose server keeps such tags to itself, still has their run recorded in it.
        """
        known = self.client.get_experiment(self.experiment).tags
        with allowed():
            for key, value in tags_of(self.experiment, round(1000 * time.time())).items():
                if key not in known:
                    self.client.set_experiment_tag(self.experiment, key, value)

    def open_run(self, name: str, tags: Mapping[str, str], run_id: str | None, started: int | None = None) -> str:
        """A new run, or the one with the id ``run_id`` resumed under a new name.

        Args:
            run_id: an id that MLflow does not have (given while it was away, or of a run deleted meanwhile, or of another
                server) becomes that of one new run, however often this is called.
            started: milliseconds since 1970; now by default.
        """
        key = run_id or uuid.uuid4().hex
        known = run_id if run_id is not None and self.has_run(run_id) else self._requested(key)
        if known is not None:
            self.client.update_run(known, status="RUNNING", name=name)
            return known
        return created_once(lambda: self._requested(key), lambda: self._create(name, {**tags, REQUEST_TAG: key}, started))

    def _create(self, name: str, tags: Mapping[str, str], started: int | None) -> None:
        every = {
            **tags,
            "mlflow.runName": name,
            "mlflow.source.name": "ratchet",
            "mlflow.user": os.environ.get("USER", "ratchet"),
        }
        self.client.create_run(self.experiment, start_time=started, tags=every, run_name=name)

    def _requested(self, key: str) -> str | None:
        query = f"tags.`{REQUEST_TAG}` = '{key}'"
        return next((str(run.info.run_id) for run in self.client.search_runs([self.experiment], query)), None)

    def has_run(self, run_id: str) -> bool:
        """Whether a run exists; it may have been deleted, or belong to another server."""
        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == DENIED:  # by a server with logins to all but its administrators, if there is no such run
                return bool(self.client.search_runs([self.experiment], f"attributes.run_id = '{run_id}'"))
            if error.error_code != ABSENT:
                raise
            return False

    def close_run(self, run_id: str, status: str = "FINISHED", ended: int | None = None) -> None:
        """End a run, now or at a time in milliseconds since 1970."""
        self.client.set_terminated(run_id, status, ended)

    def close_killed(self, run_id: str, reason: str, ended: int | None = None) -> None:
        """End a run whose process was killed, with its children; the tag ``ratchet.killed`` says why."""
        if self.has_run(run_id):
            self.tags(run_id, {"ratchet.killed": reason})
            self.close_children(run_id, "KILLED", ended)
            self.close_run(run_id, "KILLED", ended)

    def close_children(self, run_id: str, status: str = "FINISHED", ended: int | None = None) -> None:
        """End child runs left running by a process killed just after its stage's commit, or with ``status`` in the middle."""
        query = f"tags.`mlflow.parentRunId` = '{run_id}' and attributes.status = 'RUNNING'"
        for child in self.client.search_runs([self.experiment], query):
            self.close_run(child.info.run_id, status, ended)

    def child(self, parent: str, stage: str, started: int | None = None) -> str:
        """The child run of a stage; a resumed pipeline run finds the one it had."""
        known = self._child(parent, stage)
        if known is not None:
            self.client.update_run(known.info.run_id, status="RUNNING")
            return str(known.info.run_id)
        return self._created_child(parent, stage, {}, started)

    def cached_child(self, parent: str, stage: str, tags: Mapping[str, str], started: int | None = None) -> str | None:
        """The child run of a stage that was taken from the store; None if this run made the stage, before it was killed."""
        known = self._child(parent, stage)
        if known is not None:
            return str(known.info.run_id) if known.data.tags.get(CACHED) == "true" else None
        return self._created_child(parent, stage, {**tags, CACHED: "true"}, started)

    def _child(self, parent: str, stage: str) -> Run | None:
        query = f"tags.`mlflow.parentRunId` = '{parent}' and tags.stage = '{stage}'"
        return next(iter(self.client.search_runs([self.experiment], query, max_results=1)), None)

    def _created_child(self, parent: str, stage: str, tags: Mapping[str, str], started: int | None) -> str:
        def find() -> str | None:
            known = self._child(parent, stage)
            return None if known is None else str(known.info.run_id)

        every = {**tags, "stage": stage, "mlflow.parentRunId": parent}
        return created_once(find, lambda: self._create(stage, every, started))

    def facts(
        self, run_id: str, tags: Mapping[str, str], params: Mapping[str, object], figures: Mapping[str, float], at: int
    ) -> None:
        """What is known of a finished stage: tags, parameters that MLflow does not have yet, and figures at step 0.

        Args:
            at: the metrics' time in milliseconds since 1970.
        """
        self.params(run_id, params)
        metrics = [Metric(name, value, at, 0) for name, value in figures.items()]
        self.client.log_batch(run_id, metrics, tags=[RunTag(key, redacted(value)) for key, value in tags.items()])

    def params(self, run_id: str, values: Mapping[str, object]) -> None:
        """Log parameters; values logged before are kept."""
        known = self.client.get_run(run_id).data.params
        fresh = [Param(k, redacted(str(v))[:PARAM_LIMIT]) for k, v in values.items() if k not in known]
        for start in range(0, len(fresh), 100):
            self.client.log_batch(run_id, params=fresh[start : start + 100])

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(run_id, tags=[RunTag(k, redacted(v)) for k, v in values.items()])

    def metrics(self, run_id: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log (step, values) points, all with the time of now."""
        now = mlflow.utils.time.get_current_time_millis()
        self.timed(run_id, [(now, step, values) for step, values in points])

    def timed(self, run_id: str, points: Sequence[Point]) -> None:
        """Log (milliseconds since 1970, step, values) points; those that MLflow has already are kept once."""
        every = [Metric(k, v, at, step) for at, step, values in points for k, v in values.items()]
        for start in range(0, len(every), 1000):
            self.client.log_batch(run_id, metrics=every[start : start + 1000])

    def lacking(self, run_id: str, points: Sequence[Point]) -> list[Point]:
        """Points without the figures that a run has at the same step, whatever their time."""
        names = dict.fromkeys(name for _, _, values in points for name in values)
        known = {name: {metric.step for metric in self.client.get_metric_history(run_id, name)} for name in names}
        return [
            (at, step, {name: value for name, value in values.items() if step not in known[name]})
            for at, step, values in points
        ]

    def dataset(self, run_id: str, name: str, md5: str, source: str, profile: Mapping[str, Any]) -> None:
        """Log the dataset as an input whose digest is the DVC md5."""
        entity = Dataset(name=name, digest=md5, source_type="dvc", source=source, profile=json.dumps(profile))
        self.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Upload a file, or the contents of a directory."""
        upload = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        upload(run_id, str(path), folder)

    def artifact_text(self, run_id: str, path: str) -> str:
        """The text of a small artifact of a run.

        Raises:
            RegistryError: if there is no such run or artifact.
        """
        from mlflow.artifacts import load_text

        try:
            run = self.client.get_run(run_id)
            return str(load_text(f"{run.info.artifact_uri}/{path}"))
        except (MlflowException, OSError, ValueError) as error:
            place = redacted(self.uri)
            raise RegistryError(
                f"run {run_id} in MLflow at {place} has no {path}: {redacted(str(error))}. Check MLFLOW_TRACKING_URI."
            ) from error

    def table(self, run_id: str, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Log rows, once, as a table that the MLflow UI shows."""
        folder = name.rpartition("/")[0]
        if rows and name not in {item.path for item in self.client.list_artifacts(run_id, folder)}:  # else it would append
            names = dict.fromkeys(key for row in rows for key in row)
            columns = {key: [redacted_values(row.get(key)) for row in rows] for key in names}
            self.client.log_table(run_id, columns, name)

    def fetch(self, run_id: str, name: str, target: Path) -> Path | None:
        """Download one artifact of a run below ``target``; None if the run or the artifact is gone."""
        from mlflow.artifacts import download_artifacts

        try:
            return Path(download_artifacts(run_id=run_id, artifact_path=name, dst_path=str(target), tracking_uri=self.uri))
        except (MlflowException, OSError):
            return None


@contextmanager
def allowed() -> Iterator[None]:
    """What a server denies, or does not take, within the block is left undone."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != DENIED and not is_rejection(error):
            raise


def create_database(uri: str, file: Path, artifacts: Path) -> None:
    """Create MLflow's database if there is none. MLflow's client would paste the working directory into an SQL statement."""
    if not file.exists():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        file.parent.mkdir(parents=True, exist_ok=True)
        SqlAlchemyStore(uri, artifacts.absolute().as_uri())
