"""Promotions that were cut short are completed, against a registry that is a dictionary."""

from pathlib import Path

import pytest

from ratchet.components.errors import PendingAliasError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.overrides import override, rollback
from ratchet.components.storage.home import Home
from ratchet.components.upkeep import aliases
from tests.ledger.fakes import Registry


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / ".ratchet")


def completed(home: Home) -> str:
    lines: list[str] = []
    aliases.complete_promotions(home, lines.append)
    return "\n".join(lines)


def test_an_alias_that_was_left_behind_is_moved_once_mlflow_lets_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, registry = Ledger(home.ledger), Registry()
    monkeypatch.setattr(aliases, "open_tracker", lambda *_: registry)
    registry.broken = True
    with pytest.raises(PendingAliasError):
        override(ledger, registry, "m", "1", "why", "ann")
    assert "MLflow's alias has not followed" in completed(home)
    registry.broken = False
    assert completed(home) == "MLflow's alias champion of m is at the ledger's version now: its promotion had been cut short"
    assert (registry.alias("m", "champion"), completed(home)) == ("1", "")


def test_an_alias_that_was_moved_by_hand_meanwhile_is_left(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, registry = Ledger(home.ledger), Registry()
    monkeypatch.setattr(aliases, "open_tracker", lambda *_: registry)
    override(ledger, registry, "m", "1", "why", "ann")
    override(ledger, registry, "m", "2", "why", "ann")
    registry.broken = True
    with pytest.raises(PendingAliasError):
        rollback(ledger, registry, "m", "1", "why", "ann")
    registry.aliases["m", "champion"] = "9"
    assert "moved by hand" in completed(home)
    assert registry.alias("m", "champion") == "9"
