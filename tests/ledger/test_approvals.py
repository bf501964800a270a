"""Approval is bound to one verdict, and void once the champion is another."""

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.approvals import approve, approved, run_judged, run_of, void
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.overrides import override
from ratchet.components.ledger.promotion import promote
from ratchet.components.records import Outcome, Verdict
from tests.ledger.fakes import Registry


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("sqlite:///:memory:")


def judged(ledger: Ledger, outcome: Outcome = Outcome.PROMOTE, incumbent: str = "start", use: int = 1) -> Verdict:
    verdict = Verdict(outcome, ["reason"], "candidate", incumbent, use=use, rules="rules", fold_digest="f", data="data")
    ledger.record_verdict("m", verdict.as_json(), verdict.digest, "run")
    return verdict


def test_an_approval_is_kept_with_who_gave_it(ledger: Ledger) -> None:
    verdict = judged(ledger)
    assert approved(ledger, "m", verdict) is None
    assert approve(ledger, "m", "run", "ada", "rules", None) == verdict
    assert approve(ledger, "m", "run", "bob", "rules", "data") == verdict  # again: harmless, and the first stands
    assert approved(ledger, "m", verdict) == "ada"


def test_an_approval_of_one_verdict_is_none_of_another(ledger: Ledger) -> None:
    judged(ledger)
    approve(ledger, "m", "run", "ada", "rules", None)
    assert approved(ledger, "m", judged(ledger, use=2)) is None


@pytest.mark.parametrize("outcome", [Outcome.REJECT, Outcome.UNDERPOWERED, Outcome.INVALID])
def test_only_a_promotion_can_be_approved(ledger: Ledger, outcome: Outcome) -> None:
    judged(ledger, outcome)
    with pytest.raises(RegistryError, match="no verdict PROMOTE"):
        approve(ledger, "m", "run", "ada", "rules", None)


def test_an_unknown_run_cannot_be_approved(ledger: Ledger) -> None:
    with pytest.raises(RegistryError, match="no verdict PROMOTE"):
        approve(ledger, "m", "no such run", "ada", "rules", None)


def test_a_run_is_named_by_how_its_id_begins_if_that_is_one_run(ledger: Ledger) -> None:
    for number, run in enumerate(("fe0f7f", "fe1", "fe1a")):
        verdict = Verdict(Outcome.PROMOTE, ["reason"], f"candidate{number}", "start", rules="rules")
        ledger.record_verdict("m", verdict.as_json(), verdict.digest, run)
    assert [run_judged(ledger, "m", name) for name in ("fe0", "fe1", "fe1a", "ff", "")] == ["fe0f7f", "fe1", "fe1a", "ff", ""]
    with pytest.raises(RegistryError, match="3 runs of m with a verdict have an id that begins with 'fe'"):
        run_judged(ledger, "m", "fe")


def test_a_verdict_is_void_once_another_version_is_champion(ledger: Ledger) -> None:
    verdict = judged(ledger)
    assert void(ledger, "m", verdict) is None
    override(ledger, Registry(), "m", "9", "meanwhile", "ann")
    assert "version 9 became champion" in str(void(ledger, "m", verdict))
    with pytest.raises(RegistryError, match="void"):
        approve(ledger, "m", "run", "ada", "rules", None)


@pytest.mark.parametrize(
    ("rules", "data", "what"), [("others", "data", "rules other than"), ("rules", "grown", "the recipe's pointer says")]
)
def test_a_verdict_is_void_once_the_rules_or_the_data_are_others(ledger: Ledger, rules: str, data: str, what: str) -> None:
    verdict = judged(ledger)
    with pytest.raises(RegistryError, match=what):
        approve(ledger, "m", "run", "ada", rules, data)
    assert approved(ledger, "m", verdict) is None


def test_a_verdict_reached_again_is_approved_under_the_run_that_reached_it_first(ledger: Ledger) -> None:
    verdict = judged(ledger)
    ledger.record_verdict("m", verdict.as_json(), verdict.digest, "a second run")
    assert run_of(ledger, "m", verdict) == "run"
    approve(ledger, "m", run_of(ledger, "m", verdict), "ada", "rules", "data")
    assert approved(ledger, "m", verdict) == "ada"


def test_a_verdict_that_was_carried_out_is_void(ledger: Ledger) -> None:
    verdict = judged(ledger)
    promote(ledger, Registry(), "m", verdict, expected=0, version="1", run_id="run")
    assert void(ledger, "m", verdict) == "it was already promoted"
