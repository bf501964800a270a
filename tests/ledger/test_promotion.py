"""Promotion and its reconciliation, against a registry that is a dictionary."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ratchet.components.errors import PendingAliasError, RegistryError, StaleChampionError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.promotion import disagreement, pending, promote, reconcile
from ratchet.components.records import Outcome
from ratchet.components.registry.outage import is_outage
from tests.ledger.fakes import Died, FakeClock, Mortal, Registry, Steps, promoting


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("sqlite:///:memory:")


@pytest.fixture
def registry() -> Registry:
    return Registry()


def do_promote(ledger: Ledger, registry: Registry, version: str, expected: int) -> None:
    promote(ledger, registry, "m", promoting(version), expected=expected, version=version, run_id="r")


def test_nothing_is_to_be_reconciled_before_the_first_champion(ledger: Ledger, registry: Registry) -> None:
    assert reconcile(ledger, registry, "m") is None


def test_the_alias_follows_the_ledger(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "3", 0)
    assert registry.alias("m", "champion") == "3"


def test_a_promotion_that_was_approved_says_by_whom(ledger: Ledger, registry: Registry) -> None:
    row = promote(ledger, registry, "m", promoting("w"), expected=0, version="3", run_id="r", approved_by="ann")
    assert row.decided == "gate (approved by ann)"


def test_a_promotion_is_of_the_verdicts_policy_and_retires_its_fold(ledger: Ledger, registry: Registry) -> None:
    verdict = promoting("w", fold="f")
    row = promote(ledger, registry, "m", verdict, expected=0, version="3", run_id="r")
    assert (row.weights, row.verdict, ledger.retired("m")) == ("w", verdict.digest, {"f": "promoted"})


def test_a_verdict_that_does_not_say_so_promotes_nothing(ledger: Ledger, registry: Registry) -> None:
    for verdict in (replace(promoting("w"), outcome=Outcome.REJECT), replace(promoting("w"), fold_digest=None)):
        with pytest.raises(AssertionError):
            promote(ledger, registry, "m", verdict, expected=0, version="3", run_id="r")
    assert ledger.history("m") == []


def test_a_crash_before_the_alias_moved_is_made_good(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    registry.broken = True
    with pytest.raises(PendingAliasError):
        do_promote(ledger, registry, "2", 1)
    registry.broken = False
    assert reconcile(ledger, registry, "m").version == "2"  # type: ignore[union-attr]
    assert registry.alias("m", "champion") == "2"


def test_an_alias_moved_by_hand_stops_promotions(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    registry.set_alias("m", "champion", "7")
    with pytest.raises(RegistryError, match=r"by hand.*set it back to 1"):
        reconcile(ledger, registry, "m")


def test_an_alias_set_back_by_hand_stops_promotions(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    do_promote(ledger, registry, "2", 1)
    registry.set_alias("m", "champion", "1")  # where a crash would have left it, but the alias had followed before
    with pytest.raises(RegistryError, match="set it back to 2"):
        reconcile(ledger, registry, "m")
    assert registry.alias("m", "champion") == "1"


def test_a_deleted_first_alias_stops_promotions(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    registry.aliases.clear()
    with pytest.raises(RegistryError, match="set it back to 1"):
        reconcile(ledger, registry, "m")


def test_a_lost_ledger_stops_promotions(ledger: Ledger, registry: Registry) -> None:
    registry.set_alias("m", "champion", "1")
    for act in (lambda: reconcile(ledger, registry, "m"), lambda: do_promote(ledger, registry, "2", 0)):
        with pytest.raises(RegistryError, match="has no promotion of it"):
            act()
    assert (ledger.history("m"), registry.alias("m", "champion")) == ([], "1")


def test_what_blocks_promotions_is_looked_up_without_a_change(ledger: Ledger, registry: Registry) -> None:
    assert disagreement(ledger, registry, "m") is None
    do_promote(ledger, registry, "1", 0)
    assert disagreement(ledger, registry, "m") is None
    registry.broken = True
    with pytest.raises(PendingAliasError):
        do_promote(ledger, registry, "2", 1)
    assert disagreement(ledger, registry, "m") is None  # a promotion that is under way
    registry.aliases.clear()
    assert "is not set, but the ledger's champion is version 2" in str(disagreement(ledger, registry, "m"))


def test_a_deleted_alias_stops_promotions_once_there_was_another(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    do_promote(ledger, registry, "2", 1)
    registry.aliases.clear()
    with pytest.raises(RegistryError, match="set it back to 2"):
        reconcile(ledger, registry, "m")


def test_an_alias_that_a_paused_process_set_too_late_is_set_right(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    ledger.begin_move(ledger.champion("m"), "m")  # type: ignore[arg-type]  # a process that is paused before its call
    do_promote(ledger, registry, "2", 1)
    registry.set_alias("m", "champion", "1")  # it wakes, and dies after the call
    assert reconcile(ledger, registry, "m").version == "2"  # type: ignore[union-attr]
    assert registry.alias("m", "champion") == "2"


def test_a_verdict_on_a_champion_that_is_gone_is_stale(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    with pytest.raises(StaleChampionError):
        do_promote(ledger, registry, "2", 0)
    assert registry.alias("m", "champion") == "1"


def test_repeating_a_promotion_is_harmless(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    do_promote(ledger, registry, "1", 0)
    assert len(ledger.history("m")) == 1


@pytest.mark.parametrize("crash", range(1, 14))
def test_a_crash_at_any_step_is_made_good(crash: int) -> None:
    """Every call of ledger, lease and registry is a step; the process dies before the n-th, and another begins again."""
    clock = FakeClock()
    ledger, registry = Ledger("sqlite:///:memory:", clock), Registry()
    do_promote(ledger, registry, "1", 0)
    with contextlib.suppress(Died):
        do_promote(Mortal(ledger, steps := Steps(crash)), Mortal(registry, steps), "2", 1)
    clock.sleep(1000)  # its lease runs out
    reconcile(ledger, registry, "m")
    do_promote(ledger, registry, "2", 1)
    assert [row.version for row in ledger.history("m")] == ["1", "2"]
    assert registry.alias("m", "champion") == "2"
    assert reconcile(ledger, registry, "m") == ledger.champion("m")


def test_the_crashes_cover_every_step() -> None:
    ledger, registry, steps = Ledger("sqlite:///:memory:"), Registry(), Steps(10**6)
    do_promote(Mortal(ledger, steps), Mortal(registry, steps), "1", 0)
    do_promote(Mortal(ledger, steps), Mortal(registry, steps), "2", 1)
    assert steps.taken // 2 <= 13


@contextlib.contextmanager
def refused(registry: Registry) -> Iterator[None]:
    """Within the block, promotions get as far as the ledger."""
    registry.broken = True
    with pytest.raises(PendingAliasError, match="`ratchet reconcile` moves it"):
        yield
    registry.broken = False


def test_nothing_is_promoted_by_whom_mlflow_does_not_let_move_the_alias(ledger: Ledger, registry: Registry) -> None:
    registry.denied = True
    with pytest.raises(RegistryError, match="may not move the alias"):
        do_promote(ledger, registry, "1", 0)
    assert ledger.history("m") == []


def test_an_alias_that_has_yet_to_follow_is_known_until_it_does(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    assert (ledger.pending(), pending(ledger, registry, "m")) == ({}, None)
    with refused(registry):
        do_promote(ledger, registry, "2", 1)
    assert list(ledger.pending()) == ["m"]
    assert "version 2 is champion in the ledger, and MLflow's alias is at version 1" in str(pending(ledger, registry, "m"))
    with refused(registry):
        reconcile(ledger, registry, "m")
    reconcile(ledger, registry, "m")
    assert (ledger.pending(), pending(ledger, registry, "m")) == ({}, None)


def test_an_outage_on_the_way_is_still_one(ledger: Ledger, registry: Registry) -> None:
    registry.broken = True
    with pytest.raises(PendingAliasError) as cut_short:
        do_promote(ledger, registry, "1", 0)
    assert is_outage(cut_short.value)


def test_a_ledger_on_a_server_that_was_lost_is_not_looked_for_in_our_backup(ledger: Ledger, registry: Registry) -> None:
    registry.set_alias("m", "champion", "1")
    assert "`ratchet restore`" in str(disagreement(ledger, registry, "m"))
    ledger.engine.dialect.name = "postgresql"
    said = str(disagreement(ledger, registry, "m"))
    assert "pg_dump" in said and "RATCHET_LEDGER_URL" in said and "restore" not in said
