"""Promotion: the ledger decides by compare-and-set, the MLflow alias follows, a crash in between is made good."""

from typing import Protocol

from components.errors import RegistryError
from components.registry.ledger import Ledger, Promotion

CHAMPION, CHALLENGER = "champion", "challenger"


class Aliases(Protocol):
    """The part of the registry that promotion needs."""

    def alias(self, name: str, alias: str) -> str | None: ...
    def set_alias(self, name: str, alias: str, version: str) -> None: ...


def reconcile(ledger: Ledger, aliases: Aliases, model: str) -> Promotion | None:
    """Make the champion alias what the ledger says, and return the champion.

    A promotion that crashed before its alias moved is finished. Anything else that differs was done by hand.

    Raises:
        RegistryError: if the alias was moved or deleted by hand, or the ledger was lost; nothing is promoted then.
    """
    champion, alias = ledger.champion(model), aliases.alias(model, CHAMPION)
    if champion is None:
        if alias is not None:
            raise RegistryError(
                f"alias champion of {model} is at version {alias}, but the ledger knows no promotion of it. "
                "Restore the ledger from its backup, or delete the alias."
            )
        return None
    if alias == champion.version:
        ledger.note_alias(model, champion.sequence)
        return champion
    if ledger.alias_sequence(model) >= champion.sequence or alias != champion.previous:
        raise RegistryError(
            f"alias champion of {model} is at version {alias}, but the ledger's champion is version {champion.version}. "
            f"Somebody moved it by hand: set it back to {champion.version}."
        )
    aliases.set_alias(model, CHAMPION, champion.version)
    ledger.note_alias(model, champion.sequence)
    return champion


def promote(
    ledger: Ledger,
    aliases: Aliases,
    model: str,
    *,
    expected: int,
    version: str,
    weights: str,
    verdict: str,
    run_id: str,
    fold: str,
) -> Promotion:
    """Make ``version`` the champion on the strength of a verdict; harmless to repeat.

    Raises:
        RegistryError: if the champion changed since the verdict.
    """
    promotion = ledger.promote(
        model,
        expected=expected,
        version=version,
        weights=weights,
        by="gate",
        verdict=verdict,
        run_id=run_id,
        retire_fold=fold,
    )
    aliases.set_alias(model, CHAMPION, version)
    ledger.note_alias(model, promotion.sequence)
    return promotion
