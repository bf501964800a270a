"""How champions look to a person."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratchet.components.text import visible

if TYPE_CHECKING:
    from ratchet.components.ledger.ledger import Promotion


def print_champion(model: str, promotion: "Promotion") -> None:
    """Who is champion from now on."""
    print(
        f"version {promotion.version} of {model} is champion (before: {promotion.previous or 'none'}), by {promotion.decided}"
    )


def print_history(model: str, promotions: Sequence["Promotion"]) -> None:
    """A line per promotion, oldest first."""
    if not promotions:
        print(f"{model} has no champion yet. Run `ratchet run`.")
    for row in promotions:
        why = row.reason or (f"verdict {row.verdict[:12]}" if row.verdict else "no reason given")
        before = row.previous or "none"
        print(f"{row.at}  version {row.version} (before: {before})  by {row.decided}: {visible(why)}  run {row.run_id}")
