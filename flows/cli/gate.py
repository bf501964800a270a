"""``ratchet gate``: the run, stopped after the verdict; and what is known without using a sealed fold."""

from typing import Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, SlotOption, open_named
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.run import run_until
from ratchet.flows.cli.supervision import emit

app = typer.Typer(invoke_without_command=True)


@app.callback()
def gate(
    command: typer.Context,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print fold, use, level, test and power: no use is counted, no sealed item scored, no run recorded.",
        ),
    ] = False,
) -> None:
    """Run up to the verdict, which is recorded. Promotion is left to `ratchet run`.

    Example: ratchet gate --dry-run --json
    """
    if command.invoked_subcommand is None:
        run_until("plan" if dry_run else "gate", recipe, overrides or [], json_output, slot)


@app.command()
def power(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    effect: Annotated[float | None, typer.Option(min=0.0001, max=0.9999, help="True gain; default: target_effect.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Sealed items; default: those of today's fold.")] = None,
) -> None:
    """Probability of detecting a true gain on today's sealed fold, and the items it needs. No sealed item is read.

    Example: ratchet gate power --effect 0.03
    """
    from ratchet.components.gate.forecast import forecast_power
    from ratchet.components.project.trained import TrainedOn
    from ratchet.components.stages.stage import Context
    from ratchet.flows.cli.views.console import console
    from ratchet.flows.cli.views.gate import print_power

    project = open_named(recipe, overrides)
    context = Context(project.recipe, project.home, compute=False)
    trained_on = TrainedOn(project, context, project.known)
    found = forecast_power(context, project.known, effect, items, trained_on.at_once).as_json()
    if json_output:
        emit(as_json(found))
        return
    print_power(found)
    if trained_on.said:
        console.print(trained_on.said, highlight=False, soft_wrap=True)


@app.command()
def replay(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """What these rules would have decided on past challengers whose fold is retired and whose rows were kept.

    Example: ratchet gate replay --set gate.rules.error_mode=per_run
    """
    from dataclasses import asdict

    from ratchet.components.gate.replay import replay as replayed
    from ratchet.components.stages.stage import Context
    from ratchet.flows.cli.views.gate import print_replayed

    project = open_named(recipe, overrides)
    context = Context(project.recipe, project.home, compute=False)
    rows = replayed(context, project.known)
    if json_output:
        emit(as_json([asdict(row) for row in rows]))
        return
    print_replayed(project.name, rows)
