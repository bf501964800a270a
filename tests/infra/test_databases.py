"""The databases of compose, in a server of their own: who owns which, and who reaches which."""

import os
import shutil
import subprocess

import psycopg
import pytest

from ratchet.components.ledger.ledger import Ledger
from tests.places import ROOT
from tests.postgres import ADMIN, PASSWORD, binaries, postgres_server

OWNERS = {"prefect": "PREFECT_DB_PASSWORD", "mlflow": "MLFLOW_DB_PASSWORD", "ratchet": "LEDGER_DB_PASSWORD"}
SECRET = "it's a secret"


@pytest.mark.slow
@pytest.mark.skipif(binaries() is None or shutil.which("psql") is None, reason="PostgreSQL is not installed")
def test_each_owner_reaches_its_own_database_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = binaries()
    assert programs is not None
    with postgres_server(programs) as server:
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port)}
        passwords = dict.fromkeys(OWNERS.values(), SECRET)
        admin = {**os.environ, **place, **passwords, "PGUSER": ADMIN, "PGPASSWORD": PASSWORD}
        command = ["psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--quiet", "--dbname=postgres"]
        script = ROOT / "infra" / "postgres" / "databases.sql"
        subprocess.run([*command, f"--file={script}"], env=admin, check=True, capture_output=True, timeout=60)
        monkeypatch.setenv("PGPASSWORD", SECRET)  # as compose passes it to the worker
        assert Ledger(f"postgresql://ratchet@127.0.0.1:{server.port}/ratchet").models() == []
        for owner in OWNERS:
            for database in OWNERS:
                url = f"postgresql://{owner}@127.0.0.1:{server.port}/{database}"
                if owner == database:
                    psycopg.connect(url).close()
                else:
                    with pytest.raises(psycopg.OperationalError, match="permission denied"):
                        psycopg.connect(url)
