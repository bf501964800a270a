"""``ratchet stop``: ask a run, on this machine or another, to end after its next checkpoint."""

import getpass
import socket
import sys
import time
from typing import Annotated

import typer

POLL_SECONDS = 1.0


def stop(
    run: Annotated[str, typer.Argument(help="The run's id, or its beginning, as `ratchet status` prints it.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return once the run has stopped.")] = False,
) -> None:
    """Ask a run to commit a checkpoint and end with the status stopped; the command that started it resumes it.

    The request goes through the ledger, so the run may be on any machine that shares it. The run notices within 30 s, and ends
    after the training step or the stage at hand. Exit code 2: no process acts for the run.

    Example: ratchet stop 3f2a9c --wait
    """
    from ratchet.components.home import Home
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.components.ledger.stops import ask_to_stop, is_held
    from ratchet.components.run.killed import end_killed_runs

    home = Home.here()
    end_killed_runs(home, lambda text: print(text, file=sys.stderr))
    ledger = Ledger(home.ledger)
    request = ask_to_stop(ledger, run, f"{getpass.getuser()} on {socket.gethostname()}")
    print(f"asked {request.holder} to stop run {request.run_id} of {request.model}; see `ratchet status`")
    while wait and is_held(ledger, request):
        time.sleep(POLL_SECONDS)
