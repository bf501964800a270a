"""What a version says about where it came from: commit, and whether the code was as committed."""

import hashlib
import subprocess
from pathlib import Path


def commit_tags(project: Path) -> dict[str, str]:
    """``commit``, ``dirty`` and, for dirty code, ``diff_sha256``; ``unknown`` outside a git checkout."""
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": "unknown", "dirty": "unknown"}
    difference = _git(project, "status", "--porcelain") or ""
    tags = {"commit": commit, "dirty": str(bool(difference)).lower(), "mlflow.source.git.commit": commit}
    if difference:
        patch = _git(project, "diff", "HEAD") or ""
        tags["diff_sha256"] = hashlib.sha256((difference + patch).encode()).hexdigest()
    return tags


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
