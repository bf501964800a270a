"""A small git repository that looks like a project of Ratchet's."""

import subprocess
from pathlib import Path

FILES = {
    "components/__init__.py": "",
    "components/data/prepare.py": "x = 1\n",
    "constraints.txt": "numpy==2.1.0\n",
    ".gitignore": ".ratchet/\n",
}


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def new_repository(path: Path) -> Path:
    """One commit of ``FILES``."""
    for name, text in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    git(path, "init", "--quiet")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "-m", "one")
    return path
