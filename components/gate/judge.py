"""The gate's step: audit the ledger, decide on the challenger, record the verdict, retire the fold. Only PROMOTE goes further.

:func:`decide_places` and ``gate/rules.py`` decide, as pure functions on figures. The rest reads these figures
and writes the decision, in an order in which a kill at any point does not allow a second look at a fold.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ratchet.components.evaluation.benchmarks.tasks import samples_of
from ratchet.components.evaluation.comparison import Comparison, arms_of, compare, measures_on, needs_greedy
from ratchet.components.gate import folds
from ratchet.components.gate.folds import Fold
from ratchet.components.gate.levels import uses_allowed
from ratchet.components.gate.plan import Challenge, plan_use
from ratchet.components.gate.primary import Tests
from ratchet.components.gate.rules import SealedDecision, check_integrity, decide
from ratchet.components.ledger.audit import check_ledger
from ratchet.components.randomness import stream
from ratchet.components.recipe import Recipe, Rules
from ratchet.components.records import Outcome, Verdict
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.scoring import Models, ScoredStage
from ratchet.components.stages.sealed import sealed_evaluation
from ratchet.components.stages.stage import Context

Score = Callable[[Context, DataStage, Models, Fold], ScoredStage]


def score_fold(context: Context, data: DataStage, models: Models, fold: Fold) -> ScoredStage:
    """The stage with both arms' rows on a fold, and on the guard split if a guard refers to it."""
    rules = context.recipe.gate.rules
    greedy = [place for place in ("sealed", "guard") if needs_greedy(rules, place)]
    guard = any(one.on == "guard" for one in rules.guards)
    return sealed_evaluation(context, data, models, fold.name, fold.items, greedy, guard)


def judge(challenge: Challenge, run_id: str, score: Score = score_fold) -> Verdict:
    """The verdict on a challenger against the incumbent, recorded in the ledger before anything acts on it.

    Args:
        run_id: the MLflow run that reaches the verdict.
        score: answers a fold's items with both arms.

    Raises:
        RegistryError: if the ledger was altered; nothing is judged then.
        ClaimLostError: if this process no longer holds the run's claim.
    """
    ledger, recipe = challenge.ledger, challenge.context.recipe
    check_ledger(ledger, recipe.name)
    verdict = _reach_verdict(challenge, score)
    # The verdict first: with its fold retired and no verdict recorded, a killed run would have nothing to publish or to repeat.
    ledger.record_verdict(recipe.name, verdict.as_json(), verdict.digest, run_id)
    folds.retire_after(ledger, recipe.name, verdict, recipe.gate.rules)
    return verdict


def _reach_verdict(challenge: Challenge, score: Score) -> Verdict:
    """In this order: same model; a remaining fold; level and test; power, from dev alone; the use is counted; both arms are
    scored on the fold; integrity; the rules. A candidate that is refused before the count has not used the fold.
    """
    context, ledger, data, models = challenge.context, challenge.ledger, challenge.data, challenge.models
    recipe, rules = context.recipe, context.recipe.gate.rules
    folds.retire_spent(context, ledger, data, challenge.pair, challenge.trained)
    plan = plan_use(challenge)
    fold, base = plan.fold, plan.base
    if plan.refusal is not None:
        outcome, reason = plan.refusal
        return Verdict(outcome, [reason], **base)
    assert fold is not None and plan.pair is not None
    counted = folds.count_use(ledger, recipe.name, fold, plan.pair, rules)
    if counted is None:
        return Verdict(Outcome.INVALID, [f"other challengers closed {fold.name} meanwhile. Run again."], **base)
    base |= {"use": counted.use, "alpha": counted.alpha}
    sealed = score(context, data, models, fold)
    base["evidence"] = sealed.key
    faults, places = read_places(recipe, sealed, challenge.dev, fold.items, models.digests)
    if faults:
        return Verdict(Outcome.INVALID, faults, **base)
    decision = decide_places(places, rules, plan.tests, base, challenge.first_champion)
    outcome = Outcome.PROMOTE if decision.promote else Outcome.REJECT
    return Verdict(
        outcome, _reasons(outcome, counted, rules), **base,
        figures=decision.figures, sealed_reasons=decision.reasons,
    )  # fmt: skip


def read_places(
    recipe: Recipe, sealed: ScoredStage, dev: EvaluateStage, items: list[str], expected: Mapping[str, str]
) -> tuple[list[str], dict[str, Comparison]]:
    """Faults of the results, and the comparisons that the rules need: the sealed fold, the guard split, benchmarks."""
    rules, faults, places = recipe.gate.rules, [], {}
    for place in dict.fromkeys(["sealed", *(guard.on for guard in rules.guards)]):
        if place == "sealed":
            arms = arms_of(items, sealed.results(), sealed.scored, recipe.evaluation.samples)
        elif place == "guard":
            arms = arms_of(None, sealed.results("guard"), sealed.scored, recipe.evaluation.samples)
        else:
            samples = samples_of(recipe.evaluation.benchmarks[place], recipe.evaluation.samples)
            arms = arms_of(None, dev.results(f"benchmarks/{place}"), dev.scored, samples)
        measures = measures_on(rules, place)
        found = check_integrity(arms, rules, expected, measures)
        faults += [fault if place == "sealed" else f"{place}: {fault}" for fault in found]
        if not found:
            places[place] = compare(arms, measures)
    return faults, places


def decide_places(
    places: Mapping[str, Comparison], rules: Rules, tests: Tests, base: Mapping[str, Any], first_champion: bool
) -> SealedDecision:
    """The rules applied. A permutation's signs depend only on the two models and the fold, so they cannot be chosen."""
    draws = stream(0, f"permutation:{base['challenger']}:{base['incumbent']}:{base['fold_digest']}")
    decision = decide(places, rules, tests=tests, alpha=base["alpha"], first_champion=first_champion, draws=draws)
    # For SAFFRON: whether it would have been promoted at this level or a larger one.
    p_value = decision.figures.get("p_value", 1.0) if decision.others_held else 1.0
    return replace(decision, figures={**decision.figures, "p_value_with_guards": p_value})


def _reasons(outcome: Outcome, fold: Fold, rules: Rules) -> list[str]:
    use = f"{fold.name} (use {fold.use} of {uses_allowed(rules)})"
    if outcome is Outcome.PROMOTE:
        reasons = [f"every rule held on {use}, which its promotion retires"]
    else:
        reasons = [
            f"not every rule held on {use}; its figures stay sealed until the fold is retired, "
            "so that no challenger can be tuned to its items"
        ]
    if rules.error_mode == "per_run":
        reasons.append(
            f"error mode per_run: expect about {100 * fold.alpha:.3g} false promotions in 100 challengers that are no better; "
            "the schedule as a whole is not bounded"
        )
    if rules.error_mode == "fdr":
        reasons.append(f"error mode fdr: of all promotions about {rules.alpha_fdr:.0%} may be false")
    return reasons
