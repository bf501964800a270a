"""Uses are counted once, by fold, pair and rules, and stay sealed until their fold is retired."""

from ratchet.components.ledger.ledger import Ledger


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


def test_folds_are_counted_apart(ledger: Ledger) -> None:
    ledger.count_use("m", "f", "c", "i", "rules")
    assert ledger.count_use("m", "g", "c", "i", "rules") == 1


def test_uses_stay_sealed_until_their_fold_is_retired(ledger: Ledger) -> None:
    ledger.count_use("m", "f", "c", "i", "rules")
    ledger.count_use("m", "g", "c", "i", "rules")
    ledger.retire("m", "f", "spent")
    assert ledger.unretired_uses() == [{"model": "m", "fold_digest": "g", "challenger": "c", "incumbent": "i"}]


def test_the_first_note_of_a_folds_items_stays(ledger: Ledger) -> None:
    ledger.note_items("m", "f", ["a", "b"])
    ledger.note_items("m", "f", ["a"])
    assert ledger.items_of_folds("m") == {"f": ["a", "b"]}
