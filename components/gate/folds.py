"""The life of a sealed fold: chosen, counted, closed, retired. Its items serve one epoch, and are never used after publication.

A dataset that grows gives its folds new digests, but mostly the same items: uses are therefore counted by items, and items that
have been published are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Rules
from ratchet.components.records import Outcome, Verdict
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context
from ratchet.components.statistics.spending import bonferroni

# Why a fold was retired, as the ledger keeps it. A promotion retires its fold in its own transaction (Ledger.promote).
SPENT, PROMOTED, PUBLISHED = "spent", "promoted", "its items are published"
CLOSED = "closed"  # not retired yet: it said yes once, or its level is spent


class Pair(NamedTuple):
    """Challenger, incumbent and rules: a use is counted once per combination. All three are digests."""

    challenger: str
    incumbent: str
    rules: str


@dataclass(frozen=True)
class Fold:
    """A fold to judge on."""

    name: str
    digest: str
    items: list[str]
    use: int  # number of the use, including the coming one


@dataclass(frozen=True)
class Choice:
    """A fold, or why there is none; and spent folds that are not retired yet."""

    fold: Fold | None
    reason: str = ""
    spent: Sequence[str] = field(default_factory=list)


def uses_allowed(rules: Rules) -> int:
    """Uses of a fold until it is retired. False discovery rates need fresh items each time."""
    return 1 if rules.error_mode == "fdr" else rules.uses_per_epoch


def epoch_level(rules: Rules) -> float:
    """The level of each use of an epoch in error mode ``fwer_epoch``."""
    return bonferroni(rules.alpha_epoch, rules.uses_per_epoch)


def choose_fold(context: Context, ledger: Ledger, data: DataStage, pair: Pair) -> Choice:
    """The first fold that is neither retired nor spent; writes nothing.

    A pair whose run was killed after it was judged on a fold by the same rules, before the verdict took effect, stays on it.
    """
    model, rules = context.recipe.name, context.recipe.gate.rules
    past = _Past.of(ledger, model, pair)
    published, spent = past.published, list[str]()
    for name, digest, items in _folds(context, data):
        own = past.own.get(digest)
        if own is not None and own <= uses_allowed(rules) and past.retired.get(digest) != PROMOTED:
            judged = [item for item in items if item in past.items.get(digest, set(items))]
            return Choice(Fold(name, digest, judged, own), spent=spent)
        fresh = [item for item in items if item not in published]
        sharing = past.sharing(digest, fresh)
        uses = sum(ledger.uses(model, other) for other in sharing)
        retired = digest in past.retired
        full = not retired and (uses >= uses_allowed(rules) or _closed(past.records_on(sharing), uses, rules, pair))
        if full:
            spent.append(digest)
        if (full or past.retired.get(digest) == SPENT) and rules.when_spent == "refuse":
            return Choice(None, f"{name} is spent, and gate.rules.when_spent is refuse. {_remedy(rules)}", spent)
        if not retired and not full and 2 * len(fresh) >= len(items):
            return Choice(Fold(name, digest, fresh, uses + 1), spent=spent)
    return Choice(None, f"no sealed fold is left: all are retired. {_remedy(rules)}", spent)


def fold_left(context: Context, ledger: Ledger, data: DataStage) -> Choice:
    """The fold that a challenger which was never judged would be judged on, or why there is none; writes nothing."""
    return choose_fold(context, ledger, data, Pair("", "", ""))


@dataclass(frozen=True)
class FoldState:
    """How much of a sealed fold is left."""

    name: str
    items: int
    used: int
    left: int  # 0 once it is retired
    retired: str | None  # why


def states_of_folds(context: Context, ledger: Ledger, data: DataStage) -> list[FoldState]:
    """Every sealed fold of a dataset version, in their order; a promotion retires the fold that it used. Writes nothing."""
    model, rules = context.recipe.name, context.recipe.gate.rules
    allowed, past, states = uses_allowed(rules), _Past.of(ledger, model, Pair("", "", "")), list[FoldState]()
    for name, digest, items in _folds(context, data):
        fresh = [item for item in items if item not in past.published]
        used = sum(ledger.uses(model, other) for other in past.sharing(digest, fresh))
        why = past.retired.get(digest) or (PUBLISHED if 2 * len(fresh) < len(items) else None)
        if why is None and _closed(past.records_on(past.sharing(digest, fresh)), used, rules, Pair("", "", "")):
            why = CLOSED
        states.append(FoldState(name, len(fresh), used, 0 if why else max(0, allowed - used), why))
    refused = rules.when_spent == "refuse" and any(state.retired in (SPENT, CLOSED) or not state.left for state in states)
    return [replace(state, left=0) for state in states] if refused else states


def count_use(ledger: Ledger, model: str, fold: Fold, pair: Pair, rules: Rules) -> bool:
    """Count a use of a fold; false if other challengers spent it since it was chosen.

    The level is spent here, not with the verdict: scoring a fold is looking at it, and a process killed after scoring
    leaves no verdict. If uses were counted later, it could look repeatedly at the price of one use.
    """
    # Items first: a use whose items are unknown would not count for the folds of other versions that share them.
    ledger.note_items(model, fold.digest, fold.items)
    return ledger.count_use(model, fold.digest, *pair) <= uses_allowed(rules)


def retire_spent(context: Context, ledger: Ledger, data: DataStage, pair: Pair) -> None:
    """Retire the folds that were found spent. Their items count as published from then on: choose again afterwards."""
    for digest in choose_fold(context, ledger, data, pair).spent:
        ledger.retire(context.recipe.name, digest, SPENT)


def retire_after(ledger: Ledger, model: str, verdict: Verdict, rules: Rules) -> None:
    """Retire the fold of a verdict that had its last use."""
    if verdict.fold_digest is not None and is_last_use(verdict, rules):
        ledger.retire(model, verdict.fold_digest, SPENT)


def is_last_use(verdict: Verdict, rules: Rules) -> bool:
    """Whether a verdict took the last use of its fold."""
    return verdict.use is not None and bool(verdict.evidence) and verdict.use >= uses_allowed(rules)


def retire_published(ledger: Ledger, model: str) -> None:
    """Retire folds of earlier dataset versions if most of their items are published."""
    known, retired = {d: set(items) for d, items in ledger.items_of_folds(model).items()}, ledger.retired(model)
    published = set().union(*(known[digest] for digest in retired if digest in known))
    for digest, items in known.items():
        if digest not in retired and 2 * len(items & published) > len(items):
            ledger.retire(model, digest, PUBLISHED)


@dataclass(frozen=True)
class _Past:
    """What the ledger records about a model's folds and about a pair's own uses."""

    retired: Mapping[str, str]  # fold digest -> why
    items: Mapping[str, set[str]]  # fold digest -> the items that were judged
    own: Mapping[str, int]  # fold digest -> number of the pair's own use of it
    records: Sequence[Mapping[str, Any]]  # of verdicts for which sealed rows were scored

    @classmethod
    def of(cls, ledger: Ledger, model: str, pair: Pair) -> "_Past":
        items = {digest: set(items) for digest, items in ledger.items_of_folds(model).items()}
        records = [known["record"] for known in ledger.verdicts(model) if known["record"].get("evidence")]
        return cls(ledger.retired(model), items, ledger.own_uses(model, *pair), records)

    @property
    def published(self) -> set[str]:
        """Items of retired folds."""
        return set().union(*(self.items[digest] for digest in self.retired if digest in self.items))

    def sharing(self, digest: str, items: Sequence[str]) -> set[str]:
        """The fold itself and the unretired folds of other versions that share an item with it."""
        others = {d: theirs for d, theirs in self.items.items() if d not in self.retired}
        return {other for other, theirs in others.items() if not theirs.isdisjoint(items)} | {digest}

    def records_on(self, folds: set[str]) -> list[Mapping[str, Any]]:
        return [record for record in self.records if record["fold_digest"] in folds]


def _folds(context: Context, data: DataStage) -> Iterator[tuple[str, str, list[str]]]:
    """Name, digest and items of each sealed fold of a dataset version."""
    for number in range(context.recipe.data.split.sealed_folds):
        name = f"sealed_{number}"
        yield name, data.fold_digest(name), [row["id"] for row in data.table(name)]


def _remedy(rules: Rules) -> str:
    step = "Set gate.rules.when_spent to next_fold, add data" if rules.when_spent == "refuse" else "Add data"
    return f"{step}, or raise data.split.sealed and data.split.sealed_folds, to get items that were never seen"


def _closed(scored: Sequence[Mapping[str, Any]], uses: int, rules: Rules, pair: Pair) -> bool:
    """Whether a fold must not be used again although uses are left.

    It is closed once it said yes to another challenger, promoted or not: an epoch's bound requires that every earlier answer
    was no. (A challenger that beat a replaced champion was trained before that answer, and may be compared with the new one.)
    It is also closed if earlier rules spent so much of ``alpha_epoch`` that the next use would exceed it.

    Args:
        scored: records of the verdicts on its items.
        uses: number of uses; one that was killed before its verdict counts at the current level.
    """
    asked = (pair.challenger, pair.rules)
    if any(r["outcome"] == Outcome.PROMOTE and (r["challenger"], r["rules"]) != asked for r in scored):
        return True
    alpha = epoch_level(rules)
    spent = sum(record["alpha"] for record in scored) + alpha * (uses - len(scored))
    # The tolerance covers rounding only: 26 times alpha_epoch / 26 may exceed alpha_epoch in its last bit.
    return rules.error_mode == "fwer_epoch" and spent + alpha > rules.alpha_epoch * (1 + 1e-9)
