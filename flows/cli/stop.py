"""``ratchet stop``: ask a run, on this machine or another, to end after its next checkpoint."""

import getpass
import os
import socket
import sys
from typing import Annotated

import typer


def stop(
    run: Annotated[str, typer.Argument(help="The run's id, or its beginning, as `ratchet status` prints it.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return once the run has ended, and say how.")] = False,
) -> None:
    """Ask a run to commit a checkpoint and end with the status stopped; the command that started it resumes it.

    The request goes through the ledger, so the run may be on any machine that shares it. The run notices within 30 s, and ends
    after the training step or the stage at hand. Exit code 2: no process acts for the run, or it is dead.

    Example: ratchet stop 3f2a9c --wait
    """
    from ratchet.components.home import Home
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.components.ledger.stops import ask_to_stop, wait_for_end
    from ratchet.components.run.killed import end_killed_runs

    home = Home.here()
    end_killed_runs(home, lambda text: print(text, file=sys.stderr))
    ledger = Ledger(home.ledger)
    request = ask_to_stop(ledger, run, f"{user()} on {socket.gethostname()}")
    print(f"asked {request.holder} to stop run {request.run_id} of {request.model}; see `ratchet status`")
    if wait:
        print(f"run {request.run_id}: {wait_for_end(ledger, request)}")


def user() -> str:
    """The user's name, or number where a container has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
