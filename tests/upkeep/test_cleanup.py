"""A project with runs, champions and sealed verdicts: what goes, what stays, and how it is deleted."""

import itertools
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.compare.compare import LOCK
from ratchet.components.data import versioning
from ratchet.components.errors import RegistryError
from ratchet.components.ledger import runs as runs_table
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.project.locks import BUSY
from ratchet.components.project.project import Project as OpenProject
from ratchet.components.project.retention import DAY_SECONDS, Item
from ratchet.components.recipe import load_recipe
from ratchet.components.registry.versions import RegisteredVersion
from ratchet.components.storage.files import MANIFEST, write_json
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import Store
from ratchet.components.upkeep import cleanup as module
from ratchet.components.upkeep.cleanup import Cleanup, clean_up, clean_up_after_run, delete_stage, kind_of
from tests.ledger.fakes import count_use, promoting
from tests.ledger.registries import FakeVersions
from tests.places import MICRO
from tests.provenance.records import lineage
from tests.provenance.test_verify import cached_dataset

NOW = time.time()
OLD = NOW - 90 * DAY_SECONDS


class FakeTracker(FakeVersions):
    """A registry that notes whose files were deleted."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.deleted: list[str] = []

    def versions(self, name: str) -> list[RegisteredVersion]:
        return sorted(self.registered.values(), key=lambda version: int(version.number))

    def lacks_files(self, version: RegisteredVersion) -> bool:
        return version.number in self.deleted

    def files_size(self, name: str, version: str) -> int:
        return 1000

    def delete_files(self, name: str, version: str) -> None:
        self.deleted.append(version)


class Project:
    """A home with a store, a ledger and a registry; everything in it is old."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root, root / ".ratchet")
        self.ledger = Ledger(self.home.ledger)
        self.tracker = FakeTracker(root / "runs")

    def stage(self, name: str, letter: str, facts: dict[str, Any] | None = None) -> str:
        Store(self.home.store).commit(name, letter * 32, lambda path: write_json(path / "facts.json", facts or {}), {})
        path = self.home.store / name / (letter * 32)
        os.utime(path / MANIFEST, (OLD, OLD))
        return f"{name}/{letter * 32}"

    def run(self, run_id: str, stages: list[str], dataset: str | None = None) -> None:
        names = [dict(zip(("name", "key"), stage.split("/"), strict=True)) for stage in stages]
        self.ledger.begin_run(f"i-{run_id}", "micro", run_id)
        self.ledger.finish_run(f"i-{run_id}", {"status": "refused", "stages": names, "dataset": dataset})

    def promote(self, version: str, run_id: str) -> None:
        number = len(self.ledger.history("micro"))
        row = Promotion(number + 1, version, None, f"w{version}", "gate", f"v{version}", None, run_id, now())
        with promotion_lease(self.ledger, "micro") as token:
            self.ledger.promote("micro", row, token=token)

    def version(self, number: str, verdict: str, **tags: str) -> None:
        self.tracker.registered[number] = RegisteredVersion(number, f"r{number}", {"verdict": verdict, **tags}, OLD)

    def cleanup(self, *overrides: str) -> Cleanup:
        opened = self.opened(*overrides)
        retention = opened.recipe.retention
        return Cleanup(opened.home, opened.name, retention, opened.ledger, lambda: opened.tracker, NOW)

    def opened(self, *overrides: str) -> OpenProject:
        settings = ["retention.keep_runs=0", "retention.keep_refused_versions=0", *overrides]
        opened = OpenProject(self.home, load_recipe(MICRO, settings))
        opened.__dict__.update(ledger=self.ledger, tracker=self.tracker)
        return opened

    def clean_up(self, dry_run: bool = False) -> tuple[list[Item], str | None]:
        return clean_up(self.opened(), dry_run)

    def leaves(self, *overrides: str) -> set[str]:
        return {item.name for item in self.cleanup(*overrides).planned()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_stage_that_no_run_of_late_used_goes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1)
    monkeypatch.setattr(runs_table, "now", lambda: f"2026-01-{next(clock):02d}T00:00:00+00:00")
    old, kept = project.stage("train", "a"), project.stage("train", "b")
    project.run("r1", [old])
    project.run("r2", [kept])
    assert project.leaves("retention.keep_runs=1") == {old}
    assert project.leaves() == {old, kept}


