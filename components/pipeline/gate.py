"""Stage *gate*: judge the challenger on a sealed fold, record the verdict; only PROMOTE goes further."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.pipeline.context import Context, StageResult
from components.pipeline.data import table
from components.pipeline.evaluate import ARMS, Models, arm_rows, evaluated_digests, sealed_evaluation
from components.recipe import Rules, digest_of
from components.records import ItemResult, Outcome, Verdict
from components.registry.ledger import Ledger

if TYPE_CHECKING:
    from components.evaluation.gate import Arms


def judge(
    context: Context,
    ledger: Ledger,
    data: StageResult,
    dev: StageResult,
    models: Models,
    *,
    first_champion: bool,
) -> Verdict:
    """The verdict on a challenger against the incumbent.

    In this order: same model; a fold that is left; power, from dev alone; the use is counted; both arms are scored on the
    fold; integrity; the rules. A candidate that the steps before the count refuse has not used the fold.
    """
    from components.evaluation.gate import check_integrity, check_power, decide

    rules, model = context.recipe.gate.rules, context.recipe.name
    base: dict[str, Any] = {
        "challenger": models.challenger_weights,
        "incumbent": models.incumbent_weights,
        "rules": rules_digest(rules),
    }
    if models.challenger_weights == models.incumbent_weights:
        return Verdict(Outcome.REJECT, ["no checkpoint was better on dev than the incumbent itself"], **base)
    fold = next_fold(context, ledger, data, base)
    if fold is None:
        reason = "no sealed fold is left: all are retired. Add data, or raise data.split.sealed_folds, for fresh ones"
        return Verdict(Outcome.INVALID, [reason], **base)
    base |= {"fold": fold, "fold_digest": fold_digest(data, fold), "alpha": rules.alpha_epoch / rules.uses_per_epoch}
    shortfall = check_power(_arms(dev, [r["id"] for r in table(data, "dev")]), len(table(data, fold)), rules)
    if shortfall is not None:
        return Verdict(Outcome.UNDERPOWERED, [shortfall], **base)
    use = ledger.count_use(model, base["fold_digest"], base["challenger"], base["incumbent"], base["rules"])
    base["use"] = use
    sealed = sealed_evaluation(context, data, models, fold)
    arms = _arms(sealed, [row["id"] for row in table(data, fold)])
    faults = check_integrity(arms, rules, models.digests)
    if faults:
        return Verdict(Outcome.INVALID, faults, **base)
    decision = decide(arms, rules, first_champion)
    outcome = Outcome.PROMOTE if decision.promote else Outcome.REJECT
    return Verdict(
        outcome, [_reason(outcome, fold, use, rules.uses_per_epoch)], **base,
        figures=decision.figures, sealed_reasons=decision.reasons,
    )  # fmt: skip


def rules_digest(rules: Rules) -> str:
    """Names the rules: another set of rules is another use of a fold, and another verdict."""
    return digest_of(rules.model_dump(mode="json"))


def next_fold(context: Context, ledger: Ledger, data: StageResult, pair: Mapping[str, str]) -> str | None:
    """The first fold that is neither retired nor used up; a fold whose uses are spent is retired here.

    A pair that was judged on a fold by the same rules, and killed before its verdict was carried out, stays on it.
    """
    model, limit = context.recipe.name, context.recipe.gate.rules.uses_per_epoch
    retired = ledger.retired(model)
    used = ledger.folds_used(model, pair["challenger"], pair["incumbent"], pair["rules"])
    for number in range(context.recipe.data.split.sealed_folds):
        digest = fold_digest(data, f"sealed_{number}")
        if digest in retired:
            continue
        if digest in used or ledger.uses(model, digest) < limit:
            return f"sealed_{number}"
        ledger.retire(model, digest, "spent")
    return None


def fold_digest(data: StageResult, fold: str) -> str:
    """sha256 of a fold's table."""
    return str(data.finished.facts["files"][f"data/{fold}.jsonl"])


def _reason(outcome: Outcome, fold: str, use: int, limit: int) -> str:
    if outcome is Outcome.PROMOTE:
        return f"every rule held on {fold} (use {use} of {limit}), which its promotion retires"
    return (
        f"not every rule held on {fold} (use {use} of {limit}); its figures stay sealed until the fold is retired, "
        "so that the next challengers are judged on items that nobody has learned from"
    )


def _arms(stage: StageResult, items: list[str]) -> "Arms":
    from components.evaluation.gate import Arms

    digests = evaluated_digests(stage)
    challenger, incumbent = (_by_id(arm_rows(stage, arm)) for arm in ARMS)
    return Arms(items, challenger, incumbent, digests["challenger"], digests["incumbent"])


def _by_id(rows: list[dict[str, Any]]) -> Mapping[str, ItemResult]:
    return {row["id"]: ItemResult(**row) for row in rows}
