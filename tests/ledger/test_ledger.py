"""Promotions: compare-and-set, once per verdict, and a history that shows what was altered."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import RegistryError, StaleChampionError
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.ledger.tables import promotions


def promote(
    ledger: Ledger, expected: int, version: str, verdict: str | None = "v", fold: str | None = None, person: str | None = None
) -> Any:
    champion = ledger.champion("m")
    previous = champion.version if champion else None
    row = Promotion(expected + 1, version, previous, f"w{version}", "gate", verdict, None, "r", now(), person=person)
    with promotion_lease(ledger, "m") as token:
        return ledger.promote("m", row, token=token, retire_fold=fold)


def test_there_is_no_champion_before_the_first_promotion(ledger: Ledger) -> None:
    assert ledger.champion("m") is None


def test_a_ledger_to_read_is_not_created_and_sees_what_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"
    assert Ledger.to_read(url).history("m") == [] and list(tmp_path.iterdir()) == []
    promote(Ledger(url), 0, "1", "a")
    assert [one.version for one in Ledger.to_read(url).history("m")] == ["1"]


def test_a_promotion_names_the_version_before_it(ledger: Ledger) -> None:
    promote(ledger, 0, "1", "a")
    promote(ledger, 1, "4", "b")
    assert [(p.version, p.previous) for p in ledger.history("m")] == [("1", None), ("4", "1")]


def test_a_promotion_keeps_who_decided(ledger: Ledger) -> None:
    promote(ledger, 0, "1", "a")
    promote(ledger, 1, "2", "b", person="ann")
    assert [(p.person, p.as_json()["person"], p.decided) for p in ledger.history("m")] == [
        (None, None, "gate"), ("ann", "ann", "gate (approved by ann)"),
    ]  # fmt: skip


@pytest.mark.parametrize(("person", "instead"), [("ann", "bob"), ("ann", None), (None, "ann")])
def test_who_decided_cannot_be_altered_unseen(ledger: Ledger, person: str | None, instead: str | None) -> None:
    promote(ledger, 0, "1", "a", person=person)
    with ledger.transaction() as connection:
        connection.execute(promotions.update().values(person=instead))
    with pytest.raises(RegistryError, match=r"promotion 1 of m .*was altered"):
        ledger.history("m")


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


def test_of_racing_promotions_exactly_one_wins(url: str) -> None:
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


def test_a_promotion_retires_a_fold_that_was_spent_meanwhile(ledger: Ledger) -> None:
    ledger.retire("m", "f", "spent")
    promote(ledger, 0, "1", fold="f")
    assert ledger.retired("m") == {"f": "promoted"}
