"""A run's records on their way to MLflow: appended to a file, kept until MLflow has them. Knows nothing of MLflow.

A record is a line of JSON with a number and the time it is of, written and synced before ``append`` returns: it survives
kill -9 and a power cut. A line that a kill cut short was never promised to anybody, and is dropped. How far MLflow has the
records is a second file, replaced whole. A sender that dies between MLflow's answer and that note sends the same records
again, with the same times, steps and values, which MLflow keeps once.

Only the process that holds a run's claim appends to its journal. Any process may send it, one at a time.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout

from ratchet.components.errors import StoreError
from ratchet.components.faults import point
from ratchet.components.storage.files import read_json, sync, write_json

SUFFIX = ".jsonl"
LOCK_SECONDS = 10.0  # a sender waits so long for another one


class BusyError(Exception):
    """A journal is being sent: it will be free again, and MLflow answers."""


@dataclass(frozen=True)
class Record:
    """One thing to tell MLflow."""

    number: int  # from 1 on, without gaps
    at: int  # milliseconds since 1970
    kind: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Sent:
    """How far MLflow has a journal, and what it calls the runs in it."""

    number: int = 0  # of the last record that was sent
    offset: int = 0  # bytes of the file up to there
    model: str | None = None  # whose experiment the run is in
    run_id: str | None = None
    children: dict[str, str] = field(default_factory=dict)  # stage -> run id


class Journal:
    """The records of the runs of one identity. Safe among threads."""

    def __init__(self, folder: Path, name: str, locks: Path) -> None:
        """
        Args:
            folder: made with mode 0700 at the first record; its files have mode 0600, because samples are in them.
            name: of the run's lock.
            locks: the folder of lock files.
        """
        self.name, self.file, self.note = name, folder / f"{name}{SUFFIX}", folder / f"{name}.sent"
        self._sender = locks / f"journal-{name}.lock"
        self._lock = Lock()
        self._last: int | None = None  # number of the last record, once this process has looked

    def append(self, kind: str, at: int | None = None, **values: Any) -> None:
        """Add a record, durably.

        Args:
            at: milliseconds since 1970; now by default.
        """
        with self._lock:
            known = self._last if self.file.exists() else None
            number = (self._repaired() if known is None else known) + 1
            record = Record(number, round(1000 * time.time()) if at is None else at, kind, values)
            self._write(json.dumps(asdict(record), ensure_ascii=False).encode() + b"\n")
            self._last = number

    def _write(self, line: bytes) -> None:
        self._last = None  # if this fails, the next one repairs
        fresh = not self.file.exists()
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if fresh:
            self.note.unlink(missing_ok=True)  # before the file grows to where it points
        # Opened for each record: a process forked meanwhile inherits nothing, and a file that was deleted begins again.
        with open(self.file, "ab", buffering=0, opener=_private) as file:
            if file.write(line) != len(line):
                raise OSError(f"cannot write all of a record to {self.file}. Free disk space.")
            point("journal:written")
            os.fsync(file.fileno())
        if fresh:
            sync(self.file.parent)

    def _repaired(self) -> int:
        """The number of the last whole record; what follows it is cut off."""
        sent = self.sent()
        last, end = sent.number, sent.offset
        for record, offset in self._records(sent):
            last, end = record.number, offset
        if self.file.exists() and self.file.stat().st_size > end:
            os.truncate(self.file, end)
        return last

    def sent(self) -> Sent:
        """How far MLflow has it; a note of a file that somebody took away says nothing about the next one."""
        if not (self.note.exists() and self.file.exists()):
            return Sent()
        noted = Sent(**read_json(self.note))
        return noted if noted.offset <= self.file.stat().st_size else Sent()

    def unsent(self) -> Iterator[tuple[Record, int]]:
        """Records that MLflow does not have, in order, each with the offset of its end.

        Raises:
            StoreError: if the file was changed by hand.
        """
        yield from self._records(self.sent())

    def _records(self, sent: Sent) -> Iterator[tuple[Record, int]]:
        if not self.file.exists():
            return
        number, offset = sent.number, sent.offset
        with self.file.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # cut short by a kill, or being written
                number, offset = number + 1, offset + len(line)
                yield _parsed(line, number, self.file), offset

    def mark(self, sent: Sent) -> None:
        """Note how far MLflow has it; the holder of :meth:`sending` alone calls this."""
        write_json(self.note, asdict(sent))

    @contextmanager
    def sending(self) -> Iterator[None]:
        """No other process or thread sends this journal within the block.

        Raises:
            BusyError: if another one has been sending it for a while.
        """
        self._sender.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with FileLock(self._sender, timeout=LOCK_SECONDS):
                yield
        except Timeout:  # not as the cause: a lock that is held is not an outage of MLflow
            raise BusyError(f"another process or thread is sending {self.file.name}") from None

    def drop_if_sent(self) -> bool:
        """Delete the files if MLflow has every record; for the process that may append, or whoever knows that there is none."""
        if not self.file.exists():
            return True
        with self._lock, self.sending():
            if next(self.unsent(), None) is not None:
                return False
            self.note.unlink(missing_ok=True)  # first: a journal without its note is sent again, which changes nothing
            point("journal:dropping")
            self.file.unlink(missing_ok=True)
            self._last = None
        return True


def journals(folder: Path, locks: Path) -> list[Journal]:
    """All journals of a project."""
    return [Journal(folder, path.stem, locks) for path in sorted(folder.glob(f"*{SUFFIX}"))]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _parsed(line: bytes, number: int, file: Path) -> Record:
    try:
        record = Record(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise _damaged(file, number) from error
    if record.number != number:
        raise _damaged(file, number)
    return record


def _damaged(file: Path, number: int) -> StoreError:
    return StoreError(f"record {number} of {file} is damaged, so MLflow gets nothing after it. Move the file away.")
