"""When a candidate counts as judged."""

import pytest

from ratchet.components.gate.plan import rules_digest
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.recipe import Gate, Recipe, load_recipe
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run.repeats import settled
from tests.places import MICRO

RECIPE = load_recipe(MICRO)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("sqlite:///:memory:")


def record(ledger: Ledger, outcome: Outcome, incumbent: str = "start", recipe: Recipe = RECIPE) -> Verdict:
    verdict = Verdict(outcome, ["reason"], "candidate", incumbent, rules_digest(recipe))
    ledger.record_verdict(RECIPE.name, verdict.as_json(), verdict.digest, "run")
    return verdict


def promote(ledger: Ledger, weights: str, verdict: str | None) -> None:
    number = len(ledger.history(RECIPE.name))
    row = Promotion(number + 1, weights, None, weights, "gate", verdict, None, "run", now())
    with promotion_lease(ledger, RECIPE.name) as token:
        ledger.promote(RECIPE.name, row, token=token)


def test_a_candidate_never_judged_is_not_settled(ledger: Ledger) -> None:
    assert settled(ledger, RECIPE, "candidate", "start") is None


@pytest.mark.parametrize("outcome", [Outcome.REJECT, Outcome.UNDERPOWERED])
def test_a_refusal_against_todays_incumbent_settles(ledger: Ledger, outcome: Outcome) -> None:
    verdict = record(ledger, outcome)
    assert settled(ledger, RECIPE, "candidate", "start").verdict == verdict  # type: ignore[union-attr]


def test_a_refusal_against_another_incumbent_does_not_settle(ledger: Ledger) -> None:
    record(ledger, Outcome.REJECT)
    promote(ledger, "other", "v")
    assert settled(ledger, RECIPE, "candidate", "start") is None


def test_a_refusal_by_other_rules_does_not_settle(ledger: Ledger) -> None:
    rules = RECIPE.gate.rules.model_copy(update={"target_effect": 0.01})
    record(ledger, Outcome.UNDERPOWERED, recipe=RECIPE.model_copy(update={"gate": Gate(rules=rules)}))
    assert settled(ledger, RECIPE, "candidate", "start") is None


@pytest.mark.parametrize("outcome", [Outcome.INVALID, Outcome.ERROR])
def test_what_could_not_be_judged_may_be_judged_again(ledger: Ledger, outcome: Outcome) -> None:
    record(ledger, outcome)
    assert settled(ledger, RECIPE, "candidate", "start") is None


def test_a_verdict_to_promote_settles_only_once_it_was_carried_out(ledger: Ledger) -> None:
    verdict = record(ledger, Outcome.PROMOTE)
    assert settled(ledger, RECIPE, "candidate", "start") is None
    promote(ledger, "candidate", verdict.digest)
    assert settled(ledger, RECIPE, "candidate", "start").verdict == verdict  # type: ignore[union-attr]


def test_a_candidate_that_was_rolled_back_is_not_promoted_again(ledger: Ledger) -> None:
    promote(ledger, "old", None)
    verdict = record(ledger, Outcome.PROMOTE, incumbent="old")
    promote(ledger, "candidate", verdict.digest)
    promote(ledger, "old", None)  # the rollback
    assert settled(ledger, RECIPE, "candidate", "start").verdict == verdict  # type: ignore[union-attr]


def test_a_champion_without_a_verdict_is_settled(ledger: Ledger) -> None:
    promote(ledger, "candidate", None)
    found = settled(ledger, RECIPE, "candidate", "start")
    assert found is not None
    assert (found.verdict, found.run_id) == (None, "run")
