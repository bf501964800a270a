"""``ratchet history`` and ``ratchet status``: champions and runs in the ledger."""

import json
import sys

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, open_named


def history(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Which version was champion, since when, and who decided; oldest first.

    Example: ratchet history --json
    """
    from ratchet.flows.cli.views.history import print_history

    project = open_named(recipe, overrides)
    promotions = project.known.history(project.name)
    if json_output:
        print(json.dumps([promotion.as_json() for promotion in promotions], indent=2))
        return
    print_history(project.name, promotions)


def gold_of(result: str | None) -> dict[str, float] | None:
    """What the gold of a finished run measured, and its mutation score; None of a run that came to neither."""
    found: dict[str, float] | None = json.loads(result).get("gold") if result else None
    return found


def status(json_output: JsonOption = False) -> None:
    """The newest runs and their results. Runs whose process was killed are marked first.

    Example: ratchet status
    """
    from ratchet.components.home import Home
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.components.run.killed import end_killed_runs
    from ratchet.flows.cli.views.history import print_runs

    home = Home.here()
    end_killed_runs(home, lambda text: print(text, file=sys.stderr))
    runs = Ledger(home.ledger).latest_runs()
    columns = ("model", "run_id", "status", "started", "finished")
    rows = [{**{name: run[name] for name in columns}, "gold": gold_of(run["result"])} for run in runs]
    if json_output:
        print(json.dumps(rows, indent=2))
        return
    print_runs(rows)
