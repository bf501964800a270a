"""Options shared by several verbs, the project that a command is in, and the recipe that nobody named."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ratchet.components.project.project import Project

DEFAULT_RECIPE = Path("recipes/quickstart.yaml")  # of a project without a recipe of its own


@dataclass
class Invocation:
    """How this process was called."""

    folder: Path | None = None  # where it was started, once it has entered the project
    recipe_named: bool = True


invocation = Invocation()


def enter_project() -> None:
    """Continue in the project's root: its recipe's paths are relative to it.

    Raises:
        StoreError: if the working directory was deleted.
    """
    from ratchet.components.errors import StoreError
    from ratchet.components.storage.home import project_root

    try:
        invocation.folder = Path.cwd()
    except FileNotFoundError as error:
        raise StoreError("the working directory was deleted. Change to another one.") from error
    os.chdir(project_root(invocation.folder))


def as_given(path: Path | None) -> Path | None:
    """A path of the command line, which is relative to where the command was started."""
    folder = invocation.folder
    return path if path is None or folder is None or folder == Path.cwd() else folder / path


def chosen_recipe(context: typer.Context, path: Path) -> Path | None:
    """The recipe that was named, else the project's own, else the quickstart's."""
    from ratchet.components.storage.home import RECIPE

    source = context.get_parameter_source("recipe")
    invocation.recipe_named = source is not None and source.name != "DEFAULT"
    if invocation.recipe_named:
        return as_given(path)
    return Path(RECIPE) if Path(RECIPE).is_file() else path


RecipeOption = Annotated[
    Path,
    typer.Option(
        "--recipe",
        help="Recipe file.",
        callback=chosen_recipe,
        show_default="ratchet.yaml of this folder or the nearest above it, else recipes/quickstart.yaml",
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a value of the recipe: key.path=value. Repeatable.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout; everything else goes to stderr.")]
ByOption = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who decides, for the record; by default the user of this machine.")
]
SlotOption = Annotated[
    str | None, typer.Option("--slot", help="Logical date, for recipes with seed: slot. Default: the time of the run.")
]


def open_named(recipe: Path, overrides: Sequence[str] | None, say: Callable[[str], None] | None = None) -> "Project":
    """The project, for a verb about versions. If nobody named the model, it does not take the quickstart for another.

    Raises:
        RecipeError: if the recipe is invalid, or the project has other models than that of the recipe that nobody named.
    """
    from ratchet.components.project.locks import silent
    from ratchet.components.project.project import open_project, require_only_model

    project = open_project(recipe, overrides, say or silent)
    named = invocation.recipe_named or any(one.startswith("name=") for one in overrides or ())
    if not named and recipe == DEFAULT_RECIPE:
        require_only_model(project)
    return project
