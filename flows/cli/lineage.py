"""``ratchet lineage`` and ``ratchet verify``: where a version came from, and whether all of it is as recorded."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption

if TYPE_CHECKING:
    from rich.tree import Tree

    from ratchet.components.provenance.ancestry import Link
    from ratchet.components.provenance.lineage import Lineage

WIDTH = 120  # a whole sha256 fits, three versions deep
VersionArgument = Annotated[str, typer.Argument(help="Number of a version, or champion or challenger.", metavar="VERSION")]


def lineage(
    version: VersionArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """What a version was made from, and what that was made from, back to the first policy and its data.

    Example: ratchet lineage 3
    """
    from rich.console import Console

    from ratchet.components.provenance.ancestry import chain
    from ratchet.components.run.project import open_project
    from ratchet.flows.cli.views.console import say

    project = open_project(recipe, overrides, say)
    with project.home.workspace("lineage") as scratch:
        links = chain(project.tracker, project.name, project.number(version), scratch)
    if json_output:
        print(json.dumps({"model": project.name, "chain": [link.as_json() for link in links]}, indent=2))
        return
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(tree_of(project.name, links), highlight=False)


def verify(
    version: VersionArgument,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Hash everything that a version records and that can still be reached. Exit 1 if anything differs.

    Example: ratchet verify champion
    """
    from ratchet.components.provenance.verification import differs
    from ratchet.components.provenance.verify import Verification
    from ratchet.components.run.project import open_project
    from ratchet.flows.cli.views.console import say

    project = open_project(recipe, overrides, say)
    number = project.number(version)
    busy = project.locks.working(f"verify-{number}", "this version is being verified already; waiting")
    with project.home.workspace("verify") as scratch, busy:
        found = project.tracker.version(project.name, number)
        checks = Verification(project.home, project.tracker, project.ledger, project.name, found, scratch).checks()
    rows = [check.as_json() for check in checks]
    if json_output:
        print(json.dumps({"model": project.name, "version": number, "ok": not differs(checks), "checks": rows}, indent=2))
    else:
        _print_checks(rows)
    if differs(checks):
        raise typer.Exit(1)


def _print_checks(rows: list[dict[str, str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "differs": "bold red", "not reachable": "yellow"}
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("item", "state", "detail"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row["item"], f"[{colours[row['state']]}]{row['state']}[/]", escape(row["detail"]))
    Console().print(table, highlight=False)


def tree_of(model: str, links: list["Link"]) -> "Tree":
    """The chain as a tree: each version's parts, and below its starting policy the version that this was."""
    from rich.markup import escape
    from rich.tree import Tree

    root: Tree | None = None
    place: Tree | None = None
    for link in links:
        verdict = link.tags.get("verdict", "unknown")
        title = f"[bold]{escape(model)} version {link.version}[/]  {escape(verdict)}"
        branch = Tree(title) if place is None else place.add(title)
        root = root or branch
        if link.lineage is None:
            branch.add(escape(link.problem or "no record"))
            break
        for name, text in parts(link.lineage):
            branch.add(f"{name:<9} {escape(text)}")
        place = branch.add("[dim]started from[/]")
        if link.lineage.policy.version is None:
            place.add(escape(beginning(link.lineage)))
    assert root is not None
    return root


def parts(record: "Lineage") -> list[tuple[str, str]]:
    """What a version was made from, a line each."""
    code, machine = record.code, record.machine
    state = "as committed" if code.diff_sha256 is None else f"with {len(code.changed)} uncommitted files"
    place = f"{machine.gpu or machine.processor}, {machine.architecture}, {machine.kernels}, {machine.threads} threads"
    shown = ("python", "torch", "transformers")
    libraries = ", ".join(f"{name} {record.libraries[name]}" for name in shown if name in record.libraries)
    lock = f"{record.lock_sha256[:12]}" if record.lock_sha256 else "none"
    if record.off_lock:
        lock += f", not followed by {', '.join(record.off_lock)}"
    return [
        ("weights", record.weights_sha256),
        ("code", f"{code.commit[:12]} {state}" if code.commit != "unknown" else "unknown"),
        ("recipe", f"{record.recipe_digest[:12]}, seed {record.seed}"),
        ("dataset", record.dataset.md5),
        ("lock", lock),
        ("machine", place),
        ("libraries", libraries),
        ("reward", f"{record.reward.kind} {record.reward.stage_sha256[:12]}"),
        ("stages", ", ".join(f"{stage.name} {stage.key[:8]}" for stage in record.stages)),
    ]


def beginning(record: "Lineage") -> str:
    """The first policy of a chain."""
    policy = record.policy
    what = f"existing model {policy.source}" if policy.kind == "model" else "policy warmed up on the dataset"
    return f"{what}, weights {policy.weights_sha256[:12]}"
