"""Which sealed fold a challenger is judged on. A fold's items are used for one epoch, and never again once they are published.

A dataset that grows gives its folds new digests, but mostly the same items: uses are therefore counted by items, and items that
have been published are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Rules
from ratchet.components.records import Outcome
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context

SPENT, PROMOTED = "spent", "promoted"


@dataclass(frozen=True)
class Fold:
    """A fold to judge on."""

    name: str
    digest: str
    items: list[str]
    use: int  # number of the use, the one to come included


@dataclass(frozen=True)
class Choice:
    """A fold, or why there is none; and folds that were found spent and are not retired yet."""

    fold: Fold | None
    reason: str = ""
    spent: Sequence[str] = field(default_factory=list)


def uses_allowed(rules: Rules) -> int:
    """Uses of a fold until it is retired. False discovery rates need fresh items each time."""
    return 1 if rules.error_mode == "fdr" else rules.uses_per_epoch


def choose_fold(context: Context, ledger: Ledger, data: DataStage, pair: Mapping[str, str]) -> Choice:
    """The first fold that is neither retired nor used up; nothing is written.

    A pair that was judged on a fold by the same rules, and killed before its verdict was carried out, stays on it.
    """
    model, rules = context.recipe.name, context.recipe.gate.rules
    retired, known = ledger.retired(model), {d: set(items) for d, items in ledger.items_of_folds(model).items()}
    used = ledger.folds_used(model, pair["challenger"], pair["incumbent"], pair["rules"])
    published = set().union(*(known[digest] for digest in retired if digest in known))
    judged_on = [known["record"] for known in ledger.verdicts(model) if known["record"].get("evidence")]
    spent: list[str] = []
    for number in range(context.recipe.data.split.sealed_folds):
        name = f"sealed_{number}"
        digest, items = data.fold_digest(name), [row["id"] for row in data.table(name)]
        if digest in used and retired.get(digest) != PROMOTED:
            judged = [item for item in items if item in known.get(digest, set(items))]
            own = ledger.count_use(model, digest, pair["challenger"], pair["incumbent"], pair["rules"])  # known, not counted
            if own <= uses_allowed(rules):
                return Choice(Fold(name, digest, judged, own), spent=spent)
        fresh = [item for item in items if item not in published]
        sharing = _sharing(digest, fresh, {d: i for d, i in known.items() if d not in retired})
        uses = sum(ledger.uses(model, other) for other in sharing)
        full = digest not in retired and (
            uses >= uses_allowed(rules) or _closed([r for r in judged_on if r["fold_digest"] in sharing], uses, rules, pair)
        )
        spent += [digest] if full else []
        if (full or retired.get(digest) == SPENT) and rules.when_spent == "refuse":
            return Choice(None, f"{name} is spent, and gate.rules.when_spent is refuse. {_remedy(rules)}", spent)
        if digest not in retired and not full and 2 * len(fresh) >= len(items):
            return Choice(Fold(name, digest, fresh, uses + 1), spent=spent)
    return Choice(None, f"no sealed fold is left: all are retired. {_remedy(rules)}", spent)


def _remedy(rules: Rules) -> str:
    step = "Set gate.rules.when_spent to next_fold, add data" if rules.when_spent == "refuse" else "Add data"
    return f"{step}, or raise data.split.sealed and data.split.sealed_folds, for items that nobody has seen"


def _sharing(digest: str, items: Sequence[str], known: Mapping[str, set[str]]) -> set[str]:
    """The fold itself, and unretired folds of other versions that share an item with it."""
    return {other for other, theirs in known.items() if not theirs.isdisjoint(items)} | {digest}


def _closed(scored: Sequence[Mapping[str, Any]], uses: int, rules: Rules, pair: Mapping[str, str]) -> bool:
    """Whether a fold with uses left may not be used again.

    It may not once it said yes to another challenger, carried out or not: the bound of an epoch rests on every answer before
    having been no. (One that was better than a champion who is gone was made before that answer, and may meet the new one.)
    And it may not where earlier rules have spent so much of ``alpha_epoch`` that the next use would exceed it.

    Args:
        scored: records of the verdicts that were reached on its items.
        uses: how often they were used; what was killed before its verdict counts at today's level.
    """
    asked = (pair["challenger"], pair["rules"])
    if any(r["outcome"] == Outcome.PROMOTE and (r["challenger"], r["rules"]) != asked for r in scored):
        return True
    alpha = rules.alpha_epoch / rules.uses_per_epoch
    spent = sum(record["alpha"] for record in scored) + alpha * (uses - len(scored))
    return rules.error_mode == "fwer_epoch" and spent + alpha > rules.alpha_epoch * (1 + 1e-9)


def retire_stale(ledger: Ledger, model: str) -> None:
    """Retire folds of earlier dataset versions most of whose items are published by now."""
    known, retired = {d: set(items) for d, items in ledger.items_of_folds(model).items()}, ledger.retired(model)
    published = set().union(*(known[digest] for digest in retired if digest in known))
    for digest, items in known.items():
        if digest not in retired and 2 * len(items & published) > len(items):
            ledger.retire(model, digest, "its items are published")
