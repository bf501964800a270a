"""The registry as the command line opens it: the model that a recipe names, its versions, its ledger."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.components.files import scratch_directory
from ratchet.components.home import Home
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.provenance.ancestry import resolve
from ratchet.components.recipe import Recipe, load_recipe
from ratchet.flows.recording import lease
from ratchet.flows.settings import apply

if TYPE_CHECKING:
    from ratchet.components.registry.runs import Tracker


@dataclass(frozen=True)
class Registry:
    """A model's versions and its ledger."""

    home: Home
    recipe: Recipe
    tracker: "Tracker"
    ledger: Ledger

    @property
    def name(self) -> str:
        return self.recipe.name

    def number(self, version: str) -> str:
        """The number of a version given by number or alias."""
        return resolve(self.tracker, self.name, version)


def registry_of(recipe: Path, overrides: Sequence[str] = ()) -> Registry:
    """The registry of the model that a recipe names.

    Raises:
        RegistryError: if MLflow or the ledger cannot be opened.
    """
    home = Home.here()
    apply(home)
    from ratchet.components.registry.runs import Tracker

    loaded = load_recipe(recipe, overrides)
    with lease(home, "mlflow", "a run is opening MLflow; waiting"):
        tracker = Tracker(home.tracking_uri, loaded.name, home.artifacts)
    return Registry(home, loaded, tracker, Ledger(home.ledger))


@contextmanager
def workspace(home: Home, purpose: str) -> Iterator[Path]:
    """A directory below the project's state for the length of a block."""
    folder = scratch_directory(home.workspaces, purpose)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
