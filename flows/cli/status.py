"""``ratchet status``: what runs, who is champion, how the last runs ended, what is left, and when the next begins."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, invocation
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit

if TYPE_CHECKING:
    from ratchet.components.inspection.overview import Overview
    from ratchet.components.recipe import Recipe
    from ratchet.components.storage.home import Home

WatchOption = Annotated[bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")]
SECONDS = 2


def status(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    watch: WatchOption = False,
    json_output: JsonOption = False,
) -> None:
    """What runs now, the champion, how the last runs ended, the next slot, the uses left of the sealed test, and disk space.

    Runs whose process was killed are marked first.

    Example: ratchet status --watch
    """
    from ratchet.components.storage.home import Home
    from ratchet.flows.cli.views.status import lines_of, living

    home = Home.here()
    if watch:
        with living() as show:
            while True:
                show(lines_of(look(home, recipe, overrides)))
                time.sleep(SECONDS)
    found = look(home, recipe, overrides)
    if json_output:
        emit(as_json(found.as_json()))
        return
    print("\n".join(lines_of(found)))


def look(home: "Home", path: Path, overrides: list[str] | None) -> "Overview":
    """The project now. Without a recipe that concerns it, nothing is said of the sealed test."""
    from ratchet.components.inspection.overview import overview
    from ratchet.components.ledger.engine import is_there
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.flows.coming import coming

    if is_there(home.ledger):  # looking makes none
        mark_killed_runs(home)
    ledger = Ledger.to_read(home.ledger)
    recipe = load_recipe_if_any(path, overrides)
    named = invocation.recipe_named or path != DEFAULT_RECIPE
    shown = recipe if named or (recipe and recipe.name in ledger.models()) else None
    return overview(home, ledger, shown, coming(home, recipe), [recipe.name] if recipe else [])


def mark_killed_runs(home: "Home") -> None:
    """Where they cannot be marked, as on a full disk, the page is shown in any case."""
    from ratchet.components.errors import RegistryError
    from ratchet.components.upkeep.killed import end_killed_runs

    try:
        end_killed_runs(home, lambda text: print(text, file=sys.stderr))
    except RegistryError as error:
        print(f"warning: killed runs could not be marked: {error}", file=sys.stderr)


def load_recipe_if_any(path: Path, overrides: list[str] | None) -> "Recipe | None":
    """The recipe; None if nobody named one and the project has none.

    Raises:
        RecipeError: if it is invalid.
    """
    from ratchet.components.recipe import load_recipe

    return load_recipe(path, overrides or ()) if invocation.recipe_named or path.is_file() else None
