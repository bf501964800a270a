"""``ratchet history`` and ``ratchet status``: what the ledger knows."""

import json

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption


def history(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Which version was champion, since when, and on whose word; oldest first.

    Example: ratchet history --json
    """
    from ratchet.components.run.project import open_project
    from ratchet.components.text import visible

    project = open_project(recipe, overrides)
    promotions = project.ledger.history(project.name)
    if json_output:
        print(json.dumps([promotion.as_json() for promotion in promotions], indent=2))
        return
    if not promotions:
        print(f"{project.name} has no champion yet. Run `ratchet run`.")
    for row in promotions:
        why = row.reason or (f"verdict {row.verdict[:12]}" if row.verdict else "no reason given")
        print(
            f"{row.at}  version {row.version} (before: {row.previous or 'none'})  by {row.by}: {visible(why)}  run {row.run_id}"
        )


def status(json_output: JsonOption = False) -> None:
    """The newest runs and how they ended.

    Example: ratchet status
    """
    from ratchet.components.home import Home
    from ratchet.components.ledger.ledger import Ledger

    runs = Ledger(Home.here().ledger).latest_runs()
    columns = ("model", "run_id", "status", "started", "finished")
    rows = [{name: run[name] for name in columns} for run in runs]
    if json_output:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print("No runs yet. Start one with `ratchet run`.")
    for row in rows:
        print(f"{row['started']}  {row['status']:<15} {row['model']}  run {row['run_id']}")
