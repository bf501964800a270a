"""What Prefect shows of a run beside its state: its name, how far it is, and the verdict with links. None of it ends a run."""

import contextvars
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from ratchet.components.run.outcome import RunResult
from ratchet.components.run.progress import STAGES, Display
from ratchet.components.run.told import Told
from ratchet.components.text import redacted
from ratchet.flows.cli.views.console import say
from ratchet.flows.cli.views.words import title_of

SECONDS = 10.0  # between two looks at how far a run is
SECONDS_TO_END = 0.5  # at most, that the end of a run waits for the last one: after Ctrl-C the parent waits 1.2 s


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Report an error of the block, and go on."""
    try:
        yield
    except Exception as failure:
        say(f"Prefect has no {what} of this run: {redacted(f'{type(failure).__name__}: {failure}')}")


def key_of(model: str, *more: str) -> str:
    """An artifact's key, of lower-case letters, digits and dashes."""
    return "-".join(["ratchet", re.sub("[^a-z0-9]+", "-", model.lower()).strip("-"), *more])


def name_of(model: str, at: datetime, result: RunResult | None = None) -> str:
    """``maths 2026-11-27 11:08``, with how it ended once it has: ``maths 2026-11-27 11:08 promoted v3``.

    Args:
        at: when the run was to begin, in UTC.
    """
    ended = [] if result is None else [result.status.replace("_", " ")]
    version = [f"v{result.version}"] if result is not None and result.version else []
    return " ".join([model, f"{at:%Y-%m-%d %H:%M}", *ended, *version])


def rename(model: str, result: RunResult | None = None) -> None:
    """Give the flow run the name of its model, date and end; Prefect makes names without these for scheduled ones."""
    if flow_run.id is None:
        return
    with harmless("name"), get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.id), name=name_of(model, flow_run.scheduled_start_time, result))


class Progress:
    """A display that passes on what it is shown, and tells Prefect from a thread, so that the run never waits for that."""

    def __init__(self, display: Display, model: str) -> None:
        self.display, self.model = display, model
        self.percent, self.said = 0.0, "beginning"
        self._shown: tuple[float, str] | None = None
        self._over = threading.Event()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw within the block."""
        shown: AbstractContextManager[None] = self.display.live()
        with shown, self.being_told():
            yield

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """A stage has done ``done`` of ``total``."""
        self._at(stage, done / max(1, total), note)
        self.display.progress(stage, done, total, note)

    def finished(self, stage: str, cached: bool, seconds: float) -> None:
        """A stage is finished."""
        self._at(stage, 1.0, "already finished" if cached else "finished")
        self.display.finished(stage, cached, seconds)

    def _at(self, stage: str, share: float, note: str) -> None:
        if stage in STAGES:
            number = STAGES.index(stage)
            self.percent = 100 * (number + min(1.0, share)) / len(STAGES)
            self.said = f"stage {number + 1} of {len(STAGES)}, {title_of(stage)}: {note}"

    @contextmanager
    def being_told(self) -> Iterator[None]:
        """Within the block a thread moves the artifact."""
        if flow_run.id is None:
            yield
            return
        context = contextvars.copy_context()  # Prefect's, of the flow run
        thread = threading.Thread(target=context.run, args=(self._tell,), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(SECONDS_TO_END)

    def _tell(self) -> None:
        with harmless("progress"):
            artifact: Any = create_progress_artifact(self.percent, key_of(self.model, "progress"), redacted(self.said))
            while not self._over.wait(SECONDS):
                self._move(artifact)
            self._move(artifact)

    def _move(self, artifact: UUID) -> None:
        now = self.percent, redacted(self.said)
        if now != self._shown:
            update_progress_artifact(artifact, *now)
            self._shown = now


def verdict(model: str, result: RunResult, told: Told, tracking_uri: str) -> None:
    """Leave an artifact with how the run ended."""
    with harmless("verdict"):
        text = markdown_of(model, result, told, tracking_uri)
        create_markdown_artifact(redacted(text), key_of(model), redacted(told.sentence))


def markdown_of(model: str, result: RunResult, told: Told, tracking_uri: str) -> str:
    """What happened, and a table that leads to report, run and version where MLflow is a server."""
    pages = Pages(tracking_uri, model, result)
    rows = {
        "status": result.status.value,
        "verdict": result.verdict and result.verdict.value,
        "version": linked(result.version, pages.version),
        "champion before": result.previous,
        "dataset": result.dataset,
        "MLflow run": linked(result.run_id, pages.run),
        "report": linked(result.report and f"`{result.report}`", pages.report),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value)
    said = "\n\n".join(part for part in told if part)
    return f"# {model}\n\n{said}\n\n| | |\n| --- | --- |\n{table}\n"


def linked(text: str | None, page: str | None) -> str | None:
    """Markdown of a text that leads to its page, if there are both."""
    return f"[{text}]({page})" if text and page else text


class Pages:
    """Addresses on MLflow's server, without the login of its own; None if MLflow is not a server, or there is no such thing."""

    def __init__(self, tracking_uri: str, model: str, result: RunResult) -> None:
        address = urlsplit(tracking_uri)
        place = f"{address.netloc.rpartition('@')[2]}{address.path}".rstrip("/")
        self.server = f"{address.scheme}://{place}" if address.scheme in ("http", "https") else None
        self.model, self.result = model, result

    @property
    def run(self) -> str | None:
        return f"{self.server}/#/runs/{self.result.run_id}" if self.server and self.result.run_id else None

    @property
    def version(self) -> str | None:
        model, version = quote(self.model, safe=""), self.result.version
        return f"{self.server}/#/models/{model}/versions/{version}" if self.server and version else None

    @property
    def report(self) -> str | None:
        run, report = self.result.run_id, self.result.report
        if not (self.server and run and report):
            return None
        return f"{self.server}/get-artifact?{urlencode({'run_uuid': run, 'path': f'report/{PurePath(report).name}'})}"
