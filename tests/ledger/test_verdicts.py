"""Verdicts are kept once each, and published once their fold is retired."""

from ratchet.components.ledger.ledger import Ledger


def test_verdicts_may_alternate_and_each_is_kept_once(ledger: Ledger) -> None:
    record = {"challenger": "c", "incumbent": "i", "rules": "r", "outcome": "REJECT"}
    for digest in ("d1", "d2", "d1"):
        ledger.record_verdict("m", record, digest, "run")
    assert ledger.verdict("m", "c", "i", "r")["digest"] == "d2"  # type: ignore[index]


def test_the_newest_verdict_on_a_pair_is_found(ledger: Ledger) -> None:
    record = {"challenger": "c", "incumbent": "i", "rules": "r", "outcome": "INVALID"}
    ledger.record_verdict("m", record, "d1", "r1")
    ledger.record_verdict("m", {**record, "outcome": "REJECT"}, "d2", "r2")
    found = ledger.verdict("m", "c", "i", "r")
    assert found is not None
    assert (found["digest"], found["record"]["outcome"]) == ("d2", "REJECT")
    assert ledger.verdict_by_digest("d1")["run_id"] == "r1"  # type: ignore[index]


def test_what_is_not_published_yet_is_of_retired_folds(ledger: Ledger) -> None:
    record = {"challenger": "c", "incumbent": "i", "rules": "r", "outcome": "REJECT"}
    for fold in ("f", "g"):
        ledger.record_verdict("m", {**record, "fold_digest": fold}, f"digest of {fold}", "run")
    assert ledger.unpublished("m") == []
    ledger.retire("m", "f", "spent")
    assert [known["digest"] for known in ledger.unpublished("m")] == ["digest of f"]
    ledger.note_published("digest of f", "run")
    assert ledger.unpublished("m") == []
