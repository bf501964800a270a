"""Registered versions of a model in MLflow: registered once, described, aliased, fetched, and their files deleted."""

import platform
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratchet.components.errors import RegistryError
from ratchet.components.faults import point
from ratchet.components.records import Registered
from ratchet.components.registry.creation import created_once
from ratchet.components.registry.outage import DENIED, refusal
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import MANIFEST, model_weights, policy_digest, read_json, tree_digests, write_json
from ratchet.components.text import redacted

SERVED_MODEL = Path(__file__).with_name("served_model.py")
ABSENT = "RESOURCE_DOES_NOT_EXIST"
MOVED_TAG = "ratchet.champion"  # of a model: for people who think of moving the alias by hand
MOVED = "follows Ratchet's ledger; `ratchet promote` and `ratchet rollback` move it"
FILES_TAG = "ratchet.files"  # "deleted" if retention deleted a version's files
WEIGHTS_TAG, POLICY_TAG = "weights_sha256", "policy_sha256"
REQUIREMENTS = ["mlflow", "torch", "transformers", "safetensors"]  # of serving
MODEL_FILES = "artifacts"  # the policy directory and its manifest, within a logged model


class RegisteredVersion(NamedTuple):
    """One version of a registered model."""

    number: str
    run_id: str
    tags: dict[str, str]
    created: float = 0.0  # seconds since 1970
    description: str = ""  # Markdown


def _read(found: ModelVersion) -> RegisteredVersion:
    created, run_id = found.creation_timestamp / 1000, str(found.run_id or "")
    return RegisteredVersion(str(found.version), run_id, dict(found.tags), created, found.description or "")


class ModelDigests(NamedTuple):
    """The files of a version in MLflow: relative path -> sha256."""

    files: dict[str, str]
    manifest: dict[str, str]  # as registered
    policy: str  # digest of the policy that the files are


