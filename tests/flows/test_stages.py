"""Which failures are retried."""

from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from ratchet.components.errors import DataError
from ratchet.flows.stages import worth_retrying


class Failed:
    """A state whose result raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [ConnectionError("down"), OSError("busy"), OperationalError("", None, Exception())])
def test_what_may_pass_is_retried(error: Exception) -> None:
    assert worth_retrying(None, None, Failed(error))


@pytest.mark.parametrize("error", [DataError("wrong"), TypeError("a bug"), AssertionError()])
def test_what_a_person_must_mend_is_not_retried(error: Exception) -> None:
    assert not worth_retrying(None, None, Failed(error))
