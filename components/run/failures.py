"""The last error that ended a run of each model on this machine: a run that fails early leaves nothing else to be seen."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from ratchet.components.errors import StoreError
from ratchet.components.ledger.database import now
from ratchet.components.storage.files import read_json, write_json
from ratchet.components.storage.home import Home
from ratchet.components.text import redacted


class Failure(NamedTuple):
    """A run of a model that an error ended."""

    model: str
    at: str  # ISO 8601
    said: str  # the error


def note_failure(home: Home, model: str, error: Exception) -> None:
    """Keep it until a run of the model ends without one. A disk that is full keeps nothing: the error itself matters more."""
    with suppress(OSError, StoreError):
        home.failures.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(home.failures / f"{model}.json", Failure(model, now(), redacted(str(error)))._asdict())


def forget_failure(home: Home, model: str) -> None:
    """A run of the model has ended without an error."""
    with suppress(OSError):
        (home.failures / f"{model}.json").unlink(missing_ok=True)


def failures(home: Home) -> Iterator[Failure]:
    """Those that no later run of their model has made good, by model."""
    for file in sorted(home.failures.glob("*.json")):
        with suppress(StoreError, TypeError, OSError):  # ended meanwhile, or damaged
            yield Failure(**read_json(file))
