"""``ratchet compare``: two recipes, algorithms or versions side by side; or what algorithms cost over model sizes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, as_given, invocation, open_named
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import conclude, continue_in_child, emit
from ratchet.flows.cli.train import MemoryOption, place_of

if TYPE_CHECKING:
    from ratchet.components.compare.compare import Comparison
    from ratchet.components.storage.home import Home

SEEDS, MOST_SEEDS = 3, 100
SidesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[A B]",
        help="Each an algorithm (ppo), a recipe file, or a registered version; @key.path=value after one overrides it alone.",
    ),
]
AlgorithmsOption = Annotated[
    str | None,
    typer.Option(
        "--algorithms", help="Estimate instead, for these names, separated by commas: the cost of a step over model sizes."
    ),
]
SeedsOption = Annotated[
    int | None,
    typer.Option("--seeds", min=1, max=MOST_SEEDS, help="Trainings per side, with the same seeds.", show_default="3"),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget", help="samples=N or steps=N for each training. Default: the completions of the side that needs fewer."
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", help="Write the report (.html) here too, and its picture beside it (.svg).", callback=as_given),
]


def compare(
    sides: SidesArgument = None,
    algorithms: AlgorithmsOption = None,
    seeds: SeedsOption = None,
    budget: BudgetOption = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    output: OutputOption = None,
    gpu_memory: MemoryOption = None,
    json_output: JsonOption = False,
) -> None:
    """Compare two algorithms, recipes or registered versions on dev: accuracy, reward, KL, stability, seconds and memory.

    Both sides train with the same seeds and one budget, from the same data, and the same command resumes an interrupted
    comparison. Registered versions are not trained again, but answer the same items. Nothing is registered or promoted, and no
    sealed item is read. With --algorithms, or without A and B, nothing is trained: the cost of a step is estimated.

    Example: ratchet compare grpo ppo --seeds 3
    """
    if algorithms is not None or not sides:
        if sides:
            raise typer.BadParameter("give either A and B, or --algorithms")
        require_absent("an estimate, which trains nothing", seeds=seeds, budget=budget, output=output)
        print_estimate(algorithms or "grpo,ppo", recipe, overrides or [], gpu_memory, json_output)
        return
    if len(sides) != 2:
        raise typer.BadParameter("give two: ratchet compare A B")
    from ratchet.components.compare.sides import are_versions

    if are_versions((sides[0], sides[1])):
        require_absent("registered versions, which are not trained again", seeds=seeds, budget=budget)
    continue_in_child()
    from ratchet.components.code.extras import require_train

    require_train()
    from ratchet.components.compare.draw import write_report
    from ratchet.components.storage.home import Home
    from ratchet.flows.cli.views.comparison import print_comparison

    home = Home.here()
    found = measured((sides[0], sides[1]), home, recipe, overrides or [], seeds or SEEDS, budget)
    report = write_report(found, home, output)
    if json_output:
        emit(as_json({**found.as_json(), "report": str(report)}))
    else:
        print_comparison(found, str(report))
    conclude()


def require_absent(of: str, **options: object) -> None:
    """Refuse options that would have no effect."""
    if given := [f"--{name}" for name, value in options.items() if value is not None]:
        raise typer.BadParameter(f"{' and '.join(given)} would do nothing for {of}; leave out")


def measured(
    sides: tuple[str, str], home: "Home", recipe: Path, overrides: list[str], seeds: int, budget: str | None
) -> "Comparison":
    """Train what has to be trained, with progress on stderr."""
    from ratchet.components.compare.compare import compare_sides
    from ratchet.components.compare.sides import are_versions, side_of
    from ratchet.flows.cli.views.console import Display, say

    display = Display()
    with display.live():
        if are_versions(sides):
            from ratchet.components.compare.versions import compare_versions

            return compare_versions(open_named(recipe, overrides, say), sides, display)
        here = invocation.folder or Path.cwd()
        first, second = (side_of(text, recipe, overrides, here) for text in sides)
        return compare_sides((first, second), seeds, budget, home, display, say)


def print_estimate(algorithms: str, recipe: Path, overrides: list[str], gpu_memory: float | None, json_output: bool) -> None:
    """What a step of each algorithm costs over model sizes: memory and arithmetic. Nothing is trained.

    An algorithm with a critic appears twice: the critic with a trunk of its own, and on the policy's.
    """
    from ratchet.components.recipe import load_recipe
    from ratchet.components.training.price import prices
    from ratchet.flows.cli.views.price import print_prices

    names = [name.strip() for name in algorithms.split(",")]
    place = place_of(load_recipe(recipe, overrides), gpu_memory)
    found = prices(recipe, overrides, names, place)
    if json_output:
        rows = [price.beside(sizes[0]) for sizes in found for price in sizes]
        emit(as_json({"recipe": str(recipe), "device": place.kind, "rows": rows}))
    else:
        print_prices(found, place)
