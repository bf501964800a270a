"""``ratchet recipe``."""

import json
import sys

import typer

from ratchet.flows.cli.check import check
from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption
from ratchet.flows.cli.supervision import emit

app = typer.Typer(help="Recipes: a run's whole configuration.\n\nExample: ratchet recipe show", no_args_is_help=True)
app.command("check")(check)


@app.command()
def show(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Print the recipe with every default filled in.

    Example: ratchet recipe show --set train.k=16
    """
    import yaml

    from ratchet.components.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    values = loaded.model_dump(mode="json")
    if loaded.gold.grader is None:
        written = {"graders": {"right": loaded.gold_settings.model_dump(mode="json")}, "gold": {"grader": "right"}}
        print(f"gold follows from the reward; written out it is {json.dumps(written)}", file=sys.stderr)
    # As it is: a recipe with a credential was refused, and its prompts are not to be changed by who saves this.
    if json_output:
        emit(json.dumps(values, indent=2))
        return
    print(yaml.safe_dump(values, sort_keys=False), end="")
