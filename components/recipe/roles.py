"""The section ``roles``: who may decide by hand. It is a guard rail among people who share a ledger, not authentication."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from ratchet.components.recipe.base import Section

Decision = Literal["promote", "rollback", "approve", "stop"]
LONGEST = 64


def person_name(text: str) -> str:
    """The name of a person, as it stands in the ledger, in events and on consoles.

    Raises:
        ValueError: if it is empty, too long, or more than one line of printable characters.
    """
    if not 0 < len(text) <= LONGEST or not text.isprintable() or text != text.strip():
        raise ValueError(
            f"a person's name is 1 to {LONGEST} printable characters on one line, without spaces around them; correct it"
        )
    return text


Person = Annotated[str, AfterValidator(person_name)]


class Roles(Section):
    """Who may, by the names that ``--by`` gives; null is everybody, an empty list nobody. The gate itself needs no role."""

    promote: list[Person] | None = None  # `ratchet promote --override`
    rollback: list[Person] | None = None  # `ratchet rollback`
    approve: list[Person] | None = None  # `ratchet approve`
    stop: list[Person] | None = None  # `ratchet stop`

    def may(self, decision: Decision) -> list[str] | None:
        """The names of those who may; None if everybody may."""
        names: list[str] | None = getattr(self, decision)
        return names
