"""Which errors mean that MLflow does not answer, which that it refuses, and a short request that asks."""

import os
import re
from collections.abc import Iterator

from ratchet.components.errors import UnansweredError
from ratchet.components.text import redacted

PROBE_TIMEOUT = 5  # seconds for MLflow to accept a connection, and to reply
PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")  # error codes of MLflow's exceptions
SILENT = {"ConnectionError", "Timeout", "ChunkedEncodingError", "RetryError"}  # of requests; the others are mistakes of ours
REJECTIONS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")
UNKNOWN, DENIED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"), "PERMISSION_DENIED"  # replies 401 and 403


def is_outage(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, means that MLflow or its store of artifacts does not answer."""
    return not isinstance(error, UnansweredError) and any(_passes(one) for one in _chain(error))


def is_rejection(error: BaseException) -> bool:
    """Whether MLflow answered that it will never take what was sent."""
    return getattr(error, "error_code", None) in REJECTIONS


def refusal(error: BaseException, uri: str) -> str | None:
    """What is said of an error, or one that it was raised from, by which MLflow refuses a login, or this user; else None."""
    place = f"MLflow at {redacted(uri)}"
    for one in _chain(error):
        code = getattr(one, "error_code", None)
        user = os.environ.get("MLFLOW_TRACKING_USERNAME")
        if code in UNKNOWN:
            login = f"the login of {user}" if user else "requests without a login"
            return f"{place} refuses {login}. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD as it knows them."
        if code == DENIED:
            what = re.search(r"endpoint /(?:ajax-)?api/2\.0/mlflow/([\w/-]+)", str(one))
            who, request = user or "this user", f" ({what[1]})" if what else ""
            return (
                f"{place} denies {who} this request{request}. Have its administrator, or who registered the model first, grant "
                f"{who} EDIT on the registered model and on its experiment (docs/server_mode.md)."
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _passes(error: BaseException) -> bool:
    """By the package that defines the error; the ledger's errors, which are SQLAlchemy's, are not MLflow's."""
    package, name = type(error).__module__.partition(".")[0], type(error).__name__
    if package == "requests":
        kinds = {kind.__name__ for kind in type(error).__mro__}
        status = getattr(getattr(error, "response", None), "status_code", None) or 0
        return (bool(kinds & SILENT) and "SSLError" not in kinds) or status >= 500 or status == 429
    if package == "botocore":
        return "Connect" in name or "Timeout" in name
    if package == "mlflow":
        code = getattr(error, "error_code", None)
        return code in PASSING[1:] or (code == PASSING[0] and name == "RestException")
    return isinstance(error, ConnectionError | TimeoutError)


def ask(uri: str) -> None:
    """One short request to a server; nothing for a database, which answers or raises in the request itself.

    Raises:
        mlflow.exceptions.MlflowException: if there is no reply, or 5xx.
    """
    if not uri.startswith(("http:", "https:")):
        return
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    reply = http_request(get_default_host_creds(uri), "/health", "GET", timeout=PROBE_TIMEOUT, max_retries=0)
    if reply.status_code >= 500:
        raise ConnectionError(f"it replies {reply.status_code}")
