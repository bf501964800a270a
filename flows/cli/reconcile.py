"""``ratchet reconcile``: put right what dead processes left."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, RecipeOption, SetOption
from ratchet.flows.cli.supervision import conclude

if TYPE_CHECKING:
    from ratchet.components.storage.home import Home


def reconcile(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    prefect_port: Annotated[int, typer.Option(help="Port of this project's Prefect server, if it runs.")] = 4200,
) -> None:
    """End killed runs in the ledger, MLflow and Prefect, send what MLflow lacks, and restart the slots that they left.

    A promotion that was cut short is completed: MLflow's alias moves to the champion of the ledger. Exit 1 if it does not.

    A run that another machine holds, or this one before a restart, is watched until it renews its claim (30 s), or its claim
    has expired (300 s) and the run is ended. Prefect is asked if PREFECT_API_URL names a server, or the project's own is up.
    Newer slots wait for one that it starts again, unless the recipe says schedule.overlap=latest. `ratchet schedule`, and
    each run of a deployment, do the same when they begin. Receivers in the recipe's `notify` are told of a standstill.

    Example: ratchet reconcile
    """
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.components.storage.home import Home
    from ratchet.flows.cli.status import load_recipe_if_any
    from ratchet.flows.settings import apply

    home = Home.here()
    apply(home)
    prefect = find_prefect(home, prefect_port)
    from ratchet.flows import reconcile as reconciling
    from ratchet.flows.notifications import standstills_told

    said: list[str] = []
    ledger = Ledger(home.ledger)
    reconciling.reconcile(home, said.append, prefect, ledger.unended())
    if (loaded := load_recipe_if_any(recipe, overrides)) is not None:
        standstills_told(home, ledger, loaded)
    for text in said or ["nothing to put right"]:
        print(text, file=sys.stderr)
    if ledger.pending():
        conclude(1)


def find_prefect(home: "Home", port: int) -> bool:
    """Whether there is a Prefect server: the one that the settings name, or the project's; it is then used.

    Raises:
        RatchetError: if the settings name one that does not answer.
    """
    from ratchet.flows.servers import start as servers
    from ratchet.flows.servers.api_token import token_of

    if servers.api_is_given():
        return True
    if servers.is_running(home, port):
        servers.use(port, token_of(home))
        return True
    return False
