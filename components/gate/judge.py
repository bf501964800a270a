"""Stage *gate*: judge the challenger on a sealed fold, record the verdict; only PROMOTE goes further."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ratchet.components.digests import digest_of
from ratchet.components.evaluation.benchmarks.tasks import samples_of
from ratchet.components.gate.folds import SPENT, Fold, choose_fold, uses_allowed
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Recipe, Rules
from ratchet.components.records import Outcome, Verdict
from ratchet.components.source_code import sources_digest
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.scoring import Models, ScoredStage
from ratchet.components.stages.sealed import sealed_evaluation
from ratchet.components.stages.stage import Context

if TYPE_CHECKING:
    from ratchet.components.evaluation.comparison import Comparison
    from ratchet.components.gate.primary import Power
    from ratchet.components.gate.rules import SealedDecision
    from ratchet.components.statistics.spending import PastTest


@dataclass(frozen=True)
class Plan:
    """Everything that is known before a sealed item is touched."""

    base: dict[str, Any]  # of the verdict
    fold: Fold | None = None
    test: str = ""
    power: "Power | None" = None
    refusal: tuple[Outcome, str] | None = None

    @property
    def said(self) -> list[str]:
        """In words, for ``gate --dry-run``."""
        lines = [] if self.refusal is None else [f"{self.refusal[0].value}: {self.refusal[1]}"]
        if self.fold is not None and self.power is not None:
            lines.append(f"{self.fold.name}, use {self.fold.use}: {self.base['method']}, level {self.base['alpha']:.4g}")
            lines.append(
                f"a gain of {self.power.effect:g} would be seen with probability {self.power.power:.3f} "
                f"on {self.power.items} items ({self.power.source}); power 0.8 needs {self.power.needed}"
            )
        return [*lines, "a dry run: no use was counted, nothing sealed was scored"]

    def as_json(self) -> dict[str, Any]:
        """Of ``gate --dry-run --json``."""
        outcome, reason = self.refusal if self.refusal is not None else (None, None)
        power = None if self.power is None else {k: v for k, v in asdict(self.power).items() if v == v and v != float("inf")}
        return {**self.base, "power": power, "refused": outcome and outcome.value, "reason": reason}


Score = Callable[[Context, DataStage, Models, Fold], ScoredStage]


def judge(
    context: Context,
    ledger: Ledger,
    data: DataStage,
    dev: EvaluateStage,
    models: Models,
    *,
    first_champion: bool,
    score: Score | None = None,
) -> Verdict:
    """The verdict on a challenger against the incumbent.

    In this order: same model; a fold that is left; level and test; power, from dev alone; the use is counted; both arms are
    scored on the fold; integrity; the rules. A candidate that the steps before the count refuse has not used the fold.

    Args:
        score: answers a fold's items with both arms; default :func:`score_fold`.
    """
    model, rules = context.recipe.name, context.recipe.gate.rules
    for digest in choose_fold(context, ledger, data, _pair(context, models)).spent:
        ledger.retire(model, digest, SPENT)
    plan = plan_use(context, ledger, data, dev, models, first_champion)
    base = plan.base
    if plan.refusal is not None:
        outcome, reason = plan.refusal
        return Verdict(outcome, [reason], **base)
    assert plan.fold is not None
    ledger.note_items(model, plan.fold.digest, plan.fold.items)
    counted = ledger.count_use(model, plan.fold.digest, base["challenger"], base["incumbent"], base["rules"])
    if counted > uses_allowed(rules):
        return Verdict(Outcome.INVALID, [f"other challengers used {plan.fold.name} up meanwhile. Run again."], **base)
    sealed = (score or score_fold)(context, data, models, plan.fold)
    base["evidence"] = sealed.key
    faults, places = read_places(context.recipe, sealed, dev, plan.fold.items, models.digests)
    if faults:
        return Verdict(Outcome.INVALID, faults, **base)
    decision = decide_places(places, rules, plan.test, base, first_champion)
    outcome = Outcome.PROMOTE if decision.promote else Outcome.REJECT
    return Verdict(
        outcome, _reasons(outcome, plan.fold, rules, base["alpha"]), **base,
        figures=decision.figures, sealed_reasons=decision.reasons,
    )  # fmt: skip


def plan_use(
    context: Context, ledger: Ledger, data: DataStage, dev: EvaluateStage, models: Models, first_champion: bool
) -> Plan:
    """Fold, number of the use, level, test and power; nothing is counted and nothing sealed is read."""
    from ratchet.components.gate.primary import NAMES, choose_test, shortfall

    recipe, rules = context.recipe, context.recipe.gate.rules
    base: dict[str, Any] = {
        **_pair(context, models),
        "error_mode": rules.error_mode,
        "first_champion": first_champion,
        "samples": recipe.evaluation.samples,
        "data": data.version,
        "recipe": recipe.digest,
        "code": sources_digest(),
        "dev_evidence": dev.key,
    }
    if models.challenger.weights == models.incumbent.weights:
        reason = "no checkpoint was better on dev than the incumbent itself"
        return Plan(base, refusal=(Outcome.REJECT, reason))
    choice = choose_fold(context, ledger, data, base)
    if choice.fold is None:
        return Plan(base, refusal=(Outcome.INVALID, choice.reason))
    fold = choice.fold
    alpha = level(rules, past_tests(ledger, recipe.name, fold.digest))
    test = choose_test(rules, recipe.evaluation.samples, len(fold.items))
    base |= {"fold": fold.name, "fold_digest": fold.digest, "use": fold.use, "items": len(fold.items), "alpha": alpha}
    base["method"] = f"{rules.primary.measure}: {NAMES[test]}"
    power = dev_power(context, dev, data, len(fold.items), alpha)
    short = shortfall(power)
    return Plan(base, fold, test, power, None if short is None else (Outcome.UNDERPOWERED, short))


def level(rules: Rules, past: "list[PastTest]") -> float:
    """The level of the next use."""
    from ratchet.components.statistics.spending import saffron, spent_evenly

    if rules.error_mode == "fdr":
        return saffron(past, rules.alpha_fdr)
    return rules.alpha_run if rules.error_mode == "per_run" else spent_evenly(rules.alpha_epoch, rules.uses_per_epoch)


def past_tests(ledger: Ledger, model: str, fold: str) -> "list[PastTest]":
    """The uses of other folds in error mode fdr, in order. What could not be judged counts as p = 1."""
    from ratchet.components.statistics.spending import PastTest

    tests: dict[str, PastTest] = {}
    for known in ledger.verdicts(model):
        record = known["record"]
        if record.get("error_mode") == "fdr" and record.get("evidence") and record["fold_digest"] != fold:
            p_value = record["figures"].get("p_value_with_guards", 1.0)
            tests[record["fold_digest"]] = PastTest(p_value, record["outcome"] == Outcome.PROMOTE)
    return list(tests.values())


def dev_power(
    context: Context, dev: EvaluateStage, data: DataStage, items: int, alpha: float, effect: float | None = None
) -> "Power":
    """What the primary test can see on so many items, with the spread of dev results."""
    from ratchet.components.evaluation.comparison import arms_of, compare
    from ratchet.components.gate.primary import power_from

    rules, samples = context.recipe.gate.rules, context.recipe.evaluation.samples
    arms = arms_of([row["id"] for row in data.table("dev")], dev.results(), dev.scored, samples)
    return power_from(compare(arms, [rules.primary.measure]), rules, items, alpha, effect)


def read_places(
    recipe: Recipe, sealed: ScoredStage, dev: EvaluateStage, items: list[str], expected: Mapping[str, str]
) -> "tuple[list[str], dict[str, Comparison]]":
    """Faults of the results, and the comparisons that the rules need: the sealed fold, the guard split, benchmarks."""
    from ratchet.components.evaluation.comparison import arms_of, compare, measures_on
    from ratchet.components.gate.rules import check_integrity

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
    places: "Mapping[str, Comparison]", rules: Rules, test: str, base: Mapping[str, Any], first_champion: bool
) -> "SealedDecision":
    """The rules applied. A permutation's signs depend on the two models and the fold, so that nobody can choose them."""
    from ratchet.components.gate.rules import decide
    from ratchet.components.randomness import stream

    draws = stream(0, f"permutation:{base['challenger']}:{base['incumbent']}:{base['fold_digest']}")
    decision = decide(places, rules, test=test, alpha=base["alpha"], first_champion=first_champion, draws=draws)
    # For SAFFRON: what would have been promoted at this level or a larger one.
    held = all(reason.endswith("held") for reason in decision.reasons if not reason.startswith("primary"))
    p_value = decision.figures.get("p_value", 1.0) if held else 1.0
    return replace(decision, figures={**decision.figures, "p_value_with_guards": p_value})