def test_a_stage_that_is_read_counts_as_used(project: Project) -> None:
    project.stage("train", "a")
    assert Store(project.home.store).find("train", "a" * 32) is not None
    assert project.leaves() == set()


def test_everything_in_a_champions_run_stays(project: Project) -> None:
    mine, old = project.stage("train", "a"), project.stage("train", "b")
    project.run("r1", [mine], "x")
    project.promote("1", "r1")
    assert project.leaves() == {old}


def test_a_champion_whose_run_the_ledger_lost_keeps_what_its_lineage_names(project: Project) -> None:
    for letter, name in (("a", "data"), ("b", "warmup"), ("c", "reward"), ("d", "train"), ("e", "train")):
        project.stage(name, letter)
    project.tracker.add("1", lineage())
    project.promote("1", "r1")
    assert project.leaves() == {"train/" + "e" * 32}


def test_nothing_goes_where_it_cannot_be_told_what_a_champion_needs(project: Project) -> None:
    project.stage("train", "a")
    project.version("1", "PROMOTE")
    project.promote("1", "lost")
    with pytest.raises(RegistryError, match="Nothing is deleted"):
        project.leaves()


def test_nothing_goes_where_the_ledger_was_lost(project: Project) -> None:
    project.stage("train", "a")
    project.tracker.aliases["champion"] = "1"
    with pytest.raises(RegistryError, match=r"the ledger has no promotion of it.*Nothing is deleted"):
        project.clean_up()
    assert (project.home.store / "train" / ("a" * 32)).exists()


def test_rows_of_a_sealed_verdict_stay_until_its_fold_is_retired(project: Project) -> None:
    pair = {"challenger": "c", "incumbent": "i"}
    rows, dev = project.stage("sealed", "a", pair), project.stage("evaluate", "b", pair)
    other = project.stage("sealed", "c", {"challenger": "x", "incumbent": "y"})
    count_use(project.ledger, "micro", "fold", "c", "i", "rules")
    assert project.leaves() == {other}
    project.ledger.retire("micro", "fold", "spent")
    assert project.leaves() == {rows, dev, other}


def test_sealed_rows_that_cannot_be_read_stay(project: Project) -> None:
    name = project.stage("sealed", "a")
    (project.home.store / name / "facts.json").write_text("damaged", encoding="utf-8")
    assert project.leaves() == set()


def test_the_data_of_a_sealed_verdict_stay(project: Project) -> None:
    data = project.stage("data", "a")
    (project.home.store / data / "data.dvc").write_text(f"outs:\n- md5: {'d' * 32}.dir\n  path: data\n", encoding="utf-8")
    project.run("r1", [data])
    verdict = {"challenger": "c", "incumbent": "i", "rules": "rules", "outcome": "REJECT"}
    project.ledger.record_verdict("micro", verdict, "digest", "r1")
    assert project.leaves() == {data}
    count_use(project.ledger, "micro", "fold", "c", "i", "rules")
    assert project.leaves() == set()


def test_an_open_run_keeps_its_checkpoints_and_all_that_was_used_since(project: Project) -> None:
    work = Store(project.home.store).work("train", "a" * 32)
    (work / "step_000001").mkdir(parents=True)
    os.utime(work / "step_000001", (OLD, OLD))
    assert project.leaves("retention.keep_days=0") == {f"train/{work.name}"}
    project.ledger.begin_run("i", "micro", "r1")
    os.utime(work / "step_000001")
    assert project.leaves("retention.keep_days=0") == set()


def test_what_a_killed_process_left_in_the_workspaces_goes_and_what_a_live_one_uses_stays(project: Project) -> None:
    host = platform.node() or "localhost"
    dead, live = f"reproduce.{host}.{2**22 + 1}.ab", f"data.{host}.{os.getpid()}.cd"
    for name in (dead, live, "else"):
        (project.home.workspaces / name).mkdir(parents=True)
    (item,) = project.clean_up()[0]
    assert (item.kind, item.name) == ("workspace", dead)
    assert {path.name for path in project.home.workspaces.iterdir()} == {live, "else"}


