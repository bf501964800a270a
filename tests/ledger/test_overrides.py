"""Rollback and override: what a person decides, recorded as such."""

from collections.abc import Callable
from unittest import mock

import pytest

from ratchet.components.errors import PendingAliasError, RegistryError
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.ledger.overrides import override, rollback
from ratchet.components.ledger.promotion import disagreement, promote, reconcile
from tests.ledger.fakes import Registry, promoting


@pytest.fixture
def ledger() -> Ledger:
    """Versions 1, 2 and 3 were promoted by the gate, one after the other."""
    return Ledger("sqlite:///:memory:")


@pytest.fixture
def registry(ledger: Ledger) -> Registry:
    registry = Registry()
    for n in (1, 2, 3):
        promote(ledger, registry, "m", promoting(f"w{n}"), expected=n - 1, version=str(n), run_id="r")
    return registry


def test_a_rollback_restores_the_champion_before(ledger: Ledger, registry: Registry) -> None:
    row = rollback(ledger, registry, "m", None, "too long", "ann")
    assert (row.version, row.previous, row.by, row.verdict, row.reason) == ("2", "3", "rollback", None, "too long")
    assert (row.weights, row.run_id, row.person) == ("w2", "r2", "ann")
    assert registry.alias("m", "champion") == "2"


def test_a_second_rollback_goes_one_further_back(ledger: Ledger, registry: Registry) -> None:
    assert [rollback(ledger, registry, "m", None, None, "ann").version for _ in range(2)] == ["2", "1"]
    with pytest.raises(RegistryError, match=r"version 1 is the first champion of m, and none was before it.*--override"):
        rollback(ledger, registry, "m", None, None, "ann")


def test_after_a_rollback_and_a_promotion_the_rolled_back_one_is_passed_over(ledger: Ledger, registry: Registry) -> None:
    rollback(ledger, registry, "m", None, None, "ann")  # 3 -> 2
    promote(ledger, registry, "m", promoting("w4"), expected=4, version="4", run_id="r")
    assert rollback(ledger, registry, "m", None, None, "ann").version == "2"


@pytest.mark.parametrize("version", [None, "1"])
def test_without_a_champion_there_is_nothing_to_roll_back(version: str | None) -> None:
    with pytest.raises(RegistryError, match=r"m has no champion, so there is nothing to roll back.*--override"):
        rollback(Ledger("sqlite:///:memory:"), Registry(), "m", version, None, "ann")


def test_a_rollback_on_a_lost_ledger_says_that_it_was_lost(registry: Registry) -> None:
    fresh = Ledger("sqlite:///:memory:")
    with pytest.raises(RegistryError, match="names version 3 of m as champion, but the ledger has no promotion of it"):
        rollback(fresh, registry, "m", None, None, "ann")
    assert fresh.history("m") == []


def test_after_a_lost_ledger_an_override_begins_a_new_history(registry: Registry) -> None:
    fresh = Ledger("sqlite:///:memory:")
    row = override(fresh, registry, "m", "3", "ledger lost", "ann")
    assert (row.sequence, row.previous) == (1, None)
    assert reconcile(fresh, registry, "m") == row


def test_a_rollback_to_a_version_that_was_never_champion_is_refused(ledger: Ledger, registry: Registry) -> None:
    with pytest.raises(RegistryError, match="never champion"):
        rollback(ledger, registry, "m", "9", None, "ann")


def test_a_rollback_to_the_champion_is_refused(ledger: Ledger, registry: Registry) -> None:
    with pytest.raises(RegistryError, match="already the champion"):
        rollback(ledger, registry, "m", "3", None, "ann")


def test_a_damaged_version_is_not_taken(ledger: Ledger, registry: Registry) -> None:
    registry.damaged.add("2")
    with pytest.raises(RegistryError, match="damaged"):
        rollback(ledger, registry, "m", None, None, "ann")
    assert registry.alias("m", "champion") == "3"


