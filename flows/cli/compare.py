"""``ratchet compare``: what algorithms cost beside one another."""

from typing import Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.train import MemoryOption, place_of

AlgorithmsOption = Annotated[
    str, typer.Option("--algorithms", help="Names, separated by commas; the others are compared with the first.")
]


def compare(
    algorithms: AlgorithmsOption = "grpo,ppo",
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    gpu_memory: MemoryOption = None,
    json_output: JsonOption = False,
) -> None:
    """Print what a step of each algorithm costs over model sizes, by estimate: memory and arithmetic. Nothing is trained.

    An algorithm with a critic appears twice: the critic with a trunk of its own, and on the policy's.

    Example: ratchet compare --algorithms grpo,ppo --recipe recipes/gsm8k_grpo.yaml --gpu-memory 80
    """
    from ratchet.components.recipe import load_recipe
    from ratchet.components.training.price import prices
    from ratchet.flows.cli.views.price import print_prices

    names = [name.strip() for name in algorithms.split(",")]
    place = place_of(load_recipe(recipe, overrides or []), gpu_memory)
    found = prices(recipe, overrides or [], names, place)
    if json_output:
        rows = [price.beside(sizes[0]) for sizes in found for price in sizes]
        print(as_json({"recipe": str(recipe), "device": place.kind, "rows": rows}))
    else:
        print_prices(found, place)
