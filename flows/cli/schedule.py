"""``ratchet schedule``: run the flow on a schedule from this machine."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, RecipeOption, SetOption

if TYPE_CHECKING:
    from ratchet.components.home import Home

ALIAS = """Alias of `ratchet schedule`. To serve a model, see docs/serving.md.

Example: ratchet serve --every 6h
"""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def schedule(
    cron: Annotated[str | None, typer.Option(help="Cron schedule, in UTC.")] = None,
    every: Annotated[str | None, typer.Option(help="Interval, such as 15m, 6h or 1d.")] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server to start.")] = 4200,
) -> None:
    """Run the recipe on a schedule from this machine, until stopped.

    Starts a Prefect server on the loopback address, unless PREFECT_API_URL names one or ratchet ui runs it. Runs never overlap.

    Example: ratchet schedule --cron "0 2 * * *" --set seed=slot
    """
    from ratchet.components.extras import require_train
    from ratchet.components.home import Home
    from ratchet.components.recipe import load_recipe
    from ratchet.flows.settings import apply

    require_train()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    seconds = parse_interval(every) if every is not None else None
    check_schedule(cron, seconds)
    resolved = load_recipe(recipe, overrides or [])
    home = Home.here()
    apply(home)
    with sole_schedule(home, resolved.name), prefect_api(home, prefect_port):
        from ratchet.flows.cli.views.console import say
        from ratchet.flows.reconcile import reconcile
        from ratchet.flows.schedules import serve_flow

        reconcile(home, say)
        serve_flow(resolved.name, str(recipe), list(overrides or []), cron, seconds)


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
        typer.echo(f"Prefect runs on port {port}. In another shell: ratchet ui", err=True)
        yield


@contextmanager
def sole_schedule(home: "Home", name: str) -> Iterator[None]:
    """Reject a second schedule of a recipe: the first of the two to end would pause the deployment of both.

    Raises:
        RatchetError: if another process has it.
    """
    from ratchet.components.errors import RatchetError
    from ratchet.flows.servers.api_token import folder

    with (folder(home) / f"schedule-{name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RatchetError(f"another process schedules {name} in this project. Stop that first.") from None
        yield


def check_schedule(cron: str | None, seconds: float | None) -> None:
    """Exactly one schedule must be given, and cron must have five fields."""
    from ratchet.components.errors import RecipeError

    if (cron is None) == (seconds is None):
        raise RecipeError('pass exactly one schedule: --cron "0 2 * * *" or --every 15m.')
    if cron is not None and len(cron.split()) != 5:
        raise RecipeError(f'--cron {cron!r} does not have five fields. Write, for example, --cron "0 2 * * *".')


def parse_interval(text: str) -> float:
    """``15m`` as seconds."""
    from ratchet.components.errors import RecipeError

    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise RecipeError(f"--every {text!r} is not an interval. Write, for example, 15m, 6h or 1d.")
    return float(int(match[1]) * UNITS[match[2]])
