"""Where state lives: ``.ratchet/`` (or RATCHET_HOME) and ``mlflow/``; nothing else is written."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ratchet.components.files import scratch_directory


@dataclass(frozen=True)
class Home:
    """Paths of one project's state."""

    project: Path
    state: Path

    @classmethod
    def here(cls) -> "Home":
        """The project in the working directory; RATCHET_HOME moves its state."""
        project = Path.cwd()
        return cls(project, Path(os.environ.get("RATCHET_HOME") or project / ".ratchet").absolute())

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
        return os.environ.get("RATCHET_LEDGER_URL", f"sqlite:///{self.state / 'ledger.db'}")

    @property
    def leases(self) -> Path:
        return self.state / "leases"

    @property
    def reports(self) -> Path:
        return self.state / "reports"

    @property
    def dvc(self) -> Path:
        return self.state / "dvc"

    @property
    def tracking_uri(self) -> str:
        return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{self.project / 'mlflow' / 'mlflow.db'}")

    @property
    def artifacts(self) -> Path:
        return self.project / "mlflow" / "artifacts"
