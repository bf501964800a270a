"""How a person overrides the gate: roll back, or promote a version without a verdict. Both are recorded as such."""

from typing import Protocol

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.ledger.promotion import CHAMPION, Registry, disagreement, follow, reconcile
from ratchet.components.records import Registered
from ratchet.components.text import redacted

OTHERS = "To make a registered version the champion: `ratchet promote N --override --reason TEXT`; `ratchet ui` lists them."


class Versions(Registry, Protocol):
    """The part of the registry needed to trust a version."""

    def registered(self, name: str, version: str) -> Registered: ...
    def check_artifact(self, name: str, version: str) -> None: ...


def override(ledger: Ledger, registry: Versions, model: str, version: str, reason: str, person: str) -> Promotion:
    """Make a registered version the champion without a verdict. This also corrects an alias moved by hand.

    Raises:
        RegistryError: if the version does not exist, its files differ from the registered ones, or MLflow refuses.
    """
    return _succeed(ledger, registry, model, version, "override", reason, person)


def rollback(ledger: Ledger, registry: Versions, model: str, version: str | None, reason: str | None, person: str) -> Promotion:
    """Make an earlier champion the champion again; by default the previous one.

    Raises:
        RegistryError: if there is none, its files differ from the registered ones, or promotions are blocked.
    """
    history = ledger.history(model)
    if not history:
        # A lost ledger is no project without a champion.
        blocked = disagreement(ledger, registry, model)
        raise RegistryError(blocked or f"{model} has no champion, so there is nothing to roll back. {OTHERS}")
    target = version or _champion_before(model, history)
    if target not in {row.version for row in history}:
        remedy = (
            f"`ratchet history` lists the champions; `ratchet promote {target} --override --reason TEXT` takes any version."
        )
        raise RegistryError(f"version {target} of {model} was never champion. {remedy}")
    return _succeed(ledger, registry, model, target, "rollback", reason, person)


def _champion_before(model: str, history: list[Promotion]) -> str:
    """The champion that the current one replaced when it was first promoted: rolling back twice goes two steps back."""
    standing: list[str] = []
    for row in history:
        if row.by == "rollback" and row.version in standing:
            del standing[standing.index(row.version) + 1 :]
        else:
            standing.append(row.version)
    if len(standing) < 2:
        raise RegistryError(f"version {standing[0]} is the first champion of {model}, and none was before it. {OTHERS}")
    return standing[-2]


def _succeed(
    ledger: Ledger, registry: Versions, model: str, version: str, by: str, reason: str | None, person: str
) -> Promotion:
    # Before the lease: fetching and hashing a large model may take longer than the lease lasts.
    found = registry.registered(model, version)
    registry.check_artifact(model, version)
    with promotion_lease(ledger, model) as token:
        alias = registry.alias(model, CHAMPION)
        champion = ledger.champion(model) if by == "override" else reconcile(ledger, registry, model)
        # Else this has just completed a promotion that was interrupted.
        if champion is not None and champion.version == version == alias and by == "rollback":
            raise RegistryError(f"version {version} of {model} is already the champion. There is nothing to do.")
        if champion is None or champion.version != version:
            registry.require_files(model, version)  # retention may have deleted them since the check
            registry.require_movable(model)
            sequence, previous = (champion.sequence, champion.version) if champion else (0, None)
            said = reason and redacted(reason)
            row = Promotion(sequence + 1, version, previous, found.policy, by, None, said, found.run_id, now(), person=person)
            ledger.promote(model, row, token=token)
        return follow(ledger, registry, model)
