"""The ledger in PostgreSQL."""

import pytest

from ratchet.components.ledger.ledger import Ledger
from tests.postgres import Postgres

pytestmark = pytest.mark.slow


def test_a_ledger_outlives_its_server(postgres: Postgres) -> None:
    url = postgres.database("restarted").replace("postgresql:", "postgresql+psycopg:")
    Ledger(url).begin_run("identity", "m", "r1")
    postgres.stop()
    postgres.start()
    assert [run["run_id"] for run in Ledger(url).latest_runs()] == ["r1"]
