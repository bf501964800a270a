"""Serve flows from this machine until the operator ends it: first the runs end, then the runner; the caller ends the server.

Prefect's own ending on SIGTERM waits for runs that nobody told to end, while the server that they need is already gone.
"""

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import active_children  # Prefect starts the run of a flow that it was given as an object so
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runner import Runner

from ratchet.components.interruption import OPERATOR
from ratchet.components.text import redacted
from ratchet.flows.cli.views.console import say

SECONDS_TO_COMMIT = 20.0  # then a run is killed; it resumes from its last checkpoint
SECONDS_TO_PAUSE = 5.0  # the client would wait for a server that hangs for minutes
POLL_SECONDS = 0.1


class Serving(Runner):
    """A runner that notes the operator's signals. At the second one, runs are killed at once."""

    def __init__(self, limit: int = 1) -> None:
        """
        Args:
            limit: of runs at once.
        """
        super().__init__(name="ratchet", limit=limit, pause_on_shutdown=False)  # they are paused before the runs end
        self.signals = 0

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Prefect installs it for SIGTERM, we for SIGINT."""
        self.signals += 1


def serve_until_stopped(runner: Serving, deployments: Sequence[UUID]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Runs in progress commit a checkpoint and are scheduled again, so that the next start resumes them.

    Args:
        deployments: what the runner serves; their schedules are paused until the next start.
    """
    with _signals_restored():
        signal.signal(signal.SIGINT, runner.handle_sigterm)
        asyncio.run(_serve(runner, deployments))


@contextmanager
def _signals_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in OPERATOR}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _serve(runner: Serving, deployments: Sequence[UUID]) -> None:
    serving = asyncio.create_task(runner.start())
    while not (serving.done() or runner.signals):
        await asyncio.wait([serving], timeout=POLL_SECONDS)
    if not serving.done():
        await _end_runs(runner, deployments)
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def _end_runs(runner: Serving, deployments: Sequence[UUID]) -> None:
    """Pause the schedules, and end the runs in progress."""
    # Prefect has no other way to start no more runs than one that kills those in progress.
    runner._scheduled_run_poller.stopping = True
    say(f"stopping{'; the run in progress commits a checkpoint, and the next start resumes it' if active_children() else ''}")
    await asyncio.gather(_ended(runner), _pause(deployments))


async def _pause(deployments: Sequence[UUID]) -> None:
    try:
        async with asyncio.timeout(SECONDS_TO_PAUSE), get_client() as client:
            for deployment in deployments:
                await client.pause_deployment(deployment)
    except Exception as error:  # the runs have to end all the same
        say(f"the schedules could not be paused: {redacted(f'{type(error).__name__}: {error}')}")


async def _ended(runner: Serving) -> None:
    """Return once no run is in progress any more; the first signal to each is SIGTERM."""
    deadline, told = time.monotonic() + SECONDS_TO_COMMIT, set()
    while runs := active_children():
        for run in runs:
            if runner.signals > 1 or time.monotonic() > deadline:
                run.kill()
            elif run not in told:
                told.add(run)
                run.terminate()
        await asyncio.sleep(POLL_SECONDS)
