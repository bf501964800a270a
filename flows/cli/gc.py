"""``ratchet gc``: delete what the recipe's retention policy lets go."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption

if TYPE_CHECKING:
    from ratchet.components.run.retention import Item

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted and how large it is, and delete nothing.")]


def gc(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    dry_run: DryRun = False,
    json_output: JsonOption = False,
) -> None:
    """Delete checkpoints, stage outputs, refused versions' weights and cached datasets that nothing needs any more.

    Whatever champions, live runs or verdicts on sealed folds need stays, whatever the recipe's retention section says. Each run
    does this at its end.

    Example: ratchet gc --dry-run --set retention.keep_days=7
    """
    from ratchet.components.run.project import open_project
    from ratchet.components.run.retention import policy_of
    from ratchet.flows.cli.views.console import say
    from ratchet.flows.retention import collect

    project = open_project(recipe, overrides, say)
    items, refused = collect(project, dry_run)
    total = sum(item.size for item in items)
    if json_output:
        found = [item.as_json() for item in items]
        print(json.dumps({"dry_run": dry_run, "bytes": total, "refused": refused, "items": found}, indent=2))
        return
    print_items(items)
    done = refused or f"{'would delete' if dry_run else 'deleted'} {len(items)} things, {total / 1e6:.1f} MB"
    print(f"{done} ({policy_of(project.recipe.retention)})")


def print_items(items: list["Item"]) -> None:
    """A line each, with the size and the day of its last use."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("kind", "name", "last used"):
        table.add_column(column, overflow="fold")
    table.add_column("MB", justify="right")
    for item in items:
        day = datetime.fromtimestamp(item.used, UTC).date().isoformat()
        table.add_row(item.kind, item.name, day, f"{item.size / 1e6:.1f}")
    if items:
        Console().print(table, highlight=False)
