"""The ledger in PostgreSQL: transactions exclude one another, a restart is waited for, each fault has its own message."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from ratchet.components.errors import LedgerUnavailableError, RegistryError
from ratchet.components.ledger import database, engine
from ratchet.components.ledger.claims import acquired
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.ledger.migrations import MIGRATIONS, SCHEMA_VERSION
from ratchet.components.ledger.past_uses import Past, Spend
from ratchet.components.ledger.tables import metadata, settings_table
from tests.ledger.fakes import count_use, uses
from tests.ledger.test_migrations import BECAME
from tests.postgres import Postgres

pytestmark = pytest.mark.slow
PROCESSES = 6


def name_of(url: str) -> str:
    return str(sa.make_url(url).database)


def together(url: str, act: Callable[[Ledger, int], Any]) -> list[Any]:
    """What each of several ledgers, with connections of their own, returned or raised; they act at once."""
    ledgers, start = [Ledger(url) for _ in range(PROCESSES)], threading.Barrier(PROCESSES)

    def one(number: int) -> Any:
        start.wait(30)
        try:
            return act(ledgers[number], number)
        except RegistryError as error:
            return error

    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(one, range(PROCESSES)))


# Exclusion


def test_several_processes_create_one_ledger(database_url: str) -> None:
    start = threading.Barrier(PROCESSES)

    def create(_: int) -> str:
        start.wait(30)
        return str(Ledger(database_url).models())

    with ThreadPoolExecutor(PROCESSES) as pool:
        assert list(pool.map(create, range(PROCESSES))) == ["[]"] * PROCESSES


def test_uses_that_are_counted_at_once_have_numbers_of_their_own(database_url: str) -> None:
    numbers = together(database_url, lambda ledger, number: count_use(ledger, "m", "f", f"c{number}", "i", "rules"))
    assert sorted(numbers) == list(range(1, PROCESSES + 1))


def test_of_uses_that_are_counted_at_once_no_more_are_admitted_than_are_left(database_url: str) -> None:
    def count(ledger: Ledger, number: int) -> Spend | None:
        def admit(past: Past) -> Spend | None:
            return Spend(len(past.uses) + 1, 0.01) if len(past.uses) < 2 else None

        return ledger.count_use("m", f"f{number % 2}", f"c{number}", "i", "rules", {"a": {}}, admit)

    admitted = [spend for spend in together(database_url, count) if spend is not None]
    assert sorted(admitted) == [(1, 0.01), (2, 0.01)]


def test_one_use_that_is_counted_at_once_is_counted_once(database_url: str) -> None:
    assert together(database_url, lambda ledger, _: count_use(ledger, "m", "f", "c", "i", "rules")) == [1] * PROCESSES
    assert uses(Ledger(database_url), "m", "f") == 1


def test_of_racing_claims_exactly_one_wins(database_url: str) -> None:
    def claim(ledger: Ledger, number: int) -> Any:
        def waits(*_: Any) -> None:
            raise RegistryError("waits")

        return acquired(ledger, "run", f"place {number}", waits)

    outcomes = together(database_url, claim)
    assert [str(outcome) for outcome in outcomes if isinstance(outcome, RegistryError)] == ["waits"] * (PROCESSES - 1)


def test_of_racing_promotions_exactly_one_wins(database_url: str) -> None:
    with Ledger(database_url).transaction() as connection:
        connection.exec_driver_sql("INSERT INTO leases VALUES ('m', 1, false, 'me', 120)")

    def promote(ledger: Ledger, number: int) -> Promotion:
        row = Promotion(1, str(number), None, f"w{number}", "gate", f"v{number}", None, "r", "")
        return ledger.promote("m", row, token=1, retire_fold="f")

    outcomes = together(database_url, promote)
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Promotion)]
    assert Ledger(database_url).history("m") == [won]


def test_a_server_whose_transactions_are_serializable_fails_none(postgres: Postgres, database_url: str) -> None:
    postgres.execute(f"ALTER DATABASE {name_of(database_url)} SET default_transaction_isolation = 'serializable'".encode())
    numbers = together(database_url, lambda ledger, number: count_use(ledger, "m", "f", f"c{number}", "i", "rules"))
    assert sorted(numbers) == list(range(1, PROCESSES + 1))


def test_a_process_that_is_paused_in_a_transaction_loses_it_and_stops_nobody(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PAUSED_SECONDS", 1)
    paused, other = Ledger(database_url), Ledger(database_url)

    def pause() -> None:
        with paused.transaction() as connection:
            connection.exec_driver_sql("INSERT INTO leases VALUES ('m', 1, false, 'paused', 120)")
            assert uses(other, "m", "f") == 0  # after that second
            connection.exec_driver_sql("INSERT INTO leases VALUES ('n', 1, false, 'paused', 120)")

    with pytest.raises(LedgerUnavailableError, match="idle-in-transaction"):
        pause()
    with other.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM leases").scalar() == 0


def test_who_waits_too_long_for_its_turn_is_told(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.0)
    holder, other = Ledger(database_url), Ledger(database_url)
    with holder.transaction(), pytest.raises(LedgerUnavailableError, match="is locked by another process: canceling statement"):
        uses(other, "m", "f")


# Restarts


def test_a_restart_of_the_server_is_waited_for(postgres: Postgres, database_url: str) -> None:
    ledger = Ledger(database_url)
    ledger.begin_run("identity", "m", "r1")
    postgres.stop()
    starter = threading.Timer(1.5, postgres.start)
    starter.start()
    began = time.monotonic()
    assert ledger.open_run("identity") == "r1"
    assert time.monotonic() - began > 1
    starter.join()


def test_a_server_that_is_down_is_out_of_reach_at_once(postgres: Postgres, database_url: str) -> None:
    postgres.stop()
    began = time.monotonic()
    try:
        with pytest.raises(
            LedgerUnavailableError, match=r"cannot be reached: connection failed.*Connection refused.*Start its"
        ):
            Ledger(database_url)
        assert time.monotonic() - began < 5
    finally:
        postgres.start()


# Faults


def fault(url: str) -> str:
    """What a user is told; never the password, nor that anything is damaged."""
    with pytest.raises(RegistryError) as raised:
        Ledger(url).begin_run("i", "m", "r")
    text = str(raised.value)
    assert "secret" not in text
    assert "damaged" not in text
    assert "backup" not in text
    return text


def test_a_wrong_password_is_a_refused_login(database_url: str) -> None:
    text = fault(database_url.replace("%27s%20secret", "-a-secret"))
    assert f"{name_of(database_url)} refuses the login" in text
    assert text.endswith("Correct the user or the password in RATCHET_LEDGER_URL, or the server's pg_hba.conf.")


def test_a_database_that_is_not_there_is_named(database_url: str) -> None:
    assert "/nowhere does not exist on its server" in fault(database_url.rpartition("/")[0] + "/nowhere")


def test_a_database_that_only_reads_is_named(postgres: Postgres, database_url: str) -> None:
    postgres.execute(f"ALTER DATABASE {name_of(database_url)} SET default_transaction_read_only = on".encode())
    assert "is read-only: cannot execute" in fault(database_url)


def test_a_user_without_rights_is_told_which(postgres: Postgres, database_url: str) -> None:
    name = name_of(database_url)
    postgres.execute(b"ALTER SCHEMA public OWNER TO postgres", name)
    assert "denies its user a right: permission denied for schema public" in fault(database_url)
    postgres.execute(f"ALTER DATABASE {name} OWNER TO postgres; REVOKE CONNECT ON DATABASE {name} FROM PUBLIC, {name}".encode())
    assert "denies its user a right: connection failed" in fault(database_url)


def test_a_limit_of_connections_is_named(postgres: Postgres, database_url: str) -> None:
    postgres.execute(f"ALTER DATABASE {name_of(database_url)} CONNECTION LIMIT 0".encode())
    assert "accepts no further connection" in fault(database_url)


# Migrations


@pytest.mark.parametrize("schema", sorted(MIGRATIONS))
def test_an_earlier_ledger_becomes_what_a_new_one_is(database_url: str, schema: int) -> None:
    with Ledger(database_url).transaction() as connection:
        new = columns(connection)
        connection.execute(settings_table.update().where(settings_table.c.key == "schema").values(value=str(schema)))
        for statement in BECAME[schema].split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement)
        assert columns(connection) != new
    said: list[list[str]] = together_opened(database_url)
    with Ledger(database_url).transaction() as connection:
        assert columns(connection) == new
    steps = [f"migrating the ledger from schema {number} to {number + 1}" for number in range(schema, SCHEMA_VERSION)]
    assert sorted(line for lines in said for line in lines) == steps  # each by one process


def together_opened(url: str) -> list[list[str]]:
    """What each of several processes said that opened the ledger at once."""
    start = threading.Barrier(PROCESSES)

    def opened(_: int) -> list[str]:
        said: list[str] = []
        start.wait(30)
        Ledger(url, say=said.append)
        return said

    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(opened, range(PROCESSES)))


def columns(connection: sa.Connection) -> dict[str, list[tuple[str, str, bool]]]:
    """Of each table, its columns with type and whether null is a value."""
    inspector = sa.inspect(connection)
    found = {name: inspector.get_columns(name) for name in sorted(set(inspector.get_table_names()) & set(metadata.tables))}
    return {name: [(one["name"], str(one["type"]), one["nullable"]) for one in every] for name, every in found.items()}