def rules_digest(recipe: Recipe) -> str:
    """Names what a challenger is judged by: rules and how answers are drawn. Another is another use, and another verdict."""
    rules = recipe.gate.rules.model_dump(mode="json", exclude={"approval", "approval_hours", "when_spent"})
    settings = recipe.evaluation.model_dump(mode="json", exclude={"dev_items", "sample_rows"})
    return digest_of([rules, settings, recipe.policy.max_new_tokens])


def is_last_use(verdict: Verdict, rules: Rules) -> bool:
    """Whether a verdict's fold has no use left after it."""
    return verdict.use is not None and bool(verdict.evidence) and verdict.use >= uses_allowed(rules)


def _pair(context: Context, models: Models) -> dict[str, str]:
    return {
        "challenger": models.challenger.weights,
        "incumbent": models.incumbent.weights,
        "rules": rules_digest(context.recipe),
    }


def score_fold(context: Context, data: DataStage, models: Models, fold: Fold) -> ScoredStage:
    """The stage with both arms' rows on a fold, and on the guard split where a guard is on it."""
    from ratchet.components.evaluation.comparison import needs_greedy

    rules = context.recipe.gate.rules
    greedy = [place for place in ("sealed", "guard") if needs_greedy(rules, place)]
    guard = any(one.on == "guard" for one in rules.guards)
    return sealed_evaluation(context, data, models, fold.name, fold.items, greedy, guard)


def _reasons(outcome: Outcome, fold: Fold, rules: Rules, alpha: float) -> list[str]:
    use = f"{fold.name} (use {fold.use} of {uses_allowed(rules)})"
    if outcome is Outcome.PROMOTE:
        reasons = [f"every rule held on {use}, which its promotion retires"]
    else:
        reasons = [
            f"not every rule held on {use}; its figures stay sealed until the fold is retired, "
            "so that the next challengers are judged on items that nobody has learned from"
        ]
    if rules.error_mode == "per_run":
        reasons.append(
            f"error mode per_run: expect about {100 * alpha:.3g} false promotions in 100 challengers that are no better; "
            "nothing bounds the whole schedule"
        )
    if rules.error_mode == "fdr":
        reasons.append(f"error mode fdr: of all promotions about {rules.alpha_fdr:.0%} may be false")
    return reasons
