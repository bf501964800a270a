"""Promotion and its reconciliation, against a registry that is a dictionary."""

import pytest

from components.errors import RegistryError
from components.registry.ledger import Ledger
from components.registry.promotion import promote, reconcile


class Registry:
    """Aliases in memory; ``broken`` dies before the alias moves, as a killed process would."""

    def __init__(self) -> None:
        self.aliases: dict[tuple[str, str], str] = {}
        self.broken = False

    def alias(self, name: str, alias: str) -> str | None:
        return self.aliases.get((name, alias))

    def set_alias(self, name: str, alias: str, version: str) -> None:
        if self.broken:
            raise ConnectionError
        self.aliases[name, alias] = version


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("sqlite:///:memory:")


@pytest.fixture
def registry() -> Registry:
    return Registry()


def do_promote(ledger: Ledger, registry: Registry, version: str, expected: int) -> None:
    promote(
        ledger, registry, "m", expected=expected, version=version, weights=version, verdict=f"v{version}", run_id="r",
        fold=f"f{version}",
    )  # fmt: skip


def test_nothing_is_to_be_reconciled_before_the_first_champion(ledger: Ledger, registry: Registry) -> None:
    assert reconcile(ledger, registry, "m") is None


def test_the_alias_follows_the_ledger(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "3", 0)
    assert registry.alias("m", "champion") == "3"


def test_a_crash_before_the_alias_moved_is_made_good(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    registry.broken = True
    with pytest.raises(ConnectionError):
        do_promote(ledger, registry, "2", 1)
    registry.broken = False
    assert reconcile(ledger, registry, "m").version == "2"  # type: ignore[union-attr]
    assert registry.alias("m", "champion") == "2"


def test_an_alias_moved_by_hand_stops_promotions(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    registry.set_alias("m", "champion", "7")
    with pytest.raises(RegistryError, match="by hand: set it back to 1"):
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
    with pytest.raises(RegistryError, match="knows no promotion"):
        reconcile(ledger, registry, "m")


def test_a_deleted_alias_stops_promotions_once_there_was_another(ledger: Ledger, registry: Registry) -> None:
    do_promote(ledger, registry, "1", 0)
    do_promote(ledger, registry, "2", 1)
    registry.aliases.clear()
    with pytest.raises(RegistryError, match="set it back to 2"):
        reconcile(ledger, registry, "m")
