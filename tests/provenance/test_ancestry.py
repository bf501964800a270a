"""From a version through its parents to the first policy."""

from pathlib import Path

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.provenance.ancestry import ancestry, resolve
from tests.ledger.registries import FakeVersions
from tests.provenance.records import TWO, lineage


def started_from(version: str) -> dict[str, str]:
    return {"kind": "version", "version": version, "weights_sha256": TWO}


@pytest.fixture
def versions(tmp_path: Path) -> FakeVersions:
    """Version 3 started from 2, and 2 from 1, which was warmed up."""
    fake = FakeVersions(tmp_path / "runs")
    fake.add("1", lineage(weights_sha256=TWO))
    fake.add("2", lineage(policy=started_from("1")))
    fake.add("3", lineage(policy=started_from("2")))
    fake.aliases["champion"] = "3"
    return fake


def test_the_chain_goes_back_to_the_policy_that_was_warmed_up(versions: FakeVersions, tmp_path: Path) -> None:
    links = ancestry(versions, "m", "3", tmp_path)
    assert [link.version for link in links] == ["3", "2", "1"]
    assert links[-1].lineage is not None
    assert links[-1].lineage.policy.kind == "warmup"


def test_a_parent_that_is_gone_ends_the_chain_with_the_reason(versions: FakeVersions, tmp_path: Path) -> None:
    del versions.registered["2"]
    links = ancestry(versions, "m", "3", tmp_path)
    assert [(link.version, link.problem) for link in links] == [("3", None), ("2", "there is no version 2 of m.")]


def test_a_version_without_a_record_says_so(versions: FakeVersions, tmp_path: Path) -> None:
    versions.add("4", None)
    (link,) = ancestry(versions, "m", "4", tmp_path)
    assert "older release" in (link.problem or "")


def test_a_record_that_was_changed_is_a_problem(versions: FakeVersions, tmp_path: Path) -> None:
    versions.put("3", "lineage.json", lineage(seed=4).model_dump(mode="json"))
    (link,) = ancestry(versions, "m", "3", tmp_path)
    assert "tag says" in (link.problem or "")


def test_a_record_that_is_its_own_ancestor_ends(versions: FakeVersions, tmp_path: Path) -> None:
    versions.add("1", lineage(policy=started_from("3")))
    assert [link.version for link in ancestry(versions, "m", "3", tmp_path)] == ["3", "2", "1"]


def test_a_version_that_is_not_there_is_an_error(versions: FakeVersions, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no version 9"):
        ancestry(versions, "m", "9", tmp_path)


def test_versions_are_given_by_number_or_alias(versions: FakeVersions) -> None:
    assert (resolve(versions, "m", "7"), resolve(versions, "m", "champion")) == ("7", "3")


@pytest.mark.parametrize("text", ["0", "../1", "1/2", "", "challenger", "newest", "1 or 1=1"])
def test_what_names_no_version_is_refused(versions: FakeVersions, text: str) -> None:
    with pytest.raises(RegistryError, match="ratchet history"):
        resolve(versions, "m", text)