def test_files_that_retention_deletes_after_the_check_are_not_promoted(ledger: Ledger, registry: Registry) -> None:
    with mock.patch.object(registry, "check_artifact", lambda name, version: registry.deleted.add(version)):
        for choose in (rollback, override):
            with pytest.raises(RegistryError, match="files of version 2 were deleted"):
                choose(ledger, registry, "m", "2", "why", "ann")
    registry.deleted.add("4")
    with pytest.raises(RegistryError, match="files of version 4 were deleted"):
        promote(ledger, registry, "m", promoting("w4"), expected=3, version="4", run_id="r")
    assert (registry.alias("m", "champion"), len(ledger.history("m"))) == ("3", 3)


def test_an_override_is_recorded_with_its_reason(ledger: Ledger, registry: Registry) -> None:
    row = override(ledger, registry, "m", "7", "second champion", "ann")
    assert (row.version, row.previous, row.by, row.reason) == ("7", "3", "override", "second champion")
    assert (row.person, row.decided) == ("ann", "override (ann)")
    assert reconcile(ledger, registry, "m") == row


def test_a_credential_in_a_reason_does_not_reach_the_ledger(ledger: Ledger, registry: Registry) -> None:
    rollback(ledger, registry, "m", None, "see https://ada:hunter2x@wiki.example/42", "ann")
    assert ledger.history("m")[-1].reason == "see https://***@wiki.example/42"


def test_an_override_may_be_the_first_promotion() -> None:
    ledger, registry = Ledger("sqlite:///:memory:"), Registry()
    assert override(ledger, registry, "m", "1", "why", "ann").previous is None


def test_an_override_of_the_champion_sets_a_hand_moved_alias_right(ledger: Ledger, registry: Registry) -> None:
    registry.set_alias("m", "champion", "9")
    override(ledger, registry, "m", "3", "set right", "ann")
    assert registry.alias("m", "champion") == "3"
    assert len(ledger.history("m")) == 3


def test_a_rollback_does_not_hide_a_hand_moved_alias(ledger: Ledger, registry: Registry) -> None:
    registry.set_alias("m", "champion", "9")
    with pytest.raises(RegistryError, match="by hand"):
        rollback(ledger, registry, "m", None, None, "ann")


def cut_short(ledger: Ledger, registry: Registry, choose: Callable[..., Promotion], version: str) -> None:
    """A decision that gets as far as the ledger."""
    registry.broken = True
    with pytest.raises(PendingAliasError):
        choose(ledger, registry, "m", version, "why", "ann")
    registry.broken = False


def test_nobody_decides_whom_mlflow_does_not_let_move_the_alias(ledger: Ledger, registry: Registry) -> None:
    registry.denied = True
    for choose in (rollback, override):
        with pytest.raises(RegistryError, match="may not move the alias"):
            choose(ledger, registry, "m", "1", "why", "ann")
    assert (registry.alias("m", "champion"), len(ledger.history("m"))) == ("3", 3)


def test_a_second_attempt_at_a_rollback_completes_the_first(ledger: Ledger, registry: Registry) -> None:
    cut_short(ledger, registry, rollback, "1")
    row = rollback(ledger, registry, "m", "1", "again", "bob")
    assert (row.version, row.person, registry.alias("m", "champion"), len(ledger.history("m"))) == ("1", "ann", "1", 4)
    with pytest.raises(RegistryError, match="already the champion"):
        rollback(ledger, registry, "m", "1", "again", "bob")


def test_decisions_that_were_cut_short_one_after_another_are_completed(ledger: Ledger, registry: Registry) -> None:
    cut_short(ledger, registry, override, "7")
    with mock.patch.object(ledger, "begin_move", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        override(ledger, registry, "m", "8", "why", "ann")  # killed before the intent
    assert disagreement(ledger, registry, "m") is None
    assert reconcile(ledger, registry, "m") == ledger.champion("m")
    assert registry.alias("m", "champion") == "8"


def test_an_override_of_a_hand_moved_alias_that_was_cut_short_is_completed(ledger: Ledger, registry: Registry) -> None:
    registry.set_alias("m", "champion", "9")
    cut_short(ledger, registry, override, "7")
    reconcile(ledger, registry, "m")
    assert registry.alias("m", "champion") == "7"
    registry.set_alias("m", "champion", "9")
    assert "moved by hand" in str(disagreement(ledger, registry, "m"))
