"""All deleting: what retention no longer keeps in the state, in DVC's cache and in the registry, planned and then deleted.

It never happens during a run, and a crash at any point does no harm.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.components.data import versioning
from ratchet.components.data.pointers import POINTER, places, pointer_md5
from ratchet.components.errors import RatchetError, RegistryError, StoreError
from ratchet.components.ledger.approvals import void
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.ledger.promotion import disagreement
from ratchet.components.project.locks import BUSY
from ratchet.components.project.owners import Owners, note_retention, noted_retentions
from ratchet.components.project.retention import (
    ABANDONED_DAYS,
    Item,
    RunRecord,
    deletable,
    finished_runs,
    kept_champions,
    newest_runs,
    open_since,
    refused_versions,
)
from ratchet.components.provenance.ancestry import recorded_lineage
from ratchet.components.recipe import Retention
from ratchet.components.records import Outcome, Verdict
from ratchet.components.report.model_card import without_files
from ratchet.components.storage.files import MANIFEST, left_behind, read_json, scratch_directory
from ratchet.components.storage.home import Home

if TYPE_CHECKING:
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.components.project.project import Project
    from ratchet.components.registry.runs import Tracker
    from ratchet.components.registry.versions import RegisteredVersion

SEALED = ("sealed", "evaluate")  # rows by item that publication and replay of a sealed verdict need


@dataclass(frozen=True)
class Alive:
    """What champions, open runs, pointers and verdicts on folds that are not retired need."""

    stages: list[str]  # as stage/key, and so are checkpoints
    checkpoints: list[str]
    datasets: list[str]  # md5 of each


@dataclass(frozen=True)
class Cleanup:
    """The state of one project, and what retention no longer keeps."""

    home: Home
    model: str  # to whose versions the retention applies, and to whose stages and datasets, unless ``noted`` is None
    retention: Retention
    ledger: "Ledger"
    open_tracker: Callable[[], "Tracker"]
    now: float
    abandoned_days: float = ABANDONED_DAYS
    noted: Mapping[str, Retention] | None = None  # of other models; None: the retention applies to all of the project

    @cached_property
    def tracker(self) -> "Tracker":
        return self.open_tracker()

    def alive(self) -> Alive:
        """What retention keeps."""
        stored = list(self._stored())
        going = {item.name for item in self._deletable(iter(stored), self._needed_stages())}
        staying = {item.name: item.kind for item in stored if item.name not in going}
        kinds = {kind: [name for name, one in staying.items() if one == kind] for kind in ("stage", "checkpoints")}
        return Alive(kinds["stage"], kinds["checkpoints"], sorted(filter(None, self._needed_datasets(going))))

    def planned(self) -> list[Item]:
        """Everything that may be deleted, with its size.

        Raises:
            RegistryError: if it cannot determine what a champion needs, as when the ledger was lost; nothing may be
                deleted then.
        """
        if said := disagreement(self.ledger, self.tracker, self.model):
            raise RegistryError(f"{said} Nothing is deleted.")
        stored = self._deletable(self._stored(), self._needed_stages())
        found = [Item(item.kind, item.name, item.used, tree_size(self.home.store / item.name)) for item in stored]
        datasets = self._datasets({item.name for item in stored})
        return [*found, *self._workspaces(), *self._side_results(), *datasets, *self._versions()]

    def delete(self, item: Item) -> None:
        """Delete one item; no other process finds half of it."""
        if item.kind == "version":
            with promotion_lease(self.ledger, self.model):  # no promotion, of another machine either, between look and deletion
                if item.name in self._champions:
                    raise RegistryError(f"version {item.name} became champion meanwhile. Run `ratchet gc` again.")
                if self._may_be_approved(self.tracker.version(self.model, item.name)):
                    raise RegistryError(f"version {item.name} may be approved since a rollback. Run `ratchet gc` again.")
                self._delete_files(item.name)
        elif item.kind == "dataset":
            for path in self._own_objects(item.name):
                path.unlink(missing_ok=True)
        elif item.kind == "workspace":
            shutil.rmtree(self.home.workspaces / item.name)
        elif item.kind == "comparison":
            delete_stage(self.home.comparisons / item.name)
        elif item.kind == "stacks":
            (self.home.stalls / item.name).unlink()
        else:
            delete_stage(self.home.store / item.name)

    def _delete_files(self, version: str) -> None:
        """The page last: it must not say deleted of files that a store refused to delete."""
        page = self.tracker.version(self.model, version).description
        self.tracker.delete_files(self.model, version)
        if page:
            self.tracker.describe(self.model, version, without_files(page, version), {})

    def _deletable(self, items: Iterator[Item], needed: set[str]) -> list[Item]:
        since = open_since(self._rows, self.now, self.abandoned_days)
        found = deletable(items, needed, since, self.retention.keep_days, self.now)
        return [item for item in found if self._owners is None or not self._owners.spare(item)]

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        return self.ledger.latest_runs(None)

    @cached_property
    def _owners(self) -> Owners | None:
        runs = finished_runs(self._rows)
        return None if self.noted is None else Owners(self.model, self.retention, self.noted, runs, self.now)

    def _keep_runs(self, model: str) -> int:
        return (self._owners.policy(model) if self._owners else self.retention).keep_runs

    @property
    def _champions(self) -> set[str]:
        """Versions that were champion and keep their files; read again each time, because a rollback may happen in between."""
        return kept_champions(self.ledger.history(self.model), self.retention.keep_champions)

    @cached_property
    def _needed_runs(self) -> list[RunRecord]:
        runs, sealed = finished_runs(self._rows), self._sealed_runs
        known = {run.run_id: run for run in runs}
        champions = [known.get(row.run_id) or self._recorded(model, row) for model, row in self._promotions]
        kept = newest_runs(runs, self._keep_runs)
        return [*kept, *champions, *(run for run in runs if run.run_id in sealed)]

    @cached_property
    def _promotions(self) -> list[tuple[str, Promotion]]:
        """Promotions whose versions are kept, including all of other models, to which this policy does not apply."""
        mine = self._champions
        return [(model, row) for model, row in self.ledger.promotions() if model != self.model or row.version in mine]

    @cached_property
    def _sealed_runs(self) -> set[str]:
        """Runs that judged on a fold that is not retired."""
        pairs = {(use["model"], use["challenger"]) for use in self.ledger.unretired_uses()}
        return {row["run_id"] for model, challenger in pairs for row in self.ledger.verdicts_on(model, challenger)}

    def _recorded(self, model: str, promotion: Promotion) -> RunRecord:
        """What a champion was made from according to its lineage, if the ledger has no result of its run."""
        folder = scratch_directory(self.home.workspaces, "gc")
        try:
            record = recorded_lineage(self.tracker, model, promotion.version, folder)
        except RegistryError as error:
            raise RegistryError(
                f"cannot determine what champion {promotion.version} needs: {error} Nothing is deleted."
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        stages = frozenset((stage.name, stage.key) for stage in record.stages)
        return RunRecord(model, promotion.run_id, 0.0, stages, record.dataset.md5)

    def _needed_stages(self) -> set[str]:
        named = {f"{stage}/{key}" for run in self._needed_runs for stage, key in run.stages}
        return named | {item.name for item in self._stored() if self._is_sealed(item)}

    def _is_sealed(self, item: Item) -> bool:
        stage = item.name.partition("/")[0]
        if item.kind != "stage" or stage not in SEALED:
            return False
        try:
            facts = read_json(self.home.store / item.name / "facts.json")
            return (facts["challenger"], facts["incumbent"]) in self._sealed_pairs
        except (StoreError, KeyError, TypeError):
            return True  # unknown

    @cached_property
    def _sealed_pairs(self) -> set[tuple[str, str]]:
        return {(use["challenger"], use["incumbent"]) for use in self.ledger.unretired_uses()}

    def _stored(self) -> Iterator[Item]:
        for path in sorted(self.home.store.glob("*/*")):
            with suppress(FileNotFoundError):  # a run commits a stage, and drops its checkpoints
                if path.is_dir() and not path.is_symlink():
                    yield Item(kind_of(path), f"{path.parent.name}/{path.name}", last_used(path))

    def _workspaces(self) -> Iterator[Item]:
        """Leftovers of killed processes: a reproduction's environment can be large."""
        for path in left_behind(self.home.workspaces):
            yield Item("workspace", path.name, path.stat().st_mtime, tree_size(path))

    def _side_results(self) -> list[Item]:
        """Comparisons, and stacks of runs that hung: only people read them, so that age alone decides."""
        folders, files = self.home.comparisons.glob("*"), self.home.stalls.glob("*.txt")
        found = [Item("comparison", path.name, last_used(path), tree_size(path)) for path in sorted(folders) if path.is_dir()]
        found += [Item("stacks", path.name, path.stat().st_mtime, path.stat().st_size) for path in sorted(files)]
        return self._deletable(iter(found), set())

    def _datasets(self, leaving: set[str]) -> list[Item]:
        """Versions in DVC's cache that Ratchet runs made; other objects there are left alone."""
        made = {run.dataset for run in finished_runs(self._rows)} | set(self._stored_datasets(leaving))
        found = (self._dataset(name) for name in sorted(filter(None, made - self._needed_datasets(leaving))))
        return self._deletable((item for item in found if item is not None), set())

    def _needed_datasets(self, leaving: set[str]) -> set[str | None]:
        needed = {run.dataset for run in self._needed_runs} | set(self._stored_datasets(leaving, staying=True))
        # The gate compares its items with the data of all that a champion descends from, however many champions are kept.
        promoted = {row.run_id for _, row in self.ledger.promotions()}
        needed |= {run.dataset for run in finished_runs(self._rows) if run.run_id in promoted}
        return needed | {pointer_md5(place.pointer) for place in places(self.home.project)}

    def _stored_datasets(self, leaving: set[str], staying: bool = False) -> Iterator[str]:
        for path in self.home.store.glob(f"data/*/{POINTER}"):
            if (f"data/{path.parent.name}" in leaving) != staying:
                yield pointer_md5(path)

    def _dataset(self, name: str) -> Item | None:
        objects = versioning.cached(name, self.home.dvc)
        if objects is None:
            return None
        size = sum(path.stat().st_size for path in self._own_objects(name) if path.is_file())
        return Item("dataset", name, objects[0].stat().st_mtime, size)

    def _own_objects(self, name: str) -> list[Path]:
        """Objects that no other version in the cache names; the listing last, so that an interrupted deletion is repeated."""
        objects = versioning.cached(name, self.home.dvc)
        if objects is None:
            return []
        others = [other for other in versioning.cached_versions(self.home.dvc) if other != name]
        shared = {path for other in others for path in versioning.cached(other, self.home.dvc) or []}
        return [*sorted(set(objects[1:]) - shared), objects[0]]

    def _versions(self) -> list[Item]:
        name, retention = self.model, self.retention
        versions = {v.number: v for v in self.tracker.versions(name) if not self.tracker.lacks_files(v)}
        aliases = {self.tracker.alias(name, alias) for alias in ("champion", "challenger")}
        promoted = {row.version for row in self.ledger.history(name)} & versions.keys()
        waiting = {number for number, version in versions.items() if self._may_be_approved(version)}
        left = {number: version.tags for number, version in versions.items() if number not in promoted | waiting}
        going = [*refused_versions(left, retention.keep_refused_versions), *sorted(promoted, key=int)]
        kept = self._champions | waiting
        needed = {str(alias) for alias in aliases} | kept | _parents(kept, versions)
        items = (self._version(versions[number]) for number in going)
        return [self._sized(item) for item in self._deletable(items, needed)]

    def _may_be_approved(self, version: "RegisteredVersion") -> bool:
        """Whether a verdict asks for its first promotion; also if its tag says so and the verdict is not in this ledger."""
        if any(row.version == version.number for row in self.ledger.history(self.model)):
            return False
        known = self.ledger.verdicts_on(self.model, version.tags.get("policy_sha256", ""))
        asking = [verdict for one in known if (verdict := Verdict.from_json(one["record"])).outcome is Outcome.PROMOTE]
        if not asking:
            return version.tags.get("verdict") == Outcome.PROMOTE
        return any(void(self.ledger, self.model, verdict) is None for verdict in asking)

    def _version(self, version: "RegisteredVersion") -> Item:
        return Item("version", version.number, version.created)

    def _sized(self, item: Item) -> Item:
        return Item(item.kind, item.name, item.used, self.tracker.files_size(self.model, item.name))


