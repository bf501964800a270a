"""``ratchet gc``: delete what the recipe's retention section no longer keeps."""

from typing import Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, open_named
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit

DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would be deleted, with sizes, and delete nothing.")]


def gc(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    dry_run: DryRun = False,
    json_output: JsonOption = False,
) -> None:
    """Delete checkpoints, stage outputs, refused versions' weights, cached datasets and old comparisons that are not needed.

    What champions, live runs or verdicts on sealed folds need is kept, whatever the recipe's retention section says, and
    what runs of another recipe alone used. Each run does this at its end.

    Example: ratchet gc --dry-run --set retention.keep_days=7
    """
    from ratchet.components.project.retention import policy_of
    from ratchet.components.upkeep.cleanup import clean_up
    from ratchet.flows.cli.views.console import say
    from ratchet.flows.cli.views.deletions import print_items

    project = open_named(recipe, overrides, say)  # whose retention section decides what is deleted
    items, refused = clean_up(project, dry_run)
    total = sum(item.size for item in items)
    if json_output:
        found = [item.as_json() for item in items]
        emit(as_json({"dry_run": dry_run, "bytes": total, "refused": refused, "items": found}))
        return
    print_items(items)
    done = refused or f"{'would delete' if dry_run else 'deleted'} {len(items)} items, {total / 1e6:.1f} MB"
    print(f"{done} ({policy_of(project.recipe.retention)})")
