"""``ratchet reproduce``: rebuild a version from its number, and compare."""

import json
from typing import Annotated, Any, Literal

import typer

from ratchet.flows.cli.lineage import VersionArgument
from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption

Environment = Annotated[
    Literal["lock", "current"],
    typer.Option(help="lock: a clean environment from the commit's constraints.txt. current: the running one."),
]
Tolerance = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, help="Largest difference of dev accuracy and format rate on another class of machine."),
]


def reproduce(
    version: VersionArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    environment: Environment = "lock",
    tolerance: Tolerance = 0.05,
    json_output: JsonOption = False,
) -> None:
    """Train a version again from its commit, data, recipe and lock, and compare the weights.

    On the same class of machine, with the same libraries, the weights must hash the same; elsewhere the dev figures must be
    within the tolerance. Exit 1 if they are not, or if the version was made from uncommitted code, recipe or constraints.

    Example: ratchet reproduce 1 --environment lock
    """
    from ratchet.components.provenance.ancestry import recorded_lineage
    from ratchet.components.provenance.rebuild import Reproduction
    from ratchet.components.run.project import open_project
    from ratchet.flows.cli.views.console import say

    project = open_project(recipe, overrides, say)
    number = project.number(version)
    with (
        project.home.workspace("reproduce") as folder,
        project.locks.working(f"reproduce-{number}", "this version is being reproduced already; waiting"),
    ):
        record = recorded_lineage(project.tracker, project.name, number, folder / "record")
        computing = project.locks.machine()
        work = Reproduction(project.home, project.tracker, number, record, folder, environment, computing, say)
        found = {"model": project.name, "version": number, "environment": environment, **work.run(tolerance)}
    if json_output:
        print(json.dumps(found, indent=2))
    else:
        print_comparison(found)
    if found["match"] == "differs":
        raise typer.Exit(1)


def print_comparison(found: dict[str, Any]) -> None:
    """The comparison, for a person."""
    from rich.console import Console
    from rich.table import Table

    same = "the same class of machine and libraries" if found["same_class"] else "another class of machine, or other libraries"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("match", f"[{'red' if found['match'] == 'differs' else 'green'}]{found['match']}[/], on {same}")
    table.add_row("weights", f"recorded {found['weights']['recorded']}")
    table.add_row("", f"made     {found['weights']['made']}")
    for stage in found["stages"]:
        table.add_row(f"stage {stage['name']}", "equal" if stage["equal"] else f"differs: {', '.join(stage['files'][:5])}")
    if found["first_difference"]:
        table.add_row("first difference", f"stage {found['first_difference']['name']}")
    if not found["same_class"]:
        for name, value in found["metrics"].items():
            table.add_row(name, "not known" if value is None else f"{value:+.3f} (tolerance {found['tolerance']:g})")
    table.add_row("took", f"{found['seconds']} s")
    Console().print(table, highlight=False)
