"""Each recorded hash of a version is found, and its own damage shows in its own line."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.code import source_code
from ratchet.components.code.constraints import lock_digest
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.provenance.lineage import Lineage
from ratchet.components.provenance.verify import (
    Check,
    State,
    Verification,
    check_engine,
    check_tags,
    check_verdicts,
    compared,
    differs,
)
from ratchet.components.storage.digests import digest_of, file_digest
from ratchet.components.storage.files import read_json
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import Store
from tests.ledger.registries import FakeVersions
from tests.provenance.records import ONE, THREE, TWO, lineage
from tests.provenance.repository import git, new_repository

VERDICT = {"challenger": ONE, "incumbent": TWO, "rules": "r", "outcome": "REJECT"}
TAGS = {
    "weights_sha256": lineage().weights_sha256,
    "dataset_md5": lineage().dataset.md5,
    "recipe_digest": lineage().recipe_digest,
    "commit": lineage().code.commit,
}


def cached_dataset(state: Path) -> str:
    """One table in DVC's cache; returns the version."""
    place = state / "cache" / "files" / "md5"
    content = b'{"prompt": "1 + 1"}\n'
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    listing = json.dumps([{"md5": name, "relpath": "train.jsonl"}]).encode()
    version = hashlib.md5(listing, usedforsecurity=False).hexdigest() + ".dir"
    for key, text in ((name, content), (version, listing)):
        (place / key[:2]).mkdir(parents=True, exist_ok=True)
        (place / key[:2] / key[2:]).write_bytes(text)
    return version


def write_model(path: Path) -> None:
    (path / "model").mkdir()
    (path / "model" / "model.safetensors").write_text("weights", encoding="utf-8")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verification:
    """A version of which every part is there and as recorded."""
    project = new_repository(tmp_path / "project")
    monkeypatch.setattr(source_code, "ROOT", project / "components")
    home = Home(project, project / ".ratchet")
    train = Store(home.store).commit("train", "e" * 32, write_model, {})
    weights = train.facts["files"]["model/model.safetensors"]
    record = lineage(
        weights_sha256=weights,
        policy_sha256=THREE,
        code={
            "commit": git(project, "rev-parse", "HEAD"),
            "folder": "",
            "changed": [],
            "diff_sha256": None,
            "sources_sha256": source_code.sources_digest.__wrapped__(),
        },
        lock_sha256=lock_digest(project),
        dataset={"md5": cached_dataset(home.dvc), "pointer": ""},
        stages=[{"name": "train", "key": "e" * 32, "files": train.facts["files"]}],
    )
    versions = FakeVersions(tmp_path / "runs")
    versions.add("1", record)
    versions.models["1"] = ({"model.safetensors": weights}, {"model.safetensors": weights}, THREE)
    versions.put("1", "verdict.json", {"outcome": "REJECT", "digest": digest_of({"outcome": "REJECT"})})
    ledger = Ledger(home.ledger)
    verdict = {**VERDICT, "challenger": THREE}
    ledger.record_verdict("m", verdict, digest_of(verdict), "r1")
    (tmp_path / "scratch").mkdir()
    return Verification(home, versions, ledger, "m", versions.version("m", "1"), tmp_path / "scratch")  # type: ignore[arg-type]


def states(verification: Verification) -> dict[str, str]:
    return {check.item: check.state.value for check in verification.checks()}


def test_the_files_that_a_recipe_named_are_had_from_the_project_or_the_commit(made: Verification) -> None:
    record, project = made._record()[1], made.home.project
    assert record is not None
    for name in ("mine.py", "shop.db"):
        (project / name).write_text(name, encoding="utf-8")
    git(project, "add", "mine.py")
    git(project, "commit", "--quiet", "-m", "two")
    digests = {name: file_digest(project / name) for name in ("mine.py", "shop.db")}
    code = record.code.model_copy(update={"commit": git(project, "rev-parse", "HEAD")})
    record = record.model_copy(update={"files": digests, "code": code})
    (project / "mine.py").write_text("edited", encoding="utf-8")
    assert made._files(record).state is State.OK
    (project / "shop.db").write_text("edited", encoding="utf-8")
    found = made._files(record)
    assert (found.state, found.detail) == (State.UNREACHABLE, "neither the project nor the commit has shop.db as recorded")


def test_a_version_as_recorded_is_ok_in_every_line(made: Verification) -> None:
    found = states(made)
    items = [
        "record",
        "model",
        "weights",
        "policy",
        "model, as trained",
        "tags",
        "code",
        "lock",
        "dataset",
        "stage train",
        "verdict",
    ]
    assert found == dict.fromkeys([*items, "published verdict"], "ok")


def stage_file(made: Verification) -> Path:
    return made.home.store / "train" / ("e" * 32) / "model" / "model.safetensors"


def object_of(made: Verification) -> Path:
    return next(p for p in (made.home.dvc / "cache").rglob("*") if p.is_file() and not p.name.endswith(".dir"))


