"""A ledger of its own for each test, in SQLite and in PostgreSQL."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.components.ledger.ledger import Ledger
from tests.postgres import Postgres


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A new database in PostgreSQL, dropped after the test: its ledgers' pools keep connections, which the server limits."""
    name = f"ledger_{uuid.uuid4().hex[:12]}"
    yield postgres.database(name)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where no ledger is yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("database_url"))


@pytest.fixture
def ledger(url: str) -> Ledger:
    return Ledger(url)
