"""Who decides by hand, and whether the recipes let them: a guard rail among people who share a ledger, not authentication."""

import getpass
import os
from collections.abc import Iterator
from pathlib import Path

from ratchet.components.errors import RecipeError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.project import Project
from ratchet.components.recipe import Decision, Recipe, roles_in
from ratchet.components.recipe.roles import person_name
from ratchet.components.text import redacted

WHAT = {"promote": "promote a version without the gate", "rollback": "roll back", "approve": "approve", "stop": "stop a run"}


def decider(project: Project, decision: Decision, name: str | None) -> str:
    """The person who decides about the model of a project, and may.

    Args:
        name: as given on the command line.

    Raises:
        RecipeError: as of :func:`person_of` and :func:`require_role`.
    """
    person = person_of(name)
    require_role(project.home.project, project.known, project.name, decision, person, project.recipe)
    return person


def person_of(name: str | None) -> str:
    """A person's name as given, else the login name of this machine's user.

    Raises:
        RecipeError: if it is not one line of printable characters, or is a credential.
    """
    try:
        found = person_name(_user() if name is None else name)
    except ValueError as error:
        raise RecipeError(f"--by: {error}.") from error
    if redacted(found) != found:
        raise RecipeError("--by: this is, or looks like, a credential, and others will read it. Give a person's name.")
    return found


def _user() -> str:
    """The user's name, or number where a container has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def require_role(
    project: Path, ledger: Ledger, model: str, decision: Decision, person: str, recipe: Recipe | None = None
) -> None:
    """Refuse a person whom a list of people does not name.

    Args:
        recipe: the one that was given, if the command takes one.

    Raises:
        RecipeError: saying who may, by which file.
    """
    for place, names in _lists(project, ledger, model, decision, recipe):
        if person not in names:
            named = ", ".join(names) or "nobody"
            remedy = (
                "Ask one of them; if one of these names is yours, pass --by NAME." if names else "Have that recipe name you."
            )
            raise RecipeError(
                f"{person} may not {WHAT[decision]} ({model}): roles.{decision} of {place} names {named}. {remedy}"
            )


def _lists(
    project: Path, ledger: Ledger, model: str, decision: Decision, recipe: Recipe | None
) -> Iterator[tuple[str, list[str]]]:
    """Where it says who may, and who: each must name the person.

    The project's own recipes of the model count whatever recipe is given, and the one that is given too. Where the project's
    say nothing, as in another folder that shares the ledger, that of the model's newest run counts.
    """
    own = {place: names for place, roles in roles_in(project, model).items() if (names := roles.may(decision)) is not None}
    yield from own.items()
    if not own and decision in (recorded := ledger.roles(model)):
        yield "the recipe of its newest run", recorded[decision]
    given = recipe.roles.may(decision) if recipe is not None else None
    if given is not None:
        yield "the given recipe", given
