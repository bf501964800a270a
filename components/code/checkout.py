"""The project in git: its commit, its uncommitted changes, and checkouts of a commit next to the project."""

import hashlib
import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ratchet.components.errors import RegistryError
from ratchet.components.storage.digests import digest_of_digests

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
UNKNOWN = "unknown"
CODE = "components"
# What is recorded by its content is not code: a dataset version, its pointer, DVC's settings, and the source's files of rows.
DATA = ("data", ".dvc", "data.dvc", "data.*.dvc", "data.*/**")
TABLES = ("**/*.jsonl", "**/*.ndjson", "**/*.csv", "**/*.tsv", "**/*.parquet")
CODE_ONLY = (":/", *(f":(exclude,glob){pattern}" for pattern in (*DATA, *TABLES)))
TABLES_ONLY = (*(f":(glob){pattern}" for pattern in TABLES), *(f":(exclude,glob){pattern}" for pattern in DATA))


@dataclass(frozen=True)
class CodeState:
    """The commit that a process runs, and how its working tree differs from it. Data are recorded by hash and not here."""

    commit: str  # or ``unknown``, outside a git checkout
    folder: str = ""  # of the project within the repository; "" at its root
    changed: tuple[str, ...] = ()
    difference: str = ""  # the status and the patch; untracked files are in the status alone
    tables: tuple[str, ...] = ()  # committed files of rows that differ, from the project's folder; a recipe may record them

    @property
    def difference_digest(self) -> str | None:
        """sha256 of the difference; None if the code is as committed."""
        return hashlib.sha256(self.difference.encode()).hexdigest() if self.difference else None


@cache
def code_state(project: Path) -> CodeState:
    """The state of the project's code, read once per process: an edit during a run takes effect in the next run."""
    commit = _text(project, "rev-parse", "HEAD")
    if commit is None:
        return CodeState(UNKNOWN)
    folder = (_text(project, "rev-parse", "--show-prefix") or "").removesuffix("\n").rstrip("/")
    status = _text(project, "status", "--porcelain", "--untracked-files=all", "--", *CODE_ONLY)
    if status is None:  # unknown whether it is as committed, so it does not count as committed
        return CodeState(commit.strip(), folder, ("git status failed",), "git status failed\n")
    changed = tuple(line[3:] for line in status.splitlines())
    patch = (_text(project, "diff", "HEAD", "--no-color", "--no-ext-diff", "--", *CODE_ONLY) or "") if status else ""
    tables = _text(project, "diff", "HEAD", "--name-only", "--relative", "--no-renames", "-z", "--", *TABLES_ONLY) or ""
    return CodeState(commit.strip(), folder, changed, status + patch, tuple(filter(None, tables.split("\0"))))


def has_commit(project: Path, commit: str) -> bool:
    """Whether the repository has a commit; a name that is not a commit hash is not passed to git."""
    return COMMIT.fullmatch(commit) is not None and _run(project, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def require_commit(project: Path, commit: str) -> None:
    """
    Raises:
        RegistryError: if the repository does not have the commit.
    """
    if not has_commit(project, commit):
        raise RegistryError(f"commit {commit} is not in this repository. Run `git fetch` and try again.")


def committed_file(project: Path, commit: str, path: str) -> bytes | None:
    """A file of a commit, or None if the commit does not have it."""
    return _run(project, "show", f"{commit}:{path}")


def committed_code_digest(project: Path, commit: str, folder: str = "") -> str | None:
    """What ``sources_digest()`` returns in a checkout of a commit; None if the commit has no ``components``."""
    root = f"{folder}/{CODE}" if folder else CODE
    archive = _run(project, "archive", "--format=tar", f"{commit}:{root}")
    if archive is None:
        return None
    digests = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for member in files:
            content = files.extractfile(member) if member.isfile() and member.name.endswith(".py") else None
            if content is not None:
                digests[member.name] = hashlib.sha256(content.read()).hexdigest()
    return digest_of_digests(digests)


def add_worktree(project: Path, commit: str, target: Path) -> None:
    """Check a commit out at ``target``, detached, without running the repository's hooks.

    Raises:
        RegistryError: if the repository does not have the commit.
    """
    require_commit(project, commit)
    command = ["-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(target), commit]
    if _run(project, *command) is None:
        raise RegistryError(f"git cannot check {commit[:12]} out at {target}. Free the disk, or run `git worktree prune`.")


def remove_worktree(project: Path, target: Path) -> None:
    """Remove a checkout, even a partial one."""
    _run(project, "worktree", "remove", "--force", str(target))
    _run(project, "worktree", "prune")


def _text(project: Path, *arguments: str) -> str | None:
    done = _run(project, *arguments)
    return None if done is None else done.decode("utf-8", errors="replace")


def _run(project: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
