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
from typing import NamedTuple

from ratchet.components.constraints import CONSTRAINTS, pins
from ratchet.components.errors import RegistryError
from ratchet.components.files import write_text

RELEASE = re.compile(r"3\.\d+\.\d+[a-z0-9]*")
OURS = ("MLFLOW_", "PREFECT_", "RATCHET_", "DVC_")
PYTHONS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OMP_NUM_THREADS")


class Installed(NamedTuple):
    """A release of Ratchet that a project of one's own had installed, and the digest of its sources."""

    release: str
    sources: str


def locked_environment(project: Path, target: Path, python: str, extras: Sequence[str]) -> Path:
    """Install a checkout of Ratchet from its own lock into a new environment at ``target``; returns its interpreter.

    Args:
        python: the release of Python to use.
        extras: the project's extras, such as ``lora``; one that this commit does not have yet is passed over.

    Raises:
        RegistryError: if uv or that Python is not available, or the lock cannot be installed.
    """
    return _environment(target, python, "-e", _with_extras(str(project), extras), "-c", str(project / CONSTRAINTS))


def locked_release(project: Path, target: Path, python: str, extras: Sequence[str], ratchet: Installed) -> Path:
    """Install a release of Ratchet, and all libraries that the project's lock pins: its graders may need any of them.

    Args:
        python, extras: as of :func:`locked_environment`.

    Raises:
        RegistryError: if that fails, or the release that was found has other code.
    """
    pinned, wanted = target.with_name("pinned.txt"), f"{_with_extras('ratchet-rl', extras)}=={ratchet.release}"
    write_text(pinned, pins((project / CONSTRAINTS).read_text(encoding="utf-8")))
    interpreter = _environment(target, python, wanted, "-r", str(pinned), "-c", str(pinned))
    if _sources_of(interpreter) != ratchet.sources:
        raise RegistryError(
            f"the ratchet-rl {ratchet.release} that was installed has other code than the one that made the version. Put the "
            "wheel of that one into a folder, and name the folder in UV_FIND_LINKS."
        )
    return interpreter


def _environment(target: Path, python: str, *installed: str) -> Path:
    if not RELEASE.fullmatch(python):
        raise RegistryError(f"{python!r} is not a release of Python. Check the version's record.")
    wanted = sys.executable if python == platform.python_version() else python
    _uv("venv", "--quiet", "--python", wanted, str(target))
    interpreter = target / "bin" / "python"
    _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(interpreter), *installed)
    return interpreter


def _with_extras(package: str, extras: Sequence[str]) -> str:
    return f"{package}[{','.join(extras)}]" if extras else package


def _sources_of(interpreter: Path) -> str:
    """The digest of the code of Ratchet that an interpreter has; empty if that cannot be told."""
    code = "from ratchet.components.source_code import sources_digest; print(sources_digest())"
    environment = {name: value for name, value in os.environ.items() if name not in PYTHONS}
    command = [str(interpreter), "-P", "-c", code]  # -P: not what lies in the working directory
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()


def isolated(state: Path, threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of a process with its own RATCHET_HOME, which sees none of our servers, ledgers or code.

    Args:
        threads: CPU threads for torch if the recipe does not set them; 0 leaves torch's choice.
    """
    kept = {k: v for k, v in environment.items() if not k.startswith(OURS) and k not in PYTHONS}
    return {**kept, "RATCHET_HOME": str(state), **({"OMP_NUM_THREADS": str(threads)} if threads else {})}


def require_uv() -> None:
    """
    Raises:
        RegistryError: if uv is not there.
    """
    _uv_command()


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
