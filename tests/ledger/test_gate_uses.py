"""Uses are counted once, by fold, pair and rules, and stay sealed until their fold is retired."""

from collections.abc import Callable

import pytest

from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.past_uses import Past, Spend
from ratchet.components.ledger.tables import gate_uses
from tests.ledger.fakes import count_use, uses


def test_a_use_is_counted_once_per_challenger_and_incumbent(ledger: Ledger) -> None:
    assert count_use(ledger, "m", "f", "c1", "i", "rules") == 1
    assert count_use(ledger, "m", "f", "c1", "i", "rules") == 1
    assert count_use(ledger, "m", "f", "c2", "i", "rules") == 2
    assert uses(ledger, "m", "f") == 2


def test_other_rules_are_another_use(ledger: Ledger) -> None:
    count_use(ledger, "m", "f", "c", "i", "rules")
    assert count_use(ledger, "m", "f", "c", "i", "laxer rules") == 2
    assert [use.rules for use in ledger.past("m").uses] == ["rules", "laxer rules"]


def test_folds_are_counted_apart(ledger: Ledger) -> None:
    count_use(ledger, "m", "f", "c", "i", "rules")
    assert count_use(ledger, "m", "g", "c", "i", "rules") == 1


def test_a_use_that_is_not_admitted_leaves_nothing(ledger: Ledger) -> None:
    assert ledger.count_use("m", "f", "c", "i", "rules", {"a": {}}, lambda _: None) is None
    past = ledger.past("m")
    assert (past.uses, past.items) == ([], {})


VERDICT = {"challenger": "c", "incumbent": "i", "rules": "r", "outcome": "REJECT"}
OTHERS: dict[str, Callable[[Ledger], object]] = {
    "retired": lambda ledger: ledger.retire("m", "g", "spent"),
    "counted": lambda ledger: count_use(ledger, "m", "g", "faster", "i", "rules"),
    "judged": lambda ledger: ledger.record_verdict("m", {**VERDICT, "fold_digest": "g", "evidence": "e"}, "digest", "run"),
    "another model": lambda ledger: ledger.retire("n", "g", "spent"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_use_is_admitted_by_what_is_so_when_it_is_counted_and_nobody_waits_until_it_is_admitted(
    ledger: Ledger, other: str
) -> None:
    asked: list[Past] = []

    def admit(past: Past) -> Spend:
        asked.append(past)
        if len(asked) == 1:
            OTHERS[other](ledger)
        return Spend(len(asked), 0.01)

    times = 1 if other == "another model" else 2
    assert ledger.count_use("m", "f", "c", "i", "rules", {"a": {}}, admit) == (times, 0.01)
    assert len(asked) == times
    assert [use.challenger for use in ledger.past("m").uses if use.fold == "f"] == ["c"]


def test_a_use_keeps_its_number_in_the_epoch_and_its_level(ledger: Ledger) -> None:
    spend = Spend(7, 0.05 / 26)
    assert ledger.count_use("m", "f", "c", "i", "rules", {"a": {}}, lambda _: spend) == spend
    assert ledger.past("m").own("f", "c", "i", "rules") == ("f", "c", "i", "rules", 7, 0.05 / 26)


def test_a_use_of_schema_8_has_the_level_of_its_verdict(ledger: Ledger) -> None:
    for challenger in ("judged", "killed"):
        count_use(ledger, "m", "f", challenger, "i", "rules")
    with ledger.transaction() as connection:
        connection.execute(gate_uses.update().values(epoch_use=None, alpha=None))
    record = {"challenger": "judged", "incumbent": "i", "rules": "rules", "outcome": "REJECT"}
    ledger.record_verdict("m", {**record, "fold_digest": "f", "evidence": "e", "alpha": 0.02}, "digest", "run")
    assert [(use.number, use.alpha) for use in ledger.past("m").uses] == [(1, 0.02), (2, None)]


def test_uses_stay_sealed_until_their_fold_is_retired(ledger: Ledger) -> None:
    count_use(ledger, "m", "f", "c", "i", "rules")
    count_use(ledger, "m", "g", "c", "i", "rules")
    ledger.retire("m", "f", "spent")
    assert ledger.unretired_uses() == [{"model": "m", "fold_digest": "g", "challenger": "c", "incumbent": "i"}]


def test_the_first_note_of_a_folds_items_stays(ledger: Ledger) -> None:
    count_use(ledger, "m", "f", "c1", "i", "rules", "a b")
    count_use(ledger, "m", "f", "c2", "i", "rules", "a")
    assert ledger.items_of_folds("m") == {"f": ["a", "b"]}