def test_comparisons_and_stacks_that_nobody_wrote_of_late_go(project: Project) -> None:
    old, new = project.home.comparisons / "a", project.home.comparisons / "b"
    stacks, fresh = project.home.stalls / "r1.txt", project.home.stalls / "r2.txt"
    for path in (old / "a-1.json", old / "comparison.html", new / "a-1.json", new / "comparison.html", stacks, fresh):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("four", encoding="utf-8")
    for path in (*old.iterdir(), new / "a-1.json", stacks):  # a seed was added to the other one
        os.utime(path, (OLD, OLD))
    planned = project.clean_up(dry_run=True)[0]
    assert {(item.kind, item.name, item.size) for item in planned} == {("comparison", "a", 8), ("stacks", "r1.txt", 4)}
    assert project.clean_up()[0] == planned
    assert [path.name for path in (*project.home.comparisons.iterdir(), *project.home.stalls.iterdir())] == ["b", "r2.txt"]


def test_no_comparison_goes_while_one_is_in_progress(project: Project) -> None:
    file = project.home.comparisons / "a" / "a-1.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}", encoding="utf-8")
    os.utime(file, (OLD, OLD))
    with project.opened().locks.working(LOCK, "waiting"):
        assert project.clean_up() == ([], BUSY)
    assert file.exists()


@pytest.mark.parametrize(
    ("name", "kind"), [(".work.a", "checkpoints"), (".trash.a", "leftover"), ("corrupt.a", "leftover"), ("a", "stage")]
)
def test_directories_of_the_store_are_told_by_their_names(name: str, kind: str) -> None:
    assert kind_of(Path(name)) == kind


def test_refused_versions_lose_their_files_and_others_do_not(project: Project) -> None:
    verdicts = ("PROMOTE", "REJECT", "INVALID", "pending", "REJECT")
    for number, verdict in enumerate(verdicts, 1):
        project.version(str(number), verdict)
    project.tracker.aliases["challenger"] = "5"
    assert project.leaves() == {"2", "3", "4"}  # of 1 this ledger has no verdict, so that nobody knows whether it lapsed
    assert project.leaves("retention.keep_refused_versions=2") == {"2", "3"}


def test_versions_that_were_not_approved_in_time_go_and_those_that_may_still_be_approved_stay(project: Project) -> None:
    project.version("1", "PROMOTE")
    project.run("r1", [])
    project.run("r7", [])
    project.promote("1", "r1")
    for number, incumbent in (("2", "w0"), ("3", "w1")):  # when 2 was judged, w0 was champion
        verdict = promoting(f"p{number}", incumbent)
        project.version(number, "PROMOTE", policy_sha256=f"p{number}", parent_version={"3": "5"}.get(number, "1"))
        project.ledger.record_verdict("micro", verdict.as_json(), verdict.digest, f"r{number}")
    project.version("4", "none")
    project.version("5", "REJECT")  # from which 3 started
    assert project.leaves() == {"2", "4"}
    cleanup = project.cleanup()
    two = next(item for item in cleanup.planned() if item.name == "2")
    project.ledger.record_verdict("micro", (again := promoting("p2", "w1")).as_json(), again.digest, "r6")
    with pytest.raises(RegistryError, match="may be approved"):
        cleanup.delete(two)
    project.version("7", "PROMOTE")
    project.promote("7", "r7")
    assert project.leaves() == {"2", "3", "4", "5"}


def test_past_champions_and_what_they_started_from_stay(project: Project) -> None:
    project.version("1", "PROMOTE")
    project.version("2", "PROMOTE")
    project.version("3", "PROMOTE", parent_version="1")
    for number in ("1", "2", "3"):
        project.run(f"r{number}", [])
        project.promote(number, f"r{number}")
    assert project.leaves() == set()
    assert project.leaves("retention.keep_champions=1") == {"2"}


def test_a_version_that_became_champion_meanwhile_stays(project: Project) -> None:
    project.version("2", "REJECT")
    cleanup = project.cleanup()
    (item,) = cleanup.planned()
    project.promote("2", "r2")
    with pytest.raises(RegistryError, match="meanwhile"):
        cleanup.delete(item)
    assert project.tracker.deleted == []


