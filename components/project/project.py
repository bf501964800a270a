"""An open project: its directories, a recipe, the ledger, MLflow, and the locks of this machine."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.components.errors import RecipeError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.locks import Locks, silent
from ratchet.components.provenance.ancestry import resolve
from ratchet.components.recipe import Recipe, load_recipe
from ratchet.components.storage.home import Home

if TYPE_CHECKING:
    from ratchet.components.registry.runs import Tracker


class Project:
    """The state of a project as seen with one recipe. Ledger and MLflow are opened at their first use, each once."""

    def __init__(self, home: Home, recipe: Recipe, say: Callable[[str], None] = silent) -> None:
        """
        Args:
            say: called with what is waited for.
        """
        self.home, self.recipe = home, recipe
        self.locks = Locks(home.locks, say)

    @property
    def name(self) -> str:
        """Of the model."""
        return self.recipe.name

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger, say=self.locks.say)

    @cached_property
    def known(self) -> Ledger:
        """The ledger, for verbs that only look: they do not create it."""
        return Ledger.to_read(self.home.ledger)

    @cached_property
    def tracker(self) -> "Tracker":
        return open_tracker(self.home, self.locks, self.name)

    def number(self, version: str) -> str:
        """The number of a version given by number or alias."""
        return resolve(self.tracker, self.name, version)


def open_tracker(home: Home, locks: Locks, model: str) -> "Tracker":
    """MLflow, with the experiment of a model."""
    from ratchet.components.registry.relocation import settle
    from ratchet.components.registry.runs import Tracker

    with locks.held("mlflow", "another process is opening MLflow; waiting"):  # its first use creates the database
        settle(home, locks.say)
        return Tracker(home.tracking_uri, model, home.artifacts)


def open_project(recipe: Path, overrides: Sequence[str] | None = None, say: Callable[[str], None] = silent) -> Project:
    """The project in the working directory, with a recipe file.

    Raises:
        RecipeError: if the recipe is invalid.
    """
    return Project(Home.here(), load_recipe(recipe, overrides or ()), say)


def require_only_model(project: Project) -> None:
    """
    Raises:
        RecipeError: if the ledger knows other models than the recipe's.
    """
    known = project.known.models()
    if set(known) - {project.name}:
        raise RecipeError(
            f"this project has runs of {', '.join(known)}, and no recipe was named. "
            "Say which is meant with --recipe FILE, or with --set name=NAME."
        )
