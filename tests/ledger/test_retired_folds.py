"""A fold is retired once, for one model."""

from ratchet.components.ledger.ledger import Ledger


def test_retiring_twice_keeps_the_first_reason(ledger: Ledger) -> None:
    ledger.retire("m", "f", "spent")
    ledger.retire("m", "f", "promoted")
    assert ledger.retired("m") == {"f": "spent"}


def test_a_fold_is_retired_for_its_model_alone(ledger: Ledger) -> None:
    ledger.retire("m", "f", "spent")
    assert ledger.retired("other") == {}
