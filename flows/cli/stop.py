"""``ratchet stop``: ask a run, on this machine or another, to end after its next checkpoint."""

import socket
import sys
from typing import Annotated

import typer

from ratchet.flows.cli.options import ByOption


def stop(
    run: Annotated[str, typer.Argument(help="The run's id, or its beginning, as `ratchet status` prints it.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return once the run has ended, and say how.")] = False,
    by: ByOption = None,
) -> None:
    """Ask a run to commit a checkpoint and end with the status stopped; the command that started it resumes it.

    The request goes through the ledger, so the run may be on any machine that shares it. The run notices within 30 s, and ends
    after the current training step or stage. Ranks that a killed run left are asked, too. Exit code 2: no process acts for
    the run, or it is dead.

    Example: ratchet stop 3f2a9c --wait
    """
    from ratchet.components.errors import RecipeError
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.components.ledger.stops import ask_to_stop, model_of, wait_for_end
    from ratchet.components.project.people import person_of, require_role
    from ratchet.components.storage.home import Home
    from ratchet.components.upkeep.killed import end_killed_runs
    from ratchet.components.upkeep.orphans import orphans

    person, home = person_of(by), Home.here()
    ledger = Ledger(home.ledger)
    model = model_of(ledger, run)
    require_role(home.project, ledger, model, "stop", person)
    end_killed_runs(home, lambda text: print(text, file=sys.stderr))
    try:
        request = ask_to_stop(ledger, run, f"{person} on {socket.gethostname()}")
    except RecipeError:
        left = [one for one in orphans(home) if one.model == model]
        for one in left:
            one.job.ask_to_stop()
            print(f"asked the ranks of a training of {one.model} (process {one.process}) to stop; its run was killed")
        if not left:
            raise
        return
    print(f"asked {request.holder} to stop run {request.run_id} of {request.model}; see `ratchet status`")
    if wait:
        print(f"run {request.run_id}: {wait_for_end(ledger, request)}")
