"""``ratchet schedule``: run the flow on a schedule from this machine."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, SetOption, as_given

if TYPE_CHECKING:
    from ratchet.components.recipe import Recipe, Schedule
    from ratchet.components.storage.home import Home

PREFECT_PORT = 4200  # what `ratchet ui` expects
DEFAULT = "ratchet.yaml of this folder or the nearest above it, else recipes/quickstart.yaml"
ALIAS = """Alias of `ratchet schedule`. To serve a model, see docs/serving.md.

Example: ratchet serve --every 6h
"""


def schedule(
    recipes: Annotated[list[Path] | None, typer.Argument(help="Recipe files, one or several.", show_default=DEFAULT)] = None,
    more: Annotated[list[Path] | None, typer.Option("--recipe", help="Recipe file. Repeatable.", show_default=DEFAULT)] = None,
    cron: Annotated[str | None, typer.Option(help="Cron schedule. Default: the recipe's section schedule.")] = None,
    every: Annotated[str | None, typer.Option(help="Interval, such as 15m, 6h or 1d.")] = None,
    rrule: Annotated[str | None, typer.Option(help="RRULE, such as FREQ=WEEKLY;BYDAY=MO;BYHOUR=2.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Time zone of a cron schedule or an RRULE. Default: UTC.")] = None,
    overrides: SetOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Runs at once; their computing stages still wait for one another.")] = 1,
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server to start.")] = PREFECT_PORT,
) -> None:
    """Run recipes on their schedules from this machine, until stopped.

    Starts a Prefect server on the loopback address, unless PREFECT_API_URL names one or ratchet ui runs it. One run at a time,
    oldest slot first; the recipe's schedule.overlap, missed and when decide which slots run (docs/schedules.md).

    Example: ratchet schedule nightly.yaml weekly.yaml; or ratchet schedule --cron "0 2 * * *" --set seed=slot
    """
    from ratchet.components.code.extras import require_train
    from ratchet.components.storage.home import Home
    from ratchet.flows.coming import sole_schedule
    from ratchet.flows.settings import apply, make_prefect_home

    require_train()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    options = {"cron": cron, "every": every, "rrule": rrule, "timezone": timezone}
    given = {name: text for name, text in options.items() if text is not None}
    rules = {path: ruled(path, overrides or [], given) for path in chosen([*(recipes or []), *(more or [])])}
    home = Home.here()
    apply(home)
    make_prefect_home()
    from ratchet.flows.dates import schedule_of

    for recipe in rules.values():
        schedule_of(recipe.schedule)  # raises before a server is started
    with ExitStack() as held:
        for recipe in rules.values():
            held.enter_context(sole_schedule(home, recipe.name, recipe.schedule))
        held.enter_context(prefect_api(home, prefect_port))
        serve(home, rules, overrides or [], limit)


def serve(home: "Home", rules: Mapping[Path, "Recipe"], overrides: list[str], limit: int) -> None:
    """Put right what dead processes left, and serve the recipes until stopped."""
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.flows.cli.views.console import say
    from ratchet.flows.reconcile import reconcile
    from ratchet.flows.schedules import Served, serve_flows

    reconcile(home, say, watch=Ledger(home.ledger).unended())
    serve_flows([Served(one.name, str(path), overrides, one.schedule) for path, one in rules.items()], limit)


def chosen(named: list[Path]) -> list[Path]:
    """The recipes that were named, each once, else the project's own, else the quickstart's."""
    from ratchet.components.storage.home import RECIPE

    given = [path for path in map(as_given, named) if path is not None]
    return list(dict.fromkeys(given)) or [Path(RECIPE) if Path(RECIPE).is_file() else DEFAULT_RECIPE]


def ruled(path: Path, overrides: list[str], options: Mapping[str, str]) -> "Recipe":
    """A recipe with a rule for its schedule: that of the options, else its own.

    Raises:
        RecipeError: if it is invalid, or has no rule or two.
    """
    from ratchet.components.errors import RecipeError
    from ratchet.components.recipe import load_recipe

    rules = {"cron", "every", "rrule"}
    cleared = [f"schedule.{name}=null" for name in rules] if rules & options.keys() else []
    if "every" in options:  # the recipe's time zone is of the rule that it takes the place of
        cleared.append("schedule.timezone=UTC")
    recipe = load_recipe(
        path, [*overrides, *cleared, *(f"schedule.{name}={json.dumps(text)}" for name, text in options.items())]
    )
    if not recipe.schedule.rules:
        raise RecipeError(
            f'{path} has no schedule. Write schedule: {{cron: "0 2 * * *"}} in it, or pass --cron, --every or --rrule.'
        )
    return recipe


def rules_of(options: Mapping[str, str]) -> "Schedule":
    """The schedule that options give.

    Raises:
        RecipeError: if they are invalid, or two rules.
    """
    from pydantic import ValidationError

    from ratchet.components.errors import RecipeError
    from ratchet.components.recipe import Schedule

    try:
        return Schedule.model_validate(dict(options))
    except ValidationError as error:
        raise RecipeError("; ".join(f"{one['msg'].removeprefix('Value error, ')}." for one in error.errors())) from error


@contextmanager
def prefect_api(home: "Home", port: int) -> Iterator[None]:
    """The server that the settings name, else the project's, which another command may already run."""
    from ratchet.flows.servers import start as servers
    from ratchet.flows.servers.api_token import token_of

    if servers.api_is_given():
        yield
        return
    with servers.shared_server(home, port):
        servers.use(port, token_of(home))
        option = "" if port == PREFECT_PORT else f" --prefect-port {port}"
        typer.echo(f"Prefect runs on port {port}. In another shell: ratchet ui{option}", err=True)
        yield
