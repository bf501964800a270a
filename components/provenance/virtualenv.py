"""Python environments to train in: a clean one from a commit's lock, and the environment variables of an isolated run."""

import importlib.util
import os
import platform
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ratchet.components.code.constraints import CONSTRAINTS, pins
from ratchet.components.errors import RegistryError
from ratchet.components.storage.files import write_text

RELEASE = re.compile(r"3\.\d+\.\d+[a-z0-9]*")
REBUILDING = "RATCHET_REBUILDING"  # tells a run that the command above it will say how it ended
EACH = " + "  # how uv begins the line of each library
NEWS_SECONDS = 30.0  # after which it is said that uv still works
OURS = ("MLFLOW_", "PREFECT_", "RATCHET_", "DVC_")
ABSENT = re.compile(r"no versions? of ratchet-rl|ratchet-rl was not found")  # how uv says it
WHEEL = "Put the wheel that made the version into a folder, and name the folder in UV_FIND_LINKS."
PYTHONS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OMP_NUM_THREADS")


class Installed(NamedTuple):
    """A release of Ratchet that a project of one's own had installed, and the digest of its sources."""

    release: str
    sources: str


def locked_environment(project: Path, target: Path, python: str, extras: Sequence[str], say: Callable[[str], None]) -> Path:
    """Install a checkout of Ratchet from its own lock into a new environment at ``target``; returns its interpreter.

    Args:
        python: the release of Python to use.
        extras: the project's extras, such as ``lora``; one that this commit does not have yet is passed over.
        say: told how far uv is, which takes minutes where it has to download.

    Raises:
        RegistryError: if uv or that Python is not available, or the lock cannot be installed.
    """
    return _environment(target, python, say, "-e", _with_extras(str(project), extras), "-c", str(project / CONSTRAINTS))


def locked_release(
    project: Path, target: Path, python: str, extras: Sequence[str], ratchet: Installed, say: Callable[[str], None]
) -> Path:
    """Install a release of Ratchet, and all libraries that the project's lock pins: its graders may need any of them.

    Args:
        python, extras, say: as of :func:`locked_environment`.

    Raises:
        RegistryError: if that fails, or the release that was found has other code.
    """
    pinned, wanted = target.with_name("pinned.txt"), f"{_with_extras('ratchet-rl', extras)}=={ratchet.release}"
    write_text(pinned, pins((project / CONSTRAINTS).read_text(encoding="utf-8")))
    try:
        interpreter = _environment(target, python, say, wanted, "-r", str(pinned), "-c", str(pinned))
    except RegistryError as error:
        if not ABSENT.search(str(error)):
            raise
        raise RegistryError(f"{error} {WHEEL}") from error
    if _sources_of(interpreter) != ratchet.sources:
        raise RegistryError(
            f"the ratchet-rl {ratchet.release} that was installed has other code than the one that made the version. {WHEEL}"
        )
    return interpreter


def _environment(target: Path, python: str, say: Callable[[str], None], *installed: str) -> Path:
    if not RELEASE.fullmatch(python):
        raise RegistryError(f"{python!r} is not a release of Python. Check the version's record.")
    wanted = sys.executable if python == platform.python_version() else python
    _uv(say, "venv", "--quiet", "--python", wanted, str(target))
    interpreter = target / "bin" / "python"
    _uv(say, "pip", "install", "--compile-bytecode", "--python", str(interpreter), *installed)
    return interpreter


def _with_extras(package: str, extras: Sequence[str]) -> str:
    return f"{package}[{','.join(extras)}]" if extras else package


def _sources_of(interpreter: Path) -> str:
    """The digest of the code of Ratchet that an interpreter has; empty if that cannot be told."""
    code = "from ratchet.components.code.source_code import sources_digest; print(sources_digest())"
    environment = {name: value for name, value in os.environ.items() if name not in PYTHONS}
    command = [str(interpreter), "-P", "-c", code]  # -P: not what lies in the working directory
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()


def isolated(state: Path, threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of a process with its own RATCHET_HOME, which sees none of our servers, ledgers or code.

    Args:
        threads: CPU threads for torch if the recipe does not set them; 0 leaves torch's choice.
    """
    kept = {k: v for k, v in environment.items() if not k.startswith(OURS) and k not in PYTHONS}
    return {**kept, "RATCHET_HOME": str(state), REBUILDING: "1", **({"OMP_NUM_THREADS": str(threads)} if threads else {})}


def require_uv() -> None:
    """
    Raises:
        RegistryError: if uv is not there.
    """
    _uv_command()


def _uv(say: Callable[[str], None], *arguments: str) -> None:
    # uv does not read pip's own setting for local wheels.
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    environment = {**os.environ, "NO_COLOR": "1", **({"UV_FIND_LINKS": links} if links else {})}
    code, said = told([*_uv_command(), *arguments], environment, say)
    if code:
        reason = " ".join(said.split())[-400:].rstrip(".")
        raise RegistryError(f"uv {arguments[0]} failed: {reason}. Correct the cause, or use --environment current.")


def told(command: Sequence[str], environment: Mapping[str, str], say: Callable[[str], None]) -> tuple[int, str]:
    """Run a command and pass on what it writes to stderr, line by line; while it writes nothing, how long it has worked.

    Returns:
        Its exit code and what it wrote.
    """
    begun, written = time.monotonic(), b""
    nothing = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while True:
            if not select.select([process.stderr], [], [], NEWS_SECONDS)[0]:
                say(f"still installing, since {time.monotonic() - begun:.0f} s")
                continue
            more = os.read(process.stderr.fileno(), 65536)
            shown, written = written.count(b"\n"), written + more
            for line in written.decode(errors="replace").split("\n")[shown:-1]:
                if line.strip() and not line.startswith(EACH):
                    say(f"uv: {line.strip()}")
            if not more:
                break
    return process.returncode, written.decode(errors="replace")


def _uv_command() -> list[str]:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    if found is None:
        raise RegistryError("uv is not installed. Install it with `pip install uv`, or use --environment current.")
    return [found]
