"""Python environments to train in: a clean one from a commit's lock, and the environment variables of an isolated run."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ratchet.components.errors import RegistryError
from ratchet.components.provenance.machine import CONSTRAINTS

RELEASE = re.compile(r"3\.\d+\.\d+[a-z0-9]*")
OURS = ("MLFLOW_", "PREFECT_", "RATCHET_", "DVC_")
PYTHONS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OMP_NUM_THREADS")


def locked_environment(project: Path, target: Path, python: str, extras: Sequence[str]) -> Path:
    """Install a checkout from its own lock into a new environment at ``target``; returns its interpreter.

    Args:
        python: the release of Python to use.
        extras: the project's extras, such as ``lora``; one that this commit does not have yet is passed over.

    Raises:
        RegistryError: if uv or that Python is not available, or the lock cannot be installed.
    """
    if not RELEASE.fullmatch(python):
        raise RegistryError(f"{python!r} is not a release of Python. Check the version's record.")
    wanted = sys.executable if python == platform.python_version() else python
    _uv("venv", "--quiet", "--python", wanted, str(target))
    interpreter = target / "bin" / "python"
    package = f"{project}[{','.join(extras)}]" if extras else str(project)
    lock = str(project / CONSTRAINTS)
    _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(interpreter), "-e", package, "-c", lock)
    return interpreter


def isolated(state: Path, threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of a process with its own RATCHET_HOME, which sees none of our servers, ledgers or code.

    Args:
        threads: CPU threads for torch if the recipe does not set them; 0 leaves torch's choice.
    """
    kept = {k: v for k, v in environment.items() if not k.startswith(OURS) and k not in PYTHONS}
    return {**kept, "RATCHET_HOME": str(state), **({"OMP_NUM_THREADS": str(threads)} if threads else {})}


def _uv(*arguments: str) -> None:
    # uv does not read pip's own setting for local wheels.
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    environment = {**os.environ, **({"UV_FIND_LINKS": links} if links else {})}
    done = subprocess.run([*_uv_command(), *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split())[-400:]
        raise RegistryError(f"uv {arguments[0]} failed: {reason}. Correct the cause, or use --environment current.")


def _uv_command() -> list[str]:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    if found is None:
        raise RegistryError("uv is not installed. Install it with `pip install uv`, or use --environment current.")
    return [found]