class Versions:
    """The model registry of one MLflow server or database."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        """
        Args:
            artifacts: where artifacts are if MLflow is a local database; a server decides for itself.
        """
        self.uri = uri
        self.artifacts = artifacts.absolute()
        self.local = not uri.startswith(("http:", "https:", "databricks"))
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        self.client = MlflowClient(uri, uri)

    def version_of(self, name: str, policy: str) -> str | None:
        """The registered version of this policy; the lowest, if a late reply ever created two."""
        found = self.client.search_model_versions(f"name = '{name}' and tags.{POLICY_TAG} = '{policy}'")
        versions = sorted((str(v.version) for v in found if FILES_TAG not in v.tags), key=int)
        for other in versions[1:]:
            self.client.set_model_version_tag(name, other, "duplicate_of", versions[0])
        return versions[0] if versions else None

    def versions(self, name: str) -> list[RegisteredVersion]:
        """All versions of a model, oldest first."""
        found = map(_read, self.client.search_model_versions(f"name = '{name}'"))
        return sorted(found, key=lambda version: int(version.number))

    def files_size(self, name: str, version: str) -> int:
        """Bytes of a version's policy directory."""
        repository = self._repository(name, version)
        folders, total = [MODEL_FILES], 0
        while folders:
            for item in repository.list_artifacts(folders.pop()):
                total += 0 if item.is_dir else int(item.file_size or 0)
                folders += [item.path] if item.is_dir else []
        return total

    def delete_files(self, name: str, version: str) -> None:
        """Delete a version's policy directory. The version, its tags and its run's artifacts stay.

        The tag comes first: from then on the version is not a candidate, and an equal policy is registered again.

        Raises:
            RegistryError: if its files are outside the project's own artifacts.
        """
        repository = self._repository(name, version)
        self.client.set_model_version_tag(name, version, FILES_TAG, "deleted")
        repository.delete_artifacts(MODEL_FILES)

    def lacks_files(self, version: RegisteredVersion) -> bool:
        """Whether retention deleted a version's files."""
        return FILES_TAG in version.tags

    def require_files(self, name: str, version: str) -> None:
        """
        Raises:
            RegistryError: if a version's files were deleted, so that it cannot be served, promoted or started from.
        """
        if self.lacks_files(self.version(name, version)):
            raise RegistryError(f"the files of version {version} of {name} were deleted by retention. Use `ratchet reproduce`.")

    def _repository(self, name: str, version: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.utils.file_utils import local_file_uri_to_path

        uri = self.client.get_model_version_download_uri(name, version)
        if self.local and uri.startswith(("file:", "/")):
            place = Path(local_file_uri_to_path(uri)).resolve()
            if not place.is_relative_to(self.artifacts.resolve()):
                raise RegistryError(
                    f"the files of version {version} of {name} are at {place}, outside our artifact store. Delete them by hand."
                )
        return get_artifact_repository(uri)

    def place(self, name: str, version: str) -> Path | None:
        """The folder of a version's artifact, relative to the project's own artifacts; None if it is elsewhere."""
        from mlflow.utils.file_utils import local_file_uri_to_path

        uri = self.client.get_model_version_download_uri(name, version)
        if not self.local or not uri.startswith(("file:", "/")):
            return None
        place, ours = Path(local_file_uri_to_path(uri)).resolve(), self.artifacts.resolve()
        return place.relative_to(ours) if place.is_relative_to(ours) else None

    def version(self, name: str, version: str) -> RegisteredVersion:
        """What the registry records about a version.

        Raises:
            RegistryError: if there is no such version.
        """
        try:
            found = self.client.get_model_version(name, version)
        except MlflowException as error:
            if error.error_code not in (ABSENT, "INVALID_PARAMETER_VALUE"):
                raise
            raise RegistryError(f"there is no version {version} of {name}. {self._known(name)}") from error
        return _read(found)

    def _known(self, name: str) -> str:
        known = [one.number for one in self.versions(name)]
        return f"Give one from {known[0]} to {known[-1]}." if known else "It has none yet: `ratchet run` makes one."

    def registered(self, name: str, version: str) -> Registered:
        """What a promotion must know about a version; one of an earlier release gets its policy's digest as a tag first.

        Raises:
            RegistryError: if there is no such version, or its files were deleted, or it is of an earlier release and damaged.
        """
        self.require_files(name, version)
        found = self.version(name, version)
        if WEIGHTS_TAG not in found.tags:
            raise RegistryError(f"version {version} of {name} has no tag {WEIGHTS_TAG}: no run registered it. Choose another.")
        if POLICY_TAG not in found.tags:
            self.identify(name, version, self._policy_digest(found, name))
            found = self.version(name, version)
        return Registered(found.number, found.tags[POLICY_TAG], found.run_id)

    def identify(self, name: str, version: str, policy: str) -> None:
        """Tag a version of an earlier release with the digest of its policy."""
        self.client.set_model_version_tag(name, version, POLICY_TAG, policy)

    def check_artifact(self, name: str, version: str) -> None:
        """
        Raises:
            RegistryError: if a file of the version is missing or changed, or its files do not match its tags.
        """
        found = self.registered(name, version)
        if self._policy_digest(self.version(name, version), name) != found.policy:
            raise RegistryError(f"the policy of {name} version {version} differs from the registered one. Restore its files.")

    def _policy_digest(self, version: RegisteredVersion, name: str) -> str:
        """The digest of a version's files, whose weights must be the registered ones."""
        with tempfile.TemporaryDirectory() as folder:
            model = self.download(name, version.number, Path(folder))
            if model_weights(model) != version.tags[WEIGHTS_TAG]:
                raise RegistryError(
                    f"the weights of {name} version {version.number} differ from the registered ones. Restore them."
                )
            return policy_digest(model)

    def register(self, name: str, run_id: str, model: Path, settings: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Register a candidate once, identified by ``tags['policy_sha256']``; returns its version.

        Args:
            model: directory that transformers loads.
            settings: what serving needs besides the files: ``max_new_tokens``, and ``turns`` of the task.
        """
        known = self.version_of(name, tags[POLICY_TAG])
        if known is not None:
            return known
        logged = self._log_model(run_id, model, settings)
        point("registry:logged")
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = created_once(
            lambda: self.version_of(name, tags[POLICY_TAG]),
            lambda: self.client.create_model_version(name, f"models:/{logged}", run_id, tags=dict(tags), model_id=logged),
        )
        point("registry:version")
        return version

    def _log_model(self, run_id: str, model: Path, settings: Mapping[str, Any]) -> str:
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, Schema

        manifest = model.with_name("served_manifest.json")
        write_json(manifest, {**settings, "files": tree_digests(model)})
        # Of outputs alone: by a schema of the inputs MLflow would cut conversations to their first message.
        signature = ModelSignature(outputs=Schema([ColSpec(DataType.string)]))
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings(record=True):
            # Recorded, not shown: MLflow asks for type hints and an example, which the signature replaces, and it
            # overrides warning filters.
            logged = mlflow.pyfunc.log_model(
                name="policy",
                python_model=str(SERVED_MODEL),
                artifacts={"model": str(model), "manifest": str(manifest)},
                signature=signature,
                conda_env=_environment(),
            )
        self.client.update_run(run_id, status="RUNNING")
        return str(logged.model_id)

    def describe(self, name: str, version: str, description: str, tags: Mapping[str, str]) -> None:
        """Set a version's description and tags."""
        self.client.update_model_version(name, version, redacted(description))
        for key, value in tags.items():
            self.client.set_model_version_tag(name, version, key, redacted(value))

    def alias(self, name: str, alias: str) -> str | None:
        """The version that an alias names; None if there is no such alias, or no such model that this user may see."""
        try:
            return str(self.client.get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            if error.error_code in (ABSENT, "INVALID_PARAMETER_VALUE"):  # no such model, or no such alias
                return None
            # A server with logins denies a model that does not exist to all but its administrators.
            if error.error_code == DENIED and not self.client.search_registered_models(f"name = '{name}'"):
                return None
            raise

    def aliased(self, alias: str) -> dict[str, str]:
        """The version that an alias names, by model, of every model that has it."""
        found, token = {}, None
        while True:
            page = self.client.search_registered_models(page_token=token)
            found.update({model.name: str(model.aliases[alias]) for model in page if alias in model.aliases})
            token = page.token
            if not token:
                return found

    def require_movable(self, name: str) -> None:
        """Write what needs the same permission as moving an alias, and changes nothing.

        Raises:
            RegistryError: if MLflow denies that to this user.
        """
        try:
            self.client.set_registered_model_tag(name, MOVED_TAG, MOVED)
        except MlflowException as error:
            if (said := refusal(error, self.uri)) is None:
                raise
            raise RegistryError(said) from error

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Move an alias, and read it back.

        Raises:
            RegistryError: if the registry refuses, or does not return what was written.
        """
        try:
            self.client.set_registered_model_alias(name, alias, version)
        except MlflowException as error:
            if (said := refusal(error, self.uri)) is not None:
                raise RegistryError(said) from error
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
        model, recorded = self._model_files(name, version, target)
        damaged = [f for f, digest in recorded.items() if not (model / f).is_file() or file_digest(model / f) != digest]
        if damaged:
            raise RegistryError(
                f"{damaged[0]} of {name} version {version} differs from the registered file. Restore its artifact."
            )
        (model / MANIFEST).unlink(missing_ok=True)
        return model

    def model_digests(self, name: str, version: str, target: Path) -> ModelDigests:
        """What a version's files are; only those that its manifest lists, because MLflow adds its own.

        Raises:
            RegistryError: if the artifact cannot be fetched.
        """
        model, recorded = self._model_files(name, version, target)
        files = {f: file_digest(model / f) for f in recorded if (model / f).is_file()}
        return ModelDigests(files, recorded, policy_digest(model, files))

    def _model_files(self, name: str, version: str, target: Path) -> tuple[Path, dict[str, str]]:
        from mlflow.artifacts import download_artifacts

        try:
            root = Path(download_artifacts(f"models:/{name}/{version}", dst_path=str(target)))
            model, manifest = root / "artifacts" / "model", root / "artifacts" / "served_manifest.json"
            return model, dict(read_json(manifest)["files"])
        except (MlflowException, OSError, ValueError) as error:
            raise RegistryError(f"version {version} of {name} cannot be fetched: {error}. Restore its artifact.") from error


def _environment() -> dict[str, Any]:
    """What a version needs to be served, as Conda's file: MLflow makes its others from it.

    Left to itself, MLflow warns where pip is not installed, as in an environment that uv made.
    """
    try:
        pip = f"pip<={version('pip')}"  # as MLflow does: conda-forge may lack the newest release
    except PackageNotFoundError:
        pip = "pip"
    return {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", pip, {"pip": REQUIREMENTS}],
    }
