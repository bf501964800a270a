"""Where state lives: ``.ratchet/`` (or RATCHET_HOME) and ``mlflow/``; nothing else is written."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ratchet.components.errors import StoreError
from ratchet.components.storage.files import scratch_directory, write_text
from ratchet.components.storage.sqlite_files import sqlite_url
from ratchet.components.text import visible

RECIPE = "ratchet.yaml"  # of a user's project, whose root is where it is
VERSION = 1  # of the layout of the state; a state without the file of the next line is version 1
VERSION_FILE = "version"
LONGEST = 400  # bytes of a path; SQLite takes 512, and DVC's databases lie 69 deeper than the state
UNUSABLE = {  # in the path of a project: what, and why
    r"[\x00-\x1f\x7f]": "a control character, which no line of a configuration can contain",
    r"%[0-9A-Fa-f]{2}": "a percent sign before two hexadecimal digits, which MLflow decodes twice",
    r"[{}]": "a brace, which DVC takes for a template",
    r"[\ud800-\udfff]": "bytes that are not UTF-8, which no database here stores",
}


@dataclass(frozen=True)
class Home:
    """Paths of one project's state."""

    project: Path
    state: Path

    @classmethod
    def here(cls) -> "Home":
        """The project of the working directory; RATCHET_HOME moves its state.

        Raises:
            StoreError: if a library that is used cannot have files there, or the state is of a later release.
        """
        project = project_root()
        home = cls(project, Path(os.environ.get("RATCHET_HOME") or project / ".ratchet").absolute())
        check_place(home.project, "Rename that folder, or move the project")
        check_place(home.state, "Set RATCHET_HOME to another folder")
        check_version(home.state)
        return home

    def mark(self) -> None:
        """Write the state's version, if it has none yet."""
        if not (self.state / VERSION_FILE).exists():
            write_text(self.state / VERSION_FILE, f"{VERSION}\n")

    @property
    def store(self) -> Path:
        return self.state / "store"

    @property
    def workspaces(self) -> Path:
        return self.state / "workspaces"

    @contextmanager
    def workspace(self, purpose: str) -> Iterator[Path]:
        """A directory of this process, deleted after the block; those left by killed processes are deleted first."""
        folder = scratch_directory(self.workspaces, purpose)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def ledger(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return os.environ.get("RATCHET_LEDGER_URL", sqlite_url(self.state / "ledger.db"))

    @property
    def locks(self) -> Path:
        return self.state / "locks"

    @property
    def reports(self) -> Path:
        return self.state / "reports"

    @property
    def journals(self) -> Path:
        """Figures that MLflow does not have yet."""
        return self.state / "journals"

    @property
    def comparisons(self) -> Path:
        """A folder per comparison."""
        return self.state / "compare"

    @property
    def retentions(self) -> Path:
        """The section ``retention`` of each recipe's newest run, a file per model."""
        return self.state / "retention"

    @property
    def stalls(self) -> Path:
        """Stacks of the threads of runs that hung, a file per run."""
        return self.state / "stalls"

    @property
    def failures(self) -> Path:
        """The last error that ended a run, a file per model."""
        return self.state / "failures"

    @property
    def dvc(self) -> Path:
        return self.state / "dvc"

    @property
    def tracking_uri(self) -> str:
        return os.environ.get("MLFLOW_TRACKING_URI", sqlite_url(self.mlflow_database))

    @property
    def mlflow_database(self) -> Path:
        """Of a project for which MLFLOW_TRACKING_URI names no other."""
        return self.project / "mlflow" / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.project / "mlflow" / "artifacts"


def project_root(start: Path | None = None) -> Path:
    """The nearest folder upwards that contains a recipe of its own, without leaving a git repository; else ``start``.

    Args:
        start: by default the working directory.
    """
    start = start or Path.cwd()
    for folder in (start, *start.parents):
        if os.path.isfile(folder / RECIPE):
            return folder
        if os.path.exists(folder / ".git"):  # the checkout that a reproduction makes is below the project, and is not it
            break
    return start


def check_version(state: Path) -> None:
    """Refuse a state that a later release laid out, before anything in it is used.

    Raises:
        StoreError: with the remedy.
    """
    try:
        text = (state / VERSION_FILE).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {state / VERSION_FILE}: {error}. Make it readable.") from error
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise StoreError(
            f"{state / VERSION_FILE} contains {visible(text[:40])!r}, which is not a version. Write that of the release that "
            "made this state; the first is 1."
        )
    if int(text) > VERSION:
        raise StoreError(
            f"{state} has version {text}, of a later release than this one, which knows version {VERSION}. Nothing in it was "
            "read or changed. Upgrade: pip install --upgrade ratchet-rl."
        )


def check_place(path: Path, remedy: str) -> None:
    """Reject a path that one of the libraries could not use, before anything runs.

    Raises:
        StoreError: with the reason, and ``remedy``.
    """
    reasons = [reason for pattern, reason in UNUSABLE.items() if re.search(pattern, str(path))]
    if len(os.fsencode(path)) > LONGEST:
        reasons.append(f"more than {LONGEST} bytes, and the databases below it would be beyond what SQLite opens")
    if reasons:
        raise StoreError(f"the path {visible(str(path))!r} has {reasons[0]}. {remedy}.")
