"""``ratchet lineage``, ``verify`` and ``reproduce``: what a version was made from, and whether it still matches."""

from typing import Annotated, Literal

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, open_named
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit

VersionArgument = Annotated[str, typer.Argument(help="Number of a version, or champion or challenger.", metavar="VERSION")]
Environment = Annotated[
    Literal["lock", "current"],
    typer.Option(help="lock: a clean environment from the commit's constraints.txt. current: the running one."),
]
Tolerance = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, help="Largest allowed difference in dev accuracy and format rate on another class of machine."
    ),
]


def lineage(
    version: VersionArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """What a version and its ancestors were made from, back to the first policy and its data.

    Example: ratchet lineage 3
    """
    from ratchet.components.provenance.ancestry import ancestry
    from ratchet.flows.cli.views.console import say
    from ratchet.flows.cli.views.provenance import print_ancestry

    project = open_named(recipe, overrides, say)
    with project.home.workspace("lineage") as scratch:
        versions = ancestry(project.tracker, project.name, project.number(version), scratch)
    if json_output:
        emit(as_json({"model": project.name, "chain": [version.as_json() for version in versions]}))
        return
    print_ancestry(project.name, versions)


def verify(
    version: VersionArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check every recorded hash of a version that is still reachable. Exit 1 if any differs.

    Example: ratchet verify champion
    """
    from ratchet.components.provenance.verify import Verification, differs
    from ratchet.flows.cli.views.console import say
    from ratchet.flows.cli.views.provenance import print_checks

    project = open_named(recipe, overrides, say)
    number = project.number(version)
    busy = project.locks.working(f"verify-{number}", "another command is verifying this version; waiting")
    with project.home.workspace("verify") as scratch, busy:
        found = project.tracker.version(project.name, number)
        checks = Verification(project.home, project.tracker, project.ledger, project.name, found, scratch).checks()
    rows = [check.as_json() for check in checks]
    if json_output:
        emit(as_json({"model": project.name, "version": number, "ok": not differs(checks), "checks": rows}))
    else:
        print_checks(rows)
    if differs(checks):
        raise typer.Exit(1)


def reproduce(
    version: VersionArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    environment: Environment = "lock",
    tolerance: Tolerance = 0.05,
    json_output: JsonOption = False,
) -> None:
    """Train a version again from its commit, data, recipe and lock, and compare the weights.

    On the same class of machine, with the same libraries, the weights must have equal hashes; elsewhere the dev figures must be
    within the tolerance. Exit 1 if they are not, or if the version was made from uncommitted code, recipe or constraints.

    Example: ratchet reproduce 1 --environment lock
    """
    from ratchet.components.provenance.ancestry import recorded_lineage
    from ratchet.components.provenance.rebuild import Rebuild
    from ratchet.flows.cli.views.console import say
    from ratchet.flows.cli.views.provenance import print_comparison

    project = open_named(recipe, overrides, say)
    number = project.number(version)
    with (
        project.home.workspace("reproduce") as folder,
        project.locks.working(f"reproduce-{number}", "another command is reproducing this version; waiting"),
    ):
        record = recorded_lineage(project.tracker, project.name, number, folder / "record")
        computing = project.locks.computing()
        work = Rebuild(project.home, project.tracker, number, record, folder, environment, computing, say)
        found = {"model": project.name, "version": number, "environment": environment, **work.run(tolerance)}
    if json_output:
        emit(as_json(found))
    else:
        print_comparison(found)
    if found["match"] == "differs":
        raise typer.Exit(1)
