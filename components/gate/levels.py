"""The level of a use of a sealed fold, and how much of an epoch's level is spent."""

from collections.abc import Sequence

from ratchet.components.ledger.past_uses import Past, Use
from ratchet.components.recipe import Rules
from ratchet.components.records import Outcome
from ratchet.components.statistics.spending import PastTest, bonferroni, saffron


def uses_allowed(rules: Rules) -> int:
    """Uses of a fold until it is retired. False discovery rates need fresh items each time."""
    return 1 if rules.error_mode == "fdr" else rules.uses_per_epoch


def epoch_level(rules: Rules) -> float:
    """The level of each use of an epoch in error mode ``fwer_epoch``."""
    return bonferroni(rules.alpha_epoch, rules.uses_per_epoch)


def level(rules: Rules, past: Sequence[PastTest]) -> float:
    """The level of the next use."""
    if rules.error_mode == "fdr":
        return saffron(past, rules.alpha_fdr)
    return rules.alpha_run if rules.error_mode == "per_run" else epoch_level(rules)


def past_tests(past: Past, fold: str) -> list[PastTest]:
    """The uses of other folds in error mode fdr, in the order in which they were counted.

    One that could not be judged, or is not judged yet, counts as p = 1: the level of a test that begins before another one has
    ended may depend on that having begun, not on its result (Zrnic, Ramdas and Jordan 2021, JMLR 22:1-39).
    """
    records = {
        (record["fold_digest"], record["challenger"], record["incumbent"], record["rules"]): record for record in past.records
    }
    tests = list[PastTest]()
    for use in past.uses:
        record = records.get(use[:4])
        if use.fold == fold:
            continue
        if record is None:
            tests.append(PastTest(1.0, False))
        elif record.get("error_mode") == "fdr":
            p_value = record["figures"].get("p_value_with_guards", 1.0)
            tests.append(PastTest(p_value, record["outcome"] == Outcome.PROMOTE))
    return tests


def is_spent(uses: Sequence[Use], rules: Rules) -> bool:
    """Whether the uses of an epoch took so much that the next one would exceed their number or ``alpha_epoch``."""
    alpha = epoch_level(rules)
    spent = sum(alpha if use.alpha is None else use.alpha for use in uses)
    # The tolerance covers rounding only: 26 times alpha_epoch / 26 may exceed alpha_epoch in its last bit.
    exceeds = rules.error_mode == "fwer_epoch" and spent + alpha > rules.alpha_epoch * (1 + 1e-9)
    return len(uses) >= uses_allowed(rules) or exceeds
