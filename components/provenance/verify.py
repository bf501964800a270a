"""Check every recorded hash of a version that is still reachable: ok, differs, or not reachable. Nothing is changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ratchet.components.code import checkout
from ratchet.components.code.constraints import CONSTRAINTS, bytes_digest
from ratchet.components.code.source_code import sources_digest
from ratchet.components.data import versioning
from ratchet.components.errors import DataError, RegistryError, StoreError
from ratchet.components.provenance.lineage import DIFFERENCE, FILE, TAG, Lineage, read_lineage
from ratchet.components.stages.environment import Code
from ratchet.components.storage.digests import digest_of, file_digest, weights_digest
from ratchet.components.storage.files import files_below, read_json, verify_directory
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import Store

if TYPE_CHECKING:
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.components.registry.runs import Tracker
    from ratchet.components.registry.versions import RegisteredVersion


class State(StrEnum):
    """The result of a check. Only ``differs`` is a fault; pruned or remote items are not reachable."""

    OK = "ok"
    DIFFERS = "differs"
    UNREACHABLE = "not reachable"


class Check(NamedTuple):
    """One recorded hash and its check."""

    item: str
    state: State
    detail: str

    def as_json(self) -> dict[str, str]:
        return {"item": self.item, "state": self.state.value, "detail": self.detail}


def check_release(code: Code) -> list[Check]:
    """Compare the code of an installed release with the running one; nothing for a clone, whose commit has the code."""
    if code.release is None:
        return []
    if code.sources_sha256 == sources_digest():
        return [Check("code", State.OK, f"equals Ratchet {code.release}, which runs")]
    return [Check("code", State.UNREACHABLE, f"Ratchet {code.release} made it, and other code runs")]


def compared(item: str, recorded: object, actual: object, what: str) -> Check:
    """Whether two hashes, or two sets of files, are equal; ``what`` names what was compared."""
    if actual is None:
        return Check(item, State.UNREACHABLE, f"{what} is not there")
    if recorded == actual:
        return Check(item, State.OK, f"equals {what}")
    if isinstance(recorded, Mapping) and isinstance(actual, Mapping):
        names = ", ".join(different(recorded, actual)[:5])
        return Check(item, State.DIFFERS, f"{names} differ from {what}")
    return Check(item, State.DIFFERS, f"{str(recorded)[:12]} is recorded, but {what} has {str(actual)[:12]}")


def different(recorded: Mapping[str, str], actual: Mapping[str, str]) -> list[str]:
    """Paths that exist on one side only, or whose digests differ."""
    return sorted({name for name, _ in set(recorded.items()) ^ set(actual.items())})


def check_tags(lineage: Lineage, tags: Mapping[str, str]) -> Check:
    """Compare the tags shown in MLflow with the record."""
    recorded = {
        "weights_sha256": lineage.weights_sha256,
        "dataset_md5": lineage.dataset.md5,
        "recipe_digest": lineage.recipe_digest,
        "commit": lineage.code.commit,
        **({"policy_sha256": lineage.policy_sha256} if lineage.policy_sha256 else {}),
    }
    return compared("tags", recorded, {name: tags.get(name, "none") for name in recorded}, "the version's tags")


def check_engine(lineage: Lineage) -> list[Check]:
    """What is said of a version whose completions an outside engine drew: nothing can be hashed again."""
    if lineage.engine is None:
        return []
    said = f"{lineage.engine} drew the completions: equal bits are not promised, and `ratchet reproduce` compares figures"
    return [Check("engine", State.OK, said)]


def check_verdicts(found: Sequence[Mapping[str, Any]]) -> Check:
    """Compare each verdict in the ledger with its digest."""
    if not found:
        return Check("verdict", State.UNREACHABLE, "the ledger has no verdict on this policy")
    wrong = [row["digest"][:12] for row in found if digest_of(row["record"]) != row["digest"]]
    if wrong:
        return Check("verdict", State.DIFFERS, f"the ledger's record of verdict {wrong[0]} differs from the decision")
    return Check("verdict", State.OK, f"{len(found)} in the ledger, each equals its digest")


def differs(checks: Sequence[Check]) -> bool:
    """Whether any recorded hash differs from what exists."""
    return any(check.state is State.DIFFERS for check in checks)


@dataclass(frozen=True)
class Verification:
    """A version, and the places where its recorded items may still exist."""

    home: Home
    tracker: "Tracker"
    ledger: "Ledger"
    name: str
    version: "RegisteredVersion"
    scratch: Path  # an empty directory

    def checks(self) -> list[Check]:
        """One check per recorded hash, in the order of the lineage."""
        record, lineage = self._record()
        found = [record, *self._model(lineage)]
        if lineage is not None:
            found += [check_tags(lineage, self.version.tags), *self._made_from(lineage), *check_engine(lineage)]
        return [*found, check_verdicts(self._verdicts()), self._published_verdict()]

    def _verdicts(self) -> list[dict[str, Any]]:
        """On the policy; those of earlier releases are on its weights."""
        known = [self.version.tags.get(tag) for tag in ("policy_sha256", "weights_sha256")]
        return [row for digest in known if digest for row in self.ledger.verdicts_on(self.name, digest)]

    def _record(self) -> tuple[Check, Lineage | None]:
        digest = self.version.tags.get(TAG)
        path = self.tracker.fetch(self.version.run_id, FILE, self.scratch / "record") if digest else None
        if digest is None or path is None:
            reason = f"{FILE} is not in MLflow" if digest else "its release recorded none"
            return Check("record", State.UNREACHABLE, reason), None
        check = compared("record", digest, file_digest(path), f"{FILE} in MLflow")
        try:
            return check, read_lineage(path, digest)
        except (RegistryError, StoreError) as error:
            return check if check.state is State.DIFFERS else Check("record", State.UNREACHABLE, str(error)), None

    def _model(self, lineage: Lineage | None) -> Iterator[Check]:
        try:
            actual, manifest, policy = self.tracker.model_digests(self.name, self.version.number, self.scratch / "model")
        except RegistryError as error:
            yield Check("model", State.UNREACHABLE, str(error))
            return
        yield compared("model", manifest, actual, "the files in MLflow")
        weights = weights_digest({f"model/{name}": digest for name, digest in actual.items()}) if actual else "none"
        tags = self.version.tags
        yield compared("weights", tags.get("weights_sha256", ""), weights, "the safetensors in MLflow")
        if "policy_sha256" in tags:
            yield compared("policy", tags["policy_sha256"], policy, "the policy's files in MLflow")
        train = lineage.stage("train") if lineage else None
        if lineage is not None and train is not None:
            files = files_below("model", files_below(lineage.checkpoint, train.files))
            yield compared("model, as trained", files, actual, "the files in MLflow")

    def _made_from(self, lineage: Lineage) -> Iterator[Check]:
        yield from self._code(lineage)
        yield self._dataset(lineage)
        if lineage.files:
            yield self._files(lineage)
        for stage in lineage.stages:
            yield self._stage(stage.name, stage.key, stage.files)
        if lineage.policy.version is not None:
            yield self._parent(lineage)

    def _code(self, lineage: Lineage) -> Iterator[Check]:
        project, code = self.home.project, lineage.code
        yield from check_release(code)
        if code.commit == checkout.UNKNOWN:
            yield Check("commit", State.UNREACHABLE, "the run was not in a git repository: no commit is recorded")
        elif not checkout.has_commit(project, code.commit):
            yield Check("commit", State.UNREACHABLE, f"commit {code.commit[:12]} is not in this repository")
        elif code.diff_sha256 is None:
            if code.release is None:
                actual = checkout.committed_code_digest(project, code.commit, code.folder)
                yield compared("code", code.sources_sha256, actual, f"commit {code.commit[:12]}")
            path = f"{code.folder}/{CONSTRAINTS}" if code.folder else CONSTRAINTS
            lock = checkout.committed_file(project, code.commit, path)
            yield compared("lock", lineage.lock_sha256, bytes_digest(lock), f"commit {code.commit[:12]}")
        if code.diff_sha256 is not None:
            path_or_none = self.tracker.fetch(self.version.run_id, DIFFERENCE, self.scratch / "difference")
            actual = file_digest(path_or_none) if path_or_none else None
            yield compared("uncommitted changes", code.diff_sha256, actual, f"{DIFFERENCE} in MLflow")

    def _dataset(self, lineage: Lineage) -> Check:
        version, state = lineage.dataset.md5, self.home.dvc
        try:
            if versioning.check_cache(version, state):
                return Check("dataset", State.OK, "every file in DVC's cache has its md5")
        except DataError as error:
            return Check("dataset", State.DIFFERS, str(error))
        workspace = self.scratch / "dataset"
        workspace.mkdir()
        try:
            versioning.restore(version, workspace, state, self.home.project)
        except DataError as error:
            return Check(
                "dataset", State.UNREACHABLE, f"DVC's cache does not have {version}, and its remote did not give it: {error}"
            )
        return Check("dataset", State.OK, "every file from DVC's remote has its md5")

    def _files(self, lineage: Lineage) -> Check:
        """Files that the recipe named must be had as they were: from the project, else from the commit."""
        lacking = [name for name, digest in lineage.files.items() if not self._is_had(name, digest, lineage.code)]
        if lacking:
            names = f"{', '.join(lacking[:5])}{', ...' if len(lacking) > 5 else ''}"
            return Check("files", State.UNREACHABLE, f"neither the project nor the commit has {names} as recorded")
        return Check("files", State.OK, f"{len(lineage.files)} in the project or in the commit, as recorded")

    def _is_had(self, name: str, digest: str, code: Code) -> bool:
        place = self.home.project / name
        if place.is_file() and file_digest(place) == digest:
            return True
        path = f"{code.folder}/{name}" if code.folder else name
        committed = None if Path(name).is_absolute() else checkout.committed_file(self.home.project, code.commit, path)
        return bytes_digest(committed) == digest

    def _stage(self, name: str, key: str, files: dict[str, str]) -> Check:
        path = Store(self.home.store).path(name, key)
        if not path.is_dir():
            return Check(f"stage {name}", State.UNREACHABLE, f"{key[:12]} is not in this machine's store")
        try:
            return compared(f"stage {name}", files, verify_directory(path)["files"], f"{key[:12]} in the store")
        except StoreError as error:
            return Check(f"stage {name}", State.DIFFERS, str(error))
        except OSError as error:
            return Check(f"stage {name}", State.UNREACHABLE, f"{key[:12]} cannot be read now: {error}")

    def _parent(self, lineage: Lineage) -> Check:
        number = str(lineage.policy.version)
        recorded = {f"{kind}_sha256": digest for kind, digest in lineage.policy.digests.items() if digest is not None}
        try:
            tags = self.tracker.version(self.name, number).tags
        except RegistryError as error:
            return Check("starting policy", State.UNREACHABLE, str(error))
        return compared("starting policy", recorded, {tag: tags.get(tag, "none") for tag in recorded}, f"version {number}")

    def _published_verdict(self) -> Check:
        path = self.tracker.fetch(self.version.run_id, "verdict.json", self.scratch / "verdict")
        if path is None:
            return Check("published verdict", State.UNREACHABLE, "verdict.json is not in MLflow")
        try:
            record = dict(read_json(path))
        except StoreError as error:
            return Check("published verdict", State.DIFFERS, str(error))
        digest = record.pop("digest", "none")
        return compared("published verdict", digest, digest_of(record), "verdict.json in MLflow")
