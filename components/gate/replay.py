"""What today's rules would have decided on past challengers, for retired folds whose rows were kept."""

from dataclasses import dataclass
from typing import Any

from ratchet.components.evaluation.comparison import arms_of, compare
from ratchet.components.gate.judge import decide_places, read_places
from ratchet.components.gate.levels import level, uses_allowed
from ratchet.components.gate.power import power_from, shortfall
from ratchet.components.gate.primary import choose_tests
from ratchet.components.gate.rules import SEALED
from ratchet.components.graders.build import grader_digests
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.records import Outcome
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.sealed import SealedStage
from ratchet.components.stages.stage import Context
from ratchet.components.statistics.spending import PastTest


@dataclass(frozen=True)
class Replayed:
    """One past verdict, and what it would be today; ``would`` is None if it cannot be replayed."""

    at: str
    run_id: str
    challenger: str
    was: str
    would: str | None
    reasons: list[str]


def replay(context: Context, ledger: Ledger) -> list[Replayed]:
    """Every past verdict of the recipe's model, oldest first, judged by the recipe's rules on the same rows as before."""
    past: list[PastTest] = []
    return [_replay_one(context, ledger, known, past) for known in ledger.verdicts(context.recipe.name)]


def _replay_one(context: Context, ledger: Ledger, known: dict[str, Any], past: list[PastTest]) -> Replayed:
    record = known["record"]
    would, reasons = None, [obstacle(context, ledger, record) or ""]
    if not reasons[0]:
        would, reasons = _judge_again(context, ledger, record, past)
    return Replayed(known["at"], known["run_id"], record["challenger"], record["outcome"], would, reasons)


def obstacle(context: Context, ledger: Ledger, record: dict[str, Any]) -> str | None:
    """Why a verdict cannot be replayed, or None."""
    if not record.get("evidence"):
        return "cannot be replayed: no sealed item was scored for it"
    if record["fold_digest"] not in ledger.retired(context.recipe.name):
        return f"cannot be replayed: {record['fold']} is not retired, and its figures stay sealed"
    if record.get("gold") and record["gold"] != grader_digests(context.recipe)["gold"]:
        return "cannot be replayed: it was measured by another gold (gold.grader)"
    if record["samples"] != context.recipe.evaluation.samples:
        return f"cannot be replayed: it was measured with {record['samples']} samples per item (evaluation.samples)"
    if _sealed(context, record) is None or _dev(context, record) is None:
        return "cannot be replayed: its rows are no longer in the store"
    return None


def _judge_again(
    context: Context, ledger: Ledger, record: dict[str, Any], past: list[PastTest]
) -> tuple[str | None, list[str]]:
    recipe, rules = context.recipe, context.recipe.gate.rules
    sealed, dev = _sealed(context, record), _dev(context, record)
    assert sealed is not None and dev is not None  # obstacle() checked that it exists
    items = ledger.items_of_folds(recipe.name)[record["fold_digest"]]
    if rules.error_mode != "fdr" and record["use"] > uses_allowed(rules):
        return Outcome.INVALID.value, [f"use {record['use']} is beyond the epoch's {uses_allowed(rules)}"]
    alpha = level(rules, past)
    try:
        arms = arms_of(None, dev.results(), dev.scored, record["samples"])
        on_dev = compare(arms, [one.measure for one in rules.primaries])
        faults, places = read_places(recipe, sealed, dev, items, record)
    except KeyError as error:
        return None, [f"cannot be replayed: the rules need {error}, which was not measured then"]
    if faults:
        return None, [f"cannot be replayed: {faults[0]}"]
    if (short := shortfall(power_from(on_dev, rules, len(items), alpha, places[SEALED].groups))) is not None:
        return Outcome.UNDERPOWERED.value, [short]
    tests = choose_tests(rules, record["samples"], clustered=recipe.data.group is not None)
    decision = decide_places(places, rules, tests, {**record, "alpha": alpha}, record["first_champion"])
    past.append(PastTest(decision.figures["p_value_with_guards"], decision.promote))
    return (Outcome.PROMOTE if decision.promote else Outcome.REJECT).value, decision.reasons


def _sealed(context: Context, record: dict[str, Any]) -> SealedStage | None:
    return SealedStage.find(context.store, record["evidence"])


def _dev(context: Context, record: dict[str, Any]) -> EvaluateStage | None:
    return EvaluateStage.find(context.store, record["dev_evidence"])
