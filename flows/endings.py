"""How Prefect shows the end of a run: the type, name and message of its state, and an artifact that leads to the report."""

import re
import traceback
from typing import Any
from urllib.parse import urlsplit

from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State, StateDetails
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from ratchet.components.errors import RatchetError
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.text import redacted, visible
from ratchet.flows.cli.views.console import say

FAILED = frozenset({Status.REWARD_REFUSED, Status.INVALID, Status.STOPPED, Status.ERROR})  # the others are Completed


class UnsuccessfulRunError(RatchetError):
    """A run ended without an error and without a judged candidate. ``result`` is what the flow would have returned."""

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


def ended(model: str, result: RunResult, tracking_uri: str) -> State[Any]:
    """The final state of a run, which it leaves an artifact for.

    Returns:
        A Completed state with the shape of ``run --json`` as its data; or a Failed one, whose data is an
        UnsuccessfulRunError with it. A failed run is not retried: the same run would end in the same way.
    """
    show(model, result, tracking_uri)
    name, message = name_of(result.status), message_of(result)
    if result.status in FAILED:
        return failed(name, message, UnsuccessfulRunError(message, result.as_json()))
    return Completed(name=name, message=message, data=result.as_json())


def error(found: Exception) -> State[Any]:
    """The final state of a run that an error ended; the caller of the flow receives the error itself."""
    get_run_logger().error(redacted("".join(traceback.format_exception(found))))
    return failed(name_of(Status.ERROR), redacted(f"{type(found).__name__}: {found}"), found)


def failed(name: str, message: str, data: Exception) -> State[Any]:
    """A state that Prefect does not retry, whatever its settings say."""
    return Failed(name=name, message=visible(message), data=data, state_details=StateDetails(retriable=False))


def name_of(status: Status) -> str:
    """``reward_refused`` as ``RewardRefused``."""
    return "".join(part.capitalize() for part in status.split("_"))


def message_of(result: RunResult) -> str:
    """One line: what happened, and where the report is."""
    said = result.stopped or result.status.headline
    checks = f" Failed checks: {', '.join(result.failed_checks)}." if result.failed_checks else ""
    report = f" Report: {result.report}" if result.report else ""
    return f"{said}{checks}{report}"


def show(model: str, result: RunResult, tracking_uri: str) -> None:
    """Leave an artifact; one that cannot be created does not change how the run ended."""
    key = f"ratchet-{re.sub('[^a-z0-9]+', '-', model.lower()).strip('-')}"
    try:
        create_markdown_artifact(markdown_of(model, result, tracking_uri), key, result.status.headline)
    except Exception as failure:
        say(f"Prefect has no artifact of this run: {redacted(str(failure))}")


def markdown_of(model: str, result: RunResult, tracking_uri: str) -> str:
    """The result as a table, with a link to the run where MLflow is a server."""
    page = mlflow_page(tracking_uri, result.run_id)
    rows = {
        "status": result.status.value,
        "verdict": result.verdict and result.verdict.value,
        "version": result.version,
        "champion before": result.previous,
        "dataset": result.dataset,
        "MLflow run": f"[{result.run_id}]({page})" if page else result.run_id,
        "report": result.report and f"`{result.report}`",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value)
    return f"# {model}: {result.status.headline}\n\n| | |\n| --- | --- |\n{table}\n"


def mlflow_page(tracking_uri: str, run_id: str | None) -> str | None:
    """The page of a run on MLflow's server, without the login of the address; None if MLflow is not a server."""
    address = urlsplit(tracking_uri)
    if run_id is None or address.scheme not in ("http", "https"):
        return None
    place = f"{address.netloc.rpartition('@')[2]}{address.path}".rstrip("/")
    return f"{address.scheme}://{place}/#/runs/{run_id}"