DAMAGE: dict[str, Any] = {
    "record": lambda made: made.tracker.put("1", "lineage.json", {}),  # type: ignore[attr-defined]
    "model": lambda made: made.tracker.models.update({"1": ({"model.safetensors": TWO}, {"model.safetensors": ONE}, THREE)}),  # type: ignore[attr-defined]
    "weights": lambda made: made.tracker.models.update({"1": ({"a.safetensors": TWO}, {"a.safetensors": TWO}, THREE)}),  # type: ignore[attr-defined]
    "policy": lambda made: made.tracker.models.update({"1": (*made.tracker.models["1"][:2], TWO)}),  # type: ignore[attr-defined]
    "tags": lambda made: made.version.tags.update(commit="f" * 40),
    "dataset": lambda made: object_of(made).write_bytes(b"another row\n"),
    "stage train": lambda made: stage_file(made).write_text("other"),
    "verdict": lambda made: made.ledger.record_verdict(
        "m", {**VERDICT, "challenger": made.version.tags["weights_sha256"]}, TWO, "r1"
    ),
    "published verdict": lambda made: made.tracker.put("1", "verdict.json", {"outcome": "PROMOTE", "digest": ONE}),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("item", DAMAGE)
def test_damage_shows_in_its_own_line(made: Verification, item: str) -> None:
    DAMAGE[item](made)
    assert states(made)[item] == "differs"


def test_a_commit_that_was_never_fetched_is_not_reachable(made: Verification) -> None:
    shutil.rmtree(made.home.project / ".git")
    assert states(made)["commit"] == "not reachable"


@pytest.mark.parametrize(("runs", "state"), [(True, "ok"), (False, "not reachable")])
def test_of_an_installed_release_the_running_code_is_compared(made: Verification, runs: bool, state: str) -> None:
    record = Lineage.model_validate(read_json(made.tracker.root / "r1" / "lineage.json"))  # type: ignore[attr-defined]
    sources = source_code.sources_digest() if runs else ONE
    code = record.code.model_copy(update={"release": "0.4.0", "sources_sha256": sources})
    made.tracker.add("1", record.model_copy(update={"code": code}))  # type: ignore[attr-defined]
    assert states(replace(made, version=made.tracker.version("m", "1")))["code"] == state


def test_nothing_is_changed_by_looking(made: Verification) -> None:
    stage_file(made).write_text("other", encoding="utf-8")
    before = {p: file_digest(p) for p in made.home.state.rglob("*") if p.is_file() and "ledger" not in p.name}
    states(made)
    assert {p: file_digest(p) for p in made.home.state.rglob("*") if p.is_file() and "ledger" not in p.name} == before


def test_what_was_pruned_is_not_reachable_and_no_fault(made: Verification) -> None:
    made.tracker.models.clear()  # type: ignore[attr-defined]
    (made.home.store / "train" / ("e" * 32)).rename(made.home.store / "gone")
    found = states(made)
    assert (found["model"], found["stage train"]) == ("not reachable", "not reachable")
    assert "differs" not in found.values()


def test_equal_hashes_are_ok_and_absent_ones_not_reachable() -> None:
    assert compared("x", "a", "a", "it").state is State.OK
    assert compared("x", "a", None, "it").state is State.UNREACHABLE
    assert compared("x", "a", "b", "it").state is State.DIFFERS


def test_files_that_differ_are_named() -> None:
    check = compared("x", {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9"}, "the store")
    assert check == Check("x", State.DIFFERS, "b, c differ from the store")


def test_a_tag_that_was_edited_differs() -> None:
    assert check_tags(lineage(), TAGS).state is State.OK
    edited = check_tags(lineage(), {**TAGS, "commit": "f" * 40})
    assert (edited.state, edited.detail) == (State.DIFFERS, "commit differ from the version's tags")


def test_a_verdict_is_checked_against_its_digest() -> None:
    row = {"record": {"outcome": "PROMOTE", "alpha": 0.05}, "digest": digest_of({"outcome": "PROMOTE", "alpha": 0.05})}
    assert check_verdicts([row]).state is State.OK
    assert check_verdicts([row, {**row, "record": {"outcome": "REJECT"}}]).state is State.DIFFERS
    assert check_verdicts([]).state is State.UNREACHABLE


def test_only_a_difference_is_a_fault() -> None:
    ok, gone, wrong = (Check("x", state, "") for state in (State.OK, State.UNREACHABLE, State.DIFFERS))
    assert not differs([ok, gone])
    assert differs([ok, wrong])


def test_what_an_outside_engine_drew_is_said_not_to_have_the_same_bits() -> None:
    (check,) = check_engine(lineage(engine="vllm 0.31.0"))
    assert (check.item, check.state) == ("engine", State.OK)
    assert "vllm 0.31.0" in check.detail
    assert "compares figures" in check.detail
    assert check_engine(lineage()) == []
