"""Promotion: the ledger decides by compare-and-set, the MLflow alias follows, and ``reconcile`` completes what a crash left.

Every promotion takes the same steps, under the lease: a look whether retention deleted the version's files and whether MLflow
lets this user move the alias, the ledger's row (which decides), a recorded intent, the alias, a read-back, the intent closed.
Retention deletes files under the same lease.
The alias has no compare-and-set: the process that sets it reads the ledger again afterwards, and repeats until the two
agree, so that a process that was paused before its call does no lasting harm.
"""

from typing import Protocol

from ratchet.components.errors import PendingAliasError, RatchetError, RegistryError
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.records import Outcome, Verdict
from ratchet.components.text import redacted

CHAMPION, CHALLENGER = "champion", "challenger"


class Registry(Protocol):
    """The part of MLflow's registry that promotion needs."""

    def alias(self, name: str, alias: str) -> str | None: ...
    def set_alias(self, name: str, alias: str, version: str) -> None: ...
    def require_files(self, name: str, version: str) -> None: ...
    def require_movable(self, name: str) -> None: ...


def reconcile(ledger: Ledger, registry: Registry, model: str) -> Promotion | None:
    """Make the champion alias what the ledger says, and return the champion.

    A promotion whose alias was not set yet is completed. Any other difference was made by hand.

    Raises:
        RegistryError: if the alias was moved or deleted by hand, or the ledger was lost; nothing is promoted then.
        PendingAliasError: if MLflow does not let the alias follow.
    """
    champion, followed, alias = _seen(ledger, registry, model)
    if said := _by_hand(ledger, model, champion, followed, alias):
        raise RegistryError(said)
    if champion is None or (followed and alias == champion.version):
        return champion
    return follow(ledger, registry, model)


def disagreement(ledger: Ledger, registry: Registry, model: str) -> str | None:
    """What blocks the promotions of a model, with the remedy; None if nothing does. Nothing is changed."""
    return _by_hand(ledger, model, *_seen(ledger, registry, model))


def pending(ledger: Ledger, registry: Registry, model: str) -> str | None:
    """A promotion that MLflow's alias has yet to follow, with the remedy; None if there is none. Nothing is changed."""
    champion, followed, alias = _seen(ledger, registry, model)
    if champion is None or alias == champion.version or _by_hand(ledger, model, champion, followed, alias):
        return None
    return (
        f"version {champion.version} is champion in the ledger, and MLflow's alias is {_place(alias)}: the promotion was "
        "interrupted, or refused by MLflow, unless it is under way. `ratchet reconcile` moves the alias, as does the next run."
    )


def _by_hand(ledger: Ledger, model: str, champion: Promotion | None, followed: bool, alias: str | None) -> str | None:
    """A difference that no promotion left, which a person has to settle."""
    if champion is None:
        return None if alias is None else _lost(ledger, model, alias)
    if followed and alias == champion.version:
        return None
    # An override holds wherever the alias was; the others begin by having it follow the champion before.
    crashed = not followed and (champion.by == "override" or alias in (champion.previous, champion.version))
    if crashed or alias in ledger.open_moves(model):
        return None
    return (
        f"alias champion of {model} is {_place(alias)}, but the ledger's champion is version {champion.version}. "
        f"It was moved by hand, or the version was deleted: set it back to {champion.version}, "
        "or choose another version with `ratchet promote N --override`."
    )


def _place(alias: str | None) -> str:
    return f"at version {alias}" if alias is not None else "not set"


def _lost(ledger: Ledger, model: str, alias: str) -> str:
    backup = "Put the ledger back, with `ratchet restore` if you have a backup."
    if ledger.engine.dialect.name != "sqlite":  # a backup of ours never has it
        backup = (
            f"It is to be at {ledger.place}: correct RATCHET_LEDGER_URL if that is another database, else put back what "
            "pg_dump saved of it."
        )
    return (
        f"MLflow names version {alias} of {model} as champion, but the ledger has no promotion of it: it was deleted, or is "
        f"another one. {backup} Without one, `ratchet promote {alias} --override --reason TEXT` begins a new history with "
        "that version. Which sealed folds were used is lost then: judge on a dataset version with other sealed items."
    )


def _seen(ledger: Ledger, registry: Registry, model: str) -> tuple[Promotion | None, bool, str | None]:
    """The champion, whether the alias has been at it, and the alias: read in this order, and again if the champion changed."""
    while True:
        champion = ledger.champion(model)
        followed = champion is not None and ledger.followed(model, champion.sequence)
        alias = registry.alias(model, CHAMPION)
        if ledger.champion(model) == champion:
            return champion, followed, alias


def follow(ledger: Ledger, registry: Registry, model: str) -> Promotion:
    """Set the champion alias to the ledger's champion, and again if that changed meanwhile.

    Raises:
        PendingAliasError: from whatever MLflow's client raised.
    """
    while True:
        champion = ledger.champion(model)
        assert champion is not None
        # The intent before the alias: whoever dies between the two leaves it open, and nobody takes the move for one by hand.
        intent = ledger.begin_move(champion, model)
        try:
            registry.set_alias(model, CHAMPION, champion.version)
        except Exception as error:
            raise PendingAliasError(model, champion.version, _reason(error)) from error
        # Read again, because the alias has no compare-and-set: another promotion may have come first and set it before us.
        if ledger.champion(model) == champion:
            ledger.end_move(intent)
            return champion


def _reason(error: Exception) -> str:
    said = " ".join(redacted(str(error) or type(error).__name__).split())
    return said if isinstance(error, RatchetError) else f"{said[:300].rstrip('.')}. See that MLflow answers."


def promote(
    ledger: Ledger,
    registry: Registry,
    model: str,
    verdict: Verdict,
    *,
    expected: int,
    version: str,
    run_id: str,
    approved_by: str | None = None,
) -> Promotion:
    """Make ``version`` the champion on the strength of a verdict that says PROMOTE; idempotent.

    Args:
        expected: number of promotions when the challenger was judged.
        approved_by: who approved the verdict, if anybody did.

    Raises:
        StaleChampionError: if the champion changed since the verdict.
        RegistryError: if the registry and the ledger disagree, the version's files were deleted, MLflow does not let the
            alias be moved, or the lease was lost.
    """
    assert verdict.outcome is Outcome.PROMOTE and verdict.fold_digest is not None
    with promotion_lease(ledger, model) as token:
        before = reconcile(ledger, registry, model)
        if before is None or before.verdict != verdict.digest:
            registry.require_files(model, version)
            registry.require_movable(model)
            previous, policy, digest = before.version if before else None, verdict.challenger, verdict.digest
            row = Promotion(expected + 1, version, previous, policy, "gate", digest, None, run_id, now(), person=approved_by)
            ledger.promote(model, row, token=token, retire_fold=verdict.fold_digest)
        return follow(ledger, registry, model)
