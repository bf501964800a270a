"""Create an entity in MLflow exactly once, even if replies are lost."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock

from ratchet.components.errors import RegistryError
from ratchet.components.registry.outage import PASSING

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
ATTEMPTS = 6
_environment = RLock()  # one thread at a time changes the variable, or one would restore the other's 0


def created_once(find: Callable[[], str | None], create: Callable[[], object]) -> str:
    """What ``find`` finds, else created.

    MLflow's client repeats a POST whose reply was lost, and so creates twice: here each attempt looks first and posts once.
    """
    for attempt in range(ATTEMPTS):
        if (found := find()) is not None:
            return found
        try:
            with _posting_once():
                create()
        except Exception as error:
            if attempt == ATTEMPTS - 1 or getattr(error, "error_code", None) not in PASSING:
                raise
            time.sleep(2**attempt / 10)
    found = find()
    if found is None:
        raise RegistryError("MLflow does not show what it reported as created. Check its server's log, and run again.")
    return found


@contextmanager
def _posting_once() -> Iterator[None]:
    with _environment:
        before = os.environ.get(RETRIES)
        os.environ[RETRIES] = "0"
        try:
            yield
        finally:
            if before is None:
                del os.environ[RETRIES]
            else:
                os.environ[RETRIES] = before
