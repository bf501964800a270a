"""The ledger: compare-and-set, counting once, idempotence, and refusal of a database it cannot trust."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from ratchet.components.errors import RegistryError, StaleChampionError
from ratchet.components.ledger import database
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.ledger.tables import retired_folds


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def promote(ledger: Ledger, expected: int, version: str, verdict: str | None = "v", fold: str | None = None) -> Any:
    champion = ledger.champion("m")
    row = Promotion(
        expected + 1, version, champion.version if champion else None, f"w{version}", "gate", verdict, None, "r", now()
    )
    with promotion_lease(ledger, "m") as token:
        return ledger.promote("m", row, token=token, retire_fold=fold)


def test_there_is_no_champion_before_the_first_promotion(ledger: Ledger) -> None:
    assert ledger.champion("m") is None


def test_a_promotion_names_the_version_before_it(ledger: Ledger) -> None:
    promote(ledger, 0, "1", "a")
    promote(ledger, 1, "4", "b")
    assert [(p.version, p.previous) for p in ledger.history("m")] == [("1", None), ("4", "1")]


def test_a_stale_expectation_is_refused(ledger: Ledger) -> None:
    promote(ledger, 0, "1", "a")
    with pytest.raises(StaleChampionError, match="changed while"):
        promote(ledger, 0, "2", "b")
    assert ledger.champion("m").version == "1"  # type: ignore[union-attr]


def test_repeating_a_promotion_returns_it(ledger: Ledger) -> None:
    first = promote(ledger, 0, "1", "a", fold="f")
    assert promote(ledger, 0, "1", "a", fold="f") == first
    assert len(ledger.history("m")) == 1


def test_a_promotion_retires_its_fold(ledger: Ledger) -> None:
    promote(ledger, 0, "1", fold="f")
    assert ledger.retired("m") == {"f": "promoted"}


def test_of_racing_promotions_exactly_one_wins(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    Ledger(url)
    outcomes: list[str] = []

    def race(version: str) -> None:
        try:
            promote(Ledger(url), 0, version, f"verdict {version}")
            outcomes.append("won")
        except RegistryError:
            outcomes.append("refused")

    threads = [threading.Thread(target=race, args=(str(n),)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["won"]
    assert len(Ledger(url).history("m")) == 1


def test_a_verdict_promotes_once(ledger: Ledger) -> None:
    promote(ledger, 0, "1", "a")
    promote(ledger, 1, "2", "b")
    with pytest.raises(RegistryError, match="used before"):
        promote(ledger, 2, "1", "a")


def test_a_token_that_is_not_the_newest_is_refused(ledger: Ledger) -> None:
    with promotion_lease(ledger, "m") as token:
        row = Promotion(1, "1", None, "w", "gate", "v", None, "r", now())
        with pytest.raises(RegistryError, match="took over"):
            ledger.promote("m", row, token=token - 1)
        assert ledger.promote("m", row, token=token).version == "1"


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE promotions SET weights = 'other' WHERE sequence = 1",
        "DELETE FROM promotions WHERE sequence = 1",
        "UPDATE promotions SET verdict = NULL WHERE sequence = 2",
    ],
)
def test_an_altered_history_is_refused(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    promote(ledger, 0, "1", "a")
    promote(ledger, 1, "2", "b")
    with sqlite3.connect(path) as connection:
        connection.execute(harm)
    with pytest.raises(RegistryError, match="was altered"):
        ledger.champion("m")


def test_a_use_is_counted_once_per_challenger_and_incumbent(ledger: Ledger) -> None:
    assert ledger.count_use("m", "f", "c1", "i", "rules") == 1
    assert ledger.count_use("m", "f", "c1", "i", "rules") == 1
    assert ledger.count_use("m", "f", "c2", "i", "rules") == 2
    assert ledger.uses("m", "f") == 2


def test_other_rules_are_another_use(ledger: Ledger) -> None:
    ledger.count_use("m", "f", "c", "i", "rules")
    assert ledger.count_use("m", "f", "c", "i", "laxer rules") == 2
    assert ledger.own_uses("m", "c", "i", "rules") == {"f": 1}
    assert ledger.own_uses("m", "c", "i", "no such rules") == {}


def test_a_promotion_retires_a_fold_that_was_spent_meanwhile(ledger: Ledger) -> None:
    ledger.retire("m", "f", "spent")
    promote(ledger, 0, "1", fold="f")
    assert ledger.retired("m") == {"f": "promoted"}


def test_verdicts_may_alternate_and_each_is_kept_once(ledger: Ledger) -> None:
    record = {"challenger": "c", "incumbent": "i", "rules": "r", "outcome": "REJECT"}
    for digest in ("d1", "d2", "d1"):
        ledger.record_verdict("m", record, digest, "run")
    assert ledger.verdict("m", "c", "i", "r")["digest"] == "d2"  # type: ignore[index]


@pytest.mark.parametrize("status", ["failed", "killed"])
def test_a_run_that_broke_off_is_still_open(ledger: Ledger, status: str) -> None:
    ledger.begin_run("identity", "m", "r1")
    ledger.break_run("identity", status)
    assert ledger.open_run("identity") == "r1"
    assert ledger.latest_runs()[0]["status"] == status


def test_folds_are_counted_apart(ledger: Ledger) -> None:
    ledger.count_use("m", "f", "c", "i", "rules")
    assert ledger.count_use("m", "g", "c", "i", "rules") == 1


def test_retiring_twice_keeps_the_first_reason(ledger: Ledger) -> None:
    ledger.retire("m", "f", "spent")
    ledger.retire("m", "f", "promoted")
    assert ledger.retired("m") == {"f": "spent"}


def test_the_newest_verdict_on_a_pair_is_found(ledger: Ledger) -> None:
    record = {"challenger": "c", "incumbent": "i", "rules": "r", "outcome": "INVALID"}
    ledger.record_verdict("m", record, "d1", "r1")
    ledger.record_verdict("m", {**record, "outcome": "REJECT"}, "d2", "r2")
    found = ledger.verdict("m", "c", "i", "r")
    assert found is not None
    assert (found["digest"], found["record"]["outcome"]) == ("d2", "REJECT")
    assert ledger.verdict_by_digest("d1")["run_id"] == "r1"  # type: ignore[index]


def test_a_run_stays_open_until_it_is_finished(ledger: Ledger) -> None:
    ledger.begin_run("identity", "m", "r1")
    assert ledger.open_run("identity") == "r1"
    ledger.finish_run("identity", {"status": "promoted"})
    assert ledger.open_run("identity") is None


def test_the_database_waits_for_the_disk(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_a_locked_database_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_SECONDS", 0.2)
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RegistryError, match="database is locked"):
        ledger.count_use("m", "f", "c", "i", "rules")
    holder.close()


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is not a database, but it is long enough to be read as one" * 20)
    with pytest.raises(RegistryError, match=r"ledger\.db"):
        Ledger(f"sqlite:///{path}")


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE settings SET value = '99'")
    with pytest.raises(RegistryError, match="schema 99"):
        Ledger(f"sqlite:///{path}")


def test_an_error_of_the_database_does_not_print_what_was_sealed() -> None:
    ledger = Ledger("sqlite:///:memory:")
    row = {"model": "m", "fold_digest": "f", "reason": "sealed 0.0123", "at": "now"}
    with pytest.raises(IntegrityError) as raised, ledger.transaction() as connection:
        connection.execute(retired_folds.insert(), [row, row])
    assert "0.0123" not in str(raised.value)
