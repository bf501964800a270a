"""Options shared by several verbs."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_RECIPE = Path("recipes/quickstart.yaml")

RecipeOption = Annotated[Path, typer.Option("--recipe", help="Recipe file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a value of the recipe: key.path=value. Repeatable.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout; everything else goes to stderr.")]
SlotOption = Annotated[
    str | None, typer.Option("--slot", help="Logical date, for recipes with seed: slot. Default: the time of the run.")
]
