"""``ratchet recipe``."""

import json
import sys

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption

app = typer.Typer(help="Recipes: a run's whole configuration.", no_args_is_help=True)


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
    print(json.dumps(values, indent=2) if json_output else yaml.safe_dump(values, sort_keys=False), end="")


@app.command()
def check(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None) -> None:
    """Validate the recipe, look for what it names, and print its digest. Exit 2 if it is invalid or names what is not there.

    Functions are imported, in processes of their own; nothing is trained or downloaded.

    Example: ratchet recipe check --recipe recipes/quickstart.yaml
    """
    from ratchet.components.evaluation.benchmarks.tasks import require_libraries
    from ratchet.components.recipe import load_recipe
    from ratchet.components.run.references import require_references

    loaded = load_recipe(recipe, overrides or [])
    require_libraries(loaded.evaluation)
    for note in require_references(loaded):
        print(f"not checked: {note}", file=sys.stderr)
    print(f"{recipe}: valid, digest {loaded.digest}")
