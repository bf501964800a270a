"""A ledger of its own for each test."""

from pathlib import Path

import pytest

from ratchet.components.ledger.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