def kind_of(path: Path) -> str:
    """What a directory of the store is, by its name."""
    if path.name.startswith(".work."):
        return "checkpoints"
    return "leftover" if path.name.startswith((".tmp.", ".trash.", "corrupt.")) else "stage"


def last_used(path: Path) -> float:
    """When a directory of the store, or a comparison's, was written, or its manifest last verified; in seconds since 1970."""
    manifest = path / MANIFEST
    if manifest.is_file():
        return manifest.stat().st_mtime
    return max((child.stat().st_mtime for child in path.iterdir()), default=path.stat().st_mtime)


def tree_size(path: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def delete_stage(path: Path) -> None:
    """Delete a directory of the store: renamed first, so that no other process finds half of it."""
    trash = path.with_name(f".trash.{path.name.removeprefix('.')}.{uuid.uuid4().hex[:8]}")
    path.rename(trash)
    shutil.rmtree(trash)


def clean_up(project: "Project", dry_run: bool = False) -> tuple[list[Item], str | None]:
    """Delete what the recipe's retention no longer keeps; returns what was or would be deleted, or why nothing was.

    What another recipe's runs used is left to that one, and what both used stays until neither keeps it.
    What cannot be deleted (a full disk, a server that is down) stays.

    Raises:
        RatchetError: if it cannot determine what is needed; nothing is deleted then.
    """
    recipe = project.recipe
    noted = noted_retentions(project.home)
    cleanup = Cleanup(
        project.home, recipe.name, recipe.retention, project.ledger, lambda: project.tracker, time.time(), noted=noted
    )
    if dry_run:
        return cleanup.planned(), None
    with project.locks.deleting() as alone:
        return ([item for item in cleanup.planned() if _deleted(cleanup, item)], None) if alone else ([], BUSY)


def clean_up_after_run(project: "Project", say: Callable[[str], None]) -> None:
    """Clean up and report what was deleted. An error here does not change the run's result."""
    try:
        note_retention(project.home, project.name, project.recipe.retention)
        items, _ = clean_up(project)
    except Exception as error:  # the run is over; its result must not be lost because of old files
        say(f"old files were not deleted: {error}")
        return
    if items:
        say(f"deleted {len(items)} old items, {sum(item.size for item in items) / 1e6:.1f} MB")


def _deleted(cleanup: Cleanup, item: Item) -> bool:
    try:
        cleanup.delete(item)
    except (OSError, RatchetError):
        return False
    return True


def _parents(kept: Iterable[str], versions: "Mapping[str, RegisteredVersion]") -> set[str]:
    """Versions that kept ones started from, according to their tags."""
    starts = [versions[number] for number in kept if number in versions]
    found: set[str] = set()
    while starts:
        parent = starts.pop().tags.get("parent_version")
        if parent is not None and parent not in found:
            found.add(parent)
            starts += [versions[parent]] if parent in versions else []
    return found
