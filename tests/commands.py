"""``ratchet`` and its servers as a user starts them: by a shell that knows of no server yet, in a project directory."""

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.places import ROOT

PATIENCE_SECONDS = 240
HIDDEN = (
    *("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_HOME", "RATCHET_HOME"),
    *("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_EPHEMERAL_ENABLED"),
)


def ratchet(*arguments: str) -> list[str]:
    """The command line of a verb, by the Python that runs the tests."""
    return [sys.executable, "-m", "ratchet", *arguments]


def environment(*without: str, **extra: str) -> dict[str, str]:
    """A shell's variables, with ``ratchet`` and ``prefect`` on its path, less those that name a server or a state."""
    kept = {name: value for name, value in os.environ.items() if name not in (*HIDDEN, *without)}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MLFLOW_WORKERS": "1", **extra}


WITHOUT = """
import sys
from importlib.machinery import PathFinder


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names} else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


def without(folder: Path, *names: str) -> dict[str, str]:
    """A shell's variables, in which Python and every Python that it starts finds no packages of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(WITHOUT.replace("{names}", repr(names)), encoding="utf-8")
    return environment(PYTHONPATH=os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))


def new_project(path: Path) -> Path:
    """A project directory with MLflow's project files."""
    (path / "mlflow").mkdir(parents=True)
    for name in ("model-card.md.j2", "MLproject", "python_env.yaml"):
        shutil.copy(ROOT / "mlflow" / name, path / "mlflow")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], Any]) -> Any:
    """The first true value, retried while processes start or end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, AssertionError, psutil.Error):  # URLError is an OSError
            if value := what():
                return value
        time.sleep(0.2)
    raise AssertionError(f"nothing came within {PATIENCE_SECONDS} s")
