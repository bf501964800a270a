"""The life of a sealed fold: chosen, counted, closed, retired. Its items serve one epoch, and are never used after publication.

A dataset that grows gives its folds new digests, but mostly the same items: uses are therefore counted by items. Items whose
question was published, or trained on, are left out.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil
from typing import NamedTuple

from ratchet.components.data.questions import UnlikeError
from ratchet.components.gate.items import Items, Trained, of_judged, published, sealed_items, share
from ratchet.components.gate.levels import is_spent, level, past_tests, uses_allowed
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.past_uses import Past, Spend
from ratchet.components.recipe import Rules
from ratchet.components.records import Outcome, Verdict
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context

# Why a fold was retired, as the ledger keeps it. A promotion retires its fold in its own transaction (Ledger.promote).
SPENT, PROMOTED, PUBLISHED = "spent", "promoted", "its items are published"
CLOSED = "closed"  # not retired yet: it said yes once, or its level is spent
UNLIKE = (
    "published items were asked by other fields of the rows than task reads now, so that it is not known which items are the "
    "same. Let task read one of those fields too, or give the rows the field under its earlier name"
)


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
    use: int  # number of the coming use in the epoch of its items
    alpha: float  # level of that use
    known: Items = field(repr=False, compare=False)  # the items, by their questions


@dataclass(frozen=True)
class Choice:
    """A fold, or why there is none; and spent folds that are not retired yet."""

    fold: Fold | None
    reason: str = ""
    spent: Sequence[str] = field(default_factory=list)


def choose_fold(context: Context, ledger: Ledger, data: DataStage, pair: Pair, trained: Trained) -> Choice:
    """The first fold that is neither retired nor spent; writes nothing.

    A pair whose run was killed after it was judged on a fold by the same rules, before the verdict took effect, stays on it.
    """
    rules, past, spent, short = context.recipe.gate.rules, ledger.past(context.recipe.name), list[str](), list[int]()
    if trained.unknown is not None:
        return Choice(None, trained.unknown)
    for name, digest, items in _folds(context, data):
        if (own := _continued(past, digest, pair, rules)) is not None:
            known = items.only(set(past.items.get(digest, items.ids)) - trained.items)
            return Choice(Fold(name, digest, known.ids, *own, known), spent=spent)
        try:
            fresh = _fresh(items, past, trained)
        except UnlikeError:
            return Choice(None, UNLIKE, spent)
        retired = digest in past.retired
        following = None if retired else _following(past, digest, items, fresh, pair, rules)
        full = not retired and following is None
        if full:
            spent.append(digest)
        if (full or past.retired.get(digest) == SPENT) and rules.when_spent == "refuse":
            said = f"{name} is spent, and gate.rules.when_spent is refuse"
            return Choice(None, f"{said}. Set gate.rules.when_spent to next_fold, or add rows that ask something new", spent)
        if following is not None and 2 * len(fresh) >= len(items.ids):
            known = items.only(fresh)
            return Choice(Fold(name, digest, known.ids, *following, known), spent=spent)
        short.append(len(items.ids) - (2 * len(fresh) if following is not None else 0))
    return Choice(None, _none_left(context, trained, min(short)), spent)


def _fresh(items: Items, past: Past, trained: Trained) -> set[str]:
    """Ids of the items of which neither a result was published nor the question trained on.

    Raises:
        UnlikeError: if that cannot be told.
    """
    return set(items.ids) - published(items, past.published) - trained.items


def fold_left(context: Context, ledger: Ledger, data: DataStage, trained: Trained) -> Choice:
    """The fold that a challenger which was never judged would be judged on, or why there is none; writes nothing."""
    return choose_fold(context, ledger, data, Pair("", "", ""), trained)


def groups_of(context: Context, data: DataStage, fold: Fold) -> int | None:
    """How many groups the items of a fold are of, None without ``data.group``; a row without a group is one of its own."""
    if context.recipe.data.group is None:
        return None
    judged = set(fold.items)
    return len({row.get("group") or f"item {row['id']}" for row in data.table(fold.name) if row["id"] in judged})


@dataclass(frozen=True)
class FoldState:
    """How much of a sealed fold is left."""

    name: str
    items: int
    used: int
    left: int  # 0 once it is retired
    retired: str | None  # why


def states_of_folds(context: Context, ledger: Ledger, data: DataStage, trained: Trained) -> list[FoldState]:
    """Every sealed fold of a dataset version, in their order; a promotion retires the fold that it used. Writes nothing."""
    model, rules = context.recipe.name, context.recipe.gate.rules
    allowed, past, states = uses_allowed(rules), ledger.past(model), list[FoldState]()
    for name, digest, items in _folds(context, data):
        try:
            fresh = _fresh(items, past, trained)
        except UnlikeError:
            fresh = set()
        used = len(past.uses_on(_sharing(past, digest, items, fresh)))
        why = past.retired.get(digest) or (PUBLISHED if 2 * len(fresh) < len(items.ids) else None)
        if why is None and _following(past, digest, items, fresh, Pair("", "", ""), rules) is None:
            why = CLOSED
        states.append(FoldState(name, len(fresh), used, 0 if why else max(0, allowed - used), why))
    refused = rules.when_spent == "refuse" and any(state.retired in (SPENT, CLOSED) or not state.left for state in states)
    return [replace(state, left=0) for state in states] if refused else states


def count_use(ledger: Ledger, model: str, fold: Fold, pair: Pair, rules: Rules) -> Fold | None:
    """Count a use of a fold, with the number and the level that it has now.

    The level is spent here, not with the verdict: scoring a fold is looking at it, and a process killed after scoring
    leaves no verdict. If uses were counted later, it could look repeatedly at the price of one use.

    Returns:
        None if, since the fold was chosen, others spent it, it said PROMOTE to another challenger, or its items were published.
    """

    def admit(past: Past) -> Spend | None:
        if past.own(fold.digest, *pair) is not None:
            return _continued(past, fold.digest, pair, rules)
        try:
            if fold.digest in past.retired or published(fold.known, past.published):
                return None
        except UnlikeError:
            return None
        return _following(past, fold.digest, fold.known, set(fold.items), pair, rules)

    items = {item.id: item.asked for item in fold.known.items}
    spend = ledger.count_use(model, fold.digest, *pair, items, admit)
    return None if spend is None else replace(fold, use=spend.number, alpha=spend.alpha)


def retire_spent(context: Context, ledger: Ledger, data: DataStage, pair: Pair, trained: Trained) -> None:
    """Retire the folds that were found spent. Their items count as published from then on: choose again afterwards."""
    for digest in choose_fold(context, ledger, data, pair, trained).spent:
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
    past = ledger.past(model)
    for digest, judged in past.unretired.items():
        with suppress(UnlikeError):
            if 2 * len(published(of_judged(judged), past.published)) > len(judged):
                ledger.retire(model, digest, PUBLISHED)


def _continued(past: Past, digest: str, pair: Pair, rules: Rules) -> Spend | None:
    """What the use took that was counted for a pair, if its verdict may still be reached."""
    own = past.own(digest, *pair)
    if own is None or own.number > uses_allowed(rules) or past.retired.get(digest) == PROMOTED:
        return None
    return Spend(own.number, level(rules, past_tests(past, digest)) if own.alpha is None else own.alpha)


def _following(past: Past, digest: str, items: Items, fresh: set[str], pair: Pair, rules: Rules) -> Spend | None:
    """What the next use of an unretired fold takes; None if it is closed, or its epoch is spent.

    A fold is closed once it said yes to another challenger, promoted or not: an epoch's bound requires that every earlier
    answer was no. (A challenger that beat a replaced champion was trained before that answer, and may be compared with the
    new one.)
    """
    sharing = _sharing(past, digest, items, fresh)
    asked = (pair.challenger, pair.rules)
    yes = [record for record in past.records_on(sharing) if record["outcome"] == Outcome.PROMOTE]
    uses = past.uses_on(sharing)
    if any((record["challenger"], record["rules"]) != asked for record in yes) or is_spent(uses, rules):
        return None
    return Spend(len(uses) + 1, level(rules, past_tests(past, digest)))


def _sharing(past: Past, digest: str, items: Items, fresh: set[str]) -> set[str]:
    """The fold itself and the unretired folds of other versions that share a fresh item with it."""
    others = (other for other, judged in past.unretired.items() if other != digest and share(items, judged, fresh))
    return {digest, *others}


def _folds(context: Context, data: DataStage) -> Iterator[tuple[str, str, Items]]:
    """Name, digest and items of each sealed fold of a dataset version."""
    for name, items in sealed_items(data, context.recipe.data.split.sealed_folds).items():
        yield name, data.fold_digest(name), items


def _none_left(context: Context, trained: Trained, short: int) -> str:
    """Why no fold is left, and what gives one.

    Args:
        short: new items that the fold with the most fresh ones lacks.
    """
    split = context.recipe.data.split
    rows = ceil(max(short, 1) * split.sealed_folds / split.sealed)
    said = "no sealed fold is left: all are retired, or most of their items are known. "
    said += f"{trained.said}. " if trained.said else ""
    add = f"Add rows that ask something new: about {rows:,} give one fold enough"
    if trained.first:
        return f"{said}{add}. Or raise data.split.sealed and data.split.sealed_folds"
    return f"{said}{add}. Another data.split gives none: what would become sealed was trained on"
