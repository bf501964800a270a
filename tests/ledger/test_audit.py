"""A ledger from which a use of a sealed fold, or a figure of a verdict, was taken is refused."""

import sqlite3
from pathlib import Path

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.audit import check_ledger
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.records import Outcome, Verdict
from tests.ledger.fakes import count_use


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with three uses of one fold, and the verdicts on them."""
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    for number in (1, 2, 3):
        use = count_use(ledger, "m", "fold", f"c{number}", "i", "rules")
        figures = {"p_value": 0.5}
        verdict = Verdict(
            Outcome.REJECT,
            ["r"],
            f"c{number}",
            "i",
            rules="rules",
            fold_digest="fold",
            use=use,
            alpha=0.01,
            evidence="e",
            figures=figures,
        )
        ledger.record_verdict("m", verdict.as_json(), verdict.digest, f"run{number}")
    return path


def test_a_ledger_as_it_was_written_passes(path: Path) -> None:
    check_ledger(Ledger(f"sqlite:///{path}"), "m")


def test_a_verdict_that_was_refused_before_the_count_has_no_use_to_miss(path: Path) -> None:
    ledger = Ledger(f"sqlite:///{path}")
    verdict = Verdict(Outcome.UNDERPOWERED, ["r"], "c4", "i", rules="rules", fold_digest="fold", use=4)
    ledger.record_verdict("m", verdict.as_json(), verdict.digest, "run4")
    check_ledger(ledger, "m")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("DELETE FROM gate_uses WHERE use = 1", "a use of the sealed fold fold is missing"),
        ("DELETE FROM gate_uses WHERE use = 3", "run run3 counted is missing"),
        ("UPDATE gate_uses SET alpha = 0 WHERE use = 2", "run run2 counted has another level"),
        (
            "UPDATE verdicts SET record = replace(record, '0.5', '0.001') WHERE run_id = 'run2'",
            "run run2 does not have its hash",
        ),
    ],
)
def test_an_altered_ledger_is_refused(path: Path, harm: str, said: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(harm)
    with pytest.raises(RegistryError, match=said):
        check_ledger(Ledger(f"sqlite:///{path}"), "m")
