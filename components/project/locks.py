"""Locks among the processes of this machine. The operating system frees a lock when its holder dies."""

import hashlib
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

IN_USE = "run-"  # names of locks whose holders use stages and caches begin with this
DELETING = "gc"
POLL_SECONDS = 1.0
BUSY = "a run is in progress; nothing is deleted meanwhile"


def lock_name(identity: str) -> str:
    """The name of the lock of a run's identity."""
    return identity[:16]


def silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Locks:
    """The locks of one project."""

    folder: Path
    say: Callable[[str], None] = silent  # called with what is waited for

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.lock"

    @contextmanager
    def held(self, name: str, waiting: str, meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
        """The lock of a name, after waiting for its current holder.

        Args:
            meanwhile: called each second; ends the waiting by raising.
        """
        lock = self._lock(name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.say(waiting)
            while not _taken(lock):
                meanwhile()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def computing(self, meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
        """The right to compute: one run of the project at a time; ``meanwhile`` is that of :meth:`held`.

        Runs of other projects are not waited for, even on the same accelerator.
        """
        with self.held("computing", "another run of this project is computing; waiting for it to finish", meanwhile):
            yield

    @contextmanager
    def working(self, name: str, waiting: str) -> Iterator[None]:
        """Shows that stages and caches are in use: while one such lock is held, nothing in them is deleted."""
        with self.held(f"{IN_USE}{name}", waiting):
            # Our lock is held now, so a deletion that begins later sees it. A deletion in progress is waited for.
            with self.held(DELETING, "old files are being deleted; waiting"):
                pass
            yield

    @contextmanager
    def idle(self, name: str) -> Iterator[bool]:
        """Whether no process of this machine holds the lock of :meth:`working`; none takes it within the block."""
        lock = self._lock(f"{IN_USE}{name}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @contextmanager
    def deleting(self) -> Iterator[bool]:
        """Whether nothing is in use and no other process deletes. No run begins within the block."""
        lock = self._lock(DELETING)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield not any(self._is_held(path.stem) for path in sorted(self.folder.glob(f"{IN_USE}*.lock")))
        finally:
            lock.release()

    def place(self, name: str) -> str:
        """Identifies the lock that :meth:`working` holds; a copy of its file, or the file after a reboot, is another place.

        While a process holds the lock, its file's inode and device are not reused.

        Returns:
            32 hexadecimal digits.
        """
        file = self.file(f"{IN_USE}{name}").stat()
        return hashlib.sha256(f"{boot()} {file.st_dev} {file.st_ino}".encode()).hexdigest()[:32]

    def _lock(self, name: str) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(self.file(name))

    def _is_held(self, name: str) -> bool:
        lock = self._lock(name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=POLL_SECONDS)
    except Timeout:
        return False
    return True


def boot() -> str:
    """The kernel's identifier of the current boot; without one, no two processes share a place."""
    if (linux := Path("/proc/sys/kernel/random/boot_id")).exists():
        return linux.read_text(encoding="ascii").strip()
    command = ["sysctl", "-n", "kern.bootsessionuuid"]  # macOS
    with suppress(OSError):
        if found := subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip():
            return found
    return uuid.uuid4().hex
