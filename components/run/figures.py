"""A run's figures on their way to MLflow: a journal that never waits, and a thread that sends it."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ratchet.components.errors import UnansweredError
from ratchet.components.project.locks import lock_name
from ratchet.components.project.project import Project
from ratchet.components.registry.connection import Connection, patience, pauses
from ratchet.components.registry.journal import BusyError, Journal
from ratchet.components.registry.sending import END, LACKING, METRICS, OPEN, STAGE, START, TABLE, TAGS, send

GATHERED = 1.0  # seconds after a record in which others join it
IDLE = 10.0  # seconds without a record after which MLflow is asked whether it answers
CLOSE_SECONDS = 20.0  # at most, for what is unsent at the end of a run
KILLED_SECONDS = 0.5  # and when the operator ends it: the parent process does not wait longer than 1.2 s


class Figures:
    """What a run tells MLflow about itself. Nothing here waits for MLflow, except :meth:`opened`."""

    def __init__(self, project: Project, identity: str) -> None:
        self.project, self.identity = project, identity
        self.journal = Journal(project.home.journals, lock_name(identity), project.locks.folder)
        self.connection = Connection(project.home.tracking_uri, project.home.journals, project.locks.say)
        self.begun = False  # by this process
        self._beginning: dict[str, Any] = {}
        self._due = threading.Event()

    def begin(self, run_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        """The parent run, new or resumed; ``run_id`` is what the ledger has."""
        model, identity = self.project.name, self.identity
        self._beginning = {"model": model, "identity": identity, "run_id": run_id, "name": name, "tags": tags, "params": params}
        self._append(OPEN, **self._beginning)
        self.begun = True

    def start(self, stage: str) -> None:
        """The child run of a stage begins, or continues."""
        self._append(START, stage=stage)

    def finished(
        self, stage: str, cached: bool, tags: Mapping[str, str], params: Mapping[str, Any], seconds: float | None
    ) -> None:
        """What a finished stage was, for its child run, which a stage that nothing was computed for does not have yet.

        Args:
            seconds: of making it; None if that is not known.
        """
        began = round(1000 * (time.time() - (0.0 if cached or seconds is None else seconds)))
        known = {**tags, "cached": str(cached).lower()}
        figures = {} if seconds is None else {"seconds": seconds}
        self._append(STAGE, stage=stage, cached=cached, tags=known, params=params, figures=figures, began=began)

    def metrics(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]], again: bool = False) -> None:
        """(step, figures) of a stage; the time of the record is theirs, however late MLflow gets them.

        Args:
            again: whether an earlier process may have recorded them: then MLflow gets what it lacks.
        """
        if points:
            self._append(LACKING if again else METRICS, stage=stage, points=points)

    def table(self, stage: str, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Rows that the MLflow UI shows."""
        self._append(TABLE, stage=stage, rows=rows, name=name)

    def tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the parent run."""
        self._append(TAGS, stage=None, tags=tags)

    def end(self, stage: str | None, status: str) -> None:
        """A stage's child run ends, or the parent run (None) with all its children."""
        self._append(END, stage=stage, status=status)

    def _append(self, kind: str, **values: Any) -> None:
        if self.begun and not self.journal.file.exists():  # somebody took it away
            self.journal.append(OPEN, **self._beginning)
        self.journal.append(kind, **values)
        self._due.set()
        self.connection.check()

    def send(self) -> int:
        """Send what MLflow does not have yet; returns the number of records.

        Raises:
            Exception: what MLflow's client raises.
        """
        project, progressed = self.project, self.connection.progressed
        return send(self.journal, lambda _: project.tracker, project.ledger.name_run, project.locks.say, progressed)

    def opened(self, meanwhile: Callable[[], None]) -> str:
        """The parent run's id in MLflow, which has every record so far.

        Raises:
            UnansweredError: if MLflow does not answer in time, or who sends the journal sends nothing.
        """
        number, since = -1, 0.0
        while True:
            try:
                self.connection.insist(self.send, meanwhile)
                break
            except BusyError as busy:  # our thread, or a process that found the journal before this run began
                before, number, now = number, self.journal.sent().number, self.connection.clock.monotonic()
                since = now if number != before else since
                self._wait_for(busy, before == -1, now - since)
                meanwhile()
        run_id = self.journal.sent().run_id
        assert run_id is not None
        return run_id

    def _wait_for(self, busy: BusyError, first: bool, idle: float) -> None:
        """Sending the journal by another process or thread, while it makes progress."""
        if first:
            self.connection.say(f"waiting until MLflow has the run's figures: {busy}")
        elif idle >= patience():
            raise UnansweredError(f"{busy}, but nothing for {idle:.0f} s. End it, and the same command resumes the run.")

    @contextmanager
    def being_sent(self) -> Iterator[None]:
        """Within the block a thread sends the journal, a second after each record. What is left then waits for the next run."""
        over, seconds = threading.Event(), KILLED_SECONDS
        thread = threading.Thread(target=self._keep_sending, args=(over,), name="figures", daemon=True)
        thread.start()
        try:
            yield
            seconds = CLOSE_SECONDS
        except Exception:
            seconds = CLOSE_SECONDS
            raise
        finally:
            over.set()
            self._due.set()
            thread.join(0 if self.connection.away else seconds)
            if not thread.is_alive():
                with suppress(OSError):  # another process sends it, or the disk is full: it stays
                    self.journal.drop_if_sent()

    def _keep_sending(self, over: threading.Event) -> None:
        self._due.wait()
        waits, last = pauses(), over.is_set() and not self.begun  # a run that records nothing does not touch MLflow
        while not last:
            if self._due.wait(IDLE):
                over.wait(GATHERED)
            self._due.clear()
            last = over.is_set()  # before sending: the run adds nothing after it
            try:
                self.connection.send(self.send)
                waits = pauses()
            except Exception:  # said by the connection; the records stay
                last = over.wait(next(waits))
                self._due.set()
