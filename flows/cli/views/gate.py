"""How ``ratchet gate power`` and ``ratchet gate replay`` look to a person."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ratchet.components.gate.replay import Replayed


def print_power(found: Mapping[str, Any]) -> None:
    """Power and items by true gain, on stdout. ``found`` is the shape of ``gate power --json``."""
    groups = "" if found["groups"] is None else f" in {found['groups']} groups"
    print(f"{found['method']}, level {found['alpha']:.4g}, {found['items']} sealed items{groups}; spread: {found['source']}")
    print(f"{'true gain':>10} {'power':>7} {'items for power 0.8':>20}")
    for row in found["table"]:
        marker = "  <- asked" if row["effect"] == found["effect"] else ""
        print(f"{row['effect']:>10.3g} {row['power']:>7.3f} {row['needed'] or 'none would do':>20}{marker}")


def print_replayed(model: str, rows: Sequence["Replayed"]) -> None:
    """What was decided and what would be, on stdout, oldest first."""
    if not rows:
        print(f"{model} has no verdict yet. Run `ratchet run`.")
    for row in rows:
        print(f"{row.at}  run {row.run_id}  was {row.was}, would be {row.would or 'unknown'}")
        for reason in row.reasons:
            print(f"    {reason}")