def test_the_champions_are_looked_at_under_the_lease_on_promotions(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.version("2", "REJECT")

    @contextmanager
    def after_another(ledger: Ledger, model: str) -> Iterator[int]:
        project.promote("2", "r2")  # by who held it before
        with promotion_lease(ledger, model) as token:
            yield token

    cleanup = project.cleanup()
    (item,) = cleanup.planned()
    monkeypatch.setattr(module, "promotion_lease", after_another)
    with pytest.raises(RegistryError, match="meanwhile"):
        cleanup.delete(item)
    assert project.tracker.deleted == []


def test_a_dataset_goes_with_its_last_run_but_shared_and_foreign_objects_stay(project: Project) -> None:
    version = cached_dataset(project.home.dvc)
    listing, file = versioning.cached(version, project.home.dvc) or []
    os.utime(listing, (OLD, OLD))
    assert project.leaves() == set()  # no run of ours made it
    project.run("r1", [], version)
    assert project.leaves("retention.keep_runs=1") == set()
    assert project.leaves() == {version}
    other = listing.with_name("0" * 30 + ".dir")
    other.write_text(json.dumps([{"md5": file.parent.name + file.name, "relpath": "x"}]), encoding="utf-8")
    project.clean_up()
    assert (listing.exists(), file.exists()) == (False, True)


def test_the_dataset_of_a_champion_that_is_not_kept_stays(project: Project) -> None:
    version = cached_dataset(project.home.dvc)
    os.utime((versioning.cached(version, project.home.dvc) or [])[0], (OLD, OLD))
    project.run("r1", [], version)
    project.promote("1", "r1")
    project.run("r2", [])
    project.promote("2", "r2")
    assert project.leaves("retention.keep_champions=1") == set()


@pytest.mark.parametrize("name", ["data", "data.other"])
def test_faults_the_datasets_that_any_recipe_points_at_stay(project: Project, name: str) -> None:
    version = cached_dataset(project.home.dvc)
    os.utime((versioning.cached(version, project.home.dvc) or [])[0], (OLD, OLD))
    project.run("r1", [], version)
    (project.home.project / f"{name}.dvc").write_text(f"outs:\n- md5: {version}\n  path: {name}\n", encoding="utf-8")
    assert project.leaves() == set()


def test_a_dry_run_says_the_same_and_deletes_nothing(project: Project) -> None:
    name = project.stage("train", "a")
    dry = project.clean_up(dry_run=True)[0]
    assert (project.home.store / name).is_dir()
    assert project.clean_up()[0] == dry
    assert [item.size > 0 for item in dry] == [True]
    assert list((project.home.store / "train").iterdir()) == []


def test_what_a_killed_deletion_left_is_deleted_next_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    name = project.stage("train", "a")
    monkeypatch.setattr(module.shutil, "rmtree", lambda path: None)  # killed between the rename and the removal
    delete_stage(project.home.store / name)
    (left,) = (project.home.store / "train").iterdir()
    assert left.name.startswith(".trash.")
    os.utime(left / MANIFEST, (OLD, OLD))
    monkeypatch.undo()
    project.clean_up()
    assert not left.exists()


def test_nothing_is_deleted_while_a_run_is_under_way(project: Project) -> None:
    name = project.stage("train", "a")
    with project.opened().locks.working("one", "waiting"):
        assert project.clean_up() == ([], BUSY)
    assert (project.home.store / name).is_dir()


def test_a_run_says_what_was_deleted_after_it(project: Project) -> None:
    project.stage("train", "a")
    said: list[str] = []
    clean_up_after_run(project.opened(), said.append)
    clean_up_after_run(project.opened(), said.append)
    assert said == ["deleted 1 old items, 0.0 MB"]


def test_an_error_in_deleting_does_not_spoil_the_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.stage("train", "a")
    project.version("1", "PROMOTE")
    project.promote("1", "lost")
    said: list[str] = []
    clean_up_after_run(project.opened(), said.append)
    assert [text.startswith("old files were not deleted: cannot determine") for text in said] == [True]
